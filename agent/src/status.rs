//! What the agent tells of itself, as `lacis status --format json` prints it. Fields are only ever added.
//!
//! ```json
//! {"agent":"0.1.0","node":"node_…","ready":true,"port":47820,
//!  "control":{"url":"https://…","connected":true,"last_word_s":1.2,"trouble":null},
//!  "groups":[{"id":"ng_…","label":"main","interface":"lcs1a2b3c4d","version":7,"member":"external_…",
//!             "peer":"…","name":"web-1.main.lacis.internal","address4":"10.128.0.5","address6":"fd…::5",
//!             "resolver4":"10.128.0.1","resolver6":"fd…::1","gateway":null,
//!             "peers":[{"id":"…","member":"external_…","name":"web-2.main.lacis.internal",
//!                       "instance":"web-2","address4":"10.128.0.6","address6":"fd…::6","path":"direct",
//!                       "via":{"kind":"v4","relay":null,"transport":null,"rtt_ms":3.2,"loss_percent":0,…},
//!                       "endpoint":"192.0.2.2:47820","last_handshake_s":3.1,"rx_bytes":92,"tx_bytes":180}]}],
//!  "alarms":[{"kind":"peer","subject":"web-2.main.lacis.internal","text":"control names …","refused":false}],
//!  "gone":[{"id":"ng_…","label":"old","why":"the group was deleted at control","at_ms":1795323600000}],
//!  "names":{"resolved":false,"file":true,"by_hand":null,"upstream":["192.0.2.53:53"]},
//!  "relays":[{"id":"relay_…","label":"control","rank":0,"transport":"udp","rtt_ms":11.5,…}],
//!  "tunnel":{"handshakes":2,"drop_no_route":0,…},
//!  "degraded":[{"kind":"no_ipv6","what":"this host has no IPv6: …","remedy":"allow IPv6 …"}]}
//! ```
//! Times end in `_s` and are seconds; `null` means never. `path` is `direct` or `relayed` while a session is up,
//! `none` before and after; `via` tells more of it (`status/paths.rs`).

mod paths;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lacis_agent_core::Degradation;
use lacis_proto::{GroupId, MemberId, NodeId, PeerId, Revision};
use serde::{Deserialize, Serialize};

pub use self::paths::{BirthdayStatus, CandidateStatus, Explained, Netcheck, RelayStatus, ViaStatus};

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub agent: String,
    /// This node.
    pub node: NodeId,
    /// Whether every group of this node has its interface and its names are answered.
    pub ready: bool,
    /// UDP port of the tunnels.
    pub port: u16,
    /// How things stand with control.
    pub control: ControlStatus,
    /// This node's groups, by id.
    pub groups: Vec<GroupStatus>,
    /// Who is not who it should be: look at these at once.
    #[serde(default)]
    pub alarms: Vec<AlarmStatus>,
    /// Groups that control has taken this node out of, until it is back in them.
    #[serde(default)]
    pub gone: Vec<GoneGroup>,
    /// How this host's programs come to ask this agent for names.
    pub names: NamesStatus,
    /// Relays, the nearest first.
    #[serde(default)]
    pub relays: Vec<RelayStatus>,
    /// What the tunnel counts since the agent's start, by name.
    pub tunnel: BTreeMap<String, u64>,
    /// What does not work, each with its remedy.
    pub degraded: Vec<Degraded>,
}

/// How this host's programs come to ask this agent for names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesStatus {
    /// systemd-resolved asks.
    pub resolved: bool,
    /// `/etc/resolv.conf` names this agent.
    pub file: bool,
    /// Where they are to ask, where somebody sees to it by hand.
    pub by_hand: Option<IpAddr>,
    /// Who is asked for all other names.
    pub upstream: Vec<SocketAddr>,
}

/// One thing that does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degraded {
    /// What kind of thing; programs may rely on it.
    pub kind: String,
    /// What does not work, and what goes on.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl From<&Degradation> for Degraded {
    fn from(degradation: &Degradation) -> Self {
        let kind = degradation.kind().to_owned();
        Self { kind, what: degradation.what(), remedy: degradation.remedy() }
    }
}

/// How things stand with control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlStatus {
    /// Where the last stream came from.
    pub url: Option<String>,
    /// Whether the watch stream is open and in sync.
    pub connected: bool,
    /// Age of the last word from control, in seconds.
    pub last_word_s: Option<f64>,
    /// Why there is no stream.
    pub trouble: Option<String>,
}

/// One group of this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The group.
    pub id: GroupId,
    /// What people call it.
    pub label: String,
    /// Its interface; `None` while it has none.
    pub interface: Option<String>,
    /// Revision of the group that is applied.
    pub version: Revision,
    /// The member that this node runs.
    pub member: MemberId,
    /// This node's peer.
    pub peer: PeerId,
    /// Its name.
    pub name: String,
    /// Its IPv4 address.
    pub address4: Ipv4Addr,
    /// Its IPv6 address.
    pub address6: Ipv6Addr,
    /// Where names of the group are answered.
    pub resolver4: Ipv4Addr,
    /// Where names of the group are answered, too.
    pub resolver6: Ipv6Addr,
    /// Where this node is a gateway: how many plain WireGuard clients are with it.
    #[serde(default)]
    pub gateway: Option<usize>,
    /// The other peers, by address.
    pub peers: Vec<PeerStatus>,
}

/// Somebody who is not who it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmStatus {
    /// `peer`: a peer is not who it was. `copy`: another machine has this node's identity.
    pub kind: String,
    /// The name of the peer, or the host name of the other machine.
    pub subject: String,
    /// What does not fit.
    pub text: String,
    /// Whether whoever it is was refused.
    pub refused: bool,
}

/// A group that control has taken this node out of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneGroup {
    /// The group.
    pub id: GroupId,
    /// What people called it.
    pub label: String,
    /// Why.
    pub why: String,
    /// When this node heard of it, in Unix milliseconds.
    pub at_ms: u64,
}

/// One other peer of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The peer.
    pub id: PeerId,
    /// The member that it is an instance of.
    pub member: MemberId,
    /// Its member's name, which other instances of the member have as well.
    pub name: String,
    /// Tells it from other instances of its member: what its machine calls itself, else its id.
    #[serde(default)]
    pub instance: String,
    /// Its IPv4 address.
    pub address4: Ipv4Addr,
    /// Its IPv6 address.
    pub address6: Ipv6Addr,
    /// `direct`, `relayed` or `none`.
    pub path: String,
    /// The way that packets take, while a session is up.
    #[serde(default)]
    pub via: Option<ViaStatus>,
    /// Where it was last authenticated.
    pub endpoint: Option<SocketAddr>,
    /// Age of the last handshake, in seconds.
    pub last_handshake_s: Option<f64>,
    /// Bytes of overlay packets received from it.
    pub rx_bytes: u64,
    /// Bytes of overlay packets sent to it.
    pub tx_bytes: u64,
}

/// One answer to a ping, or the lack of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pong {
    /// Counts from 1.
    pub seq: u16,
    /// The address that was asked.
    pub address: IpAddr,
    /// Name of the peer.
    pub name: String,
    /// Round trip in milliseconds; `None` when no answer came in time.
    pub rtt_ms: Option<f64>,
    /// How the answer came: `direct`, `relayed` or `local`.
    pub path: Option<String>,
    /// The way that it came.
    #[serde(default)]
    pub via: Option<Box<ViaStatus>>,
    /// Where the answering peer is.
    pub endpoint: Option<SocketAddr>,
}
