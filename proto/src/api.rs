//! Bodies of the calls that an agent makes.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `POST /agent/v1/join` | [`JoinRequest`] | [`JoinReply`]; idempotent on (identity, token) |
//! | `POST /agent/v1/peers` | [`PeerRequest`] | [`PeerReply`]; idempotent on (group, member, instance) |
//! | `DELETE /agent/v1/peers/{id}` | | nothing; a replay is harmless |
//! | `POST /agent/v1/watch` | [`WatchRequest`] | lines of [`crate::Line`] |
//! | `POST /agent/v1/report` | [`ReportRequest`] | [`ReportReply`]; replays are no-ops |
//! | `POST /agent/v1/signal` | [`crate::Signal`] | nothing; a peer whose node is not watching misses it |
//! | `POST /agent/v1/proofs` | [`crate::ProofsRequest`] | [`crate::ProofsReply`] |
//!
//! Every call is signed ([`crate::Authorization`]). Unknown fields are ignored, so either side may be newer.

use std::{collections::BTreeMap, net::SocketAddr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};

use crate::{
    DialAddress, Grant, GroupId, Host, IdentityKey, MemberId, NodeId, PeerId, Pin, PublicKey, RelayHome,
    Revision, ScopeId, Secret, Signature, SignedStatement, TokenId, record::is_zero,
};

/// Largest request body of any agent call: a report about every group of a node fits many times.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// Most endpoints that one peer may publish; the rest is not kept.
pub const MAX_ENDPOINTS: usize = 8;

/// How an endpoint came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointKind {
    /// Configured by a person.
    Static,
    /// An address of one of the host's interfaces.
    Host,
    /// Mapped by a port-mapping protocol.
    Portmap,
    /// Seen from outside by a relay or STUN server.
    Reflexive,
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

/// An underlay address where a peer may receive WireGuard packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// How it came to be known.
    pub kind: EndpointKind,
    /// The address and UDP port.
    pub addr: SocketAddr,
}

/// Body of `POST /agent/v1/join`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Which token.
    pub token: TokenId,
    /// The token's secret.
    pub secret: Secret,
    /// The node's identity; the request is signed by it.
    pub identity: IdentityKey,
    /// The node's host name: becomes the label of a member of its own.
    pub host_name: String,
    /// The agent's version, for people.
    pub agent: String,
    /// Protocol numbers that the agent speaks, lowest and highest.
    pub protocol: [u16; 2],
}

/// The join grant: answer of `POST /agent/v1/join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinReply {
    /// The node's id from now on.
    pub node: NodeId,
    /// What was granted; signed, so that it can be presented again after a restore of control.
    pub grant: Grant,
    /// Control's signature over the grant, by the installation key.
    pub grant_signature: Signature,
    /// The installation key.
    pub control_key: IdentityKey,
    /// Addresses of control, tried in turn.
    pub urls: Vec<String>,
    /// Pins of control's certificate authority; two while it is being replaced.
    pub pins: Vec<Pin>,
    /// The time of control in Unix milliseconds.
    pub now_ms: u64,
}

/// Body of `POST /agent/v1/peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRequest {
    /// The group, from the grant.
    pub group: GroupId,
    /// The member, from the grant.
    pub member: MemberId,
    /// Names this instance of the member; stable over restarts of the node.
    pub instance: String,
    /// The peer's WireGuard key.
    pub key: PublicKey,
    /// What people call this peer.
    pub label: String,
    /// Where it can be reached, as far as it knows.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// The node's word on a key that takes the place of another; others may see both at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<SignedStatement>,
}

/// Answer of `POST /agent/v1/peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReply {
    /// The peer's id.
    pub peer: PeerId,
    /// Its number in the group.
    pub host: Host,
    /// The group's IPv4 pool.
    pub pool: Ipv4Network,
    /// The group's IPv6 prefix.
    pub prefix6: Ipv6Network,
    /// The group's revision that includes the peer.
    pub version: Revision,
}

/// Body of `POST /agent/v1/watch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRequest {
    /// Protocol numbers that the agent speaks, lowest and highest.
    pub protocol: [u16; 2],
    /// The agent's version, for people.
    pub agent: String,
    /// `true` for an endless stream, `false` for one answer.
    pub watch: bool,
    /// Cursors of the scopes that the agent holds. Text that is no cursor counts as none.
    #[serde(default)]
    pub have: BTreeMap<ScopeId, String>,
}

/// What an agent tells of one of its peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// The peer.
    pub peer: PeerId,
    /// Where it can be reached: replaces what was reported before.
    pub endpoints: Vec<Endpoint>,
    /// Relays where it has a lease, home and backup: replaces what was reported before. Empty where the map has one
    /// relay only, which whoever sends to it tries anyway; absent where the agent does not know yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relays: Option<Vec<RelayHome>>,
    /// The node's word on its key, for control to pass on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<SignedStatement>,
    /// What it has to do with being a gateway, where it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayReport>,
}

/// What an agent tells of a peer that is a gateway, or may become one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayReport {
    /// Whether the agent was started as a gateway.
    #[serde(default)]
    pub offered: bool,
    /// Public half of the gateway key of the group that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// How often that key had been retired when the agent made this one, as far as it remembers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rotations: u32,
    /// Where plain clients dial it, if that is none of its endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<DialAddress>,
    /// How many plain clients were heard by this gateway last, of those that are there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clients: u32,
}

/// Body of `POST /agent/v1/report`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRequest {
    /// Grows with every report of this node; an older one changes nothing.
    pub seq: u64,
    /// The agent's version, for people.
    pub agent: String,
    /// The node's peers.
    #[serde(default)]
    pub peers: Vec<PeerReport>,
    /// Cursors of the scopes that the agent has applied.
    #[serde(default)]
    pub applied: BTreeMap<ScopeId, String>,
}

/// Answer of `POST /agent/v1/report`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportReply {
    /// The time of control in Unix milliseconds.
    pub now_ms: u64,
}
