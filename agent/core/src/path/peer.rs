//! The agent of one peer that is in use: events about it go in, frames and ways come out.
//!
//! ```text
//! wanted ─▶ agree on keys ─▶ tell candidates, propose a moment ─▶ probe ─▶ two answers ─▶ primary
//!             │                                                               │
//!             └ initiations go to the start set meanwhile                     └ silence, errors ─▶ doubt ─▶ next path
//! ```
//! `exchange` tells the peer where this node may be and learns the same, `counting` finds out which ports a NAT that counts
//! has given, `probing` sends probes and takes in answers, `choice` decides where data goes, `fates` tells people about it.
//!
//! Invariants: the primary has answered or is a relay; probes leave only after keys are agreed on; an agent that
//! nobody uses sends nothing but answers.

mod birthday;
mod choice;
mod counting;
mod exchange;
mod fates;
mod probing;

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use lacis_proto::{GroupId, PublicKey};

use self::{choice::Doubt, counting::Counting};
use super::{
    birthday::{Birthday, Rest},
    body::{Body, Offer},
    budget::Budget,
    candidate::{Candidate, CandidateKind},
    event::PathAction,
    frame,
    keys::{PairKeys, Tag},
    limits::{
        CALLED_FOR, HEARTBEAT, IDLE_AFTER, IN_USE_FOR, MAX_CANDIDATES, MAX_PEER_REFLEXIVE, MAX_RELAYS,
        MAX_WAITING, SEARCH_EVERY,
    },
    measure::{Hurdle, Path},
    offer::Ours,
    punch::Rounds,
    relay,
    replay::{Freshness, Starts},
    roster::Known,
    unique::Unique,
};
use crate::way::{Auxiliary, PeerWays, Way};

/// What an agent sees of the rest of the machine while it handles an event.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) now: Duration,
    pub(super) group: &'a GroupId,
    /// Key of the own peer in the group, and the tag it sends under.
    pub(super) own: PublicKey,
    pub(super) tag: Tag,
    /// What the peer's record says.
    pub(super) known: &'a Known,
    pub(super) ours: &'a Ours,
    /// When this node last moved.
    pub(super) moved_at: Option<Duration>,
    /// A direct path that worked before.
    pub(super) last_good: Option<SocketAddr>,
    /// Whether there is room for another round.
    pub(super) has_room: bool,
    /// The longest packet that the overlay sends.
    pub(super) packet: u16,
    /// Whether no other agent is busy with birthday probing.
    pub(super) may_attempt: bool,
    /// The peer's rest from birthday probing, from before.
    pub(super) rest: Rest,
    pub(super) boot: u64,
    pub(super) unique: &'a mut Unique,
    pub(super) budget: &'a mut Budget,
    pub(super) actions: &'a mut VecDeque<PathAction>,
}

/// How a frame came or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Way(Way),
    /// As a signal through control.
    Control,
}

/// How far the agreement on keys is.
#[derive(Debug)]
enum Keys {
    Unasked,
    Asked,
    Agreed(PairKeys),
    /// The peer's key is no key to agree with.
    Impossible,
}

/// The agent of one peer.
#[derive(Debug)]
pub(super) struct Agent {
    key: PublicKey,
    keys: Keys,
    /// Frames that came before the keys.
    waiting: Vec<(Carrier, Vec<u8>)>,
    starts: Starts,
    /// Number of the last frame to the peer.
    seq: u64,
    /// The last authentic frame of the peer; none if it may be an agent that sends none.
    heard_at: Option<Duration>,
    /// A handshake was completed.
    has_met: bool,
    theirs: Offer,
    /// Revision of the own candidates that the peer has.
    told: u32,
    /// Relays first, in the order in which they are preferred, then candidates by kind.
    paths: Vec<Path>,
    primary: Option<Way>,
    since: Duration,
    /// The primary before, for the packets that go both ways.
    former: Option<Way>,
    doubt: Option<Doubt>,
    /// Since when the direct primary is a detour.
    detour_since: Option<Duration>,
    beat_at: Option<Duration>,
    search_at: Option<Duration>,
    /// Probes wait until then for the budget.
    short_until: Option<Duration>,
    rounds: Rounds,
    counting: Counting,
    birthday: Birthday,
    /// Data last left or was wanted.
    used_at: Option<Duration>,
    touched_at: Duration,
    /// What the tunnel was told last.
    ways: Option<PeerWays>,
}

