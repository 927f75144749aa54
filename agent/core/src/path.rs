//! The path agent: which way packets take to each peer.
//!
//! ```text
//! records, leases, own addresses, frames, tunnel events ─▶ Paths ─▶ frames to send, ways for the tunnel
//! ```
//! One machine for all peers of a node, and in it one small agent (`peer`) for each peer that is in use. The shell hands
//! over events ([`Paths::handle`]), takes actions until there are none ([`Paths::poll`]), and sleeps until
//! [`Paths::deadline`] or the next event; at the deadline it hands over [`PathEvent::Tick`].
//!
//! Invariants: nothing leaves for a peer that nobody uses, but answers to its authentic probes; data is never sent to an
//! address that has not answered; whatever comes in, at most `DISCOVERY_RATE` probes a second discover.
//!
//! `path/SECURITY.md` argues why frames may be trusted.

mod birthday;
mod body;
mod budget;
mod candidate;
mod count;
mod event;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod greet;
mod keys;
pub mod limits;
mod measure;
mod memory;
mod offer;
mod peer;
mod ports;
mod punch;
mod relay;
mod replay;
mod roster;
mod select;
mod unique;
mod view;
mod width;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use lacis_proto::{GroupId, PublicKey};

pub(crate) use self::count::stride;
pub use self::{
    birthday::BirthdayState,
    candidate::{Candidate, CandidateKind, Mapping, NatSummary},
    event::{LastGood, PathAction, PathEvent, PathsBoot, RelayWay, RemotePeer, Seed, Shared},
    view::{Considered, Fate, PathView},
};
use self::{
    birthday::Rest,
    budget::Budget,
    keys::PairKeys,
    limits::{CALLED_RATE, DISCOVERY_RATE, MAX_ROUNDS, SHORTEST_SLEEP, SLEPT, WIDEST},
    memory::Memory,
    offer::Ours,
    peer::{Agent, Carrier, Scene},
    roster::Roster,
    unique::Unique,
};
use crate::way::Auxiliary;

/// A peer of another node: its group and its key.
type PeerName = (GroupId, PublicKey);

/// The path agent. See the module's text.
#[derive(Debug)]
pub struct Paths {
    boot: u64,
    packet: u16,
    unique: Unique,
    groups: BTreeMap<GroupId, Roster>,
    ours: Ours,
    /// Agents of the peers that are in use.
    agents: BTreeMap<PeerName, Agent>,
    /// When each agent has something to do.
    due: BTreeSet<(Duration, PeerName)>,
    due_of: BTreeMap<PeerName, Duration>,
    /// Agents that probe for something better.
    discovering: usize,
    /// Agents that are busy with birthday probing: one at most begins an attempt.
    attempting: usize,
    /// Rests from birthday probing of peers that nobody uses.
    rests: BTreeMap<PeerName, Rest>,
    discovery: Budget,
    called: Budget,
    moved_at: Option<Duration>,
    memory: Memory,
    /// The time of the last event.
    now: Duration,
    actions: VecDeque<PathAction>,
}

impl Paths {
    /// The path agent at start.
    #[must_use]
    pub fn new(boot: PathsBoot) -> Self {
        Self {
            boot: boot.boot,
            packet: boot.mtu.min(WIDEST),
            unique: Unique::new(boot.seed.0, boot.boot),
            groups: BTreeMap::new(),
            ours: Ours::new(boot.birthday),
            agents: BTreeMap::new(),
            due: BTreeSet::new(),
            due_of: BTreeMap::new(),
            discovering: 0,
            attempting: 0,
            rests: BTreeMap::new(),
            discovery: Budget::new(DISCOVERY_RATE),
            called: Budget::new(CALLED_RATE),
            moved_at: None,
            memory: Memory::new(boot.last_good),
            now: Duration::ZERO,
            actions: VecDeque::new(),
        }
    }

    /// Takes in one event. `now` is the time since an origin that stays the same; it must count while the host sleeps.
    pub fn handle(&mut self, now: Duration, event: PathEvent) {
        let late = self.deadline().map_or(Duration::ZERO, |at| now.saturating_sub(at));
        self.now = self.now.max(now);
        self.memory.starts_at(self.now);
        if late > SLEPT {
            self.each(Agent::slept);
        }
        self.take(event);
        self.run_due();
    }

