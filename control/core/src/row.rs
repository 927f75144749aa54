//! Rows: what the store keeps and what memory is made of.
//!
//! Each carries the revision of its scope at which it last changed. A row is written whole: a later one
//! with the same key replaces it.

use std::collections::BTreeSet;

use ipnetwork::{Ipv4Network, Ipv6Network};
use lacis_proto::{
    DialAddress, Endpoint, GroupId, Host, IdentityKey, MemberId, MemberKind, NodeId, OwnerId, PeerId,
    PublicKey, RecordId, RelayHome, Revision, ScopeId, SignedStatement, TokenId,
};

/// One write to the store, and the same step in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// An owner is new.
    Owner(OwnerRow),
    /// A group is new or has a new revision.
    Group(GroupRow),
    /// A group is gone, with all that was in it.
    GroupGone(DeletedGroupRow),
    /// A group that was gone is made again, or is forgotten.
    GroupBack(GroupId),
    /// A member is new or changed.
    Member(MemberRow),
    /// A member is gone.
    MemberGone(GroupId, MemberId),
    /// A node is new or has a new revision.
    Node(NodeRow),
    /// A node is forgotten; what refers to it is gone before it.
    NodeGone(NodeId),
    /// A node may run a peer of a member.
    Grant(GrantRow),
    /// A node may no longer run a peer of a member.
    GrantGone(NodeId, GroupId, MemberId),
    /// A peer is new or changed.
    Peer(PeerRow),
    /// A peer is gone.
    PeerGone(GroupId, PeerId),
    /// A node has stated the key of a peer.
    Statement(SignedStatement),
    /// What was stated of a peer is gone with it.
    StatementGone(GroupId, PeerId),
    /// A host number rests before it is given again.
    Released(ReleasedHost),
    /// A host number that rested is in use again.
    Taken(GroupId, Host),
    /// A record is gone from a scope.
    Tombstone(TombstoneRow),
    /// A record that was gone from a scope is back.
    Revived(ScopeId, RecordId),
    /// Tombstones of a scope at or below a revision are forgotten.
    Forgotten(ScopeId, Revision),
    /// A join token is new, or its limits changed.
    JoinToken(JoinTokenRow),
    /// A join token is forgotten; its uses are before it.
    JoinTokenGone(TokenId),
    /// An identity has used a join token.
    JoinUse(JoinUseRow),
    /// An identity's use of a join token is forgotten.
    JoinUseGone(TokenId, IdentityKey),
    /// An API token is new, or was used.
    ApiToken(ApiTokenRow),
    /// An API token is revoked, or forgotten after its time.
    ApiTokenGone(TokenId),
    /// A key is out of a group.
    Departed(DepartedRow),
    /// Keys that were out before this time, in Unix milliseconds, are forgotten.
    DepartedForgotten(u64),
    /// What was done, once per effect; never read back into memory.
    Audit(AuditRow),
    /// What was done before this time, in Unix milliseconds, is forgotten, the oldest first: as much as one commit takes.
    AuditGone(u64),
}

/// An organisation or a person that owns groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRow {
    /// Its id.
    pub id: OwnerId,
    /// What people call it.
    pub label: String,
}

/// A network group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// Its id.
    pub id: GroupId,
    /// Who owns it.
    pub owner: OwnerId,
    /// What people call it.
    pub label: String,
    /// What it is for, in the owner's words.
    pub description: String,
    /// Words of the owner to sort groups by.
    pub tags: Vec<String>,
    /// IPv4 pool.
    pub pool: Ipv4Network,
    /// IPv6 prefix.
    pub prefix6: Ipv6Network,
    /// Zone suffixes, the first is the default.
    pub suffixes: Vec<String>,
    /// The scope's revision.
    pub revision: Revision,
    /// The revision at which the group's own record last changed.
    pub record_revision: Revision,
    /// Tombstones at or below it are forgotten.
    pub floor: Revision,
    /// Hosts from here to the end of the pool were never given.
    pub next_host: Host,
    /// The key by which plain clients know its gateways, once there was one.
    pub gateway_key: Option<PublicKey>,
    /// How often that key was retired.
    pub gateway_rotations: u32,
    /// When it was made, in Unix milliseconds.
    pub created_ms: u64,
}

/// What is left of a deleted group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedGroupRow {
    /// Its id.
    pub id: GroupId,
    /// Its last revision; one made again under the id goes on from there.
    pub revision: Revision,
    /// When it was deleted, in Unix milliseconds.
    pub deleted_ms: u64,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// The group.
    pub group: GroupId,
    /// The resource's own id.
    pub id: MemberId,
    /// What it is.
    pub kind: MemberKind,
    /// What people call it; unique in the group in its DNS form where control chose it.
    pub label: String,
    /// Its name in the zone.
    pub domain: String,
    /// The node that this member stands for; the member goes with the node's peer.
    pub of_node: Option<NodeId>,
    /// The group's revision at which it last changed.
    pub revision: Revision,
}

/// Whether a node may still speak to control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It may.
    Active,
    /// It may not, for good.
    Revoked,
}

