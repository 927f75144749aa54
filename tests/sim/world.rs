//! The virtual clock and network, and what happens on them.
//!
//! ```text
//! agents ── calls ──▶ (lost, late) ──▶ control ── commit ──▶ answers (lost, late)
//!    ▲                                    └────── lines ──▶ streams (cut, stalled, split anywhere)
//!    └────────────────────────────────────────────────────────┘
//! ```

use std::{collections::BTreeMap, time::Duration};

use lacis_agent_core::{Action, Event as CoreEvent, Notice, StreamId};
use lacis_control_core::{Command, Reply};
use lacis_proto::{
    Beat, Bye, Code, Cursor, GroupId, Hello, Line, PeerId, PeerReply, PeerReport, PeerRequest, Problem,
    ReportRequest, Revision, ScopeId, WatchRequest,
};

use crate::{
    control::{Control, EPOCH, Held},
    node::{Node, Process},
    random::Random,
};

/// Beats of a stream. Short, so that silence is noticed within the time of a run.
const BEAT: Duration = Duration::from_secs(5);

/// An agent gives a call up after this.
const CALL: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(crate) enum Ask {
    Join(GroupId),
    AddPeer(Box<PeerRequest>),
    Leave(GroupId, PeerId),
    Watch(StreamId, Box<WatchRequest>),
    Report(Box<ReportRequest>),
}

/// A call of one process of one node; `None` for a person.
#[derive(Debug)]
struct Call {
    from: Option<(usize, u64)>,
    ask: Ask,
}

#[derive(Debug)]
enum Event {
    Trouble,
    Start { node: usize },
    Tick { node: usize, generation: u64 },
    Retry { node: usize, generation: u64 },
    JoinNow { node: usize, group: GroupId },
    Arrive(Call),
    Commit { incarnation: u64 },
    Answer { call: Call, answer: Result<Reply, Option<Problem>> },
    ControlUp,
    Push { conn: u64 },
    Beat { conn: u64 },
    Bytes { conn: u64, bytes: Vec<u8> },
    Ended { conn: u64 },
    Gone { conn: u64 },
    Rejoined { node: usize },
}

/// A watch stream between control and one process.
#[derive(Debug)]
struct Conn {
    node: usize,
    generation: u64,
    stream: StreamId,
    held: Held,
    is_first: bool,
    /// Control writes to it.
    server: bool,
    /// The agent reads from it.
    client: bool,
    /// Nothing arrives any more, and nobody is told.
    stalled: bool,
    /// Bytes that are sent later arrive later.
    busy_until: Duration,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) random: Random,
    pub(crate) control: Control,
    pub(crate) nodes: Vec<Node>,
    queue: BTreeMap<(Duration, u64), Event>,
    events: u64,
    is_up: bool,
    incarnation: u64,
    inbox: Vec<(Option<Call>, Command)>,
    conns: BTreeMap<u64, Conn>,
    /// Things go wrong.
    chaos: bool,
    is_told: bool,
}

