//! The installation in memory: a fold of its rows.
//!
//! [`State::apply`] is the only way in, for rows of the store and rows of a decision alike.
//!
//! Invariants: two peers of a group share no host, no key and no (member, instance); a node hosts at most
//! one peer per group; a host in use does not rest; indices name rows that exist. A peer without a node or
//! without a key stands in no index of those.

use std::collections::{BTreeMap, BTreeSet};

use lacis_proto::{
    GroupId, Host, IdentityKey, MemberId, NodeId, OwnerId, PeerId, PublicKey, RecordId, Revision, ScopeId,
    SignedStatement, TokenId,
};

use crate::row::{
    ApiTokenRow, DeletedGroupRow, GrantRow, GroupRow, JoinTokenRow, JoinUseRow, MemberRow, NodeRow, OwnerRow,
    PeerRow, ReleasedHost, Row, TombstoneRow,
};

/// A group with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its row.
    pub row: GroupRow,
    /// Its members.
    pub members: BTreeMap<MemberId, MemberRow>,
    /// Its peers.
    pub peers: BTreeMap<PeerId, PeerRow>,
    /// What nodes have stated of their peers.
    pub statements: BTreeMap<PeerId, SignedStatement>,
    /// Host numbers that rest.
    pub released: BTreeMap<Host, ReleasedHost>,
    by_host: BTreeMap<Host, PeerId>,
    by_node: BTreeMap<NodeId, PeerId>,
    by_key: BTreeMap<PublicKey, PeerId>,
    by_instance: BTreeMap<(MemberId, String), PeerId>,
}

/// All of an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub(crate) owners: BTreeMap<OwnerId, OwnerRow>,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) deleted: BTreeMap<GroupId, DeletedGroupRow>,
    pub(crate) nodes: BTreeMap<NodeId, NodeRow>,
    pub(crate) node_of: BTreeMap<IdentityKey, NodeId>,
    pub(crate) group_of: BTreeMap<PeerId, GroupId>,
    peers_of: BTreeMap<NodeId, BTreeSet<GroupId>>,
    pub(crate) grants: BTreeMap<(NodeId, GroupId, MemberId), GrantRow>,
    pub(crate) join_tokens: BTreeMap<TokenId, JoinTokenRow>,
    pub(crate) join_uses: BTreeMap<(TokenId, IdentityKey), JoinUseRow>,
    pub(crate) api_tokens: BTreeMap<TokenId, ApiTokenRow>,
    pub(crate) tombstones: BTreeMap<ScopeId, BTreeMap<RecordId, Revision>>,
    /// Keys that are out, and since when in Unix milliseconds.
    pub(crate) departed: BTreeMap<(GroupId, PublicKey), u64>,
}

impl Group {
    /// A group without members or peers.
    pub(crate) const fn new(row: GroupRow) -> Self {
        Self {
            row,
            members: BTreeMap::new(),
            peers: BTreeMap::new(),
            statements: BTreeMap::new(),
            released: BTreeMap::new(),
            by_host: BTreeMap::new(),
            by_node: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_instance: BTreeMap::new(),
        }
    }

    /// The peer that a node hosts here.
    #[must_use]
    pub fn peer_of(&self, node: &NodeId) -> Option<&PeerRow> {
        self.by_node.get(node).and_then(|id| self.peers.get(id))
    }

    /// Whether a host number is in use.
    #[must_use]
    pub fn is_used(&self, host: Host) -> bool {
        self.by_host.contains_key(&host)
    }

    /// The peer that has a key.
    pub(crate) fn peer_with_key(&self, key: &PublicKey) -> Option<&PeerId> {
        self.by_key.get(key)
    }

    /// The peer that is an instance of a member.
    pub(crate) fn instance(&self, member: &MemberId, instance: &str) -> Option<&PeerId> {
        self.by_instance.get(&(member.clone(), instance.to_owned()))
    }