    fn take(&mut self, event: PathEvent) {
        match event {
            PathEvent::Peer(remote) => self.put_peer(remote),
            PathEvent::PeerGone { group, key } => self.remove_peer(group, key),
            PathEvent::Leaving { group } => self.leave(&group),
            PathEvent::OwnCandidates(candidates) => {
                if self.ours.set_candidates(candidates) {
                    self.each(Agent::own_changed);
                }
            }
            PathEvent::Nat(nat) => {
                let before = self.ours.nat;
                if self.ours.set_nat(nat) {
                    self.each(Agent::nat_changed);
                    if nat.is_another_kind_than(&before) {
                        self.each(Agent::own_changed);
                    }
                }
            }
            PathEvent::Nat64(prefix) => {
                if std::mem::replace(&mut self.ours.nat64, prefix) != prefix {
                    self.each(Agent::nat64_changed);
                }
            }
            PathEvent::Counted { seen } => self.each(|agent, scene| agent.counted(scene, &seen)),
            PathEvent::Relays(relays) => {
                self.ours.relays = relays;
                self.each(Agent::relays_changed);
            }
            PathEvent::Agreed { group, key, shared } => self.agreed(group, key, shared.as_ref()),
            PathEvent::Wanted { group, key } => self.with(&(group, key), true, Agent::used),
            PathEvent::Sending { group, key, carried } => {
                self.with(&(group, key), true, |agent, scene| agent.sending(scene, carried));
            }
            PathEvent::SocketsOpened { group, key, sockets } => self.opened(&(group, key), sockets),
            PathEvent::Silent { group, key } => self.with(&(group, key), false, Agent::silent),
            PathEvent::Unanswered { group, key } => self.with(&(group, key), false, Agent::unanswered),
            PathEvent::Heard { group, key, way } => {
                self.with(&(group, key), true, |agent, scene| agent.heard(scene, way));
            }
            PathEvent::Handshake { group, key, way } => {
                self.with(&(group, key), true, |agent, scene| {
                    agent.ask_for_keys(scene);
                    agent.met(scene, way);
                });
            }
            PathEvent::Refused { to } => self.each(|agent, scene| agent.refused(scene, to)),
            PathEvent::PeerUnknown { way } => self.each(|agent, scene| agent.unknown(scene, way)),
            PathEvent::Frame { way, payload } => self.frame(None, Carrier::Way(way), &payload),
            PathEvent::Signal { group, payload } => self.frame(Some(&group), Carrier::Control, &payload),
            PathEvent::NetworkChanged => {
                self.moved_at = Some(self.now);
                self.ours.moved();
                self.each(Agent::network_changed);
            }
            PathEvent::Resumed { asleep } if asleep > SLEPT => self.each(Agent::slept),
            PathEvent::Resumed { .. } | PathEvent::Tick => {}
        }
    }

    /// The next action, until there is none.
    pub fn poll(&mut self) -> Option<PathAction> {
        self.actions.pop_front()
    }

