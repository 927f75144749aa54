//! Effects: collects the rows of one decision and spends revisions.
//!
//! Touching a group or a node takes its next revision, unless a neighbour in the same batch has taken it:
//! a batch of commands shares one revision per scope (group commit). A decision that touches nothing
//! spends nothing.
//!
//! Invariant: every spent revision has an audit row and at least one change to the scope.

use std::collections::{BTreeMap, BTreeSet};

use lacis_proto::{Change, GroupId, MemberId, NodeId, PeerId, RecordId, Revision, ScopeId};

use crate::{
    Facts, Random, Reply, State, netmap, retention,
    row::{Actor, AuditRow, GroupRow, MemberRow, NodeRow, NodeState, PeerRow, Row, TombstoneRow},
};

/// What a command leads to.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The answer.
    pub reply: Reply,
    /// What is to be stored; nothing for a replay.
    pub rows: Vec<Row>,
    /// What is to be published, by scope.
    pub changes: Vec<(ScopeId, Change)>,
}

/// The scopes whose revision the commands of one batch have taken.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    taken: BTreeSet<ScopeId>,
}

impl Batch {
    /// Takes note of a decision that is going to be stored.
    pub fn note(&mut self, decision: &Decision) {
        self.taken.extend(decision.changes.iter().map(|(scope, _)| scope.clone()));
    }

    fn revision(&self, scope: &ScopeId, held: Revision) -> Revision {
        if self.taken.contains(scope) { held } else { held.next() }
    }
}

pub(crate) struct Effects<'a> {
    pub(crate) state: &'a State,
    pub(crate) now_ms: u64,
    by: Actor,
    pub(crate) applied: Option<Revision>,
    pub(crate) random: Random,
    batch: &'a Batch,
    groups: BTreeMap<GroupId, GroupRow>,
    nodes: BTreeMap<NodeId, NodeRow>,
    rows: Vec<Row>,
    changes: Vec<(ScopeId, Change)>,
}