    fn put_peer(&mut self, row: PeerRow) {
        self.remove_peer(&row.id);
        self.by_host.insert(row.host, row.id.clone());
        self.by_node.extend(row.node.clone().map(|node| (node, row.id.clone())));
        self.by_key.extend(row.key.map(|key| (key, row.id.clone())));
        self.by_instance.insert((row.member.clone(), row.instance.clone()), row.id.clone());
        self.peers.insert(row.id.clone(), row);
    }

    fn remove_peer(&mut self, id: &PeerId) {
        let Some(old) = self.peers.remove(id) else { return };
        self.by_host.remove(&old.host);
        old.node.as_ref().and_then(|node| self.by_node.remove(node));
        old.key.as_ref().and_then(|key| self.by_key.remove(key));
        self.by_instance.remove(&(old.member, old.instance));
    }
}

impl State {
    /// Takes in rows, in order.
    pub fn apply(&mut self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            self.take(row);
        }
        self.check_invariants();
    }

    fn take(&mut self, row: Row) {
        match row {
            Row::Owner(row) => drop(self.owners.insert(row.id.clone(), row)),
            Row::Group(row) => self.take_group(row),
            Row::GroupGone(row) => {
                self.groups.remove(&row.id);
                self.tombstones.remove(&ScopeId::from(&row.id));
                self.deleted.insert(row.id.clone(), row);
            }
            Row::GroupBack(id) => drop(self.deleted.remove(&id)),
            Row::Member(row) => self.in_group(&row.group.clone(), |group| {
                group.members.insert(row.id.clone(), row);
            }),
            Row::MemberGone(group, id) => self.in_group(&group, |group| drop(group.members.remove(&id))),
            Row::Node(row) => {
                self.node_of.insert(row.identity, row.id.clone());
                self.nodes.insert(row.id.clone(), row);
            }
            Row::NodeGone(id) => self.forget_node(&id),
            Row::Grant(row) => {
                let key = (row.node.clone(), row.group.clone(), row.member.clone());
                self.grants.insert(key, row);
            }
            Row::GrantGone(node, group, member) => drop(self.grants.remove(&(node, group, member))),
            Row::Peer(row) => {
                self.group_of.insert(row.id.clone(), row.group.clone());
                if let Some(node) = &row.node {
                    self.peers_of.entry(node.clone()).or_default().insert(row.group.clone());
                }
                self.in_group(&row.group.clone(), |group| group.put_peer(row));
            }
            Row::PeerGone(group, id) => self.remove_peer(&group, &id),
            Row::Statement(said) => self.in_group(&said.statement.group.clone(), |group| {
                group.statements.insert(said.statement.peer.clone(), said);
            }),
            Row::StatementGone(group, id) => self.in_group(&group, |group| {
                group.statements.remove(&id);
            }),
            Row::Released(row) => self.in_group(&row.group.clone(), |group| {
                group.released.insert(row.host, row);
            }),
            Row::Taken(group, host) => self.in_group(&group, |group| drop(group.released.remove(&host))),
            Row::Tombstone(row) => self.bury(row),
            Row::Revived(scope, record) => {
                if let Some(dead) = self.tombstones.get_mut(&scope) {
                    dead.remove(&record);
                }
            }
            Row::Forgotten(scope, floor) => {
                if let Some(dead) = self.tombstones.get_mut(&scope) {
                    dead.retain(|_, revision| *revision > floor);
                }
            }
            Row::JoinToken(row) => drop(self.join_tokens.insert(row.id.clone(), row)),
            Row::JoinTokenGone(id) => drop(self.join_tokens.remove(&id)),
            Row::JoinUse(row) => {
                self.join_uses.insert((row.token.clone(), row.identity), row);
            }
            Row::JoinUseGone(token, identity) => drop(self.join_uses.remove(&(token, identity))),
            Row::ApiToken(row) => drop(self.api_tokens.insert(row.id.clone(), row)),
            Row::ApiTokenGone(id) => drop(self.api_tokens.remove(&id)),
            Row::Departed(row) => drop(self.departed.insert((row.group, row.key), row.at_ms)),
            Row::DepartedForgotten(before_ms) => self.departed.retain(|_, at_ms| *at_ms >= before_ms),
            Row::Audit(_) | Row::AuditGone(_) => {}
        }
    }

    fn take_group(&mut self, row: GroupRow) {
        match self.groups.get_mut(&row.id) {
            Some(group) => group.row = row,
            None => {
                self.groups.insert(row.id.clone(), Group::new(row));
            }
        }
    }

    fn forget_node(&mut self, id: &NodeId) {
        if let Some(row) = self.nodes.remove(id) {
            self.node_of.remove(&row.identity);
        }
        self.peers_of.remove(id);
        self.tombstones.remove(&ScopeId::from(id));
    }

    fn remove_peer(&mut self, group: &GroupId, id: &PeerId) {
        self.group_of.remove(id);
        let peer = self.groups.get(group).and_then(|held| held.peers.get(id));
        let node = peer.and_then(|peer| peer.node.as_ref());
        if let Some(groups) = node.and_then(|node| self.peers_of.get_mut(node)) {
            groups.remove(group);
        }
        self.in_group(group, |held| held.remove_peer(id));
    }

    fn bury(&mut self, row: TombstoneRow) {
        self.tombstones.entry(row.scope).or_default().insert(row.record, row.revision);
    }

    fn in_group(&mut self, id: &GroupId, step: impl FnOnce(&mut Group)) {
        let group = self.groups.get_mut(id);
        debug_assert!(group.is_some(), "a row names group {id}, which does not exist");
        if let Some(group) = group {
            step(group);
        }
    }

    /// All groups by id.
    pub fn groups(&self) -> impl Iterator<Item = &Group> + Clone {
        self.groups.values()
    }

    /// One group.
    #[must_use]
    pub fn group(&self, id: &GroupId) -> Option<&Group> {
        self.groups.get(id)
    }

    /// The groups in which a node hosts a peer.
    pub fn groups_of(&self, node: &NodeId) -> impl Iterator<Item = &Group> {
        let joined = self.peers_of.get(node).into_iter().flatten();
        joined.filter_map(|group| self.groups.get(group))
    }

    /// All owners by id.
    pub fn owners(&self) -> impl Iterator<Item = &OwnerRow> {
        self.owners.values()
    }

    /// All nodes by id.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRow> {
        self.nodes.values()
    }

    /// One node.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&NodeRow> {
        self.nodes.get(id)
    }

    /// The group that a peer is in.
    #[must_use]
    pub fn group_of(&self, peer: &PeerId) -> Option<&GroupId> {
        self.group_of.get(peer)
    }

    /// What a node may run, by group and member.
    pub fn grants_of<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a GrantRow> {
        self.grants.values().filter(move |grant| grant.node == *node)
    }

    /// One owner.
    #[must_use]
    pub fn owner(&self, id: &OwnerId) -> Option<&OwnerRow> {
        self.owners.get(id)
    }

    /// All API tokens by id.
    pub fn api_tokens(&self) -> impl Iterator<Item = &ApiTokenRow> {
        self.api_tokens.values()
    }

    /// All join tokens by id.
    pub fn join_tokens(&self) -> impl Iterator<Item = &JoinTokenRow> {
        self.join_tokens.values()
    }

    /// The tombstones of a scope.
    pub fn tombstones(&self, scope: &ScopeId) -> impl Iterator<Item = (&RecordId, Revision)> {
        self.tombstones.get(scope).into_iter().flatten().map(|(id, revision)| (id, *revision))
    }

    fn check_invariants(&self) {
        debug_assert!(self.groups.values().all(|group| {
            let hosted = group.peers.values().filter(|peer| peer.node.is_some()).count();
            let keyed = group.peers.values().filter(|peer| peer.key.is_some()).count();
            group.by_host.len() == group.peers.len()
                && group.by_node.len() == hosted
                && group.by_host.keys().all(|host| !group.released.contains_key(host))
                && group.by_key.len() == keyed
                && group.by_instance.len() == group.peers.len()
        }));
    }
}
