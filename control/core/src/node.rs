//! Nodes: whose they are, and their revocation.
//!
//! A node belongs to the owner whose join token let it in first. Its owner revokes it for good; for another
//! owner in whose groups it has a peer, it leaves those groups and may not come back without a new token.

use lacis_proto::{Code, NodeId, OwnerId, Problem};

use crate::{
    Decision, Reply, State,
    decision::Effects,
    peer,
    row::{NodeRow, NodeState, Row},
};

impl State {
    /// The nodes that an owner let in, or that are in groups of the owner.
    pub fn nodes_of<'a>(&'a self, owner: &'a OwnerId) -> impl Iterator<Item = &'a NodeRow> {
        self.nodes().filter(move |node| self.is_seen_by(node, owner))
    }

    /// A node, if an owner may know of it.
    #[must_use]
    pub fn node_of_owner(&self, owner: &OwnerId, id: &NodeId) -> Option<&NodeRow> {
        self.node(id).filter(|node| self.is_seen_by(node, owner))
    }

    fn is_seen_by(&self, node: &NodeRow, owner: &OwnerId) -> bool {
        node.owner.as_ref() == Some(owner) || self.groups_of(&node.id).any(|group| group.row.owner == *owner)
    }

    fn is_group_of(&self, group: &lacis_proto::GroupId, owner: &OwnerId) -> bool {
        self.group(group).is_some_and(|group| group.row.owner == *owner)
    }
}

/// Revokes a node: its peers go at once, its identity is never let in again. For an owner that did not let
/// it in, only that owner's groups are left.
pub(crate) fn revoke(mut fx: Effects<'_>, id: &NodeId, by: Option<&OwnerId>) -> Result<Decision, Problem> {
    let state = fx.state;
    let seen = by.map_or_else(|| state.node(id), |owner| state.node_of_owner(owner, id));
    let Some(node) = seen else {
        return Err(Problem::new(
            Code::UnknownNode,
            format!("there is no {id}; see lacis-control node list"),
        ));
    };
    if node.state == NodeState::Revoked {
        return Ok(fx.unchanged(Reply::Done));
    }
    let guest_of = by.filter(|owner| node.owner.as_ref() != Some(owner));
    for held in state.groups_of(id) {
        if let Some(peer) = held.peer_of(id).filter(|_| guest_of.is_none_or(|owner| held.row.owner == *owner))
        {
            peer::take_away(&mut fx, held, peer);
        }
    }
    for grant in state.grants_of(id) {
        if guest_of.is_none_or(|owner| state.is_group_of(&grant.group, owner)) {
            fx.row(Row::GrantGone(id.clone(), grant.group.clone(), grant.member.clone()));
        }
    }
    if guest_of.is_none() {
        fx.revoke(id);
    }
    Ok(fx.finish(Reply::Done, "node.revoke", id.as_str()))
}
