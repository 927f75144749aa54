//! What the agent tells of paths and relays: in `lacis status`, `lacis netcheck` and `lacis explain`.
//!
//! ```json
//! {"kind":"relay","relay":"control","transport":"udp","rtt_ms":23.1,"loss_percent":0,"both_ways":false,
//!  "why":"their NAT …"}                                                         a peer's "via"
//! {"udp":true,"ipv6":false,"nat":"endpoint_independent","outside":["192.0.2.7:47820"],"port_mapped":false,
//!  "relays":[{"id":"relay_…","label":"control","rank":0,"transport":"udp","address":"198.51.100.1:3478",
//!             "rtt_ms":11.5,"leaving":false,"trouble":null}]}                    netcheck
//! {"name":"db.main.lacis.internal","path":"relayed","via":{…},
//!  "candidates":[{"kind":"host","address":"10.0.0.7:47820","fate":"unanswered","text":"did not answer",
//!                 "rtt_ms":null,"probes":12,"answers":0}]}                       explain
//! ```

use std::net::SocketAddr;

use lacis_proto::{PeerId, RelayId};
use serde::{Deserialize, Serialize};

/// The way that packets to a peer take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViaStatus {
    /// `lan`, `v4`, `v6` or `relay`.
    pub kind: String,
    /// What people call the relay.
    pub relay: Option<String>,
    /// `udp` or `tls`, to the relay.
    pub transport: Option<String>,
    /// Round trip to the peer, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Lost probes of the last ones, in percent.
    pub loss_percent: u8,
    /// Whether packets take a second way, too, because this one is new or in doubt.
    pub both_ways: bool,
    /// Why there is a relay in between; empty where there is none.
    pub why: String,
    /// How birthday probing stands, where the NATs of both ends are a pair for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birthday: Option<BirthdayStatus>,
}

/// How birthday probing stands with a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BirthdayStatus {
    /// A word for programs: `off`, `off_there`, `waiting`, `at_work`, `resting`, `failed` or `found`.
    pub state: String,
    /// The same for people.
    pub text: String,
    /// After how many seconds the next attempt may follow, where one failed.
    pub again_s: Option<u64>,
}

/// How things stand between this node and a relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// The relay.
    pub id: RelayId,
    /// What people call it.
    pub label: String,
    /// 0 for the home, 1 for the backup, `null` for others.
    pub rank: Option<u8>,
    /// `udp` or `tls` where this node has a lease there.
    pub transport: Option<String>,
    /// Where the relay is reached over UDP.
    pub address: Option<SocketAddr>,
    /// Round trip to it, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Whether it is about to stop.
    pub leaving: bool,
    /// Why it cannot be reached over TLS, where that was tried.
    pub trouble: Option<String>,
}

/// What `lacis netcheck` finds out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Netcheck {
    /// Whether UDP leaves and comes back; `null` where there is nobody to ask.
    pub udp: Option<bool>,
    /// Whether IPv6 does.
    pub ipv6: bool,
    /// `none`, `endpoint_independent`, `address_dependent`, `address_and_port_dependent` or `unknown`.
    pub nat: String,
    /// What a counting NAT adds to the port for each new destination.
    pub port_step: Option<i16>,
    /// The prefix of the NAT64 by which this host reaches IPv4 without having any.
    #[serde(default)]
    pub nat64: Option<String>,
    /// This node as it is seen from outside.
    pub outside: Vec<SocketAddr>,
    /// Whether a router maps a port to this node.
    pub port_mapped: bool,
    /// The relays, the nearest first.
    pub relays: Vec<RelayStatus>,
    /// Whether answers may still come.
    #[serde(default, skip_serializing)]
    pub measuring: bool,
}

/// What `lacis explain` tells of a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The peer.
    pub id: PeerId,
    /// Its name.
    pub name: String,
    /// As in the status: `direct`, `relayed` or `none`.
    pub path: String,
    /// The way that packets take.
    pub via: Option<ViaStatus>,
    /// Every way that was considered.
    pub candidates: Vec<CandidateStatus>,
}

/// What became of one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateStatus {
    /// `host`, `static`, `portmap`, `reflexive`, `peer_reflexive`, `guess`, `predicted`, `last_good` or `relay`.
    pub kind: String,
    /// The address; that of the relay where there is one.
    pub address: SocketAddr,
    /// What people call the relay.
    pub relay: Option<String>,
    /// A word for programs: `waiting`, `probing`, `proven`, `in_use`, `lost`, `unanswered`, `refused` or `unknown`.
    pub fate: String,
    /// The same for people.
    pub text: String,
    /// Round trip, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Probes sent since it was last tried anew.
    pub probes: u32,
    /// Answers to them.
    pub answers: u32,
}
