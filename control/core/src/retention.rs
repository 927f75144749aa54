//! What is kept of things that have ended, and for how long.

use lacis_proto::{GroupId, NodeId, Revision, ScopeId};

use crate::{
    State,
    limits::{MAX_TOMBSTONES, MIN_TOMBSTONES},
};

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

/// How many records a scope holds, besides the one that describes it.
fn holds(state: &State, scope: &ScopeId) -> usize {
    match (GroupId::parse(scope.as_str()), NodeId::parse(scope.as_str())) {
        (Ok(group), _) => state.group(&group).map_or(0, |group| group.members.len() + group.peers.len()),
        (Err(_), Ok(node)) => state.groups_of(&node).count(),
        (Err(_), Err(_)) => 0,
    }
}
