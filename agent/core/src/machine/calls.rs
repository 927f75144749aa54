//! Whom to call on: peers that may not know where this node is.
//!
//! ```text
//! start, move ─▶ owed: peers it has spoken with ─▶ call ─▶ answered: not owed any more
//!                  ▲ control cannot be reached: the others, too    │
//!                  └────────────── every five minutes ◀────────────┘ no answer
//! ```
//! A node that moves while control is away is the only one that knows: the others would go on sending to where
//! it was. Whoever stayed where it was learns of the new place from the call. Two that moved both cannot find
//! each other before control is back. Once control has taken a report, it tells everybody, and nobody is owed a call.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lacis_proto::{GroupId, PublicKey};

use crate::{
    Desired,
    limits::{CALL_AGAIN, MAX_CALLS},
};

#[cfg(test)]
mod tests;

/// Peers by group and key.
type Peers = BTreeMap<GroupId, BTreeSet<PublicKey>>;

#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Peers that answered a handshake, in this run or the last.
    spoken: Peers,
    /// Peers that may look for this node where it no longer is.
    owed: Peers,
    /// Who was called last: where more are owed than one round calls, the next goes on behind it.
    last: Option<(GroupId, PublicKey)>,
    again: Option<Duration>,
}

impl Calls {
    pub(super) fn new(spoken: Peers) -> Self {
        Self { spoken, ..Self::default() }
    }

    /// This node begins, or is elsewhere than it was: peers that it has spoken with are called.
    pub(super) fn moved(&mut self, now: Duration) {
        self.owed.clone_from(&self.spoken);
        self.again = Some(now);
    }

    /// Control cannot tell the others where this node is: they are called, too.
    pub(super) fn is_alone(&mut self, now: Duration, want: &Desired) {
        if self.again.is_none() {
            return;
        }
        let room = MAX_CALLS.saturating_sub(self.owed.values().map(BTreeSet::len).sum());
        let all = want.interfaces.iter().flat_map(|(group, to)| to.peers.keys().map(move |key| (group, key)));
        let strangers: Vec<_> = all
            .filter(|(group, key)| !self.spoken.get(*group).is_some_and(|spoken| spoken.contains(*key)))
            .filter(|(group, key)| !self.owed.get(*group).is_some_and(|owed| owed.contains(*key)))
            .take(room)
            .map(|(group, key)| (group.clone(), *key))
            .collect();
        if strangers.is_empty() {
            return;
        }
        for (group, key) in strangers {
            self.owed.entry(group).or_default().insert(key);
        }
        self.again = Some(now);
    }

    /// Control knows where this node is and tells the others.
    pub(super) fn told(&mut self) {
        self.owed.clear();
        self.again = None;
    }

    /// A peer answered: it knows where this node is.
    pub(super) fn answered(&mut self, group: &GroupId, key: &PublicKey) {
        self.spoken.entry(group.clone()).or_default().insert(*key);
        if let Some(owed) = self.owed.get_mut(group) {
            owed.remove(key);
        }
    }

    pub(super) fn entries(&self) -> usize {
        self.spoken.values().chain(self.owed.values()).map(BTreeSet::len).sum()
    }

    pub(super) const fn deadline(&self) -> Option<Duration> {
        self.again
    }

    /// Forgets peers that are not wanted any more.
    pub(super) fn keep(&mut self, want: &Desired) {
        for peers in [&mut self.owed, &mut self.spoken] {
            peers.retain(|group, keys| {
                let wanted = want.interfaces.get(group);
                keys.retain(|key| wanted.is_some_and(|to| to.peers.contains_key(key)));
                !keys.is_empty()
            });
        }
    }

    /// The calls that are due by now.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<(GroupId, Vec<PublicKey>)> {
        if self.again.is_none_or(|again| now < again) {
            return Vec::new();
        }
        self.again = Some(now + CALL_AGAIN);
        let owed = || self.owed.iter().flat_map(|(group, keys)| keys.iter().map(move |key| (group, key)));
        let last = self.last.as_ref().map(|(group, key)| (group, key));
        let (before, behind): (Vec<_>, Vec<_>) = owed().partition(|peer| Some(*peer) <= last);
        let mut due: BTreeMap<GroupId, Vec<PublicKey>> = BTreeMap::new();
        let mut called = None;
        for (group, key) in behind.into_iter().chain(before).take(MAX_CALLS) {
            due.entry(group.clone()).or_default().push(*key);
            called = Some((group.clone(), *key));
        }
        self.last = called;
        due.into_iter().collect()
    }
}
