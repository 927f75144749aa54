//! One running agent: gathers what happens, feeds the rules, performs what they say.
//!
//! ```text
//! state on disk ─▶ [join] ─▶ tunnel, names, socket ─▶ loop: event ─▶ AgentCore ─▶ actions
//! ```
//! The agent starts from its state and is ready before it has spoken to control. The loop never decides:
//! it takes an input, hands it to the core, then drains the core's actions.

mod ask;
mod change;
mod degraded;
mod enrol;
mod gateway;
mod gone;
mod heard;
mod mapped;
mod metrics;
mod names;
mod probes;
mod run;
mod sessions;
mod status;
mod watching;
mod ways;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::ValueEnum;
use ipnetwork::IpNetwork;
use lacis_agent_core::Proofs;
use lacis_proto::{Endpoint, GatewayReport, GroupId, JoinToken, NodeId};
use lacis_tunnel::{Core, DeviceError, MemoryTun, Offloads, Shards, StartError};
use tokio::{sync::mpsc, task::JoinHandle};

pub(crate) use self::{
    ask::{Ask, Resolved},
    change::Change,
};
use crate::{
    clock::Clock,
    control::{CallError, Proxy, TrustError},
    host::HostError,
    logs::Logs,
    socket::SocketError,
    state::StateError,
};

/// MTU of an overlay interface: sealed, relayed and over IPv6, a packet still fits 1500 bytes (DESIGN
/// ruling 14).
pub const DEFAULT_MTU: u16 = 1400;

/// UDP port of the tunnels, where nobody else has it.
pub const DEFAULT_PORT: u16 = 47_820;

/// How to run an agent.
#[derive(Debug)]
pub struct Options {
    /// State folder.
    pub state: PathBuf,
    /// Socket of the local API.
    pub socket: PathBuf,
    /// Token to join with first, where it has not been used here before.
    pub token: Option<JoinToken>,
    /// What this node calls itself.
    pub host_name: String,
    /// UDP port of the tunnels; absent: the last one, else [`DEFAULT_PORT`], else any.
    pub port: Option<u16>,
    /// MTU of the overlay interfaces, in bytes.
    pub mtu: u16,
    /// What carries the tunnels.
    pub core: Core,
    /// How many threads do.
    pub shards: Shards,
    /// Which offloads of the kernel are used.
    pub offloads: Offloads,
    /// Endpoints to publish instead of the host's addresses.
    pub endpoints: Vec<Endpoint>,
    /// What this node says of itself as a gateway, where it is started as one.
    pub gateway: Option<GatewayReport>,
    /// How strictly peers must prove who they are.
    pub proofs: Proofs,
    /// The clock.
    pub clock: Clock,
    /// Where interfaces come from.
    pub interfaces: Interfaces,
    /// Who has the host's resolver ask this agent.
    pub dns: HostDns,
    /// The file that says whom the host's programs ask for names.
    pub resolv_conf: PathBuf,
    /// Where the service manager starts guards of the host's resolver.
    pub helper: PathBuf,
    /// Whether the gateway is asked for a port.
    pub portmap: bool,
    /// Whether this node takes part in birthday probing.
    pub birthday: bool,
    /// Where figures are offered over TCP, beside the local API.
    pub metrics: Option<SocketAddr>,
    /// The proxy through which control and relays are reached over TLS.
    pub proxy: Option<Arc<Proxy>>,
    /// What the agent says.
    pub logs: Logs,
    /// The unit under which the journal keeps what the agent says, where it does.
    pub journal: Option<String>,
}

/// Who has the host's resolver ask this agent for the names of its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HostDns {
    /// The agent, while it runs: systemd-resolved, else the file /etc/resolv.conf.
    Host,
    /// You: `lacis status` says which address is to be asked.
    Manual,
    /// Nobody.
    Off,
}

/// Where interfaces come from.
#[derive(Debug)]
pub enum Interfaces {
    /// The kernel's TUN driver.
    Kernel,
    /// Memory: whoever holds the receiver plays the host. No addresses, routes or resolvers are set up.
    Memory(mpsc::UnboundedSender<(GroupId, MemoryTun)>),
}

