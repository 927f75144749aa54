//! What must hold of every agent after every event, and of the whole once it is quiet.

use std::time::Duration;

use lacis_agent_core::{Netmap, plan};
use lacis_proto::{Cursor, GroupId, ScopeId};

use crate::{
    node::{Process, Running},
    world::World,
};

/// Between two attempts to watch lies at least this (`agent/core/src/machine/link.rs`).
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

impl World {
    /// Netmaps are what control held, addresses lead to their owners, nothing is lost unasked.
    pub(crate) fn check_agent(&mut self, node: usize) {
        let control = &self.control;
        let Some(running) = self.nodes[node].running() else { return };
        let Running { core, checked, shown, left, observed, .. } = running;
        let own = ScopeId::from(&core.local().node);
        let ids: Vec<ScopeId> = core.local().hosted.keys().map(ScopeId::from).chain([own]).collect();
        let cursors = ids.iter().filter_map(|id| Some((id.clone(), core.scope(id)?.cursor()))).collect();
        let state = (core.desired().revision, cursors);
        if running.looked_at.as_ref() == Some(&state) {
            return;
        }
        running.looked_at = Some(state);
        for id in ids {
            let Some(scope) = core.scope(&id) else { continue };
            let cursor = scope.cursor();
            let before = checked.insert(id.clone(), cursor);
            if before == Some(cursor) {
                continue;
            }
            let is_after =
                |before: Cursor| before.epoch != cursor.epoch || before.revision <= cursor.revision;
            assert!(before.is_none_or(is_after), "{id} went back");
            let held = control.held_at(&id, cursor);
            assert!(scope.records().eq(held), "agent {node}: {id} is a mix at revision {}", cursor.revision);
        }
        for (group, netmap) in core.netmaps() {
            let Some(scope) = core.scope(&group.into()) else { panic!("a netmap without its scope") };
            assert_eq!(
                Netmap::read(group, scope).as_ref(),
                Some(&**netmap),
                "agent {node}: {group} is stale"
            );
        }
        for (group, hosted) in &*shown {
            let is_lost = !core.desired().interfaces.contains_key(group);
            let is_meant = control.is_removed(&hosted.peer) || left.contains(group);
            let is_meant =
                is_meant || core.local().hosted.get(group).is_none_or(|now| now.peer != hosted.peer);
            assert!(!is_lost || is_meant, "agent {node} lost its own peer {} in {group}", hosted.peer);
        }
        let interfaces = core.desired().interfaces.keys();
        *shown = interfaces.map(|group| (group.clone(), core.local().hosted[group].clone())).collect();
        for (group, interface) in &core.desired().interfaces {
            let cursor = core.scope(&group.into()).unwrap().cursor();
            assert_eq!(cursor.revision, interface.revision, "agent {node}: {group} is stale");
            let owners = control.owners(group, cursor);
            for (key, peer) in &interface.peers {
                for net in &peer.allowed {
                    assert_eq!(owners.get(net), Some(key), "agent {node}: {net} of {group} leads elsewhere");
                }
            }
            let others = owners.values().filter(|key| **key != interface.key).count() / 2;
            assert_eq!(others, interface.peers.len(), "agent {node}: peers of {group} are missing");
        }
        debug_assert!(observed.interfaces.len() <= 2);
    }

    /// An agent that starts shows every group of which it has a copy, before a word from control.
    pub(crate) fn check_start(&mut self, node: usize) {
        let Process::Running(running) = &self.nodes[node].process else { return };
        for (group, hosted) in &self.nodes[node].disk.hosted {
            let copy = self.nodes[node].disk.scopes.get(&ScopeId::from(group));
            let has_peer = copy.is_some_and(|(_, records)| {
                records.iter().any(|record| record.id.as_str() == hosted.peer.as_str())
            });
            let is_up = running.core.desired().interfaces.contains_key(group);
            assert_eq!(has_peer, is_up, "agent {node} starts with a copy of {group}");
        }
    }

    pub(crate) fn check_attempt(&mut self, node: usize) {
        let now = self.now;
        self.nodes[node].attempts += 1;
        let Some(running) = self.nodes[node].running() else { return };
        if let Some(last) = running.last_attempt.replace(now) {
            assert!(now - last >= BETWEEN_ATTEMPTS, "agent {node} tried again after {:?}", now - last);
        }
    }

    /// Everybody is what control says, and control knows what everybody says.
    pub(crate) fn check_converged(&mut self) {
        for node in 0..self.nodes.len() {
            if self.is_outcast(node) {
                continue;
            }
            let truth = self.truth(node);
            for report in truth {
                let group = self.control.state.group_of(&report.peer);
                let group = group.unwrap_or_else(|| panic!("node {node} hosts {}, a ghost", report.peer));
                let peer = &self.control.state.group(group).unwrap().peers[&report.peer];
                assert_eq!(peer.endpoints, report.endpoints, "node {node}: control knows other endpoints");
            }
            let Some(id) = self.nodes[node].disk.node.clone() else { continue };
            let groups: Vec<GroupId> =
                self.control.state.groups_of(&id).map(|group| group.row.id.clone()).collect();
            let hosted: Vec<GroupId> = self.nodes[node].disk.hosted.keys().cloned().collect();
            // A restore brings peers back that a node had left: they stay until somebody removes them.
            let is_restored = self.control.epoch.0 > 7;
            let same = if is_restored {
                hosted.iter().all(|group| groups.contains(group))
            } else {
                hosted == groups
            };
            assert!(same, "node {node}: in {hosted:?}, not in {groups:?}");
            let groups = hosted;
            if groups.is_empty() {
                continue;
            }
            let disk = &self.nodes[node].disk;
            let Process::Running(running) = &self.nodes[node].process else {
                panic!("node {node} does not run: {:?}", self.nodes[node].process)
            };
            assert!(running.core.control().in_sync, "agent {node} is not in sync");
            for scope in groups.iter().map(ScopeId::from).chain([ScopeId::from(&id)]) {
                let here = running.core.scope(&scope).map(lacis_proto::Scope::cursor);
                let there = Some(self.control.scopes[&scope].cursor());
                assert_eq!(here, there, "agent {node}: {scope}");
                assert_eq!(disk.scopes.get(&scope).map(|copy| copy.0), there, "node {node}: copy of {scope}");
            }
            let rest = plan(running.core.desired(), &running.observed);
            assert!(rest.is_empty(), "agent {node} has still to do\n{rest}");
            assert_eq!(running.observed.interfaces.len(), groups.len(), "agent {node}: interfaces");
        }
    }

    /// Whether control does not let a node speak; a person has to make a new one of it.
    pub(crate) fn is_outcast(&self, node: usize) -> bool {
        self.nodes[node].disk.node.as_ref().is_some_and(|id| self.control.knows(id).is_err())
    }

    /// Attempts and revisions so far: both stand still once everything is quiet.
    pub(crate) fn spent(&self) -> (u64, u64) {
        (self.nodes.iter().map(|node| node.attempts).sum(), self.control.spent)
    }
}
