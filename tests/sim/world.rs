//! The virtual clock and network, and what happens on them.
//!
//! ```text
//! agents ── calls ──▶ (lost, late) ──▶ control ── commit ──▶ answers (lost, late)
//!    ▲                                    └────── lines ──▶ streams (cut, stalled, split anywhere)
//!    └────────────────────────────────────────────────────────┘
//! ```

mod agents;
mod calls;
mod streams;
mod trouble;
mod tunnels;

use std::{collections::BTreeMap, time::Duration};

use lacis_agent_core::{Action, Event as CoreEvent, Notice, StreamId};
use lacis_control_core::{Command, Remover, Reply};
use lacis_proto::{
    Beat, Bye, Code, Cursor, GroupId, Hello, Line, PeerId, PeerReply, PeerReport, PeerRequest, Problem,
    PublicKey, ReportRequest, Revision, ScopeId, WatchRequest,
};
use support::Random;

use crate::{
    control::{Control, Held},
    node::{Node, Process, url},
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
    /// It was held up for so long that nobody waits for the answer.
    is_late: bool,
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
    Purge { node: usize, generation: u64 },
    CallPeer { node: usize, generation: u64, group: GroupId, key: PublicKey, tries: u32 },
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
    /// Where control is, and which addresses it tells.
    place: usize,
    told: Vec<usize>,
    incarnation: u64,
    inbox: Vec<(Option<Call>, Command)>,
    conns: BTreeMap<u64, Conn>,
    /// Things go wrong.
    chaos: bool,
    /// How many times as seldom as usual.
    pub(crate) pace: u64,
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
            place: 0,
            told: vec![0],
            incarnation: 0,
            inbox: Vec::new(),
            conns: BTreeMap::new(),
            chaos: true,
            pace: 1,
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

    /// Nothing goes wrong from now on.
    pub(crate) fn calm(&mut self) {
        self.chaos = false;
    }

    /// Control goes away and nothing brings it back.
    pub(crate) fn lose_control(&mut self) {
        self.kill_control();
        self.queue.retain(|_, event| !matches!(event, Event::ControlUp));
    }

    /// Control is back.
    pub(crate) fn find_control(&mut self) {
        self.control_up();
    }

    /// A machine restarts, and takes some time over it.
    pub(crate) fn reboot(&mut self, node: usize, longest_ms: u64) {
        self.tell(|| format!("node {node} restarts"));
        self.stop_agent(node);
        self.after(1_000, longest_ms, Event::Start { node });
    }

    /// A machine gets other addresses.
    pub(crate) fn move_machine(&mut self, node: usize) {
        let Self { nodes, random, .. } = self;
        nodes[node].roam(random);
        let endpoints = self.nodes[node].endpoints.clone();
        self.tell(|| format!("node {node} moves to {endpoints:?}"));
        self.feed(node, CoreEvent::EndpointsChanged(endpoints));
    }

    /// Nothing goes wrong from now on, and everything that was down comes up.
    pub(crate) fn heal(&mut self) {
        self.tell(|| "heal".into());
        self.chaos = false;
        // Whoever has not heard of the new place comes back to the old one, and so does control.
        if !self.nodes.iter().all(|node| node.disk.urls.contains(&url(self.place))) {
            self.move_control(0);
        }
        self.told = vec![self.place];
        for node in 0..self.nodes.len() {
            self.nodes[node].is_cut = false;
            if self.is_outcast(node) {
                self.purge(node);
            }
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
                self.after(100 * self.pace, 4_000 * self.pace, Event::Trouble);
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
            Event::Purge { node, generation } => {
                if self.nodes[node].generation == generation && self.is_outcast(node) {
                    self.purge(node);
                }
            }
            Event::CallPeer { node, generation, group, key, tries } => {
                if self.process(node, generation).is_some() {
                    self.call_peer(node, group, key, tries);
                }
            }
        }
    }

    fn process(&mut self, node: usize, generation: u64) -> Option<&mut crate::node::Running> {
        let node = &mut self.nodes[node];
        if node.generation == generation { node.running() } else { None }
    }
}

fn revisions(cursors: &BTreeMap<ScopeId, String>) -> BTreeMap<ScopeId, Revision> {
    let cursors = cursors.iter().filter_map(|(id, text)| Some((id, text.parse::<Cursor>().ok()?)));
    cursors.map(|(id, cursor)| (id.clone(), cursor.revision)).collect()
}
