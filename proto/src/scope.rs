//! Scopes: sets of records with one gapless revision, the same type on both sides.
//!
//! ```text
//! epoch      random number, changed by a restore           a rewound server is detected
//! revision   +1 per committed batch, no gaps
//! entries    id -> live record or tombstone, at its latest revision, one row per id
//! floor      tombstones at or below it have been forgotten
//! digest     128-bit sum of H(id, revision) over live records
//! ```
//! Control commits ([`Scope::commit`]) and answers cursors ([`Scope::answer`]); an agent applies what
//! it was answered ([`Scope::apply`]) at once or not at all. A delta carries a `put` or a `del` for an
//! id, never both. The digest detects faults, not attackers.
//!
//! Invariants: no entry is newer than `revision`; no tombstone is at or below `floor`; `digest` is the
//! sum over the live records.

mod cursor;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use self::cursor::{Cursor, CursorError, Digest, Epoch, Revision};
use crate::{Body, Record, RecordId};

/// How many past digests control keeps to check cursors against; older cursors are taken at their word.
const RECENT: usize = 256;

/// One change of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The record is new, changed, or back after a `Del`.
    Put(RecordId, Body),
    /// The record is gone.
    Del(RecordId),
}

/// What control answers to a cursor: `put` and `del` lines, closed by an `at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Whether the reader must drop records that are not named.
    pub reset: bool,
    /// Records newer than the cursor, by id.
    pub puts: Vec<&'a Record>,
    /// Ids whose records are gone since the cursor.
    pub dels: Vec<&'a RecordId>,
    /// Where the reader is after applying this.
    pub at: Cursor,
}

impl Answer<'_> {
    /// Whether the reader already holds everything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.reset && self.puts.is_empty() && self.dels.is_empty()
    }
}

/// Rows that do not make a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A row is newer than the scope.
    #[error("record {id} is at revision {rev}, after its scope's")]
    FromTheFuture {
        /// The record.
        id: RecordId,
        /// Its revision.
        rev: Revision,
    },
    /// Two rows for one id.
    #[error("record {id} stands twice")]
    Twice {
        /// The record.
        id: RecordId,
    },
}

/// An answer that an agent must not apply; its scope is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The sum over the resulting records is another one: something was lost on the way.
    #[error("digest differs at revision {revision}")]
    Digest {
        /// The revision that was to be applied.
        revision: Revision,
    },
    /// Older than what is held, in the same epoch.
    #[error("revision {offered} is older than {held}, which is held")]
    Stale {
        /// The revision that was to be applied.
        offered: Revision,
        /// The revision that is held.
        held: Revision,
    },
    /// A record claims a revision after the one that closes the answer.
    #[error("a record is newer than revision {revision}, which contains it")]
    FromTheFuture {
        /// The revision that was to be applied.
        revision: Revision,
    },
    /// Another epoch without a `reset`.
    #[error("the epoch changed without a reset")]
    Epoch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Live(Record),
    Dead(Revision),
}

impl Entry {
    const fn rev(&self) -> Revision {
        match self {
            Self::Live(record) => record.rev,
            Self::Dead(rev) => *rev,
        }
    }
}

/// A set of records with one gapless revision.
#[derive(Clone, Debug)]
pub struct Scope {
    epoch: Epoch,
    revision: Revision,
    floor: Revision,
    entries: BTreeMap<RecordId, Entry>,
    by_revision: BTreeSet<(Revision, RecordId)>,
    digest: Digest,
    recent: VecDeque<(Revision, Digest)>,
}