impl<'a> Effects<'a> {
    pub(crate) fn new(state: &'a State, batch: &'a Batch, facts: Facts) -> Self {
        Self {
            state,
            now_ms: facts.now_ms,
            by: facts.by,
            applied: facts.applied,
            random: facts.random,
            batch,
            groups: BTreeMap::new(),
            nodes: BTreeMap::new(),
            rows: Vec::new(),
            changes: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// The decision that writes its rows and is no deed of anybody: it stands in no audit.
    pub(crate) fn unlogged(self, reply: Reply) -> Decision {
        debug_assert!(self.groups.is_empty() && self.nodes.is_empty());
        Decision { reply, rows: self.rows, changes: self.changes }
    }

    /// The decision about a group, answered by its id: without effect where nothing was touched.
    pub(crate) fn close_group(self, held: &GroupRow, action: &'static str) -> Decision {
        let reply = Reply::Group(held.id.clone());
        if self.rows.is_empty() && self.groups.is_empty() {
            return self.unchanged(reply);
        }
        self.finish(reply, action, held.id.as_str())
    }

    /// The decision about something in a group, answered by the revision that includes it.
    pub(crate) fn finish_in(mut self, group: &GroupId, action: &'static str, target: &str) -> Decision {
        let revision = self.group(group).revision;
        self.finish(Reply::At(revision), action, target)
    }

    /// The decision that changes nothing.
    pub(crate) fn unchanged(self, reply: Reply) -> Decision {
        debug_assert!(self.rows.is_empty() && self.groups.is_empty() && self.nodes.is_empty());
        Decision { reply, rows: Vec::new(), changes: Vec::new() }
    }

    pub(crate) fn new_group(&mut self, row: GroupRow) {
        self.publish(&(&row.id).into(), &(&row.id).into(), netmap::group_body(&row));
        self.groups.insert(row.id.clone(), row);
    }

    /// The group's row at the revision that this decision spends.
    pub(crate) fn group(&mut self, id: &GroupId) -> &mut GroupRow {
        let (state, batch) = (self.state, self.batch);
        self.groups.entry(id.clone()).or_insert_with(|| {
            let mut row = state.groups[id].row.clone();
            row.revision = batch.revision(&id.into(), row.revision);
            row
        })
    }

    /// Stores what is said of a group anew.
    pub(crate) fn change_group(&mut self, said: GroupRow) {
        let row = self.group(&said.id);
        let revision = row.revision;
        *row = GroupRow { revision, record_revision: revision, ..said };
        let (id, body) = (row.id.clone(), netmap::group_body(row));
        self.publish(&(&id).into(), &(&id).into(), body);
    }

    /// A group is gone: its scope ends.
    pub(crate) fn gone(&mut self, id: &GroupId) {
        self.changes.push((id.into(), Change::Del(id.into())));
    }

    /// A node is forgotten: its scope ends, and no tombstone of it is left.
    pub(crate) fn forget_node(&mut self, row: &NodeRow) {
        let scope = ScopeId::from(&row.id);
        self.row(Row::Forgotten(scope.clone(), row.revision));
        self.row(Row::NodeGone(row.id.clone()));
        self.changes.push((scope, Change::Del((&row.id).into())));
    }

    pub(crate) fn new_node(&mut self, row: NodeRow) {
        self.publish(&(&row.id).into(), &(&row.id).into(), netmap::node_body(&row));
        self.nodes.insert(row.id.clone(), row);
    }

    fn node(&mut self, id: &NodeId) -> &mut NodeRow {
        let (state, batch) = (self.state, self.batch);
        self.nodes.entry(id.clone()).or_insert_with(|| {
            let mut row = state.nodes[id].clone();
            row.revision = batch.revision(&id.into(), row.revision);
            row
        })
    }

    /// Marks a node as revoked; its record changes place, so that its stream wakes and ends.
    pub(crate) fn revoke(&mut self, id: &NodeId) {
        let row = self.node(id);
        row.state = NodeState::Revoked;
        row.record_revision = row.revision;
        let body = netmap::node_body(row);
        self.publish(&id.into(), &id.into(), body);
    }

    pub(crate) fn put_member(&mut self, mut row: MemberRow) {
        row.revision = self.group(&row.group).revision;
        self.publish(&(&row.group).into(), &(&row.id).into(), netmap::member_body(&row));
        self.row(Row::Member(row));
    }

    pub(crate) fn drop_member(&mut self, group: &GroupId, id: &MemberId) {
        let revision = self.group(group).revision;
        self.row(Row::MemberGone(group.clone(), id.clone()));
        self.bury(group.into(), id.into(), revision);
    }

    /// Stores a peer. Where it is new to its node, the node's scope gets its assignment.
    pub(crate) fn put_peer(&mut self, mut row: PeerRow, is_new: bool) {
        row.revision = self.group(&row.group).revision;
        self.publish(&(&row.group).into(), &(&row.id).into(), netmap::peer_body(&row));
        if let Some(node) = row.node.clone().filter(|_| is_new) {
            row.node_revision = self.node(&node).revision;
            self.publish(&(&node).into(), &(&row.id).into(), netmap::assignment_body(&row));
        }
        self.row(Row::Peer(row));
    }

    pub(crate) fn drop_peer(&mut self, group: &GroupId, id: &PeerId, node: Option<&NodeId>) -> Revision {
        let revision = self.group(group).revision;
        self.forget_peer(group, id, node);
        self.bury(group.into(), id.into(), revision);
        revision
    }

    /// Drops a peer of a group that ends itself: only its node is told.
    pub(crate) fn forget_peer(&mut self, group: &GroupId, id: &PeerId, node: Option<&NodeId>) {
        if self.state.groups[group].statements.contains_key(id) {
            self.row(Row::StatementGone(group.clone(), id.clone()));
        }
        self.row(Row::PeerGone(group.clone(), id.clone()));
        if let Some(node) = node {
            let node_revision = self.node(node).revision;
            self.bury(node.into(), id.into(), node_revision);
        }
    }

    fn publish(&mut self, scope: &ScopeId, record: &RecordId, body: lacis_proto::Body) {
        if self.state.tombstones.get(scope).is_some_and(|dead| dead.contains_key(record)) {
            self.row(Row::Revived(scope.clone(), record.clone()));
        }
        self.changes.push((scope.clone(), Change::Put(record.clone(), body)));
    }

    fn bury(&mut self, scope: ScopeId, record: RecordId, revision: Revision) {
        if let Some(floor) = retention::floor(self.state, &scope) {
            self.raise_floor(&scope, floor);
        }
        self.changes.push((scope.clone(), Change::Del(record.clone())));
        self.row(Row::Tombstone(TombstoneRow { scope, record, revision }));
    }

    fn raise_floor(&mut self, scope: &ScopeId, floor: Revision) {
        let group = self.groups.values_mut().find(|row| scope.as_str() == row.id.as_str());
        if let Some(row) = group {
            row.floor = floor;
        }
        let node = self.nodes.values_mut().find(|row| scope.as_str() == row.id.as_str());
        if let Some(row) = node {
            row.floor = floor;
        }
        self.row(Row::Forgotten(scope.clone(), floor));
    }

    /// Closes the decision: scopes first, then what is in them, then who did what.
    pub(crate) fn finish(self, reply: Reply, action: &'static str, target: &str) -> Decision {
        let groups = self.groups.values().map(|row| (ScopeId::from(&row.id), row.revision));
        let nodes = self.nodes.values().map(|row| (ScopeId::from(&row.id), row.revision));
        let mut spent: Vec<_> = groups.chain(nodes).map(|(scope, rev)| (Some(scope), rev)).collect();
        if spent.is_empty() {
            spent.push((None, Revision(0)));
        }
        let at_ms = self.now_ms;
        let audit = spent.into_iter().map(|(scope, revision)| {
            let actor = self.by.clone();
            Row::Audit(AuditRow { scope, revision, at_ms, actor, action, target: target.to_owned() })
        });
        let owners = self.rows.iter().filter(|row| matches!(row, Row::Owner(_))).cloned();
        let rest = self.rows.iter().filter(|row| !matches!(row, Row::Owner(_))).cloned();
        let rows = owners
            .chain(self.groups.into_values().map(Row::Group))
            .chain(self.nodes.into_values().map(Row::Node))
            .chain(rest)
            .chain(audit)
            .collect();
        Decision { reply, rows, changes: self.changes }
    }
}
