//! What a node is told: rows as records, and which scopes concern whom.

use lacis_proto::{
    Assignment, Body, Epoch, GroupId, GroupRecord, KeyUse, MemberRecord, NodeId, NodeRecord, PeerKey,
    PeerRecord, Record, RecordId, Revision, Scope, ScopeError, ScopeId,
};

use crate::{
    State,
    row::{GroupRow, MemberRow, NodeRow, PeerRow},
};

/// The scopes that a node reads, its own first: it is told of its peers before their groups.
pub fn scopes_for(node: &NodeId, scope: &Scope) -> Vec<ScopeId> {
    let mut ids = vec![ScopeId::from(node)];
    for record in scope.records() {
        if let Body::Assignment(assignment) = &record.body {
            ids.push((&assignment.group).into());
        }
    }
    ids
}

/// The scope of a group, out of its rows; `None` where there is no such group.
///
/// # Errors
/// Rows that contradict each other.
pub fn scope_of_group(state: &State, id: &GroupId, epoch: Epoch) -> Result<Option<Scope>, ScopeError> {
    let Some(group) = state.group(id) else { return Ok(None) };
    let row = &group.row;
    let own = [record(id.into(), row.record_revision, group_body(row))];
    let members = group.members.values().map(|row| record((&row.id).into(), row.revision, member_body(row)));
    let peers = group.peers.values().map(|row| record((&row.id).into(), row.revision, peer_body(row)));
    let live = own.into_iter().chain(members).chain(peers);
    restore(state, id.into(), epoch, row.revision, row.floor, live).map(Some)
}

/// The scope of a node, out of its rows; `None` where there is no such node.
///
/// # Errors
/// Rows that contradict each other.
pub fn scope_of_node(state: &State, id: &NodeId, epoch: Epoch) -> Result<Option<Scope>, ScopeError> {
    let Some(row) = state.node(id) else { return Ok(None) };
    let own = [record(id.into(), row.record_revision, node_body(row))];
    let peers = state.groups_of(id).filter_map(|group| group.peer_of(id));
    let peers = peers.map(|row| record((&row.id).into(), row.node_revision, assignment_body(row)));
    restore(state, id.into(), epoch, row.revision, row.floor, own.into_iter().chain(peers)).map(Some)
}

fn restore(
    state: &State,
    id: ScopeId,
    epoch: Epoch,
    revision: Revision,
    floor: Revision,
    live: impl IntoIterator<Item = Record>,
) -> Result<Scope, ScopeError> {
    let dead = state.tombstones(&id).map(|(record, revision)| (record.clone(), revision));
    Scope::restore(epoch, revision, floor, live, dead)
}

const fn record(id: RecordId, rev: Revision, body: Body) -> Record {
    Record { id, rev, body }
}

pub(crate) fn group_body(row: &GroupRow) -> Body {
    Body::Group(GroupRecord {
        label: row.label.clone(),
        pool: row.pool,
        prefix6: row.prefix6,
        suffixes: row.suffixes.clone(),
        gateway_key: row.gateway_key,
        gateway_rotations: row.gateway_rotations,
    })
}

pub(crate) fn member_body(row: &MemberRow) -> Body {
    Body::Member(MemberRecord { member_kind: row.kind, label: row.label.clone(), domain: row.domain.clone() })
}

pub(crate) fn peer_body(row: &PeerRow) -> Body {
    let current = row.key.map(|key| PeerKey { r#use: KeyUse::Current, key }).into_iter();
    let gateway = row.gateway.serves().map(|key| PeerKey { r#use: KeyUse::Gateway, key });
    Body::Peer(PeerRecord {
        member: row.member.clone(),
        node: row.node.clone(),
        host: row.host,
        label: row.label.clone(),
        keys: current.chain(gateway).collect(),
        endpoints: row.endpoints.clone(),
        relays: row.relays.clone(),
        routes: Vec::new(),
        gateway: row.gateway.is_wanted(),
    })
}

pub(crate) fn assignment_body(row: &PeerRow) -> Body {
    Body::Assignment(Assignment { group: row.group.clone(), member: row.member.clone(), host: row.host })
}

pub(crate) fn node_body(row: &NodeRow) -> Body {
    Body::Node(NodeRecord { label: row.label.clone() })
}