impl World {
    pub(crate) fn new(seed: u64, is_told: bool) -> Self {
        let mut random = Random::new(seed);
        let control = Control::new(&mut random);
        let count = 2 + random.below(5);
        let nodes = (0..count).map(|name| Node::new(name, &mut random)).collect();
        let mut world = Self {
            now: Duration::ZERO,
            random,
            control,
            nodes,
            queue: BTreeMap::new(),
            events: 0,
            is_up: true,
            incarnation: 0,
            inbox: Vec::new(),
            conns: BTreeMap::new(),
            chaos: true,
            is_told,
        };
        for node in 0..count {
            let group = world.any_group();
            world.nodes[node].wanted.insert(group);
            world.after(0, 5_000, Event::Start { node });
        }
        world.after(1_000, 3_000, Event::Trouble);
        world
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:>10.3} {}", self.now.as_secs_f64(), what());
        }
    }

    fn at(&mut self, moment: Duration, event: Event) {
        self.events += 1;
        self.queue.insert((moment.max(self.now), self.events), event);
    }

    fn after(&mut self, low_ms: u64, high_ms: u64, event: Event) {
        let moment = self.now + self.random.ms(low_ms, high_ms);
        self.at(moment, event);
    }

    fn goes_wrong(&mut self, percent: usize) -> bool {
        self.chaos && self.random.chance(percent)
    }

    fn any_group(&mut self) -> GroupId {
        let index = self.random.below(self.control.groups.len());
        self.control.groups[index].0.clone()
    }

    /// Lets everything happen that is due until then.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((now, _), event) = entry.remove_entry();
            self.now = now;
            self.happen(event);
        }
        self.now = end;
    }

    /// Nothing goes wrong from now on, and everything that was down comes up.
    pub(crate) fn heal(&mut self) {
        self.tell(|| "heal".into());
        self.chaos = false;
        for node in 0..self.nodes.len() {
            self.nodes[node].is_cut = false;
            self.after(0, 1_000, Event::Start { node });
        }
        if !self.is_up {
            self.after(0, 1_000, Event::ControlUp);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Trouble if self.chaos => {
                self.trouble();
                self.after(100, 4_000, Event::Trouble);
            }
            Event::Trouble => {}
            Event::Start { node } => self.start(node),
            Event::Tick { node, generation } => {
                let now = self.now;
                if let Some(running) = self.process(node, generation).filter(|r| r.tick_at == Some(now)) {
                    running.tick_at = None;
                    self.feed(node, CoreEvent::Tick);
                }
            }
            Event::Retry { node, generation } => {
                if self.process(node, generation).is_some() {
                    self.reconcile(node);
                }
            }
            Event::JoinNow { node, group } => self.join_now(node, &group),
            Event::Arrive(call) => self.arrive(call),
            Event::Commit { incarnation } if incarnation == self.incarnation => self.commit(),
            Event::Commit { .. } => {}
            Event::Answer { call, answer } => self.answer(call, answer),
            Event::ControlUp => self.control_up(),
            Event::Push { conn } => self.push(conn),
            Event::Beat { conn } => self.beat(conn),
            Event::Bytes { conn, bytes } => self.bytes(conn, &bytes),
            Event::Ended { conn } => self.ended(conn),
            Event::Gone { conn } => self.gone(conn),
            Event::Rejoined { node } => {
                self.tell(|| format!("node {node} is no longer cut off"));
                self.nodes[node].is_cut = false;
            }
        }
    }

    fn process(&mut self, node: usize, generation: u64) -> Option<&mut crate::node::Running> {
        let node = &mut self.nodes[node];
        if node.generation == generation { node.running() } else { None }
    }
}

/// What goes wrong, and what people do.
impl World {
    fn trouble(&mut self) {
        let node = self.random.below(self.nodes.len());
        match self.random.below(100) {
            0..20 => {
                let group = self.any_group();
                self.join(node, group);
            }
            20..34 => self.remove_any_peer(),
            34..40 => self.leave(node),
            40..50 => {
                let Self { nodes, random, .. } = self;
                nodes[node].roam(random);
                let endpoints = self.nodes[node].endpoints.clone();
                self.feed(node, CoreEvent::EndpointsChanged(endpoints));
            }
            50..60 => self.kill_agent(node),
            60..66 => self.kill_control(),
            66..70 => self.drain_control(),
            70..80 => self.end_a_stream(),
            80..86 => self.stall_a_stream(),
            86..91 => self.cut_off(node),
            91..95 => self.feed(node, CoreEvent::NetworkChanged),
            95..98 => self.handshake(node),
            _ => self.control.wall_ms += self.random.next() % 3_600_000,
        }
    }

