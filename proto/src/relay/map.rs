//! What control tells a node of relays: where they are, and the node's tokens.
//!
//! ```json
//! {"relays":{"relays":[{"id":"relay_…","label":"control","key":"…","udp":["192.0.2.1:3478"],"stun":["192.0.2.1:3478"],
//!   "tls":["wss://192.0.2.1:8443/relay/v1"]}],"tokens":[{"group":"ng_…","token":"…"}]}}
//! ```
//! The line comes after `hello`, when a relay comes or goes, and when tokens are renewed. It is whole: it replaces
//! what the node knew. A node keeps it, so that relays outside control serve it while control is away.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::RelayToken;
use crate::{GroupId, Pin, PublicKey, RelayId};

/// Most relays in a map; a reader leaves out those beyond. Members hold leases at two and measure eight more.
pub const MAX_RELAYS: usize = 64;

/// Longest body of a signal, in characters: sealed candidates, 600 bytes and their seal, twice over.
pub const MAX_SIGNAL_TEXT: usize = 2_048;

/// See [`crate::Line::Relays`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relays {
    /// Every relay, at most [`MAX_RELAYS`].
    pub relays: Vec<RelayEntry>,
    /// A token for each group that the node has a peer in.
    #[serde(default)]
    pub tokens: Vec<RelayGrant>,
}

/// A relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayEntry {
    /// Its id.
    pub id: RelayId,
    /// What people call it.
    pub label: String,
    /// Its static key (X25519).
    pub key: PublicKey,
    /// Where it takes frames in datagrams.
    #[serde(default)]
    pub udp: Vec<SocketAddr>,
    /// Where it answers STUN binding requests: one port more than in `udp` tells kinds of NAT apart.
    #[serde(default)]
    pub stun: Vec<SocketAddr>,
    /// Addresses of its WebSocket, `wss://host:port/relay/v1`.
    #[serde(default)]
    pub tls: Vec<String>,
    /// Pins of the certificate authority that its TLS is checked by. Without any, it is that of control, or one that the
    /// reader's operating system trusts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
}

/// A token of one of the node's peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayGrant {
    /// The group.
    pub group: GroupId,
    /// The token.
    pub token: RelayToken,
}
