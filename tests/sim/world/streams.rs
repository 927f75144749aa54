//! Control's side: calls arrive, commits happen, streams carry lines.

use super::*;

impl World {
    pub(super) fn arrive(&mut self, call: Call) {
        let Some((node, generation)) = call.from else { return };
        if !self.is_up {
            return self.after(1, 400, Event::Answer { call, answer: Err(None) });
        }
        if call.is_late && self.nodes[node].generation != generation {
            // The connection of a dead process is dead, too.
            return;
        }
        let id = self.nodes[node].disk.node.clone();
        if id.is_none() && !matches!(call.ask, Ask::Join(_)) {
            // The node was purged while its call was on its way.
            return;
        }
        let refused =
            id.as_ref().filter(|_| !matches!(call.ask, Ask::Join(_))).map(|id| self.control.knows(id));
        if let Some(Err(code)) = refused {
            let answer = Err(Some(Problem::new(code, "no")));
            return self.after(1, 400, Event::Answer { call, answer });
        }
        let command = match &call.ask {
            Ask::Watch(stream, request) => {
                let (stream, request) = (*stream, request.clone());
                return self.watch(node, generation, stream, &request);
            }
            Ask::Join(group) => {
                let known = self.control.groups.iter().find(|(id, ..)| id == group);
                let (_, token, secret) = known.cloned().unwrap();
                let (host_name, agent) = (format!("n{node}"), "sim".into());
                Command::Join { token, secret, identity: self.nodes[node].identity, host_name, agent }
            }
            Ask::AddPeer(request) => {
                Command::AddPeer { node: id.unwrap(), request: PeerRequest::clone(request) }
            }
            Ask::Leave(_, peer) => Command::RemovePeer { peer: peer.clone(), by: Remover::Node(id.unwrap()) },
            Ask::Report(report) => {
                let seen = self.control.presence.entry(id.clone().unwrap()).or_default();
                let is_former = seen.run.is_some_and(|run| run != generation);
                if is_former || seen.last_seq.is_some_and(|last| report.seq <= last) {
                    let answer = Ok(Reply::Done);
                    return self.after(1, 400, Event::Answer { call, answer });
                }
                Command::Report { node: id.unwrap(), peers: report.peers.clone() }
            }
        };
        self.inbox.push((Some(call), command));
        self.plan_commit();
    }

    pub(super) fn plan_commit(&mut self) {
        if self.inbox.len() == 1 {
            let incarnation = self.incarnation;
            self.after(1, 30, Event::Commit { incarnation });
        }
    }

    pub(super) fn commit(&mut self) {
        let (calls, commands): (Vec<_>, Vec<_>) = std::mem::take(&mut self.inbox).into_iter().unzip();
        let at_ms = self.now_ms();
        let replies = self.control.commit(at_ms, &mut self.random, &commands);
        let is_killed = self.goes_wrong(2);
        for ((call, command), reply) in calls.into_iter().zip(&commands).zip(replies) {
            self.tell(|| format!("control: {command:?} -> {reply:?}"));
            let Some(call) = call else { continue };
            if let (Ask::Report(report), Ok(_)) = (&call.ask, &reply) {
                self.reported(command, report);
            }
            if is_killed || self.goes_wrong(4) {
                let moment = self.now + CALL;
                self.at(moment, Event::Answer { call, answer: Err(None) });
            } else {
                self.after(1, 400, Event::Answer { call, answer: reply.map_err(Some) });
            }
        }
        for conn in self.conns_where(|conn| conn.server) {
            self.after(0, 50, Event::Push { conn });
        }
        if is_killed {
            self.kill_control();
        }
    }

    pub(super) fn reported(&mut self, command: &Command, report: &ReportRequest) {
        let Command::Report { node, .. } = command else { return };
        let seen = self.control.presence.entry(node.clone()).or_default();
        seen.last_seq = seen.last_seq.max(Some(report.seq));
        for (scope, revision) in revisions(&report.applied) {
            let held = seen.applied.entry(scope).or_default();
            *held = revision.max(*held);
        }
    }

    pub(super) fn watch(&mut self, node: usize, generation: u64, stream: StreamId, request: &WatchRequest) {
        let id = self.nodes[node].disk.node.clone().unwrap();
        let older = self.conns_where(|conn| conn.node == node && conn.server);
        for conn in older {
            self.send(conn, &[Line::Bye(Bye { reason: "replaced".into(), within_s: 1 })]);
            self.conn(conn).server = false;
            self.after(1, 300, Event::Ended { conn });
        }
        let seen = self.control.presence.entry(id).or_default();
        let last_seq = seen.last_seq.filter(|_| seen.run == Some(generation));
        let applied = revisions(&request.have);
        *seen = crate::control::Seen { connected: true, last_seq, applied, run: Some(generation) };
        let held = request.have.iter().map(|(id, text)| (id.clone(), text.parse().ok())).collect();
        let client = self.nodes[node].generation == generation;
        let (busy_until, stalled) = (self.now, self.nodes[node].is_cut);
        let conn = Conn {
            node,
            generation,
            stream,
            held,
            is_first: true,
            server: true,
            client,
            stalled,
            busy_until,
        };
        self.events += 1;
        let name = self.events;
        self.conns.insert(name, conn);
        let (epoch, urls) = (self.control.epoch, self.told.iter().map(|place| url(*place)).collect());
        let beat_s = u32::try_from(BEAT.as_secs()).unwrap();
        let hello = Hello { protocol: 1, control: "sim".into(), epoch, now_ms: self.now_ms(), beat_s, urls };
        self.send(name, &[Line::Hello(hello)]);
        self.push(name);
        self.after(4_500, 5_500, Event::Beat { conn: name });
        if let Some(running) = self.process(node, generation) {
            running.conn = Some(name);
            running.decoder = lacis_proto::LineDecoder::default();
        }
    }

