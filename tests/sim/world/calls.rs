//! Calls that agents make, and what comes of the answers.

use super::*;

impl World {
    pub(super) fn start(&mut self, node: usize) {
        if matches!(self.nodes[node].process, Process::None) {
            self.nodes[node].generation += 1;
            self.enrol(node);
        }
    }

    /// One step of the way into the groups whose tokens the node has, then the rules begin.
    pub(super) fn enrol(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        it.process = Process::Enrolling;
        if let Some(group) = it.wanted.iter().find(|group| !it.disk.grants.contains_key(*group)).cloned() {
            return self.call(node, Ask::Join(group));
        }
        if let Some(group) = it.disk.grants.keys().find(|group| !it.disk.hosted.contains_key(*group)).cloned()
        {
            let request = self.peer_request(node, &group);
            return self.call(node, Ask::AddPeer(request));
        }
        if it.disk.hosted.is_empty() {
            it.process = Process::None;
            return;
        }
        self.tell(|| format!("agent {node} starts"));
        let (seed, seq) = (self.random.next(), self.control.wall_ms(self.now_ms()));
        self.nodes[node].boot(seed, seq);
        self.feed(node, CoreEvent::Started);
        self.check_start(node);
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.now.as_millis()).unwrap()
    }

    pub(super) fn peer_request(&mut self, node: usize, group: &GroupId) -> Box<PeerRequest> {
        let Self { nodes, random, .. } = self;
        let it = &mut nodes[node];
        Box::new(PeerRequest {
            group: group.clone(),
            member: it.disk.grants[group].clone(),
            instance: format!("n{node}"),
            key: it.key(group, random),
            label: format!("n{node}"),
            endpoints: it.endpoints.clone(),
            statement: None,
        })
    }

    /// Joins one more group while the agent runs.
    pub(super) fn join_now(&mut self, node: usize, group: &GroupId) {
        let it = &mut self.nodes[node];
        if it.running().is_none() || it.disk.hosted.contains_key(group) {
            return;
        }
        if it.disk.grants.contains_key(group) {
            let request = self.peer_request(node, group);
            self.call(node, Ask::AddPeer(request));
        } else if it.wanted.contains(group) {
            self.call(node, Ask::Join(group.clone()));
        }
    }

    pub(super) fn call(&mut self, node: usize, ask: Ask) {
        let call = Call { from: Some((node, self.nodes[node].generation)), ask, is_late: false };
        let knows_the_way = self.nodes[node].disk.urls.contains(&url(self.place));
        if !knows_the_way {
            self.after(1, 50, Event::Answer { call, answer: Err(None) });
        } else if let Ask::Report(report) = &call.ask
            && self.goes_wrong(4)
        {
            let ask = Ask::Report(report.clone());
            self.after(1_000, 60_000, Event::Arrive(Call { ask, is_late: true, ..call }));
            let moment = self.now + CALL;
            self.at(moment, Event::Answer { call: Call { is_late: false, ..call }, answer: Err(None) });
        } else if self.nodes[node].is_cut || self.goes_wrong(4) {
            let moment = self.now + CALL;
            self.at(moment, Event::Answer { call, answer: Err(None) });
        } else {
            self.after(1, 400, Event::Arrive(call));
        }
    }

    /// The answer of a call, or `Err(None)` where none came, reaches the process that made it.
    pub(super) fn answer(&mut self, call: Call, answer: Result<Reply, Option<Problem>>) {
        let Some((node, generation)) = call.from else { return };
        if self.nodes[node].generation != generation || call.is_late {
            return;
        }
        let is_out = |problem: &Problem| matches!(problem.code, Code::NodeRevoked | Code::UnknownNode);
        if matches!(&answer, Err(Some(problem)) if is_out(problem)) {
            self.after(5_000, 30_000, Event::Purge { node, generation });
        }
        match (call.ask, answer) {
            (Ask::Join(group), Ok(Reply::Joined { node: id, member, .. })) => {
                let known = self.nodes[node].disk.node.replace(id.clone());
                if known.is_some_and(|known| known != id) {
                    self.is_forgotten(node);
                }
                self.nodes[node].disk.grants.insert(group.clone(), member);
                self.go_on(node, &group);
            }
            (Ask::AddPeer(request), Ok(Reply::Peer(reply))) => self.hosts(node, &request, reply),
            (Ask::AddPeer(request), Err(problem)) => {
                if problem.is_some_and(|problem| problem.code == Code::NoGrant) {
                    let disk = &mut self.nodes[node].disk;
                    disk.grants.remove(&request.group);
                    if disk.hosted.contains_key(&request.group) {
                        let group = request.group.clone();
                        return self.feed(node, CoreEvent::Left { group });
                    }
                }
                self.try_again(node, &request.group);
            }
            (Ask::Join(group), Err(_)) => self.try_again(node, &group),
            (Ask::Leave(group, peer), Ok(_)) => self.has_left(node, group, &peer),
            (Ask::Leave(group, peer), Err(_)) => self.call(node, Ask::Leave(group, peer)),
            (Ask::Report(report), Ok(_)) => self.feed(node, CoreEvent::ReportDone { seq: report.seq }),
            (Ask::Report(report), Err(_)) => {
                self.feed(node, CoreEvent::ReportFailed { seq: report.seq, retry_after: None });
            }
            (Ask::Watch(stream, _), answer) => {
                let problem = answer.err().flatten();
                self.feed(node, CoreEvent::ConnectFailed { stream, problem, retry_after: None });
            }
            (Ask::Join(_) | Ask::AddPeer(_), Ok(reply)) => panic!("not an answer: {reply:?}"),
        }
    }

    /// Control has lost the node in a restore and made a new one of its identity: what was granted is void.
    fn is_forgotten(&mut self, node: usize) {
        assert!(self.control.epoch.0 > 7, "the node got another id");
        let disk = &mut self.nodes[node].disk;
        (disk.grants, disk.hosted, disk.scopes) = <_>::default();
        if self.nodes[node].running().is_some() {
            self.stop_agent(node);
            self.after(10, 500, Event::Start { node });
        }
    }

    pub(super) fn hosts(&mut self, node: usize, request: &PeerRequest, reply: PeerReply) {
        let it = &mut self.nodes[node];
        let hosted = lacis_agent_core::Hosted {
            peer: reply.peer,
            member: request.member.clone(),
            host: reply.host,
            key: request.key,
            statement: None,
            gateway_key: None,
            gateway_rotations: 0,
            joined_ms: 0,
        };
        it.disk.hosted.insert(request.group.clone(), hosted.clone());
        let is_running = it.running().is_some();
        if is_running {
            let group = request.group.clone();
            self.feed(node, CoreEvent::PeerReady { group, hosted });
        }
        self.go_on(node, &request.group);
    }

    /// A person left a group: the token does not bring it back.
    pub(super) fn has_left(&mut self, node: usize, group: GroupId, peer: &PeerId) {
        // It may have joined again before the answer came.
        if self.nodes[node].disk.hosted.get(&group).is_none_or(|hosted| hosted.peer != *peer) {
            return;
        }
        self.nodes[node].wanted.remove(&group);
        if let Some(running) = self.nodes[node].running() {
            running.left.insert(group.clone());
        }
        self.feed(node, CoreEvent::Left { group });
    }

    pub(super) fn go_on(&mut self, node: usize, group: &GroupId) {
        if self.nodes[node].running().is_some() {
            self.join_now(node, group);
        } else {
            self.enrol(node);
        }
    }

    pub(super) fn try_again(&mut self, node: usize, group: &GroupId) {
        if self.nodes[node].running().is_some() {
            self.after(500, 5_000, Event::JoinNow { node, group: group.clone() });
        } else {
            self.stop_agent(node);
            self.after(500, 5_000, Event::Start { node });
        }
    }
}
