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
mod presence;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use lacis_control_core::{Row, State, scope_of_group, scope_of_node};
use lacis_proto::{Change, Epoch, Revision, Scope, ScopeError, ScopeId};
use tokio::sync::watch;

pub(crate) use self::{
    copies::Copy,
    presence::{Connection, Presence, Seen},
};
use crate::metrics::Metrics;

/// The committed state and its scopes.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) state: State,
    scopes: BTreeMap<ScopeId, Scope>,
}

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) epoch: Epoch,
    pub(crate) presence: Presence,
    pub(crate) metrics: Metrics,
    published: RwLock<Published>,
    wake: Mutex<BTreeMap<ScopeId, watch::Sender<Revision>>>,
}

impl Published {
    pub(crate) fn scope(&self, id: &ScopeId) -> Option<&Scope> {
        self.scopes.get(id)
    }

    fn build(state: State, epoch: Epoch) -> Result<Self, ScopeError> {
        let mut scopes = BTreeMap::new();
        for group in state.groups() {
            let scope = scope_of_group(&state, &group.row.id, epoch)?;
            scopes.extend(scope.map(|scope| (ScopeId::from(&group.row.id), scope)));
        }
        for node in state.nodes() {
            let scope = scope_of_node(&state, &node.id, epoch)?;
            scopes.extend(scope.map(|scope| (ScopeId::from(&node.id), scope)));
        }
        Ok(Self { state, scopes })
    }
}

impl Live {
    pub(crate) fn try_new(epoch: Epoch, state: State) -> Result<Self, ScopeError> {
        let published = RwLock::new(Published::build(state, epoch)?);
        Ok(Self {
            epoch,
            presence: Presence::default(),
            metrics: Metrics::default(),
            published,
            wake: Mutex::default(),
        })
    }

    /// What is published now. Never held across an `await`.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes one commit.
    pub(crate) fn publish(&self, rows: Vec<Row>, changes: Vec<(ScopeId, Change)>) {
        let mut by_scope: BTreeMap<ScopeId, Vec<Change>> = BTreeMap::new();
        for (scope, change) in changes {
            by_scope.entry(scope).or_default().push(change);
        }
        let floors: Vec<_> = rows.iter().filter_map(forgotten).collect();
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        published.state.apply(rows);
        let mut revisions = Vec::with_capacity(by_scope.len());
        for (id, changes) in by_scope {
            let scope = published.scopes.entry(id.clone()).or_insert_with(|| Scope::new(self.epoch));
            revisions.push((id, scope.commit(changes)));
        }
        for (id, floor) in floors {
            if let Some(scope) = published.scopes.get_mut(&id) {
                scope.compact(floor);
            }
        }
        drop(published);
        self.wake(revisions);
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

    /// Tells of new revisions of a scope.
    pub(crate) fn subscribe(&self, id: &ScopeId) -> watch::Receiver<Revision> {
        let mut wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        wake.entry(id.clone()).or_insert_with(|| watch::Sender::new(Revision(0))).subscribe()
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

fn forgotten(row: &Row) -> Option<(ScopeId, Revision)> {
    if let Row::Forgotten(scope, floor) = row { Some((scope.clone(), *floor)) } else { None }
}