    pub(super) fn push(&mut self, name: u64) {
        let Some(conn) = self.conns.get_mut(&name).filter(|conn| conn.server) else { return };
        let id = self.nodes[conn.node].disk.node.clone().unwrap();
        let is_first = std::mem::take(&mut conn.is_first);
        let Some(lines) = self.control.lines(&id, &mut conn.held, is_first) else { return };
        self.send(name, &lines);
        if self.control.knows(&id).is_err() {
            self.send(name, &[Line::Bye(Bye { reason: "revoked".into(), within_s: 1 })]);
            self.conn(name).server = false;
            self.after(1, 300, Event::Ended { conn: name });
        }
    }

    pub(super) fn beat(&mut self, conn: u64) {
        if self.conns.get(&conn).is_some_and(|conn| conn.server) {
            self.send(conn, &[Line::Beat(Beat { now_ms: 0 })]);
            self.after(4_500, 5_500, Event::Beat { conn });
        }
    }

    /// Sends lines in pieces cut anywhere; what a future control may say is said, too.
    pub(super) fn send(&mut self, name: u64, lines: &[Line]) {
        let mut bytes: Vec<u8> = lines.iter().flat_map(Line::encode).collect();
        if self.goes_wrong(5) {
            bytes.extend(b"{\"weather\":{\"rain\":true}}\n");
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + self.random.below(rest.len()));
            let (bytes, low) = (piece.to_vec(), self.now + self.random.ms(1, 300));
            let conn = self.conn(name);
            conn.busy_until = conn.busy_until.max(low);
            let moment = conn.busy_until;
            self.at(moment, Event::Bytes { conn: name, bytes });
            rest = after;
        }
    }

    pub(super) fn bytes(&mut self, name: u64, bytes: &[u8]) {
        let Some(conn) = self.conns.get(&name).filter(|conn| conn.client && !conn.stalled) else { return };
        let (node, generation, stream) = (conn.node, conn.generation, conn.stream);
        let Some(running) = self.process(node, generation).filter(|r| r.conn == Some(name)) else { return };
        running.decoder.push(bytes);
        while let Some(running) = self.process(node, generation).filter(|r| r.conn == Some(name)) {
            let Some(line) = running.decoder.next_line() else { break };
            let line = line.expect("control's lines are lines");
            self.tell(|| format!("agent {node} hears {line:?}"));
            self.feed(node, CoreEvent::Line { stream, line });
        }
    }

    pub(super) fn ended(&mut self, name: u64) {
        let conn = self.conn(name);
        let (node, generation, stream) = (conn.node, conn.generation, conn.stream);
        if std::mem::take(&mut conn.client)
            && let Some(running) = self.process(node, generation).filter(|r| r.conn == Some(name))
        {
            running.conn = None;
            self.feed(node, CoreEvent::StreamEnded { stream });
        }
    }

    pub(super) fn hang_up(&mut self, name: u64) {
        self.conn(name).client = false;
        self.after(1, 300, Event::Gone { conn: name });
    }

    pub(super) fn gone(&mut self, name: u64) {
        let conn = self.conn(name);
        let node = conn.node;
        if std::mem::take(&mut conn.server)
            && let Some(id) = &self.nodes[node].disk.node
            && let Some(seen) = self.control.presence.get_mut(id)
        {
            seen.connected = false;
        }
    }

    pub(super) fn conn(&mut self, name: u64) -> &mut Conn {
        self.conns.get_mut(&name).unwrap()
    }

    pub(super) fn conns_where(&self, wanted: impl Fn(&Conn) -> bool) -> Vec<u64> {
        self.conns.iter().filter(|(_, conn)| wanted(conn)).map(|(name, _)| *name).collect()
    }

    /// What control would be told of the endpoints of a peer, if it knew everything.
    pub(crate) fn truth(&self, node: usize) -> Vec<PeerReport> {
        let it = &self.nodes[node];
        let peer = |hosted: &lacis_agent_core::Hosted| PeerReport {
            peer: hosted.peer.clone(),
            endpoints: it.endpoints.clone(),
            relays: None,
            statement: None,
            gateway: None,
        };
        it.disk.hosted.values().map(peer).collect()
    }
}