/// An agent that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state folder cannot be used.
    #[error(transparent)]
    State(StateProblem),
    /// There is nothing to start from.
    #[error(
        "this node belongs to no group yet: `lacis up TOKEN`, with a token that `lacis-control serve` printed"
    )]
    NotEnrolled,
    /// The token is of another installation than the one this node belongs to.
    #[error("this node belongs to another control ({node}); use another state folder with --state DIR")]
    OtherControl {
        /// What the node is there.
        node: NodeId,
    },
    /// The join failed.
    #[error("cannot join: {reason}")]
    Join {
        /// Why.
        reason: String,
        /// Whether the same may succeed later.
        passing: bool,
    },
    /// The group has addresses that this node needs for something else; it was left again.
    #[error(
        "group {group} has the range {range}, which overlaps {theirs} of group {other} on this node; leave one of them"
    )]
    Overlap {
        /// The group that was to be joined.
        group: GroupId,
        /// Its range.
        range: IpNetwork,
        /// The group that this node is in.
        other: String,
        /// That group's range.
        theirs: IpNetwork,
    },
    /// The change that was asked for cannot be made now.
    #[error("{0}")]
    Change(&'static str),
    /// This host gives no overlay interface; found out before anything is asked of control.
    #[error("{0}")]
    Device(DeviceError),
    /// The tunnel cannot start.
    #[error("cannot start the tunnel")]
    Tunnel(#[source] StartError),
    /// The local API cannot be offered.
    #[error("{0}")]
    Socket(String),
    /// Figures cannot be offered.
    #[error("{0}")]
    Metrics(String),
    /// The host's networking cannot be reached.
    #[error("{0}")]
    Host(String),
    /// The tunnel broke.
    #[error("the tunnel stopped: {0}")]
    Broken(String),
}

/// The state folder cannot be used; opaque, for people.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StateProblem(StateError);

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    node: NodeId,
    port: u16,
    stop: mpsc::Sender<()>,
    ask: Ask,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Agent {
    /// Starts an agent: from its state, after a join where a token asks for one.
    ///
    /// # Errors
    /// [`AgentError`]; its text says what to do.
    pub async fn start(options: Options) -> Result<Self, AgentError> {
        run::start(options).await
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// The UDP port of the tunnels.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What the agent tells of itself; `None` when it has ended.
    pub async fn status(&self) -> Option<crate::status::Status> {
        self.ask.status().await
    }

    /// Returns when the agent is ready: every group has its interface. `None` when it ended before.
    pub fn ready(&self) -> impl Future<Output = Option<()>> + use<> {
        let ask = self.ask.clone();
        async move {
            let mut changes = ask.changes();
            loop {
                if ask.status().await?.ready {
                    return Some(());
                }
                changes.changed().await.ok()?;
            }
        }
    }

    /// Runs until the agent ends by itself: because something broke.
    ///
    /// # Errors
    /// What broke.
    pub async fn ended(&mut self) -> Result<(), AgentError> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => Err(AgentError::Broken(error.to_string())),
        }
    }

    /// Stops the agent: interfaces go, state stays.
    ///
    /// # Errors
    /// What broke before.
    pub async fn stop(mut self) -> Result<(), AgentError> {
        // A full channel means that it has been told already.
        let _ = self.stop.try_send(());
        self.ended().await
    }
}

impl From<StateError> for AgentError {
    fn from(error: StateError) -> Self {
        Self::State(StateProblem(error))
    }
}

impl From<SocketError> for AgentError {
    fn from(error: SocketError) -> Self {
        Self::Socket(crate::overlay::report(&error))
    }
}

impl From<HostError> for AgentError {
    fn from(error: HostError) -> Self {
        Self::Host(crate::overlay::report(&error))
    }
}

impl From<CallError> for AgentError {
    fn from(error: CallError) -> Self {
        let passing = error.problem().is_none_or(lacis_proto::Problem::is_passing);
        Self::Join { reason: error.to_string(), passing }
    }
}

impl From<TrustError> for AgentError {
    fn from(error: TrustError) -> Self {
        Self::Join { reason: crate::overlay::report(&error), passing: false }
    }
}

/// Everything that can come in.
#[derive(Debug)]
enum Input {
    /// For the rules.
    Core(Box<lacis_agent_core::Event>),
    /// From the tunnel.
    Tunnel(lacis_tunnel::Event),
    /// The gateway maps another port than before, or none.
    Mapped,
    /// From the local API.
    Ask(ask::Question),
    /// From another gateway.
    Gateway(lacis_agent_core::GatewayEvent),
    /// A join or leave has ended.
    Changed(Result<(), AgentError>),
}

/// Inputs that wait for the loop; whoever finds it full waits.
const INPUTS: usize = 1024;

/// News of connections to relays that wait for the loop: a few for each relay.
const FINDS: usize = 64;

/// Recent sessions are written at most this often: it bounds what a kill can take, and the wear of disks.
const SAVE_SESSIONS: Duration = Duration::from_secs(2);

/// What could not be applied is tried again after this: a port that is freed, a route that goes away.
const RETRY: Duration = Duration::from_secs(5);

/// State that could not be written is tried again after this: disks are freed by people.
const SAVE_AGAIN: Duration = Duration::from_secs(30);

/// Addresses of a host come in flurries; one look after this suffices.
const SETTLE: Duration = Duration::from_millis(100);
