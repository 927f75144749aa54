//! What goes into the agent's rules and what comes out.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc, time::Duration};

use lacis_proto::{
    ApplyError, CopySeen, Endpoint, GroupId, Line, LineError, PeerId, Problem, Proof, PublicKey, RecordId,
    RelayHome, ReportRequest, Scope, ScopeId, Signal, WatchRequest, relay::Relays,
};

use super::proofs::{Alarm, Proofs};
use crate::{Conflict, Desired, Hosted, Local, Zones};

/// What the rules start from: the state on disk.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The node and the peers that it hosts.
    pub local: Local,
    /// Cached scopes.
    pub scopes: BTreeMap<ScopeId, Scope>,
    /// Keys of peers that had a session when the agent last ran, by group; initiated to at start.
    pub recent: BTreeMap<GroupId, BTreeSet<PublicKey>>,
    /// How strictly peers must prove who they are.
    pub proofs: Proofs,
    /// What is remembered of peers.
    pub pins: BTreeMap<PeerId, Proof>,
    /// Addresses of control, tried in turn.
    pub urls: Vec<String>,
    /// Where this node may be reached, as far as it knows.
    pub endpoints: Vec<Endpoint>,
    /// The agent's version, for people.
    pub agent: String,
    /// Number that the first report exceeds: Unix milliseconds at start, so that it grows over restarts.
    pub report_seq: u64,
    /// Random bits for the spread of attempts.
    pub seed: u64,
}

/// Names one attempt to watch, and the stream that it became. Events about an earlier one are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The shell is ready. The first event.
    Started,
    /// The watch request was refused, or nobody answered.
    ConnectFailed {
        /// The attempt.
        stream: StreamId,
        /// What control answered, where it did.
        problem: Option<Problem>,
        /// How long control asks to wait.
        retry_after: Option<Duration>,
    },
    /// A line came.
    Line {
        /// On this stream.
        stream: StreamId,
        /// The line.
        line: Line,
    },
    /// Bytes came that are no line.
    BadLine {
        /// On this stream.
        stream: StreamId,
        /// What was wrong.
        error: LineError,
    },
    /// The stream ended.
    StreamEnded {
        /// Which.
        stream: StreamId,
    },
    /// There is reason to believe that control can be reached again: the host's network changed.
    NetworkChanged,
    /// This node may be reached at these endpoints from now on.
    EndpointsChanged(Vec<Endpoint>),
    /// Peers find this node at these relays from now on.
    HomesChanged(Vec<RelayHome>),
    /// Control answered `/agent/v1/peers`: the node hosts this peer now.
    PeerReady {
        /// The group.
        group: GroupId,
        /// The peer.
        hosted: Hosted,
    },
    /// The node holds this gateway key of a group from now on.
    GatewayKey {
        /// The group.
        group: GroupId,
        /// Public half of the key.
        key: PublicKey,
        /// How often the group's key had been retired when it was made or given.
        rotations: u32,
    },
    /// So many plain clients are with this node in the groups where it is a gateway.
    GatewayClients(BTreeMap<GroupId, u32>),
    /// The node leaves a group by a local command.
    Left {
        /// The group.
        group: GroupId,
    },
    /// All steps towards a [`Desired`] are applied.
    Applied {
        /// Its revision.
        revision: u64,
    },
    /// Control took a report.
    ReportDone {
        /// Its number.
        seq: u64,
    },
    /// Control did not take a report.
    ReportFailed {
        /// Its number.
        seq: u64,
        /// How long control asks to wait.
        retry_after: Option<Duration>,
    },
    /// Control answered about peers.
    ProofsCame {
        /// Which were asked about.
        asked: Vec<PeerId>,
        /// What control has of them.
        proofs: Vec<Proof>,
    },
    /// Control did not answer about peers.
    ProofsLost {
        /// Which were asked about.
        asked: Vec<PeerId>,
        /// How long control asks to wait.
        retry_after: Option<Duration>,
    },
    /// A peer answered a handshake.
    HandshakeDone {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
    },
    /// A peer left a handshake without an answer.
    HandshakeUnanswered {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
    },
    /// The deadline has come.
    Tick,
}