    /// When [`PathEvent::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let due = self.due.first().map(|(at, _)| *at);
        [due, self.memory.keep_at()].into_iter().flatten().min()
    }

    /// What is known of the paths of every peer that is in use.
    #[must_use]
    pub fn view(&self) -> Vec<PathView> {
        let views = self.agents.iter().filter_map(|((group, key), agent)| {
            Some(agent.view(group, self.groups.get(group)?.get(key)?, &self.ours, self.now))
        });
        views.collect()
    }

    /// The direct paths that worked, for the disk.
    #[must_use]
    pub fn last_good(&self) -> Vec<LastGood> {
        self.memory.list(self.now)
    }

    /// A peer came, or its record changed.
    fn put_peer(&mut self, remote: RemotePeer) {
        let name = (remote.group.clone(), remote.key);
        if self.groups.get(&remote.group).is_some_and(|roster| roster.own != remote.own) {
            self.drop_group(&remote.group);
        }
        let roster = self.groups.entry(remote.group.clone()).or_insert_with(|| Roster::new(&remote));
        roster.put(remote);
        self.with(&name, false, |agent, scene| {
            agent.refresh_candidates(scene);
            agent.relays_changed(scene);
        });
    }

    fn remove_peer(&mut self, group: GroupId, key: PublicKey) {
        if let Some(roster) = self.groups.get_mut(&group) {
            roster.remove(&key);
        }
        self.groups.retain(|_, roster| !roster.is_empty());
        let name = (group, key);
        self.drop_agent(&name);
        self.memory.forget(&name);
        self.rests.remove(&name);
    }

    /// This node goes: the peers that are in use hear of it.
    fn leave(&mut self, group: &GroupId) {
        let leaving: Vec<PeerName> = self.agents.keys().filter(|(of, _)| of == group).cloned().collect();
        leaving.iter().for_each(|name| self.with(name, false, Agent::say_goodbye));
        self.drop_group(group);
    }

    fn drop_group(&mut self, group: &GroupId) {
        let gone: Vec<PeerName> = self.agents.keys().filter(|(of, _)| of == group).cloned().collect();
        gone.iter().for_each(|name| self.drop_agent(name));
        self.groups.remove(group);
    }

    fn agreed(&mut self, group: GroupId, key: PublicKey, shared: Option<&Shared>) {
        let Some(own) = self.groups.get(&group).map(|roster| roster.own) else { return };
        let keys = shared.map(|shared| PairKeys::derive(&group, &own, &key, &shared.0));
        self.with(&(group, key), false, |agent, scene| agent.agreed(scene, keys));
    }

    /// A path frame came. Only who is known by its tag is listened to.
    fn frame(&mut self, within: Option<&GroupId>, carrier: Carrier, payload: &[u8]) {
        let Some(tag) = frame::sender(payload) else { return };
        let mut groups = self.groups.iter().filter(|(group, _)| within.is_none_or(|within| within == *group));
        let found = groups.find_map(|(group, roster)| Some((group.clone(), roster.sender(&tag)?)));
        let Some(name) = found else { return };
        if !self.agents.contains_key(&name) && !self.called.take(self.now) {
            return;
        }
        self.with(&name, true, |agent, scene| {
            agent.ask_for_keys(scene);
            agent.frame(scene, carrier, payload);
        });
    }

    /// Lets every agent take part in something.
    fn each(&mut self, act: impl Fn(&mut Agent, &mut Scene<'_>)) {
        let names: Vec<PeerName> = self.agents.keys().cloned().collect();
        names.iter().for_each(|name| self.with(name, false, &act));
    }

    /// Lets the agents act that have something to do now.
    fn run_due(&mut self) {
        while let Some((at, name)) = self.due.first().cloned()
            && at <= self.now
        {
            self.with(&name, false, |_, _| {});
        }
        if self.memory.take_due(self.now) {
            self.actions.push_back(PathAction::KeepLastGood);
        }
    }

    /// Lets the agent of a peer act, then do what is due. Where there is none, one is made if the peer `is_wanted`.
    fn with(&mut self, name: &PeerName, is_wanted: bool, act: impl FnOnce(&mut Agent, &mut Scene<'_>)) {
        let (group, key) = name;
        let Some(roster) = self.groups.get(group) else { return };
        let Some(known) = roster.get(key) else { return };
        let mut agent = self.agents.remove(name);
        let mut scene = Scene {
            now: self.now,
            group,
            own: roster.own,
            tag: roster.tag,
            known,
            ours: &self.ours,
            moved_at: self.moved_at,
            last_good: self.memory.of(name, self.now),
            has_room: self.discovering < MAX_ROUNDS,
            packet: self.packet,
            may_attempt: self.attempting == usize::from(agent.as_ref().is_some_and(Agent::is_attempting)),
            rest: self.rests.get(name).copied().unwrap_or_default(),
            boot: self.boot,
            unique: &mut self.unique,
            budget: &mut self.discovery,
            actions: &mut self.actions,
        };
        if agent.is_none() && is_wanted {
            agent = Some(Agent::new(&scene, *key));
        }
        let Some(mut agent) = agent else { return };
        let was_discovering = self.due_of.contains_key(name) && agent.is_discovering();
        let was_attempting = agent.is_attempting();
        act(&mut agent, &mut scene);
        agent.run_due(&mut scene);
        let works = agent.working_address();
        self.discovering -= usize::from(was_discovering);
        self.attempting -= usize::from(was_attempting);
        if let Some(remote) = works {
            self.memory.works(name, remote, self.now);
        }
        if agent.is_over(self.now) {
            self.retire(name, &agent);
            return;
        }
        self.discovering += usize::from(agent.is_discovering());
        self.attempting += usize::from(agent.is_attempting());
        let at = agent.deadline(self.now).max(self.now + SHORTEST_SLEEP);
        self.schedule(name, Some(at));
        self.agents.insert(name.clone(), agent);
    }

    /// Nobody uses the peer any more: what little must be kept of it goes back to the roster.
    fn retire(&mut self, name: &PeerName, agent: &Agent) {
        self.schedule(name, None);
        let (group, key) = name.clone();
        if let Some(roster) = self.groups.get_mut(&group) {
            roster.remember(&key, agent.memory());
        }
        self.close(agent);
        self.rests.retain(|_, rest| rest.until > self.now);
        if agent.rest().until > self.now {
            self.rests.insert(name.clone(), agent.rest());
        }
        if let Some(ways) = agent.parting_ways() {
            self.actions.push_back(PathAction::SetWays { group, key, ways });
        }
    }

    fn drop_agent(&mut self, name: &PeerName) {
        if let Some(agent) = self.agents.remove(name) {
            self.discovering -= usize::from(agent.is_discovering());
            self.attempting -= usize::from(agent.is_attempting());
            self.close(&agent);
            self.schedule(name, None);
        }
    }

    /// Auxiliary sockets were opened for a peer; where nobody uses it any more, they are closed again.
    fn opened(&mut self, name: &PeerName, sockets: Vec<Auxiliary>) {
        if self.agents.contains_key(name) {
            self.with(name, false, |agent, _| agent.sockets_opened(sockets));
        } else if !sockets.is_empty() {
            self.actions.push_back(PathAction::CloseSockets(sockets));
        }
    }

    /// Closes the auxiliary sockets of an agent that goes.
    fn close(&mut self, agent: &Agent) {
        let sockets = agent.sockets();
        if !sockets.is_empty() {
            self.actions.push_back(PathAction::CloseSockets(sockets));
        }
    }

    fn schedule(&mut self, name: &PeerName, at: Option<Duration>) {
        let before = match at {
            Some(at) => self.due_of.insert(name.clone(), at),
            None => self.due_of.remove(name),
        };
        if let Some(before) = before {
            self.due.remove(&(before, name.clone()));
        }
        if let Some(at) = at {
            self.due.insert((at, name.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