impl Agent {
    pub(super) fn new(scene: &Scene<'_>, key: PublicKey) -> Self {
        let mut agent = Self {
            key,
            keys: Keys::Unasked,
            waiting: Vec::new(),
            starts: scene.known.starts(),
            seq: scene.known.sent,
            heard_at: None,
            has_met: false,
            theirs: Offer::default(),
            told: 0,
            paths: Vec::new(),
            primary: None,
            since: scene.now,
            former: None,
            doubt: None,
            detour_since: None,
            beat_at: None,
            search_at: None,
            short_until: None,
            rounds: Rounds::default(),
            counting: Counting::default(),
            birthday: Birthday::rested(scene.rest),
            used_at: None,
            touched_at: scene.now,
            ways: None,
        };
        agent.refresh_relays(scene);
        agent.refresh_candidates(scene);
        agent
    }

    /// What is to be remembered of the peer while nobody uses it: its start, and the last number of a frame to it.
    pub(super) fn memory(&self) -> (Option<(u64, u64)>, u64) {
        (self.starts.memory(), self.seq)
    }

    /// Whether nothing has happened for so long that the agent can go.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.over_at() <= now
    }

    fn over_at(&self) -> Duration {
        let is_called = self.used_at.is_none() && self.heard_at.is_none();
        self.touched_at + if is_called { CALLED_FOR } else { IDLE_AFTER }
    }

    /// Whether data left for the peer lately.
    pub(super) fn is_in_use(&self, now: Duration) -> bool {
        self.used_at.is_some_and(|at| now < at + IN_USE_FOR)
    }

    /// Whether the peer spoke lately: it may have traffic for this node, which has none for it.
    fn is_heard(&self, now: Duration) -> bool {
        self.heard_at.is_some_and(|at| now < at + IN_USE_FOR)
    }

    /// Whether probes that discover are under way.
    pub(super) fn is_discovering(&self) -> bool {
        self.paths.iter().any(|path| !path.is_relay() && path.is_discovering())
    }

    /// Whether it is busy with birthday probing.
    pub(super) const fn is_attempting(&self) -> bool {
        self.birthday.is_busy()
    }

    /// Its rest from birthday probing.
    pub(super) const fn rest(&self) -> Rest {
        self.birthday.rest()
    }

    /// Its auxiliary sockets.
    pub(super) fn sockets(&self) -> Vec<Auxiliary> {
        self.birthday.sockets()
    }

    /// Data leaves for the peer; so many bytes went to it and came from it so far.
    pub(super) fn sending(&mut self, scene: &mut Scene<'_>, carried: u64) {
        self.birthday.carried(carried);
        self.used(scene);
    }

    /// Data leaves for the peer, or should.
    pub(super) fn used(&mut self, scene: &mut Scene<'_>) {
        self.used_at = Some(scene.now);
        self.touched_at = scene.now;
        self.ask_for_keys(scene);
        if self.beat_at.is_none() {
            self.beat_at = Some(scene.now + scene.unique.around(HEARTBEAT));
        }
        if self.search_at.is_none() {
            self.search_at = Some(scene.now + SEARCH_EVERY);
        }
        if self.wants_better() && self.rounds.next.is_none() {
            self.rounds.restart(scene.now);
        }
        if self.is_stale(scene.now) {
            self.begin_doubt(scene.now);
        }
    }

    pub(super) fn ask_for_keys(&mut self, scene: &mut Scene<'_>) {
        if matches!(self.keys, Keys::Unasked) {
            self.keys = Keys::Asked;
            scene.actions.push_back(PathAction::Agree { group: scene.group.clone(), key: self.key });
        }
    }

    /// The keys are there, or never will be.
    pub(super) fn agreed(&mut self, scene: &mut Scene<'_>, keys: Option<PairKeys>) {
        self.keys = keys.map_or(Keys::Impossible, Keys::Agreed);
        for (carrier, payload) in std::mem::take(&mut self.waiting) {
            self.frame(scene, carrier, &payload);
        }
    }

    /// A frame that names the peer as its sender.
    pub(super) fn frame(&mut self, scene: &mut Scene<'_>, carrier: Carrier, payload: &[u8]) {
        let keys = match &self.keys {
            Keys::Agreed(keys) => keys,
            Keys::Impossible => return,
            Keys::Unasked | Keys::Asked => {
                if self.waiting.len() < MAX_WAITING {
                    self.waiting.push((carrier, payload.to_vec()));
                }
                return;
            }
        };
        let Some(opened) = frame::open(&keys.from_peer, payload) else { return };
        let freshness = self.starts.take(opened.boot, opened.seq);
        if freshness == Freshness::New {
            self.heard_at = Some(scene.now);
            self.touched_at = scene.now;
        }
        self.heard_at.get_or_insert(scene.now);
        let is_fresh = freshness != Freshness::Old;
        match opened.body {
            Body::Ping { transaction, moved, .. } => {
                if let Carrier::Way(way) = carrier {
                    self.pinged(scene, way, transaction, moved && is_fresh, is_fresh);
                }
            }
            Body::Pong { transaction, .. } => self.ponged(scene, &transaction, opened.boot),
            Body::Candidates(offer) if is_fresh => self.offered(scene, offer),
            Body::Punch(punch) if is_fresh => self.proposed(scene, carrier, punch),
            Body::PunchAck(punch) if is_fresh => self.accepted(scene, punch),
            // A recorded goodbye of an earlier start could be played again after a restart.
            Body::Bye if freshness == Freshness::New => self.left(scene),
            Body::Birthday { attempt } if is_fresh => self.birthday_called(scene, carrier, attempt),
            Body::BirthdayAck { attempt } if is_fresh => self.birthday_accepted(scene, attempt),
            Body::Candidates(_)
            | Body::Punch(_)
            | Body::PunchAck(_)
            | Body::Bye
            | Body::Birthday { .. }
            | Body::BirthdayAck { .. } => {}
        }
    }

    /// Seals and sends a message.
    fn send(&mut self, scene: &mut Scene<'_>, carrier: Carrier, body: &Body, ttl: Option<u8>) {
        let Keys::Agreed(keys) = &self.keys else { return };
        self.seq += 1;
        let nonce = scene.unique.nonce();
        let payload = frame::seal(&keys.to_peer, scene.tag, &nonce, scene.boot, self.seq, body);
        scene.actions.push_back(match carrier {
            Carrier::Way(way) => {
                let whole = matches!(body, Body::Ping { longer: 1.., .. });
                PathAction::Send { way, payload, ttl, whole }
            }
            Carrier::Control => {
                PathAction::Signal { group: scene.group.clone(), to: scene.known.peer.clone(), payload }
            }
        });
    }

    /// Tells the peer that this node goes, by two ways where there are: a goodbye that is lost is not repeated.
    pub(super) fn say_goodbye(&mut self, scene: &mut Scene<'_>) {
        let Some(primary) = self.primary.filter(|_| self.heard_at.is_some()) else { return };
        for way in [Some(primary), self.relay_in_order(Some(primary))].into_iter().flatten() {
            self.send(scene, Carrier::Way(way), &Body::Bye, None);
        }
    }

    fn path(&self, way: Way) -> Option<&Path> {
        self.paths.iter().find(|path| path.way == way)
    }

    fn path_mut(&mut self, way: Way) -> Option<&mut Path> {
        self.paths.iter_mut().find(|path| path.way == way)
    }

    fn primary_path(&self) -> Option<&Path> {
        self.path(self.primary?)
    }

    /// Brings the relays in line with this node's leases and with what is known of the peer's.
    pub(super) fn refresh_relays(&mut self, scene: &Scene<'_>) {
        let ordered = relay::order(scene.ours.leases(scene.group), &self.theirs.relays, &scene.known.relays);
        let mut relays: Vec<Path> = Vec::new();
        for lease in ordered.into_iter().take(MAX_RELAYS) {
            let way = Way::relayed(lease.remote, lease.lease, scene.known.address);
            relays.push(self.path(way).cloned().unwrap_or_else(|| Path::relayed(way, lease.tls)));
        }
        self.paths.retain(|path| !path.is_relay());
        self.paths.splice(0..0, relays);
    }

    /// Brings the candidates in line with the peer's record and with what it offers. Paths that answer stay.
    pub(super) fn refresh_candidates(&mut self, scene: &Scene<'_>) {
        let last_good = scene.last_good.map(|addr| Candidate { kind: CandidateKind::LastGood, addr });
        let recorded = scene.known.endpoints.iter().filter_map(Candidate::of_endpoint);
        let offered = self.theirs.candidates.iter().copied();
        let offered = offered.filter(|offered| super::offer::is_probeable(offered.addr));
        let wanted = recorded.chain(last_good).chain(offered);
        let wanted: Vec<Candidate> = wanted.map(|candidate| scene.ours.leads_to(candidate)).collect();
        let primary = self.primary;
        self.paths.retain(|path| {
            let is_wanted = wanted.iter().any(|candidate| candidate.addr == path.way.remote);
            let is_observed = path.kind == Some(CandidateKind::PeerReflexive);
            path.is_relay() || is_wanted || is_observed || path.proven || Some(path.way) == primary
        });
        for candidate in wanted {
            self.add_candidate(scene, candidate);
        }
        self.sort_paths();
    }

    /// Adds a candidate where there is room; returns whether it is there now.
    fn add_candidate(&mut self, scene: &Scene<'_>, candidate: Candidate) -> bool {
        self.add_path(scene, Way::direct(candidate.addr), candidate.kind)
    }

    fn add_path(&mut self, scene: &Scene<'_>, way: Way, kind: CandidateKind) -> bool {
        if self.path(way).is_some() {
            return true;
        }
        if self.paths.iter().filter(|path| !path.is_relay()).count() >= MAX_CANDIDATES {
            return false;
        }
        let mut path = Path::direct(way, kind);
        if !scene.ours.speaks(way.remote.ip()) {
            path.hurdle = Some(Hurdle::Refused);
        }
        self.paths.push(path);
        true
    }

    /// Adds the source of something authentic; the oldest unproven one makes room.
    fn add_observed(&mut self, scene: &Scene<'_>, way: Way) -> bool {
        if self.path(way).is_some() {
            return true;
        }
        let is_observed = |path: &Path| path.kind == Some(CandidateKind::PeerReflexive);
        let primary = self.primary;
        let can_go = |path: &Path| is_observed(path) && !path.proven && Some(path.way) != primary;
        if self.paths.iter().filter(|path| is_observed(path)).count() >= MAX_PEER_REFLEXIVE {
            let Some(oldest) = self.paths.iter().position(can_go) else { return false };
            self.paths.remove(oldest);
        }
        let added = self.add_path(scene, way, CandidateKind::PeerReflexive);
        self.sort_paths();
        added
    }

    /// Relays keep their order; candidates stand by kind, the oldest of a kind first.
    fn sort_paths(&mut self) {
        self.paths.sort_by_key(|path| path.kind);
    }
}
