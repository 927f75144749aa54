//! Nodes as a person sees them: who they are, what they run, and whether they are connected.

use lacis_control_core::{NodeRow, NodeState, State};
use lacis_proto::{Code, GroupId, MemberId, NodeId, PeerId, Problem, ScopeId, overlay_addrs};
use serde::{Deserialize, Serialize};

use crate::live::{Copy, Presence, Published};

/// A node, and what is known of its agent now. Times are Unix milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeEntry {
    pub(crate) id: NodeId,
    pub(crate) label: String,
    /// `active` or `revoked`.
    pub(crate) state: String,
    pub(crate) connected: bool,
    /// Since when it is connected.
    pub(crate) since_ms: Option<u64>,
    /// When it was last connected, as far back as this control remembers.
    pub(crate) last_seen_ms: Option<u64>,
    pub(crate) agent: Option<String>,
    /// Where the agent connects from.
    pub(crate) underlay: Option<String>,
    /// Machines that were refused because they have this node's identity, too.
    pub(crate) copies: Vec<NodeCopy>,
    pub(crate) peers: Vec<NodePeer>,
}

/// A machine with the identity of a node that is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeCopy {
    pub(crate) host: String,
    pub(crate) from: String,
    pub(crate) at_ms: u64,
}

/// A peer that a node hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodePeer {
    pub(crate) id: PeerId,
    pub(crate) group: GroupId,
    pub(crate) group_label: String,
    pub(crate) member: MemberId,
    pub(crate) address4: Option<String>,
    pub(crate) address6: Option<String>,
    /// The group's version.
    pub(crate) version: u64,
    /// The version that the agent has applied, while it is connected and has told.
    pub(crate) applied: Option<u64>,
}

/// All nodes by id.
pub(crate) fn all(published: &Published, presence: &Presence) -> Vec<NodeEntry> {
    published.state.nodes().map(|row| entry(row, &published.state, presence)).collect()
}

/// One node, by its id or by a label that no other node has.
pub(crate) fn one(published: &Published, presence: &Presence, name: &str) -> Result<NodeEntry, Problem> {
    Ok(entry(find(&published.state, name)?, &published.state, presence))
}

/// The node of an id or a label.
pub(crate) fn find<'a>(state: &'a State, name: &str) -> Result<&'a NodeRow, Problem> {
    if let Some(row) = NodeId::parse(name).ok().and_then(|id| state.node(&id)) {
        return Ok(row);
    }
    let mut called: Vec<&NodeRow> = state.nodes().filter(|row| row.label == name).collect();
    // A machine that was revoked and came back is meant by its label.
    if called.len() > 1 {
        called.retain(|row| row.state == NodeState::Active);
    }
    let refuse = |code, message: String| Err(Problem::new(code, message).in_field("node"));
    match called.as_slice() {
        [row] => Ok(row),
        [] => refuse(
            Code::UnknownNode,
            format!("there is no node {name:?}; `lacis-control node list` names them all"),
        ),
        several => {
            let ids: Vec<&str> = several.iter().map(|row| row.id.as_str()).collect();
            refuse(
                Code::BadRequest,
                format!("{} nodes are called {name:?}; name one by its id: {}", ids.len(), ids.join(", ")),
            )
        }
    }
}

fn entry(row: &NodeRow, state: &State, presence: &Presence) -> NodeEntry {
    let seen = presence.seen(&row.id);
    let peers = state.groups_of(&row.id).filter_map(|group| {
        let peer = group.peer_of(&row.id)?;
        let addrs = overlay_addrs(group.row.pool, group.row.prefix6, peer.host);
        let applied = seen.as_ref().and_then(|seen| seen.applied.get(&ScopeId::from(&group.row.id)));
        Some(NodePeer {
            id: peer.id.clone(),
            group: group.row.id.clone(),
            group_label: group.row.label.clone(),
            member: peer.member.clone(),
            address4: addrs.map(|addrs| addrs.v4.to_string()),
            address6: addrs.map(|addrs| addrs.v6.to_string()),
            version: group.row.revision.0,
            applied: applied.map(|revision| revision.0),
        })
    });
    let state = match row.state {
        NodeState::Active => "active",
        NodeState::Revoked => "revoked",
    };
    NodeEntry {
        id: row.id.clone(),
        label: row.label.clone(),
        state: state.to_owned(),
        connected: seen.is_some(),
        since_ms: seen.as_ref().map(|seen| seen.since_ms),
        last_seen_ms: presence.last_seen_ms(&row.id),
        copies: presence.copies(&row.id).into_iter().map(copy).collect(),
        peers: peers.collect(),
        agent: seen.as_ref().map(|seen| seen.agent.clone()),
        underlay: seen.map(|seen| seen.underlay.to_string()),
    }
}

fn copy(copy: Copy) -> NodeCopy {
    NodeCopy { host: copy.run.host, from: copy.from.to_string(), at_ms: copy.at_ms }
}
