//! Keys that are out: what a relay must be told of, because tokens that they had outlive their peers.
//!
//! A row is written with the commit that takes the key away, so that no crash comes in between. It is kept as long as a
//! token of before could be shown, and then forgotten.

use lacis_proto::{GroupId, PublicKey};

use crate::{
    State,
    limits::{FORGOTTEN_AT_ONCE, MAX_DEPARTED, RELAY_TOKEN_MS},
    row::{DepartedRow, PeerRow, Row},
};

/// Rows for the keys that are in no peer of an agent any more once `rows` are applied. A key without an agent never had a
/// token.
pub(crate) fn departed(state: &State, rows: &[Row], now_ms: u64) -> Vec<Row> {
    let peer = |group: &GroupId, id| state.group(group)?.peers.get(id);
    let mut gone: Vec<&PeerRow> = Vec::new();
    for row in rows {
        match row {
            Row::Peer(next) => {
                let before = peer(&next.group, &next.id);
                gone.extend(before.filter(|before| before.key != next.key || next.node.is_none()));
            }
            Row::PeerGone(group, id) => gone.extend(peer(group, id)),
            Row::GroupGone(row) => {
                gone.extend(state.group(&row.id).into_iter().flat_map(|held| held.peers.values()))
            }
            Row::Owner(_)
            | Row::Group(_)
            | Row::GroupBack(_)
            | Row::Member(_)
            | Row::MemberGone(..)
            | Row::Node(_)
            | Row::NodeGone(_)
            | Row::Grant(_)
            | Row::GrantGone(..)
            | Row::Statement(_)
            | Row::StatementGone(..)
            | Row::Released(_)
            | Row::Taken(..)
            | Row::Tombstone(_)
            | Row::Revived(..)
            | Row::Forgotten(..)
            | Row::JoinToken(_)
            | Row::JoinTokenGone(_)
            | Row::JoinUse(_)
            | Row::JoinUseGone(..)
            | Row::ApiToken(_)
            | Row::ApiTokenGone(_)
            | Row::Departed(_)
            | Row::DepartedForgotten(_)
            | Row::Audit(_)
            | Row::AuditGone(_) => {}
        }
    }
    let of_agents = gone.into_iter().filter(|peer| peer.node.is_some());
    let rows = of_agents.filter_map(|peer| {
        Some(Row::Departed(DepartedRow { group: peer.group.clone(), key: peer.key?, at_ms: now_ms }))
    });
    rows.collect()
}

/// Until when departures are to be forgotten, and whether there are more of them: those whose tokens have ended, and the
/// oldest of too many; as many at once as one commit takes, besides those of the same moment.
pub(crate) fn over(state: &State, now_ms: u64) -> Option<(u64, bool)> {
    let mut times: Vec<u64> = state.departed.values().copied().collect();
    let mut before = now_ms.saturating_sub(RELAY_TOKEN_MS);
    if let Some(too_many) = times.len().checked_sub(MAX_DEPARTED).filter(|count| *count > 0) {
        let (_, oldest_kept, _) = times.select_nth_unstable(too_many);
        before = before.max(*oldest_kept);
    }
    times.retain(|at| *at < before);
    if times.len() > FORGOTTEN_AT_ONCE {
        let (_, last, _) = times.select_nth_unstable(FORGOTTEN_AT_ONCE - 1);
        return Some((*last + 1, true));
    }
    (!times.is_empty()).then_some((before, false))
}

impl State {
    /// Keys that are out, and since when in Unix milliseconds; as long as tokens of before have not ended.
    pub fn departed(&self) -> impl Iterator<Item = DepartedRow> {
        let row = |((group, key), at_ms): (&(GroupId, PublicKey), &u64)| DepartedRow {
            group: group.clone(),
            key: *key,
            at_ms: *at_ms,
        };
        self.departed.iter().map(row)
    }

    /// When a key was last put out of a group.
    #[must_use]
    pub fn departed_at(&self, group: &GroupId, key: &PublicKey) -> Option<u64> {
        self.departed.get(&(group.clone(), *key)).copied()
    }
}
