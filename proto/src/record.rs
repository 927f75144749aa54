//! Records: the versioned facts of a scope.
//!
//! A record's id is the id of the resource it describes. Its `rev` is the scope's revision at which it
//! last changed.
//!
//! ```json
//! {"id":"ng_…","rev":1,"kind":"group","label":"main","pool":"10.128.0.0/16","prefix6":"fd…::/64","suffixes":["lacis.internal"]}
//! {"id":"app_…","rev":2,"kind":"member","member_kind":"APPLICATION","label":"web","domain":"app_….m.ng_….lacis.internal"}
//! {"id":"<uuid>","rev":3,"kind":"peer","member":"app_…","node":"node_…","host":5,"label":"web-1",
//!  "keys":[{"use":"current","key":"…"}],"endpoints":[{"kind":"host","addr":"192.0.2.1:47820"}]}
//! {"id":"<uuid>","rev":1,"kind":"assignment","group":"ng_…","member":"app_…","host":5}        node scope
//! {"id":"node_…","rev":1,"kind":"node","label":"web-1"}                                        node scope
//! ```
//! Room for later, at no change of the grammar: a peer's `keys` hold several (old, new, gateway),
//! `relays` its homes, `routes` the prefixes behind it; the kinds `rule`, `route` and `relay` are
//! reserved. A kind this build does not know, or a body it cannot read, is kept as it came, counts in
//! the digest and is otherwise left alone: one odd record never stops a scope.

use std::borrow::Cow;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::{Endpoint, GroupId, Host, MemberId, NodeId, PublicKey, RecordId, Revision};

/// Longest label, domain name or other text in a record, in bytes.
pub const MAX_RECORD_TEXT: usize = 256;

/// One versioned fact of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The id of the resource.
    pub id: RecordId,
    /// The revision at which it last changed.
    pub rev: Revision,
    /// What is said of it.
    #[serde(flatten)]
    pub body: Body,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// The group itself (group scope).
    Group(GroupRecord),
    /// A member (group scope).
    Member(MemberRecord),
    /// A peer (group scope).
    Peer(PeerRecord),
    /// A peer that this node hosts (node scope).
    Assignment(Assignment),
    /// The node itself (node scope).
    Node(NodeRecord),
    /// A kind this build does not know, or a body it cannot read, as it came.
    #[serde(untagged)]
    Unknown(Map<String, Value>),
}

/// A network group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// What people call it; its DNS form names the label zone.
    pub label: String,
    /// IPv4 pool.
    pub pool: Ipv4Network,
    /// IPv6 prefix, a /64.
    pub prefix6: Ipv6Network,
    /// Zone suffixes, the first is the default.
    pub suffixes: Vec<String>,
    /// The key by which plain clients know the group's gateways, once there is one. All gateways have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_key: Option<PublicKey>,
    /// How often an owner has retired that key: one that was made before the last time counts no more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gateway_rotations: u32,
}

/// What a member is. Upper case on the wire, any case is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MemberKind {
    /// An application of the platform.
    Application,
    /// An add-on of the platform: a database, a queue.
    Addon,
    /// Anything else: a laptop, a partner's server, a node of its own.
    External,
}

/// A named resource that belongs to a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// What it is.
    pub member_kind: MemberKind,
    /// What people call it.
    pub label: String,
    /// Its name in the zone.
    pub domain: String,
}

/// What a key of a peer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyUse {
    /// Tunnels are made with it.
    Current,
    /// Replaced, still accepted.
    Previous,
    /// Announced, not yet used.
    Next,
    /// Of the gateway that the peer is, apart from its own.
    Gateway,
    /// A use this build does not know.
    #[serde(other)]
    Unknown,
}

/// One key of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerKey {
    /// What it is for.
    pub r#use: KeyUse,
    /// The WireGuard public key.
    pub key: PublicKey,
}

/// Relays where one peer can be found: home and backup.
pub const MAX_RELAY_HOMES: usize = 2;

/// A relay where a peer can be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayHome {
    /// The id of the relay's record.
    pub relay: RecordId,
    /// 0 is home, 1 the backup.
    pub rank: u8,
}

