//! What is published: the committed state, every scope, and who is connected.
//!
//! ```text
//! writer ── publish (rows and changes of one commit) ──▶ Published ──▶ readers, watchers
//!                                                   └──▶ a revision per scope wakes its watchers
//! ```
//! Invariants: only committed rows get in; all scopes of a commit appear at once, so a reader that sees
//! its assignment sees its peer; a failed read of the store leaves everything as it was. A watcher holds a
//! cursor and no queue: a slow one skips revisions and costs nothing.

mod copies;
mod places;
mod presence;
mod uses;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use lacis_control_core::{DepartedRow, Row, Scopes, State, floors};
use lacis_proto::{Change, Epoch, Revision, Scope, ScopeError, ScopeId};
use tokio::sync::{mpsc, watch};

pub(crate) use self::{
    copies::Copy,
    places::{Place, Places},
    presence::{Connection, Now as PresenceNow, Presence, Seen},
    uses::Uses,
};
use crate::metrics::Metrics;

/// The committed state and its scopes.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) state: State,
    scopes: Scopes,
}

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) epoch: Epoch,
    pub(crate) presence: Presence,
    pub(crate) metrics: Metrics,
    published: RwLock<Published>,
    wake: Mutex<BTreeMap<ScopeId, watch::Sender<Revision>>>,
    awaited: Mutex<BTreeMap<ScopeId, usize>>,
    departed: mpsc::Sender<Departed>,
    departures: Mutex<Option<mpsc::Receiver<Departed>>>,
}

/// Keys that one commit has put out.
pub(crate) type Departed = Vec<DepartedRow>;

/// Commits with departures that wait for whoever follows them, which takes microseconds for each.
const DEPARTURES: usize = 1_024;

/// As long as it lives, somebody waits until agents have applied what is published of a scope.
#[derive(Debug)]
pub(crate) struct Awaited {
    live: Arc<Live>,
    scope: ScopeId,
}

impl Published {
    pub(crate) fn scope(&self, id: &ScopeId) -> Option<&Scope> {
        self.scopes.get(id)
    }

    fn build(state: State, epoch: Epoch) -> Result<Self, ScopeError> {
        let scopes = Scopes::build(&state, epoch)?;
        Ok(Self { state, scopes })
    }
}

/// A key that a row puts out.
fn departure(row: &Row) -> Option<DepartedRow> {
    if let Row::Departed(row) = row { Some(row.clone()) } else { None }
}

impl Live {
    pub(crate) fn try_new(epoch: Epoch, state: State) -> Result<Self, ScopeError> {
        let published = RwLock::new(Published::build(state, epoch)?);
        let (departed, departures) = mpsc::channel(DEPARTURES);
        Ok(Self {
            epoch,
            presence: Presence::default(),
            metrics: Metrics::default(),
            published,
            wake: Mutex::default(),
            awaited: Mutex::default(),
            departed,
            departures: Mutex::new(Some(departures)),
        })
    }

    /// What is published now. Never held across an `await`.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes one commit.
    pub(crate) fn publish(&self, rows: Vec<Row>, changes: Vec<(ScopeId, Change)>) {
        let floors = floors(&rows);
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        let departed: Departed = rows.iter().filter_map(departure).collect();
        published.state.apply(rows);
        let Published { state, scopes } = &mut *published;
        let moved = scopes.commit(state, changes, &floors);
        drop(published);
        if !departed.is_empty() && self.departed.try_send(departed).is_err() {
            tracing::debug!("nobody follows the departures of peers");
        }
        // Committed rows that contradict each other are a fault of ours; a restart reads them and says so.
        match moved {
            Ok(moved) => self.wake(moved),
            Err(error) => tracing::error!(%error, "the rows of a scope contradict each other"),
        }
    }

    /// Publishes a state that was read from the store, after another process has written there.
    pub(crate) fn replace(&self, state: State) -> Result<(), ScopeError> {
        let next = Published::build(state, self.epoch)?;
        let revisions: Vec<_> =
            next.scopes.iter().map(|(id, scope)| (id.clone(), scope.revision())).collect();
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = next;
        self.wake(revisions);
        Ok(())
    }

    /// Departures of peers from now on; whoever asks first has them.
    pub(crate) fn departures(&self) -> Option<mpsc::Receiver<Departed>> {
        self.departures.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Tells of new revisions of a scope.
    pub(crate) fn subscribe(&self, id: &ScopeId) -> watch::Receiver<Revision> {
        let mut wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        wake.entry(id.clone()).or_insert_with(|| watch::Sender::new(Revision(0))).subscribe()
    }

    /// Has agents confirm a scope at once. Begun before the scope changes, so that no line goes without it.
    pub(crate) fn await_applied(self: &Arc<Self>, scope: ScopeId) -> Awaited {
        *self.awaited().entry(scope.clone()).or_default() += 1;
        Awaited { live: Arc::clone(self), scope }
    }

    /// Whether somebody waits for a scope to be applied.
    pub(crate) fn is_awaited(&self, scope: &ScopeId) -> bool {
        self.awaited().contains_key(scope)
    }

    fn awaited(&self) -> MutexGuard<'_, BTreeMap<ScopeId, usize>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, revisions: Vec<(ScopeId, Revision)>) {
        let mut wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, revision) in revisions {
            if let Some(sender) = wake.get(&id).filter(|sender| sender.receiver_count() > 0) {
                // Woken only by what it has not seen: a replaced state touches few scopes.
                sender.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
            } else {
                wake.remove(&id);
            }
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut awaited = self.live.awaited();
        if let Some(count) = awaited.get_mut(&self.scope) {
            *count -= 1;
            if *count == 0 {
                awaited.remove(&self.scope);
            }
        }
    }
}
