//! Scopes as they are published: one per group and per node, moved on by the changes of each commit.
//!
//! Invariant: a scope is what the rows of its group or node say. Where the changes of a commit do not lead
//! there in one step, as when a group was deleted and made again within it, the scope is read from the rows.

use std::collections::BTreeMap;

use lacis_proto::{Change, Epoch, GroupId, NodeId, Revision, Scope, ScopeError, ScopeId};

use crate::{
    Row, State,
    netmap::{scope_of_group, scope_of_node},
};

/// All scopes of an installation.
#[derive(Debug)]
pub struct Scopes {
    epoch: Epoch,
    scopes: BTreeMap<ScopeId, Scope>,
}

impl Scopes {
    /// The scopes of a state.
    ///
    /// # Errors
    /// Rows that contradict each other.
    pub fn build(state: &State, epoch: Epoch) -> Result<Self, ScopeError> {
        let mut scopes = BTreeMap::new();
        for group in state.groups() {
            let scope = scope_of_group(state, &group.row.id, epoch)?;
            scopes.extend(scope.map(|scope| (ScopeId::from(&group.row.id), scope)));
        }
        for node in state.nodes() {
            let scope = scope_of_node(state, &node.id, epoch)?;
            scopes.extend(scope.map(|scope| (ScopeId::from(&node.id), scope)));
        }
        Ok(Self { epoch, scopes })
    }

    /// One scope.
    #[must_use]
    pub fn get(&self, id: &ScopeId) -> Option<&Scope> {
        self.scopes.get(id)
    }

    /// All scopes by id.
    pub fn iter(&self) -> impl Iterator<Item = (&ScopeId, &Scope)> {
        self.scopes.iter()
    }

    /// Takes in one commit, whose rows `state` already holds. Gives the scopes that moved, and where to; one
    /// that is gone is named with the revision after its last.
    ///
    /// # Errors
    /// Rows that contradict each other; the scopes named before are moved, this one is not.
    pub fn commit(
        &mut self,
        state: &State,
        changes: Vec<(ScopeId, Change)>,
        floors: &[(ScopeId, Revision)],
    ) -> Result<Vec<(ScopeId, Revision)>, ScopeError> {
        let mut by_scope: BTreeMap<ScopeId, Vec<Change>> = BTreeMap::new();
        for (scope, change) in changes {
            by_scope.entry(scope).or_default().push(change);
        }
        let mut moved = Vec::with_capacity(by_scope.len());
        for (id, changes) in by_scope {
            let held = self.scopes.get_mut(&id);
            let next = held.as_ref().map_or(Revision(1), |scope| scope.revision().next());
            match (held, revision_of(state, &id)) {
                (_, None) => drop(self.scopes.remove(&id)),
                (Some(scope), Some(revision)) if revision == next => drop(scope.commit(changes)),
                (_, Some(_)) => {
                    let scope = read(state, &id, self.epoch)?;
                    self.scopes.extend(scope.map(|scope| (id.clone(), scope)));
                }
            }
            let revision = self.scopes.get(&id).map_or(next, Scope::revision);
            moved.push((id, revision));
        }
        for (id, floor) in floors {
            if let Some(scope) = self.scopes.get_mut(id) {
                scope.compact(*floor);
            }
        }
        Ok(moved)
    }
}

/// Scopes whose tombstones are forgotten up to a revision.
#[must_use]
pub fn floors(rows: &[Row]) -> Vec<(ScopeId, Revision)> {
    let floor =
        |row: &Row| if let Row::Forgotten(scope, at) = row { Some((scope.clone(), *at)) } else { None };
    rows.iter().filter_map(floor).collect()
}

fn revision_of(state: &State, id: &ScopeId) -> Option<Revision> {
    match GroupId::parse(id.as_str()) {
        Ok(group) => state.group(&group).map(|group| group.row.revision),
        Err(_) => {
            NodeId::parse(id.as_str()).ok().and_then(|node| state.node(&node)).map(|node| node.revision)
        }
    }
}

fn read(state: &State, id: &ScopeId, epoch: Epoch) -> Result<Option<Scope>, ScopeError> {
    match (GroupId::parse(id.as_str()), NodeId::parse(id.as_str())) {
        (Ok(group), _) => scope_of_group(state, &group, epoch),
        (Err(_), Ok(node)) => scope_of_node(state, &node, epoch),
        (Err(_), Err(_)) => Ok(None),
    }
}