/// One running instance of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// The member it is an instance of.
    pub member: MemberId,
    /// The node that hosts it; absent for a peer without an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Its number in the group.
    pub host: Host,
    /// What people call it.
    pub label: String,
    /// Its keys; exactly one is current.
    pub keys: Vec<PeerKey>,
    /// Where it may be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Relays where it can be found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relays: Vec<RelayHome>,
    /// Prefixes that it serves beside its own addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<IpNetwork>,
    /// Whether it is to be a gateway, and so may have the group's gateway key; it is one once that is among its keys.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gateway: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(crate) const fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl PeerRecord {
    /// The key that tunnels are made with.
    #[must_use]
    pub fn current_key(&self) -> Option<PublicKey> {
        self.key_for(KeyUse::Current)
    }

    /// The key by which plain clients know it, where it is a gateway.
    #[must_use]
    pub fn gateway_key(&self) -> Option<PublicKey> {
        self.key_for(KeyUse::Gateway).filter(|_| self.gateway)
    }

    fn key_for(&self, r#use: KeyUse) -> Option<PublicKey> {
        self.keys.iter().find(|key| key.r#use == r#use).map(|key| key.key)
    }
}

/// A peer that the reading node hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The group.
    pub group: GroupId,
    /// The member that it is an instance of.
    pub member: MemberId,
    /// Its number in the group.
    pub host: Host,
}

/// The reading node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// What people call it.
    pub label: String,
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            id: RecordId,
            rev: Revision,
            #[serde(flatten)]
            body: Map<String, Value>,
        }
        let raw = Raw::deserialize(deserializer)?;
        Ok(Self { id: raw.id, rev: raw.rev, body: Body::read(raw.body) })
    }
}

impl Body {
    fn read(map: Map<String, Value>) -> Self {
        fn known<T: for<'a> Deserialize<'a>>(map: &Map<String, Value>) -> Option<T> {
            serde_json::from_value(Value::Object(map.clone())).ok()
        }
        let body = match map.get("kind").and_then(Value::as_str) {
            Some("group") => known(&map).map(Self::Group),
            Some("member") => known(&map).map(Self::Member),
            Some("peer") => known(&map).map(Self::Peer),
            Some("assignment") => known(&map).map(Self::Assignment),
            Some("node") => known(&map).map(Self::Node),
            Some(_) | None => None,
        };
        body.unwrap_or(Self::Unknown(map))
    }
}

impl<'de> Deserialize<'de> for MemberKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        [("APPLICATION", Self::Application), ("ADDON", Self::Addon), ("EXTERNAL", Self::External)]
            .into_iter()
            .find_map(|(name, kind)| text.eq_ignore_ascii_case(name).then_some(kind))
            .ok_or_else(|| serde::de::Error::custom("a member kind is APPLICATION, ADDON or EXTERNAL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn round(json: &str) -> Record {
        let record: Record = serde_json::from_str(json).unwrap();
        let again: Record = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(record, again);
        record
    }

    #[test]
    fn an_unknown_kind_or_an_odd_body_is_kept_as_it_came() {
        for json in [
            r#"{"id":"rule_1","rev":7,"kind":"rule","ports":[5432]}"#,
            r#"{"id":"rule_1","rev":7}"#,
            r#"{"id":"x","rev":7,"kind":"peer","host":"five"}"#,
        ] {
            let record = round(json);
            assert!(matches!(record.body, Body::Unknown(_)), "{json}");
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_value(&record).unwrap(), value);
        }
    }

    #[test]
    fn a_record_without_id_or_revision_is_refused() {
        assert!(serde_json::from_str::<Record>(r#"{"rev":1,"kind":"node","label":"x"}"#).is_err());
        assert!(serde_json::from_str::<Record>(r#"{"id":"a","kind":"node","label":"x"}"#).is_err());
        assert!(serde_json::from_str::<Record>(r#"{"id":"a","rev":-1,"kind":"node","label":"x"}"#).is_err());
    }

    #[test]
    fn member_kinds_are_read_in_any_case() {
        assert_eq!(serde_json::from_str::<MemberKind>("\"addon\"").unwrap(), MemberKind::Addon);
        assert_eq!(serde_json::to_string(&MemberKind::External).unwrap(), "\"EXTERNAL\"");
        assert!(serde_json::from_str::<MemberKind>("\"x\"").is_err());
    }
}