/// A machine, VM or container that runs one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Its id.
    pub id: NodeId,
    /// Signs its requests.
    pub identity: IdentityKey,
    /// The owner that let it in first; unknown for a node of an early installation.
    pub owner: Option<OwnerId>,
    /// What people call it: its host name at its first join.
    pub label: String,
    /// Whether it may still speak to control.
    pub state: NodeState,
    /// The revision of the node's scope.
    pub revision: Revision,
    /// The revision at which the node's own record last changed.
    pub record_revision: Revision,
    /// Tombstones of its scope at or below it are forgotten.
    pub floor: Revision,
    /// Since when it has been found at an end, in Unix milliseconds: revoked, or without a group and not connected.
    pub ended_ms: Option<u64>,
}

/// A node's permission to run a peer of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRow {
    /// The node.
    pub node: NodeId,
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// When it was given, in Unix milliseconds.
    pub issued_ms: u64,
}

/// One running instance of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRow {
    /// Its id.
    pub id: PeerId,
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// The node that hosts it; none for a peer without an agent.
    pub node: Option<NodeId>,
    /// Names this instance of the member.
    pub instance: String,
    /// Its number in the group.
    pub host: Host,
    /// Its WireGuard key; none for a peer that is announced and has no key yet.
    pub key: Option<PublicKey>,
    /// What people call it.
    pub label: String,
    /// The host name that a client gave; without one, the label stands for it.
    pub hostname: Option<String>,
    /// What made the peer, in the words of the client that registered it.
    pub parent_event: Option<String>,
    /// Where it may be reached.
    pub endpoints: Vec<Endpoint>,
    /// Relays where it can be found, home first; none where the map has no choice, or its agent has not said.
    pub relays: Vec<RelayHome>,
    /// What it has to do with being a gateway.
    pub gateway: GatewayRow,
    /// The group's revision at which it last changed.
    pub revision: Revision,
    /// The node's revision at which its assignment last changed; 0 without a node.
    pub node_revision: Revision,
}

/// What a peer has to do with being a gateway of its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayRow {
    /// Whether an owner wants it to be one; without a word, the agent's offer counts.
    pub chosen: Option<bool>,
    /// Whether its agent offers to be one.
    pub offered: bool,
    /// The group's gateway key, where its agent holds that.
    pub key: Option<PublicKey>,
    /// Where clients dial it, by an owner's word.
    pub endpoint: Option<DialAddress>,
    /// Where clients dial it, by its agent's word.
    pub told_endpoint: Option<DialAddress>,
}

/// A host number that rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleasedHost {
    /// The group.
    pub group: GroupId,
    /// The number.
    pub host: Host,
    /// When its peer went, in Unix milliseconds.
    pub released_ms: u64,
    /// The group's revision that removed the peer.
    pub revision: Revision,
}

/// A key that is in no peer of its group any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepartedRow {
    /// The group.
    pub group: GroupId,
    /// The WireGuard key.
    pub key: PublicKey,
    /// Since when, in Unix milliseconds: its relay tokens of before count no more.
    pub at_ms: u64,
}

/// A record that is gone from a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TombstoneRow {
    /// The scope.
    pub scope: ScopeId,
    /// The record.
    pub record: RecordId,
    /// The scope's revision that removed it.
    pub revision: Revision,
}

/// A join token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTokenRow {
    /// Its public part.
    pub id: TokenId,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// The group that it lets into.
    pub group: GroupId,
    /// The member that it lets run; without one, each node becomes a member of its own.
    pub member: Option<MemberId>,
    /// How many identities may use it; 0 for any number.
    pub max_uses: u32,
    /// How many have.
    pub uses: u32,
    /// When it ends, in Unix milliseconds.
    pub expires_ms: Option<u64>,
    /// Whether it was ended by a person.
    pub revoked: bool,
    /// When it was made, in Unix milliseconds.
    pub created_ms: u64,
}

/// An identity's use of a join token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinUseRow {
    /// The token.
    pub token: TokenId,
    /// The identity.
    pub identity: IdentityKey,
    /// The member that it may run in the token's group.
    pub member: MemberId,
}

/// What an API token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// An API token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiTokenRow {
    /// Its public part.
    pub id: TokenId,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// Whose groups it manages.
    pub owner: OwnerId,
    /// What people call it; may be empty.
    pub label: String,
    /// What it may do.
    pub access: Access,
    /// The groups that it sees; all of the owner's where it names none.
    pub groups: BTreeSet<GroupId>,
    /// When it was made, in Unix milliseconds.
    pub created_ms: u64,
    /// When it ends, in Unix milliseconds.
    pub expires_ms: Option<u64>,
    /// When it was last used, in Unix milliseconds; behind by some seconds.
    pub last_used_ms: Option<u64>,
}

/// Who had something done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Control itself, or a person on its machine.
    Control,
    /// A management client, by its API token.
    Token(TokenId),
    /// An agent.
    Node(NodeId),
    /// A machine that joins, by its join token.
    JoinToken(TokenId),
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Control => f.write_str("control"),
            Self::Token(id) => write!(f, "token {id}"),
            Self::Node(id) => id.fmt(f),
            Self::JoinToken(id) => write!(f, "join token {id}"),
        }
    }
}

/// What was done to a scope, or to control itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// The scope that it concerned; for tokens, their group's with the revision at that time.
    pub scope: Option<ScopeId>,
    /// The revision that it spent, 0 where it spent none.
    pub revision: Revision,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// Who: a token, a node, or control itself.
    pub actor: Actor,
    /// What, as `thing.verb`.
    pub action: &'static str,
    /// To what, by id.
    pub target: String,
}
