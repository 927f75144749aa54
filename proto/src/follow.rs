//! Follows the watch stream: stages what each scope is told and applies it at its `at`.
//!
//! ```text
//! hello ─▶ per scope: [reset] put* del* ─▶ at ─▶ the scope is applied, all of it or nothing
//! ```
//! The follower holds the reader's copies of its scopes. A stream that ends leaves them as they were at
//! their last `at`; what was staged is forgotten ([`Follower::disconnected`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::{ApplyError, At, Cursor, Epoch, Line, Record, RecordId, Scope, ScopeId};

/// Most records staged before an `at`, over all scopes: ten groups of the largest size in view.
pub const MAX_STAGED_RECORDS: usize = 1_000_000;

/// Most scopes of one reader, held or staged: its own, and one for each group that it is in.
pub const MAX_SCOPES: usize = 1_024;

/// What a line did to the reader's scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Nothing yet, or the line is not about scopes.
    Nothing,
    /// The scope has a new revision.
    Scope {
        /// Which.
        scope: ScopeId,
        /// Control wants to hear within so many milliseconds that it was applied.
        ack_within_ms: Option<u32>,
    },
    /// The scope is no longer the reader's business; its copy is gone.
    Dropped(ScopeId),
}

/// A line that must not be followed. The reader ends the stream and connects again, without the cursor
/// of the scope that is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// A line about scopes before `hello`.
    #[error("the stream did not begin with hello")]
    NoHello,
    /// More than [`MAX_STAGED_RECORDS`] without an `at`.
    #[error("more than {MAX_STAGED_RECORDS} records came without a commit point")]
    TooMuch,
    /// More than [`MAX_SCOPES`].
    #[error("more than {MAX_SCOPES} scopes came")]
    TooManyScopes,
    /// The answer must not be applied.
    #[error("scope {scope} cannot be applied")]
    Apply {
        /// Which.
        scope: ScopeId,
        /// Why.
        source: ApplyError,
    },
    /// A complete answer about this scope would take away what the reader must keep.
    #[error("scope {scope} was refused: {reason}")]
    Refused {
        /// Which.
        scope: ScopeId,
        /// Why.
        reason: &'static str,
    },
}

#[derive(Debug, Default)]
struct Staged {
    reset: bool,
    puts: BTreeMap<RecordId, Record>,
    dels: BTreeSet<RecordId>,
}

/// The reader's copies of its scopes, and what is staged for them.
#[derive(Debug, Default)]
pub struct Follower {
    scopes: BTreeMap<ScopeId, Scope>,
    staged: BTreeMap<ScopeId, Staged>,
    staged_records: usize,
    distrusted: BTreeSet<ScopeId>,
    epoch: Option<Epoch>,
}

impl Follower {
    /// A follower that starts from cached scopes.
    #[must_use]
    pub fn new(scopes: BTreeMap<ScopeId, Scope>) -> Self {
        Self { scopes, ..Self::default() }
    }

    /// The cursors to send with the next watch request. A scope whose last answer could not be applied
    /// is left out, so that all of it comes again.
    #[must_use]
    pub fn have(&self) -> BTreeMap<ScopeId, String> {
        let trusted = self.scopes.iter().filter(|(id, _)| !self.distrusted.contains(*id));
        trusted.map(|(id, scope)| (id.clone(), scope.cursor().to_string())).collect()
    }

    /// The reader's copy of a scope.
    #[must_use]
    pub fn scope(&self, id: &ScopeId) -> Option<&Scope> {
        self.scopes.get(id)
    }

    /// All copies.
    pub fn scopes(&self) -> impl Iterator<Item = (&ScopeId, &Scope)> {
        self.scopes.iter()
    }

    /// Forgets the copy of a scope that is no longer the reader's business.
    pub fn forget(&mut self, id: &ScopeId) {
        self.scopes.remove(id);
        self.distrusted.remove(id);
        self.unstage(id);
    }

