//! What is kept of things that have ended, and for how long.
//!
//! Tombstones are kept by number, for readers that were away. Everything else is kept by time, for people who want
//! to know what became of it: what was done, tokens, nodes that were revoked or have no group left.
//!
//! A revoked node that is forgotten could be let in again by a token that still lets anybody in; who has such a token
//! could as well come as a new node. What it used of older tokens is forgotten with it, so that they do not know it.

use std::collections::BTreeSet;

use lacis_proto::{GroupId, IdentityKey, NodeId, Revision, ScopeId, TokenId};

use crate::{
    Decision, Reply, State,
    decision::Effects,
    departure,
    limits::{FORGOTTEN_AT_ONCE, MAX_TOMBSTONES, MIN_TOMBSTONES},
    row::{JoinTokenRow, NodeRow, NodeState, Row},
};

/// What is kept, and what the rows do not tell.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Entries of the audit from before this time are forgotten, in Unix milliseconds; none without it.
    pub audit_since_ms: Option<u64>,
    /// Tokens and nodes that ended before this time are forgotten, in Unix milliseconds; none without it.
    pub ended_since_ms: Option<u64>,
    /// Nodes that are connected now: they have not ended.
    pub connected: BTreeSet<NodeId>,
}

/// The revision up to which a scope's tombstones are to be forgotten before it gets another one.
///
/// A reader that was away needs them in place of everything anew; where they outnumber what the scope holds,
/// everything anew is the shorter answer.
pub(crate) fn floor(state: &State, scope: &ScopeId) -> Option<Revision> {
    let kept = holds(state, scope).clamp(MIN_TOMBSTONES, MAX_TOMBSTONES);
    let too_many = (state.tombstones(scope).count() + 1).checked_sub(kept).filter(|&count| count > 0)?;
    let mut revisions: Vec<Revision> = state.tombstones(scope).map(|(_, revision)| revision).collect();
    let (_, floor, _) = revisions.select_nth_unstable(too_many - 1);
    Some(*floor)
}

/// Room for what is forgotten by one commit.
struct Room {
    left: usize,
    /// Something did not fit.
    is_over: bool,
}

impl Room {
    const fn takes_one_more(&mut self) -> bool {
        self.is_over |= self.left == 0;
        self.left = self.left.saturating_sub(1);
        !self.is_over
    }
}

/// Forgets what ended long ago, and notes which nodes have ended since the last time.
///
/// As much as one commit takes: the answer tells whether there is more. Entries of the audit are not in memory, so that
/// only the store knows of more.
pub(crate) fn forget(mut fx: Effects<'_>, kept: &Kept) -> Decision {
    let mut room = Room { left: FORGOTTEN_AT_ONCE, is_over: false };
    if let Some(since_ms) = kept.ended_since_ms {
        let tokens = fx.state.join_tokens().filter(|row| ended_before(row, since_ms));
        let tokens: BTreeSet<TokenId> = tokens.map(|row| row.id.clone()).collect();
        forget_tokens(&mut fx, &tokens, since_ms, &mut room);
        forget_nodes(&mut fx, kept, since_ms, &tokens, &mut room);
    }
    let mut more = room.is_over;
    if let Some((before_ms, more_departed)) = departure::over(fx.state, fx.now_ms) {
        fx.row(Row::DepartedForgotten(before_ms));
        more |= more_departed;
    }
    if let Some(since_ms) = kept.audit_since_ms {
        fx.row(Row::AuditGone(since_ms));
    }
    fx.unlogged(Reply::Forgot { more })
}

/// Forgets tokens, of each who has used it first.
fn forget_tokens(fx: &mut Effects<'_>, ended: &BTreeSet<TokenId>, since_ms: u64, room: &mut Room) {
    let state = fx.state;
    let uses = state.join_uses.keys().filter(|(token, _)| ended.contains(token));
    let uses = uses.map(|(token, identity)| Row::JoinUseGone(token.clone(), *identity));
    let join = ended.iter().map(|token| Row::JoinTokenGone(token.clone()));
    let api = state.api_tokens().filter(|row| row.expires_ms.is_some_and(|expires| expires < since_ms));
    let api = api.map(|row| Row::ApiTokenGone(row.id.clone()));
    for row in uses.chain(join).chain(api).take_while(|_| room.takes_one_more()) {
        fx.row(row);
    }
}

/// When a token was revoked is not known: what counts then is when it was made.
fn ended_before(row: &JoinTokenRow, since_ms: u64) -> bool {
    row.expires_ms.is_some_and(|expires| expires < since_ms) || row.revoked && row.created_ms < since_ms
}

fn forget_nodes(
    fx: &mut Effects<'_>,
    kept: &Kept,
    since_ms: u64,
    tokens_gone: &BTreeSet<TokenId>,
    room: &mut Room,
) {
    let (state, now_ms) = (fx.state, fx.now_ms);
    let named = nodes_named(state);
    let mut gone: BTreeSet<IdentityKey> = BTreeSet::new();
    for row in state.nodes() {
        let is_over = row.state == NodeState::Revoked || !kept.connected.contains(&row.id);
        let has_ended = is_over && !named.contains(&row.id);
        let is_news = match row.ended_ms {
            Some(ended) => !has_ended || ended < since_ms,
            None => has_ended,
        };
        if !is_news {
            continue;
        }
        if !room.takes_one_more() {
            break;
        }
        if has_ended && row.ended_ms.is_some() {
            gone.insert(row.identity);
            fx.forget_node(row);
        } else {
            fx.row(Row::Node(NodeRow { ended_ms: has_ended.then_some(now_ms), ..row.clone() }));
        }
    }
    let uses = state.join_uses.keys();
    for (token, identity) in uses.filter(|(token, who)| gone.contains(who) && !tokens_gone.contains(token)) {
        fx.row(Row::JoinUseGone(token.clone(), *identity));
    }
}

/// Nodes that a grant, a peer or a member names.
fn nodes_named(state: &State) -> BTreeSet<NodeId> {
    let granted = state.grants.keys().map(|(node, _, _)| node);
    let hosting = state.groups().flat_map(|group| group.peers.values().filter_map(|peer| peer.node.as_ref()));
    let stood_for =
        state.groups().flat_map(|group| group.members.values().filter_map(|member| member.of_node.as_ref()));
    granted.chain(hosting).chain(stood_for).cloned().collect()
}

/// How many records a scope holds, besides the one that describes it.
fn holds(state: &State, scope: &ScopeId) -> usize {
    match (GroupId::parse(scope.as_str()), NodeId::parse(scope.as_str())) {
        (Ok(group), _) => state.group(&group).map_or(0, |group| group.members.len() + group.peers.len()),
        (Err(_), Ok(node)) => state.groups_of(&node).count(),
        (Err(_), Err(_)) => 0,
    }
}
