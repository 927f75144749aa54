//! Nodes of an owner: who they are, whether they are connected, where they have peers; and their revocation.

use ::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use lacis_control_core::{Command, NodeRow, NodeState, State};
use lacis_proto::{NodeId, OwnerId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    auth::OfOwner,
    body::Named,
    missing,
    problem::Refused,
    view::{self, PresenceView},
};
use crate::{
    http::{self, Refusal},
    live::PresenceNow,
};

/// A machine, VM or container that runs one agent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Node)]
pub(super) struct NodeView<'a> {
    id: &'a str,
    /// Its host name when it joined first.
    label: &'a str,
    /// Whether it was revoked, which is for good.
    revoked: bool,
    presence: PresenceView<'a>,
    /// Its peers in the groups of this owner.
    peers: Vec<NodePeerView<'a>>,
}

/// A peer that a node runs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NodePeer)]
pub(super) struct NodePeerView<'a> {
    network_group_id: &'a str,
    peer_id: &'a str,
    member_id: &'a str,
}

/// A node in a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct NodePath {
    /// The node's id: `node_<uuid>`.
    node_id: String,
}

/// Lists the nodes of an owner.
#[utoipa::path(
    get, path = "/{ownerId}/nodes", tag = "nodes", params(OfOwner),
    responses((status = 200, body = Vec<NodeView<'static>>), Refused)
)]
pub(super) async fn list(of: OfOwner) -> Result<Response, Refusal> {
    of.caller.check_sees_all()?;
    let live = &of.caller.control.live;
    let (published, presence) = (live.read(), live.presence.now());
    let state = &published.state;
    let nodes: Vec<_> = state.nodes_of(&of.owner).map(|row| node(state, &of.owner, row, &presence)).collect();
    Ok(http::json(StatusCode::OK, &nodes))
}

/// Shows a node.
#[utoipa::path(
    get, path = "/{ownerId}/nodes/{nodeId}", tag = "nodes", params(OfOwner, NodePath),
    responses((status = 200, body = NodeView<'static>), Refused)
)]
pub(super) async fn show(of: OfOwner, Named(named): Named<NodePath>) -> Result<Response, Refusal> {
    of.caller.check_sees_all()?;
    let live = &of.caller.control.live;
    let (published, presence) = (live.read(), live.presence.now());
    let state = &published.state;
    let row = NodeId::parse(&named.node_id).ok().and_then(|id| state.node_of_owner(&of.owner, &id));
    let row = row.ok_or_else(|| missing("node", &named.node_id))?;
    Ok(http::json(StatusCode::OK, &node(state, &of.owner, row, &presence)))
}

/// Revokes a node for good: its peers go at once, and its identity is never let in again. A node that another
/// owner let in leaves the groups of this owner only.
#[utoipa::path(
    delete, path = "/{ownerId}/nodes/{nodeId}", tag = "nodes", params(OfOwner, NodePath),
    responses((status = 204, description = "It is revoked."), Refused)
)]
pub(super) async fn revoke(of: OfOwner, Named(named): Named<NodePath>) -> Result<Response, Refusal> {
    of.caller.check_sees_all()?;
    let node = NodeId::parse(&named.node_id).map_err(|_| missing("node", &named.node_id))?;
    of.caller.ask(Command::RevokeNode { node, owner: Some(of.owner.clone()) }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn node<'a>(
    state: &'a State,
    owner: &OwnerId,
    row: &'a NodeRow,
    presence: &'a PresenceNow<'_>,
) -> NodeView<'a> {
    let groups = state.groups_of(&row.id).filter(|group| group.row.owner == *owner);
    let peers = groups.filter_map(|group| group.peer_of(&row.id));
    NodeView {
        id: row.id.as_str(),
        label: &row.label,
        revoked: row.state == NodeState::Revoked,
        presence: view::presence_of(None, presence.seen(&row.id)),
        peers: peers
            .map(|peer| NodePeerView {
                network_group_id: peer.group.as_str(),
                peer_id: peer.id.as_str(),
                member_id: peer.member.as_str(),
            })
            .collect(),
    }
}