    /// Takes in one line. `accept` may refuse the records that a `reset` leaves in a scope.
    ///
    /// # Errors
    /// [`FollowError`]; the copies are as they were.
    pub fn handle(
        &mut self,
        line: Line,
        accept: impl FnOnce(&ScopeId, &BTreeMap<RecordId, Record>) -> Result<(), &'static str>,
    ) -> Result<Applied, FollowError> {
        match line {
            Line::Hello(hello) => self.epoch = Some(hello.epoch),
            Line::Reset(line) => {
                self.stage(&line.scope)?;
                self.unstage(&line.scope);
                self.staged.insert(line.scope, Staged { reset: true, ..Staged::default() });
            }
            Line::Put(line) => {
                self.count(line.records.len())?;
                let staged = self.stage(&line.scope)?;
                for record in line.records {
                    staged.dels.remove(&record.id);
                    staged.puts.insert(record.id.clone(), record);
                }
            }
            Line::Del(line) => {
                self.count(line.ids.len())?;
                let staged = self.stage(&line.scope)?;
                for id in line.ids {
                    staged.puts.remove(&id);
                    staged.dels.insert(id);
                }
            }
            Line::At(at) => return self.apply(at, accept),
            Line::Drop(line) => {
                self.forget(&line.scope);
                return Ok(Applied::Dropped(line.scope));
            }
            Line::Signal(_)
            | Line::Relays(_)
            | Line::Rollcall(_)
            | Line::Copy(_)
            | Line::Beat(_)
            | Line::Bye(_)
            | Line::Unknown(_) => {}
        }
        Ok(Applied::Nothing)
    }

    /// The stream ended: what was staged is forgotten, the copies stay.
    pub fn disconnected(&mut self) {
        self.staged.clear();
        self.staged_records = 0;
        self.epoch = None;
    }

    fn stage(&mut self, scope: &ScopeId) -> Result<&mut Staged, FollowError> {
        if self.staged.len() >= MAX_SCOPES && !self.staged.contains_key(scope) {
            return Err(FollowError::TooManyScopes);
        }
        Ok(self.staged.entry(scope.clone()).or_default())
    }

    fn count(&mut self, records: usize) -> Result<(), FollowError> {
        self.staged_records += records;
        if self.staged_records > MAX_STAGED_RECORDS { Err(FollowError::TooMuch) } else { Ok(()) }
    }

    fn unstage(&mut self, id: &ScopeId) -> Staged {
        let staged = self.staged.remove(id).unwrap_or_default();
        self.staged_records = self.staged_records.saturating_sub(staged.puts.len() + staged.dels.len());
        staged
    }

    fn apply(
        &mut self,
        at: At,
        accept: impl FnOnce(&ScopeId, &BTreeMap<RecordId, Record>) -> Result<(), &'static str>,
    ) -> Result<Applied, FollowError> {
        let epoch = self.epoch.ok_or(FollowError::NoHello)?;
        let staged = self.unstage(&at.scope);
        if staged.reset {
            accept(&at.scope, &staged.puts)
                .map_err(|reason| FollowError::Refused { scope: at.scope.clone(), reason })?;
        }
        let cursor = Cursor { epoch, revision: at.rev, digest: at.digest };
        let count = self.scopes.len();
        let (held, mut new) = (self.scopes.get_mut(&at.scope), Scope::new(epoch));
        let is_new = held.is_none();
        if is_new && count >= MAX_SCOPES {
            return Err(FollowError::TooManyScopes);
        }
        let scope = held.unwrap_or(&mut new);
        if let Err(source) = scope.apply(staged.reset, staged.puts, &staged.dels, cursor) {
            // A scope that is not held has no cursor to be left out.
            if !is_new {
                self.distrusted.insert(at.scope.clone());
            }
            return Err(FollowError::Apply { scope: at.scope, source });
        }
        if is_new {
            self.scopes.insert(at.scope.clone(), new);
        }
        self.distrusted.remove(&at.scope);
        Ok(Applied::Scope { scope: at.scope, ack_within_ms: at.ack_within_ms })
    }
}

#[cfg(test)]
mod tests;
