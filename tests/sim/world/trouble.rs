//! What goes wrong: joins and leaves at odd times, kills, stalls, cuts.

use super::*;

impl World {
    pub(super) fn trouble(&mut self) {
        let node = self.random.below(self.nodes.len());
        match self.random.below(100) {
            0..18 => {
                let group = self.any_group();
                self.join(node, group);
            }
            18..30 => self.remove_any_peer(),
            30..36 => self.leave(node),
            36..39 => self.revoke(node),
            39..49 => {
                let Self { nodes, random, .. } = self;
                nodes[node].roam(random);
                let endpoints = self.nodes[node].endpoints.clone();
                self.feed(node, CoreEvent::EndpointsChanged(endpoints));
            }
            49..58 => self.kill_agent(node),
            58..64 => self.kill_control(),
            64..68 => self.drain_control(),
            68..70 => self.control.back_up(),
            70..72 => self.restore_control(),
            72..74 => {
                let place = self.random.below(4);
                self.told = vec![place, self.place];
                self.drain_control();
            }
            74..76 => {
                let place = self.told[0];
                self.move_control(place);
            }
            76..83 => self.end_a_stream(),
            83..88 => self.stall_a_stream(),
            88..92 => self.cut_off(node),
            92..94 => self.feed(node, CoreEvent::NetworkChanged),
            94..97 => self.handshake(node),
            _ => {
                let (at_ms, by_ms) = (self.now_ms(), self.random.below(7_200_000));
                self.control.jump(at_ms, i64::try_from(by_ms).unwrap() - 3_600_000);
            }
        }
    }

    /// Control dies and comes again at another place.
    pub(super) fn move_control(&mut self, place: usize) {
        self.tell(|| format!("control moves to {}", url(place)));
        self.kill_control();
        self.place = place;
    }

    /// Control dies, and its folder is replaced by the backup.
    pub(super) fn restore_control(&mut self) {
        self.tell(|| "control is restored".into());
        self.kill_control();
        self.control.restore();
    }

    pub(super) fn revoke(&mut self, node: usize) {
        let Some(id) = self.nodes[node].disk.node.clone() else { return };
        if self.is_up && self.control.knows(&id).is_ok() {
            self.tell(|| format!("node {node} is revoked"));
            let peers: Vec<PeerId> = self
                .control
                .state
                .groups_of(&id)
                .filter_map(|group| Some(group.peer_of(&id)?.id.clone()))
                .collect();
            self.tell(|| format!("its peers {peers:?} go"));
            self.inbox.push((None, Command::RevokeNode { node: id, owner: None }));
            self.plan_commit();
        }
    }

    /// A person purges the node and starts it anew with the tokens that it had.
    pub(super) fn purge(&mut self, node: usize) {
        self.tell(|| format!("node {node} is purged"));
        self.stop_agent(node);
        let Self { nodes, random, .. } = self;
        nodes[node].purge(random);
        self.after(100, 2_000, Event::Start { node });
    }

    /// A person runs `lacis up` with a token of this group.
    pub(super) fn join(&mut self, node: usize, group: GroupId) {
        self.tell(|| format!("node {node} shall join {group}"));
        let it = &mut self.nodes[node];
        it.wanted.insert(group.clone());
        let at_once = self.random.chance(70);
        match self.nodes[node].process {
            Process::Running(_) if at_once => self.join_now(node, &group),
            Process::Running(_) | Process::Enrolling | Process::None => {
                self.stop_agent(node);
                self.after(10, 500, Event::Start { node });
            }
        }
    }

    pub(super) fn remove_any_peer(&mut self) {
        let peers: Vec<PeerId> =
            self.control.state.groups().flat_map(|group| group.peers.keys().cloned()).collect();
        if self.is_up && !peers.is_empty() {
            let peer = peers[self.random.below(peers.len())].clone();
            let group = self.control.state.group_of(&peer).cloned().unwrap();
            let member = self.control.state.group(&group).unwrap().peers[&peer].member.clone();
            let command = if self.random.chance(40) {
                self.tell(|| format!("member {member} is unlinked"));
                Command::UnlinkMember { group, member, force: true }
            } else {
                self.tell(|| format!("peer {peer} is removed"));
                Command::RemovePeer { peer, by: Remover::Owner { force: true } }
            };
            self.inbox.push((None, command));
            self.plan_commit();
        }
    }