/// What to do. Actions are taken in the order in which they come.
#[derive(Clone, Debug)]
pub enum Action {
    /// Observe, plan, apply; then tell [`Event::Applied`].
    Reconcile(Arc<Desired>),
    /// Answer names out of these zones from now on.
    Zones(Zones),
    /// Initiate to these peers of a group, paced, even where a session is up: they may look for this node where
    /// it no longer is.
    Initiate {
        /// The group.
        group: GroupId,
        /// Keys of the peers.
        keys: Vec<PublicKey>,
    },
    /// Write the scope to disk: `AgentCore::scope` has it.
    SaveScope(ScopeId),
    /// Delete the scope from disk.
    DropScope(ScopeId),
    /// Send a watch request.
    Connect {
        /// Names the attempt.
        stream: StreamId,
        /// The request.
        request: WatchRequest,
        /// Random number: its remainder says which address of control to begin with.
        first_url: u64,
    },
    /// Abandon the attempt or the stream. No event about it is needed.
    Disconnect {
        /// Which.
        stream: StreamId,
    },
    /// Ask control anew for this node's peer of a group: it was restored and knows another one; then tell
    /// [`Event::PeerReady`] or [`Event::Left`].
    HostAgain(GroupId),
    /// Ask control for the proofs of peers; then tell [`Event::ProofsCame`] or [`Event::ProofsLost`].
    FetchProofs(Vec<PeerId>),
    /// Write what is remembered of peers to disk: `AgentCore::pins` has it.
    SavePins,
    /// These relays there are from now on, and these tokens for them: keep both, and use them.
    UseRelays(Relays),
    /// Another peer has said something through control.
    Signaled(Signal),
    /// Control is at these addresses from now on: keep them, and try them in turn.
    UseUrls(Vec<String>),
    /// Send a report; then tell [`Event::ReportDone`] or [`Event::ReportFailed`].
    SendReport(ReportRequest),
    /// Something a person may want to know, once per transition.
    Notice(Notice),
}

/// Why this node is in a group no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoneWhy {
    /// A local command.
    #[error("this node leaves it")]
    Left,
    /// Control took the peer away.
    #[error(
        "control has removed this node's peer from it, or unlinked the member that it runs; `lacis join TOKEN` brings it back"
    )]
    Removed,
    /// Control has no such group any more.
    #[error("the group was deleted at control")]
    GroupDeleted,
    /// Control shut the node out.
    #[error(
        "this node was revoked at control; `lacis leave --purge` and a join with a token make it a new one"
    )]
    NodeRevoked,
}

/// Something a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// The first scope was confirmed on a new stream.
    #[error("in sync with control")]
    InSync,
    /// A stream that was in sync ended.
    #[error("lost control; tunnels and names stay as they are")]
    ControlLost,
    /// Nobody answers at any address of control.
    #[error("control cannot be reached")]
    ControlUnreachable,
    /// No line came for three beats.
    #[error("control has been silent for {silent:?}, connecting again")]
    ControlSilent {
        /// How long.
        silent: Duration,
    },
    /// Control refused the watch request.
    #[error("control refuses: {0}")]
    ControlRefused(Problem),
    /// A line was malformed.
    #[error("control sent a line that cannot be read")]
    BadLine(LineError),
    /// What control said about a scope was not applied.
    #[error("scope {scope} was refused: {reason}")]
    ScopeRefused {
        /// Which.
        scope: ScopeId,
        /// Why.
        reason: &'static str,
    },
    /// What control said about a scope cannot be applied; all of it is asked for again.
    #[error("scope {scope} cannot be applied, asking for all of it")]
    ScopeBroken {
        /// Which.
        scope: ScopeId,
        /// Why.
        source: ApplyError,
    },
    /// The stream broke its grammar.
    #[error("control broke the grammar of the stream: {0}")]
    Grammar(String),
    /// The node is in the group.
    #[error("group {group} is up as peer {peer}")]
    GroupUp {
        /// The group.
        group: GroupId,
        /// The own peer.
        peer: PeerId,
    },
    /// The node is in the group no more: its interface goes.
    #[error("group {label:?} ({group}) is gone: {why}")]
    GroupGone {
        /// The group.
        group: GroupId,
        /// What people called it; empty where nothing was known of it.
        label: String,
        /// Why.
        why: GoneWhy,
    },
    /// Two groups overlap; one has no interface.
    #[error("group {group} has no interface: its addresses overlap those of group {with}", group = .0.group, with = .0.with)]
    Conflict(Conflict),
    /// A peer is not who it was.
    #[error("peer {peer} of group {group} is not trusted: {doubt}", peer = .0.peer, group = .0.group, doubt = .0.doubt)]
    Alarm(Alarm),
    /// Another machine has this node's identity.
    #[error("host {host:?} at {from} has the same identity as this node and was refused; one of the two is a copy", host = .0.host, from = .0.from)]
    Copy(CopySeen),
    /// A record was left out.
    #[error("record {record} of group {group} is left out: {why}")]
    OddRecord {
        /// The group.
        group: GroupId,
        /// The record.
        record: RecordId,
        /// Why.
        why: &'static str,
    },
}

impl Notice {
    /// Whether somebody should look at once.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        matches!(self, Self::Alarm(_) | Self::Copy(_))
    }
}
