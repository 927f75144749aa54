//! The fields of answers that tables and names need. Everything else in an answer is left as it came.

use std::fmt;

use serde::Deserialize;

use super::Named;

/// A group, with its members and peers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) label: String,
    #[serde(default)]
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    pub(crate) network_ip: String,
    #[serde(default, rename = "networkIp6")]
    pub(crate) network_ip6: String,
    #[serde(default)]
    pub(crate) members: Vec<Member>,
    #[serde(default)]
    pub(crate) peers: Vec<Peer>,
    #[serde(default)]
    pub(crate) version: u64,
}

/// A member.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) kind: String,
    pub(crate) domain_name: String,
}

/// A peer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    pub(crate) r#type: String,
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) label: String,
    pub(crate) parent_member: String,
    /// None where control has not been told it yet.
    pub(crate) public_key: Option<String>,
    #[serde(default)]
    pub(crate) endpoint: Endpoint,
    #[serde(default)]
    pub(crate) presence: Option<Presence>,
}

/// Where a peer is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    pub(crate) ng_term: Option<Term>,
    pub(crate) public_term: Option<Term>,
    pub(crate) ng_ip: Option<String>,
}

/// An address and a port.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Term {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Whether the agent of a peer is connected to control.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Presence {
    #[serde(default)]
    pub(crate) connected: bool,
    pub(crate) since_ms: Option<u64>,
    pub(crate) agent: Option<String>,
    pub(crate) underlay: Option<String>,
}

/// The gateways of a group.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Gateways {
    /// None before the first gateway, and until a retired key is replaced.
    pub(crate) key: Option<String>,
    /// Where files of clients say that they dial.
    pub(crate) endpoint: Option<String>,
    /// How many plain clients the group has.
    #[serde(default)]
    pub(crate) clients: u64,
    #[serde(default)]
    pub(crate) gateways: Vec<GatewayPeer>,
}

/// A peer that is a gateway, or is to be one.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewayPeer {
    pub(crate) peer_id: String,
    #[serde(default)]
    pub(crate) label: String,
    pub(crate) ng_ip: Option<String>,
    /// Whether it holds the group's gateway key.
    #[serde(default)]
    pub(crate) serving: bool,
    /// Where clients can dial it.
    pub(crate) endpoint: Option<String>,
    #[serde(default)]
    pub(crate) connected: bool,
    /// How many clients it has heard last; none where it did not tell.
    pub(crate) clients: Option<u64>,
}

/// A join token.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JoinToken {
    pub(crate) id: String,
    pub(crate) member: Option<String>,
    #[serde(default)]
    pub(crate) uses: u64,
    #[serde(default)]
    pub(crate) max_uses: u64,
    pub(crate) expires_ms: Option<u64>,
    #[serde(default)]
    pub(crate) state: String,
}

/// An API token.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Token {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) label: String,
    #[serde(default)]
    pub(crate) access: String,
    #[serde(default)]
    pub(crate) groups: Option<Vec<String>>,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) last_used_ms: Option<u64>,
}

/// A node.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) label: String,
    #[serde(default)]
    pub(crate) revoked: bool,
    #[serde(default)]
    pub(crate) presence: Presence,
    #[serde(default)]
    pub(crate) peers: Vec<serde_json::Value>,
}

/// Which nodes have applied a version of a group.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    pub(crate) version: u64,
    /// Whether every connected agent has applied it.
    pub(crate) complete: bool,
    pub(crate) applied: u64,
    /// How many agents of the group are connected.
    pub(crate) concerned: u64,
    /// The nodes of those that have not applied it.
    #[serde(default)]
    pub(crate) missing: Vec<String>,
    /// Agents that are not connected.
    #[serde(default)]
    pub(crate) away: u64,
}

/// One thing that was done to a group.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditEntry {
    pub(crate) version: u64,
    pub(crate) at_ms: u64,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) target: String,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, applied, concerned, missing, away, .. } = self;
        write!(f, "version {version} is applied by {applied} of {concerned} connected nodes")?;
        if !missing.is_empty() {
            write!(f, ", not yet by {}", missing.join(", "))?;
        }
        if *away > 0 { write!(f, "; {away} not connected") } else { Ok(()) }
    }
}

impl Gateways {
    /// A peer among them.
    pub(crate) fn of(&self, peer: &str) -> Option<&GatewayPeer> {
        self.gateways.iter().find(|found| found.peer_id == peer)
    }
}

impl Peer {
    /// Its overlay IPv4 address.
    pub(crate) fn address4(&self) -> Option<&str> {
        let term = self.endpoint.ng_term.as_ref().map(|term| term.host.as_str());
        term.or(self.endpoint.ng_ip.as_deref())
    }

    /// Whether it is a plain WireGuard client.
    pub(crate) fn is_external(&self) -> bool {
        self.r#type == "ExternalPeer"
    }
}

macro_rules! named {
    ($($name:ident),*) => {
        $(impl Named for $name {
            fn id(&self) -> &str {
                &self.id
            }
            fn label(&self) -> &str {
                &self.label
            }
        })*
    };
}

named!(Group, Member, Peer, Node, Token);