    pub(super) fn leave(&mut self, node: usize) {
        let hosted = self.nodes[node].disk.hosted.iter().next_back();
        let Some((group, peer)) = hosted.map(|(group, hosted)| (group.clone(), hosted.peer.clone())) else {
            return;
        };
        if self.nodes[node].running().is_some() {
            self.tell(|| format!("node {node} leaves {group}"));
            self.call(node, Ask::Leave(group, peer));
        }
    }

    pub(super) fn kill_agent(&mut self, node: usize) {
        self.tell(|| format!("agent {node} is killed"));
        self.stop_agent(node);
        if self.random.chance(30) {
            self.nodes[node].disk.lose_last_save();
        }
        if self.random.chance(10) {
            // A damaged copy counts as none.
            self.nodes[node].disk.scopes.pop_first();
        }
        self.after(50, 8_000, Event::Start { node });
    }

    pub(super) fn stop_agent(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        it.process = Process::None;
        it.generation += 1;
        let open: Vec<u64> = self.conns_where(|conn| conn.node == node && conn.client);
        for conn in open {
            self.hang_up(conn);
        }
    }

    pub(super) fn kill_control(&mut self) {
        if self.is_up {
            self.tell(|| "control is killed".into());
            self.is_up = false;
            self.incarnation += 1;
            // Connections of a dead process are dead, however late.
            self.queue.retain(|_, event| !matches!(event, Event::Arrive(call) if call.is_late));
            for (call, _) in std::mem::take(&mut self.inbox) {
                if let Some(call) = call {
                    self.after(1, 200, Event::Answer { call, answer: Err(None) });
                }
            }
            for conn in self.conns_where(|conn| conn.server) {
                self.conn(conn).server = false;
                self.after(1, 200, Event::Ended { conn });
            }
            self.after(50, 30_000, Event::ControlUp);
        }
    }

    pub(super) fn drain_control(&mut self) {
        if self.is_up {
            self.tell(|| "control is stopped".into());
            for conn in self.conns_where(|conn| conn.server) {
                self.send(conn, &[Line::Bye(Bye { reason: "drain".into(), within_s: 10 })]);
            }
            self.kill_control();
        }
    }

    pub(super) fn control_up(&mut self) {
        if !self.is_up {
            self.tell(|| "control is up".into());
            let spent = self.control.spent;
            self.control.restart();
            assert_eq!(spent, self.control.spent);
            self.is_up = true;
        }
    }

    pub(super) fn any_conn(&mut self) -> Option<u64> {
        let open = self.conns_where(|conn| conn.server && conn.client && !conn.stalled);
        if open.is_empty() { None } else { Some(open[self.random.below(open.len())]) }
    }

    pub(super) fn end_a_stream(&mut self) {
        if let Some(conn) = self.any_conn() {
            self.tell(|| format!("stream {conn} ends"));
            self.conn(conn).stalled = true;
            self.after(0, 300, Event::Ended { conn });
            self.after(0, 300, Event::Gone { conn });
        }
    }

    pub(super) fn stall_a_stream(&mut self) {
        if let Some(conn) = self.any_conn() {
            self.tell(|| format!("stream {conn} stalls"));
            self.conn(conn).stalled = true;
            self.after(60_000, 70_000, Event::Gone { conn });
        }
    }

    pub(super) fn cut_off(&mut self, node: usize) {
        self.tell(|| format!("node {node} is cut off"));
        self.nodes[node].is_cut = true;
        for conn in self.conns_where(|conn| conn.node == node) {
            self.conn(conn).stalled = true;
            self.after(60_000, 70_000, Event::Gone { conn });
        }
        self.after(500, 60_000, Event::Rejoined { node });
    }

    pub(super) fn handshake(&mut self, node: usize) {
        let Some(running) = self.nodes[node].running() else { return };
        let netmaps = running.core.netmaps().values();
        let keys: Vec<_> =
            netmaps.flat_map(|map| map.peers.values().map(|peer| (map.group.clone(), peer.key))).collect();
        if !keys.is_empty() {
            let (group, key) = keys[self.random.below(keys.len())].clone();
            self.feed(node, CoreEvent::HandshakeUnanswered { group, key });
        }
    }
}