    /// A person runs `lacis up` with a token of this group.
    fn join(&mut self, node: usize, group: GroupId) {
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

    fn remove_any_peer(&mut self) {
        let peers: Vec<PeerId> =
            self.control.state.groups().flat_map(|group| group.peers.keys().cloned()).collect();
        if self.is_up && !peers.is_empty() {
            let peer = peers[self.random.below(peers.len())].clone();
            self.tell(|| format!("peer {peer} is removed"));
            self.inbox.push((None, Command::RemovePeer { peer, by: None }));
            self.plan_commit();
        }
    }

    fn leave(&mut self, node: usize) {
        let hosted = self.nodes[node].disk.hosted.iter().next_back();
        let Some((group, peer)) = hosted.map(|(group, hosted)| (group.clone(), hosted.peer.clone())) else {
            return;
        };
        if self.nodes[node].running().is_some() {
            self.tell(|| format!("node {node} leaves {group}"));
            self.call(node, Ask::Leave(group, peer));
        }
    }

    fn kill_agent(&mut self, node: usize) {
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

    fn stop_agent(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        it.process = Process::None;
        it.generation += 1;
        let open: Vec<u64> = self.conns_where(|conn| conn.node == node && conn.client);
        for conn in open {
            self.hang_up(conn);
        }
    }

    fn kill_control(&mut self) {
        if self.is_up {
            self.tell(|| "control is killed".into());
            self.is_up = false;
            self.incarnation += 1;
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

    fn drain_control(&mut self) {
        if self.is_up {
            self.tell(|| "control is stopped".into());
            for conn in self.conns_where(|conn| conn.server) {
                self.send(conn, &[Line::Bye(Bye { reason: "drain".into(), within_s: 10 })]);
            }
            self.kill_control();
        }
    }

    fn control_up(&mut self) {
        if !self.is_up {
            self.tell(|| "control is up".into());
            let spent = self.control.spent;
            self.control.restart();
            assert_eq!(spent, self.control.spent);
            self.is_up = true;
        }
    }

    fn any_conn(&mut self) -> Option<u64> {
        let open = self.conns_where(|conn| conn.server && conn.client && !conn.stalled);
        if open.is_empty() { None } else { Some(open[self.random.below(open.len())]) }
    }

    fn end_a_stream(&mut self) {
        if let Some(conn) = self.any_conn() {
            self.tell(|| format!("stream {conn} ends"));
            self.conn(conn).stalled = true;
            self.after(0, 300, Event::Ended { conn });
            self.after(0, 300, Event::Gone { conn });
        }
    }

    fn stall_a_stream(&mut self) {
        if let Some(conn) = self.any_conn() {
            self.tell(|| format!("stream {conn} stalls"));
            self.conn(conn).stalled = true;
            self.after(60_000, 70_000, Event::Gone { conn });
        }
    }

    fn cut_off(&mut self, node: usize) {
        self.tell(|| format!("node {node} is cut off"));
        self.nodes[node].is_cut = true;
        for conn in self.conns_where(|conn| conn.node == node) {
            self.conn(conn).stalled = true;
            self.after(60_000, 70_000, Event::Gone { conn });
        }
        self.after(500, 60_000, Event::Rejoined { node });
    }

    fn handshake(&mut self, node: usize) {
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

/// The shell of an agent: enrolment and calls.
impl World {
    fn start(&mut self, node: usize) {
        if matches!(self.nodes[node].process, Process::None) {
            self.nodes[node].generation += 1;
            self.enrol(node);
        }
    }

    /// One step of the way into the groups whose tokens the node has, then the rules begin.
    fn enrol(&mut self, node: usize) {
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
        let (seed, seq) = (self.random.next(), self.control.wall_ms + self.now_ms());
        self.nodes[node].boot(seed, seq);
        self.feed(node, CoreEvent::Started);
        self.check_start(node);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.now.as_millis()).unwrap()
    }

    fn peer_request(&mut self, node: usize, group: &GroupId) -> Box<PeerRequest> {
        let Self { nodes, random, .. } = self;
        let it = &mut nodes[node];
        Box::new(PeerRequest {
            group: group.clone(),
            member: it.disk.grants[group].clone(),
            instance: format!("n{node}"),
            key: it.key(group, random),
            label: format!("n{node}"),
            endpoints: it.endpoints.clone(),
        })
    }

    /// Joins one more group while the agent runs.
    fn join_now(&mut self, node: usize, group: &GroupId) {
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

    fn call(&mut self, node: usize, ask: Ask) {
        let call = Call { from: Some((node, self.nodes[node].generation)), ask };
        if self.nodes[node].is_cut || self.goes_wrong(4) {
            let moment = self.now + CALL;
            self.at(moment, Event::Answer { call, answer: Err(None) });
        } else {
            self.after(1, 400, Event::Arrive(call));
        }
    }

    /// The answer of a call, or `Err(None)` where none came, reaches the process that made it.
    fn answer(&mut self, call: Call, answer: Result<Reply, Option<Problem>>) {
        let Some((node, generation)) = call.from else { return };
        if self.nodes[node].generation != generation {
            return;
        }
        match (call.ask, answer) {
            (Ask::Join(group), Ok(Reply::Joined { node: id, member, .. })) => {
                let disk = &mut self.nodes[node].disk;
                assert!(disk.node.as_ref().is_none_or(|known| *known == id), "the node got another id");
                disk.node = Some(id);
                disk.grants.insert(group.clone(), member);
                self.go_on(node, &group);
            }
            (Ask::AddPeer(request), Ok(Reply::Peer(reply))) => self.hosts(node, &request, reply),
            (Ask::AddPeer(request), Err(problem)) => {
                if problem.is_some_and(|problem| problem.code == Code::NoGrant) {
                    self.nodes[node].disk.grants.remove(&request.group);
                }
                self.try_again(node, &request.group);
            }
            (Ask::Join(group), Err(_)) => self.try_again(node, &group),
            (Ask::Leave(group, peer), Ok(_)) => self.has_left(node, group, &peer),
            (Ask::Leave(group, peer), Err(_)) => self.call(node, Ask::Leave(group, peer)),
            (Ask::Report(report), Ok(_)) => self.feed(node, CoreEvent::ReportDone { seq: report.seq }),
            (Ask::Report(report), Err(_)) => self.feed(node, CoreEvent::ReportFailed { seq: report.seq }),
            (Ask::Watch(stream, _), answer) => {
                let problem = answer.err().flatten();
                self.feed(node, CoreEvent::ConnectFailed { stream, problem, retry_after: None });
            }
            (Ask::Join(_) | Ask::AddPeer(_), Ok(reply)) => panic!("not an answer: {reply:?}"),
        }
    }

    fn hosts(&mut self, node: usize, request: &PeerRequest, reply: PeerReply) {
        let it = &mut self.nodes[node];
        let hosted = lacis_agent_core::Hosted {
            peer: reply.peer,
            member: request.member.clone(),
            host: reply.host,
            key: request.key,
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
    fn has_left(&mut self, node: usize, group: GroupId, peer: &PeerId) {
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

    fn go_on(&mut self, node: usize, group: &GroupId) {
        if self.nodes[node].running().is_some() {
            self.join_now(node, group);
        } else {
            self.enrol(node);
        }
    }

    fn try_again(&mut self, node: usize, group: &GroupId) {
        if self.nodes[node].running().is_some() {
            self.after(500, 5_000, Event::JoinNow { node, group: group.clone() });
        } else {
            self.stop_agent(node);
            self.after(500, 5_000, Event::Start { node });
        }
    }
}

/// The shell of an agent: the rules' actions.
impl World {
    fn feed(&mut self, node: usize, event: CoreEvent) {
        let now = self.now;
        let Some(running) = self.nodes[node].running() else { return };
        running.core.handle(now, event);
        self.drain(node);
    }

    fn drain(&mut self, node: usize) {
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

    fn set_alarm(&mut self, node: usize) {
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

    fn perform(&mut self, node: usize, action: Action) {
        match action {
            Action::Reconcile(_) => self.reconcile(node),
            Action::Zones(_) | Action::Initiate { .. } => {}
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

    fn reconcile(&mut self, node: usize) {
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

    fn check_notice(&self, node: usize, notice: &Notice) {
        self.tell(|| format!("agent {node}: {notice}"));
        let is_fault = matches!(
            notice,
            Notice::BadLine(_)
                | Notice::ScopeRefused { .. }
                | Notice::ScopeBroken { .. }
                | Notice::Grammar(_)
                | Notice::Conflict(_)
                | Notice::OddRecord { .. }
                | Notice::ControlRefused(_)
        );
        assert!(!is_fault, "agent {node} blames control, which is honest: {notice}");
    }
}

/// The shell of control.
impl World {
    fn arrive(&mut self, call: Call) {
        let Some((node, generation)) = call.from else { return };
        if !self.is_up {
            return self.after(1, 400, Event::Answer { call, answer: Err(None) });
        }
        let id = self.nodes[node].disk.node.clone();
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
            Ask::Leave(_, peer) => Command::RemovePeer { peer: peer.clone(), by: id },
            Ask::Report(report) => {
                let seen = self.control.presence.entry(id.clone().unwrap()).or_default();
                if seen.last_seq.is_some_and(|last| report.seq <= last) {
                    let answer = Ok(Reply::Done);
                    return self.after(1, 400, Event::Answer { call, answer });
                }
                Command::Report { node: id.unwrap(), peers: report.peers.clone() }
            }
        };
        self.inbox.push((Some(call), command));
        self.plan_commit();
    }

    fn plan_commit(&mut self) {
        if self.inbox.len() == 1 {
            let incarnation = self.incarnation;
            self.after(1, 30, Event::Commit { incarnation });
        }
    }

    fn commit(&mut self) {
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

    fn reported(&mut self, command: &Command, report: &ReportRequest) {
        let Command::Report { node, .. } = command else { return };
        let seen = self.control.presence.entry(node.clone()).or_default();
        seen.last_seq = seen.last_seq.max(Some(report.seq));
        for (scope, revision) in revisions(&report.applied) {
            let held = seen.applied.entry(scope).or_default();
            *held = revision.max(*held);
        }
    }

    fn watch(&mut self, node: usize, generation: u64, stream: StreamId, request: &WatchRequest) {
        let id = self.nodes[node].disk.node.clone().unwrap();
        let older = self.conns_where(|conn| conn.node == node && conn.server);
        for conn in older {
            self.send(conn, &[Line::Bye(Bye { reason: "replaced".into(), within_s: 1 })]);
            self.conn(conn).server = false;
            self.after(1, 300, Event::Ended { conn });
        }
        let seen = self.control.presence.entry(id).or_default();
        *seen = crate::control::Seen { connected: true, last_seq: None, applied: revisions(&request.have) };
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
        let epoch = EPOCH;
        let beat_s = u32::try_from(BEAT.as_secs()).unwrap();
        let hello = Hello { protocol: 1, control: "sim".into(), epoch, now_ms: self.now_ms(), beat_s };
        self.send(name, &[Line::Hello(hello)]);
        self.push(name);
        self.after(4_500, 5_500, Event::Beat { conn: name });
        if let Some(running) = self.process(node, generation) {
            running.conn = Some(name);
            running.decoder = lacis_proto::LineDecoder::default();
        }
    }

    fn push(&mut self, name: u64) {
        let Some(conn) = self.conns.get_mut(&name).filter(|conn| conn.server) else { return };
        let id = self.nodes[conn.node].disk.node.clone().unwrap();
        let is_first = std::mem::take(&mut conn.is_first);
        let lines = self.control.lines(&id, &mut conn.held, is_first).unwrap();
        self.send(name, &lines);
    }

    fn beat(&mut self, conn: u64) {
        if self.conns.get(&conn).is_some_and(|conn| conn.server) {
            self.send(conn, &[Line::Beat(Beat { now_ms: 0 })]);
            self.after(4_500, 5_500, Event::Beat { conn });
        }
    }

    /// Sends lines in pieces cut anywhere; what a future control may say is said, too.
    fn send(&mut self, name: u64, lines: &[Line]) {
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

    fn bytes(&mut self, name: u64, bytes: &[u8]) {
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

    fn ended(&mut self, name: u64) {
        let conn = self.conn(name);
        let (node, generation, stream) = (conn.node, conn.generation, conn.stream);
        if std::mem::take(&mut conn.client)
            && let Some(running) = self.process(node, generation).filter(|r| r.conn == Some(name))
        {
            running.conn = None;
            self.feed(node, CoreEvent::StreamEnded { stream });
        }
    }

    fn hang_up(&mut self, name: u64) {
        self.conn(name).client = false;
        self.after(1, 300, Event::Gone { conn: name });
    }

    fn gone(&mut self, name: u64) {
        let conn = self.conn(name);
        let node = conn.node;
        if std::mem::take(&mut conn.server)
            && let Some(id) = &self.nodes[node].disk.node
            && let Some(seen) = self.control.presence.get_mut(id)
        {
            seen.connected = false;
        }
    }

    fn conn(&mut self, name: u64) -> &mut Conn {
        self.conns.get_mut(&name).unwrap()
    }

    fn conns_where(&self, wanted: impl Fn(&Conn) -> bool) -> Vec<u64> {
        self.conns.iter().filter(|(_, conn)| wanted(conn)).map(|(name, _)| *name).collect()
    }

    /// What control would be told of the endpoints of a peer, if it knew everything.
    pub(crate) fn truth(&self, node: usize) -> Vec<PeerReport> {
        let it = &self.nodes[node];
        let peer = |hosted: &lacis_agent_core::Hosted| PeerReport {
            peer: hosted.peer.clone(),
            endpoints: it.endpoints.clone(),
        };
        it.disk.hosted.values().map(peer).collect()
    }
}

fn revisions(cursors: &BTreeMap<ScopeId, String>) -> BTreeMap<ScopeId, Revision> {
    let cursors = cursors.iter().filter_map(|(id, text)| Some((id, text.parse::<Cursor>().ok()?)));
    cursors.map(|(id, cursor)| (id.clone(), cursor.revision)).collect()
}