impl Scope {
    /// An empty scope before its first commit.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            revision: Revision(0),
            floor: Revision(0),
            entries: BTreeMap::new(),
            by_revision: BTreeSet::new(),
            digest: Digest::default(),
            recent: VecDeque::from([(Revision(0), Digest::default())]),
        }
    }

    /// A scope out of stored rows.
    ///
    /// # Errors
    /// Rows that contradict each other or the revision.
    pub fn restore(
        epoch: Epoch,
        revision: Revision,
        floor: Revision,
        live: impl IntoIterator<Item = Record>,
        dead: impl IntoIterator<Item = (RecordId, Revision)>,
    ) -> Result<Self, ScopeError> {
        let mut scope = Self { revision, floor, ..Self::new(epoch) };
        let live = live.into_iter().map(|record| (record.id.clone(), Entry::Live(record)));
        let dead = dead.into_iter().map(|(id, rev)| (id, Entry::Dead(rev)));
        for (id, entry) in live.chain(dead.filter(|(_, entry)| entry.rev() > floor)) {
            if entry.rev() > revision {
                return Err(ScopeError::FromTheFuture { rev: entry.rev(), id });
            }
            if scope.entries.contains_key(&id) {
                return Err(ScopeError::Twice { id });
            }
            scope.set(id, entry);
        }
        scope.recent = VecDeque::from([(revision, scope.digest)]);
        scope.check_invariants();
        Ok(scope)
    }

    /// Applies one batch of changes as the next revision, which is returned.
    ///
    /// A `Del` of an id that is not live leaves no trace. Of several changes to one id the last counts.
    pub fn commit(&mut self, changes: impl IntoIterator<Item = Change>) -> Revision {
        let rev = self.revision.next();
        self.revision = rev;
        for change in changes {
            match change {
                Change::Put(id, body) => self.set(id.clone(), Entry::Live(Record { id, rev, body })),
                Change::Del(id) if self.live(&id).is_some() => self.set(id, Entry::Dead(rev)),
                Change::Del(_) => {}
            }
        }
        self.remember();
        self.check_invariants();
        rev
    }

    /// Forgets tombstones at or below `floor`; readers with older cursors get everything.
    pub fn compact(&mut self, floor: Revision) {
        self.floor = self.floor.max(floor.min(self.revision));
        let gone: Vec<RecordId> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry, Entry::Dead(rev) if *rev <= self.floor))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.unset(&id);
        }
        self.check_invariants();
    }

    /// What a reader with this cursor lacks. Any cursor, or none, leads to the same scope.
    #[must_use]
    pub fn answer(&self, have: Option<&Cursor>) -> Answer<'_> {
        let at = self.cursor();
        let since = have.filter(|cursor| self.recognises(cursor)).map(|cursor| cursor.revision);
        let Some(since) = since else {
            return Answer { reset: true, puts: self.records().collect(), dels: Vec::new(), at };
        };
        let (mut puts, mut dels) = (Vec::new(), Vec::new());
        let newer = self.by_revision.iter().rev().take_while(|(rev, _)| *rev > since);
        let mut ids: Vec<&RecordId> = newer.map(|(_, id)| id).collect();
        ids.sort_unstable();
        for id in ids {
            match &self.entries[id] {
                Entry::Live(record) => puts.push(record),
                Entry::Dead(_) => dels.push(id),
            }
        }
        Answer { reset: false, puts, dels, at }
    }

    /// Applies an answer: all of it, or nothing. Costs what changed, not what is held.
    ///
    /// # Errors
    /// Why it must not be applied. The scope is as it was; the reader asks again without a cursor.
    pub fn apply(
        &mut self,
        reset: bool,
        puts: BTreeMap<RecordId, Record>,
        dels: &BTreeSet<RecordId>,
        at: Cursor,
    ) -> Result<(), ApplyError> {
        if !reset && at.epoch != self.epoch {
            return Err(ApplyError::Epoch);
        }
        if !reset && at.revision < self.revision {
            return Err(ApplyError::Stale { offered: at.revision, held: self.revision });
        }
        if puts.values().any(|record| record.rev > at.revision) {
            return Err(ApplyError::FromTheFuture { revision: at.revision });
        }
        if self.digest_after(reset, &puts, dels) != at.digest {
            return Err(ApplyError::Digest { revision: at.revision });
        }
        if reset {
            *self = Self::new(at.epoch);
        }
        for id in dels {
            self.unset(id);
        }
        for (id, record) in puts {
            self.set(id, Entry::Live(record));
        }
        self.revision = at.revision;
        self.remember();
        self.check_invariants();
        Ok(())
    }

    fn digest_after(
        &self,
        reset: bool,
        puts: &BTreeMap<RecordId, Record>,
        dels: &BTreeSet<RecordId>,
    ) -> Digest {
        let mut digest = if reset { Digest::default() } else { self.digest };
        if !reset {
            let gone = dels.iter().chain(puts.keys().filter(|id| !dels.contains(*id)));
            for record in gone.filter_map(|id| self.live(id)) {
                digest.remove(&record.id, record.rev);
            }
        }
        for (id, record) in puts {
            digest.add(id, record.rev);
        }
        digest
    }

    /// The cursor of a reader that holds all of this scope.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, revision: self.revision, digest: self.digest }
    }

    /// The revision.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// Tombstones at or below this revision have been forgotten.
    #[must_use]
    pub const fn floor(&self) -> Revision {
        self.floor
    }

    /// Live records by id.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Live(record) => Some(record),
            Entry::Dead(_) => None,
        })
    }

    /// The live record of an id.
    #[must_use]
    pub fn live(&self, id: &RecordId) -> Option<&Record> {
        match self.entries.get(id)? {
            Entry::Live(record) => Some(record),
            Entry::Dead(_) => None,
        }
    }

    fn recognises(&self, cursor: &Cursor) -> bool {
        let known = self.recent.iter().find(|(rev, _)| *rev == cursor.revision);
        cursor.epoch == self.epoch
            && (self.floor..=self.revision).contains(&cursor.revision)
            && known.is_none_or(|(_, digest)| *digest == cursor.digest)
    }

    fn set(&mut self, id: RecordId, entry: Entry) {
        self.unset(&id);
        if let Entry::Live(record) = &entry {
            self.digest.add(&id, record.rev);
        }
        self.by_revision.insert((entry.rev(), id.clone()));
        self.entries.insert(id, entry);
    }

    fn unset(&mut self, id: &RecordId) {
        let Some(entry) = self.entries.remove(id) else { return };
        if let Entry::Live(record) = &entry {
            self.digest.remove(id, record.rev);
        }
        self.by_revision.remove(&(entry.rev(), id.clone()));
    }

    fn remember(&mut self) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((self.revision, self.digest));
    }

    fn check_invariants(&self) {
        debug_assert!(self.entries.values().all(|entry| entry.rev() <= self.revision));
        debug_assert!(self.entries.values().all(|e| matches!(e, Entry::Live(_)) || e.rev() > self.floor));
        debug_assert_eq!(self.entries.len(), self.by_revision.len());
    }
}

#[cfg(test)]
mod tests;
