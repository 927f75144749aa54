//! Agents: events in, actions out, steps applied.

use super::*;

impl World {
    pub(super) fn feed(&mut self, node: usize, event: CoreEvent) {
        let now = self.now;
        let Some(running) = self.nodes[node].running() else { return };
        running.core.handle(now, event);
        self.drain(node);
    }

    pub(super) fn drain(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].running().and_then(|running| running.core.poll()) {
            if self.chaos && self.random.below(1_000) == 0 {
                self.tell(|| format!("agent {node} is killed before {action:?}"));
                return self.kill_agent(node);
            }
            self.perform(node, action);
        }
        if self.nodes[node].running().is_some() {
            self.check_agent(node);
            self.set_alarm(node);
        }
    }

    pub(super) fn set_alarm(&mut self, node: usize) {
        let (now, generation) = (self.now, self.nodes[node].generation);
        let Some(running) = self.nodes[node].running() else { return };
        let deadline = running.core.deadline().map(|deadline| deadline.max(now));
        if running.tick_at != deadline {
            running.tick_at = deadline;
            if let Some(moment) = deadline {
                self.at(moment, Event::Tick { node, generation });
            }
        }
    }

    pub(super) fn perform(&mut self, node: usize, action: Action) {
        match action {
            Action::Reconcile(_) => self.reconcile(node),
            Action::Zones(_) | Action::SavePins | Action::UseRelays(_) | Action::Signaled(_) => {}
            Action::UseUrls(urls) => self.nodes[node].disk.urls = urls,
            Action::Initiate { group, keys } => {
                for key in keys {
                    let (generation, group) = (self.nodes[node].generation, group.clone());
                    self.after(5, 50, Event::CallPeer { node, generation, group, key, tries: 0 });
                }
            }
            Action::HostAgain(group) if self.nodes[node].disk.grants.contains_key(&group) => {
                let request = self.peer_request(node, &group);
                self.call(node, Ask::AddPeer(request));
            }
            Action::HostAgain(_) => {}
            Action::FetchProofs(asked) => self.feed(node, CoreEvent::ProofsLost { asked, retry_after: None }),
            Action::SaveScope(id) => {
                let scope = self.nodes[node].running().and_then(|running| running.core.scope(&id).cloned());
                if let Some(scope) = scope {
                    self.nodes[node].disk.save(id, &scope);
                }
            }
            Action::DropScope(id) => {
                if let Ok(group) = GroupId::parse(id.as_str()) {
                    self.nodes[node].wanted.remove(&group);
                }
                self.nodes[node].disk.drop_scope(&id);
            }
            Action::Connect { stream, request, .. } => {
                self.check_attempt(node);
                self.call(node, Ask::Watch(stream, Box::new(request)));
            }
            Action::Disconnect { .. } => {
                if let Some(conn) = self.nodes[node].running().and_then(|running| running.conn.take()) {
                    self.hang_up(conn);
                }
            }
            Action::SendReport(report) => self.call(node, Ask::Report(Box::new(report))),
            Action::Notice(notice) => self.check_notice(node, &notice),
        }
    }

    pub(super) fn reconcile(&mut self, node: usize) {
        let (now, chaos, generation) = (self.now, self.chaos, self.nodes[node].generation);
        let Self { nodes, random, .. } = self;
        let Some(running) = nodes[node].running() else { return };
        let desired = std::sync::Arc::clone(running.core.desired());
        let all = running.reconcile(&desired, || chaos && random.chance(1));
        running.core.handle(now, CoreEvent::Applied { revision: desired.revision });
        if !all {
            self.after(500, 1_500, Event::Retry { node, generation });
        }
        self.set_alarm(node);
    }

    pub(super) fn check_notice(&self, node: usize, notice: &Notice) {
        self.tell(|| format!("agent {node}: {notice}"));
        let is_fault = matches!(
            notice,
            Notice::BadLine(_)
                | Notice::ScopeBroken { .. }
                | Notice::Grammar(_)
                | Notice::Conflict(_)
                | Notice::OddRecord { .. }
        );
        // Restored, control may know another peer of this node than it hosts, until it has asked anew.
        let is_fault = is_fault || matches!(notice, Notice::ScopeRefused { .. }) && self.control.epoch.0 == 7;
        let is_refused = matches!(notice, Notice::ControlRefused(_)) && !self.is_outcast(node);
        assert!(!is_fault && !is_refused, "agent {node} blames control, which is honest: {notice}");
    }
}
