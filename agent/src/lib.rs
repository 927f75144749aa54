//! The Lacis agent and command line.
//!
//! ```text
//! cli ─▶ app ─┬▶ control   join, peers, report, watch
//!             ├▶ overlay   plans applied: host (netlink), tunnel, names
//!             ├▶ state     keys and scopes on disk
//!             └▶ socket    the local API that the command line asks
//! cli ─▶ management        the network-groups API of control, for `lacis ng`
//! ```
//! Rules live in `lacis-agent-core`, packets in `lacis-tunnel`; this crate acts.

#![forbid(unsafe_code)]

mod app;
pub mod cli;
mod clock;
pub mod config;
mod control;
mod dns;
#[doc(hidden)]
pub mod fuzz;
mod gateways;
mod host;
mod http;
mod logs;
mod management;
mod nat64;
mod overlay;
mod paths;
mod portmap;
mod race;
mod socket;
mod state;
mod status;

pub use app::{Agent, AgentError, DEFAULT_MTU, DEFAULT_PORT, HostDns, Interfaces, Options, StateProblem};
pub use clock::Clock;
pub use control::{Proxy, ProxyError};
pub use lacis_agent_core::Proofs;
pub use logs::{Entry, Logs};
pub use socket::{AskError, Conversation, ErrorKind, PingRequest, Reply, Request, Until, ask};
pub use status::{
    AlarmStatus, BirthdayStatus, CandidateStatus, ControlStatus, Degraded, Explained, GoneGroup, GroupStatus,
    NamesStatus, Netcheck, PeerStatus, Pong, RelayStatus, Status, ViaStatus,
};
