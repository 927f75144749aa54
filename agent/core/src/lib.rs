//! Rules of a Lacis agent, without I/O.
//!
//! ```text
//! lines of control ─▶ Follower ─▶ scopes ─▶ Netmap ─┬▶ desired ─▶ Desired ─ plan(Observed) ─▶ steps
//!                                                   └▶ Zone ─ answer(Question) ─▶ Answer
//! ```
//! [`AgentCore`] owns all of it and is the one surface of the event loop: events go in with the time,
//! actions come out. Time is a [`std::time::Duration`] since an origin that the shell chooses; randomness
//! comes in as one seed. Same inputs, same outputs, in the same order.

#![forbid(unsafe_code)]

mod degradation;
mod desired;
mod dial;
#[cfg(test)]
mod fixtures;
mod gateway;
pub mod limits;
mod machine;
mod nat64;
mod netmap;
mod path;
mod portmap;
mod random;
mod reconcile;
mod relays;
mod resolver;
mod way;
mod zone;

pub use degradation::{Degradation, StateTrouble, clock_trouble, descriptor_trouble, memory_trouble};
pub use desired::{Conflict, Desired, Hosted, Interface, Local, Route, TunnelPeer, desired, interface_name};
pub use dial::dial_order;
pub use gateway::{GatewayAction, GatewayEvent, GatewaySecret, Gateways};
pub use machine::{Action, AgentCore, Alarm, Boot, Control, Doubt, Event, GoneWhy, Notice, Proofs, StreamId};
pub use nat64::{NAT64_NAME, Nat64, Nat64Prefix};
pub use netmap::{Member, Netmap, Peer};
#[doc(hidden)]
pub use path::fuzz as path_fuzz;
pub use path::{
    BirthdayState, Candidate, CandidateKind, Considered, Fate, LastGood, Mapping, NatSummary, PathAction,
    PathEvent, PathView, Paths, PathsBoot, RelayWay, RemotePeer, Seed, Shared, limits as path_limits,
};
pub use portmap::{Gateway, PortMap, PortMapAction, PortMapEvent, limits as portmap_limits, upnp};
pub use reconcile::{Address, Observed, ObservedInterface, Plan, Role, Step, plan};
pub use relays::{
    RelayAction, RelayEvent, RelayLease, RelayView, Relays, RelaysBoot, RelaysView, limits as relay_limits,
};
pub use resolver::{LinkNames, MAX_LINK_DOMAINS, Ways, link_names, resolv_conf, ways};
pub use way::{Auxiliary, Hop, PeerWays, Way};
pub use zone::{Answer, AnswerCode, Kind, Question, Rr, RrValue, Zone, Zones, answer};
