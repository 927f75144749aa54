//! The lease client: which relays this node uses, and how it is seen from outside.
//!
//! ```text
//! map, tokens, own keys ─▶ home and backup ─▶ leases ─▶ ways for the path agent, leases for the tunnel
//!                             ▲                  └ observed address ─┐
//!                             └ round trips        STUN ─────────────┴▶ own addresses outside, kind of NAT
//! ```
//! One machine for a node. The shell hands over events ([`Relays::handle`]), takes actions until there are none
//! ([`Relays::poll`]) and sleeps until [`Relays::deadline`]. Whoever has no relay has an empty machine that never wakes.
//!
//! Invariants: frames leave for addresses of the map and bridges of the shell alone; beside home and backup a relay gets
//! a few datagrams every five minutes; without traffic a held lease costs one frame and its answer every 25 s.

mod choice;
mod event;
mod lease;
pub mod limits;
mod nat;
mod site;
mod stun;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use lacis_proto::{
    GroupId, PublicKey, RecordId, RelayHome, RelayId,
    relay::{RelayToken, Relays as RelayMap},
    stun::is_stun,
};

use self::{
    choice::Choice,
    limits::{
        GUEST_FOR, HOME_ROUNDS, MAX_GUESTS, MAX_MEASURED, MAX_RELAYS, MEASURE_EVERY, MEASURE_WAIT, RTT_NEWS,
        SUSPECT_EVERY,
    },
    nat::{News, Sightings},
    site::{Hands, Site, Told},
    stun::Stun,
};
pub use self::{
    event::{RelayAction, RelayEvent, RelayLease, RelaysBoot},
    view::{RelayView, RelaysView},
};
use crate::{
    path::{NatSummary, Shared},
    random::Random,
};

/// See the module's text.
#[derive(Debug)]
pub struct Relays {
    sites: BTreeMap<RelayId, Site>,
    own: BTreeMap<GroupId, PublicKey>,
    tokens: BTreeMap<GroupId, RelayToken>,
    choice: Choice,
    /// Relays that are peers' homes, and until when they are wanted.
    guests: BTreeMap<RelayId, Duration>,
    sightings: Sightings,
    stun: Stun,
    /// When the next round of measurements begins, and when the one under way ends.
    measure_at: Option<Duration>,
    measured_since: Option<Duration>,
    /// Rounds since there was a home: which of the other relays have their turn.
    rounds: usize,
    suspected: Option<Duration>,
    random: Random,
    counter: u64,
    epoch_ms: u64,
    actions: VecDeque<RelayAction>,
    said: Said,
}

/// The parts that relays share while they are dealt with, beside the map of relays itself.
macro_rules! hands {
    ($relays:expr, $now:expr) => {
        Hands {
            now: $now,
            own: &$relays.own,
            tokens: &$relays.tokens,
            random: &mut $relays.random,
            counter: &mut $relays.counter,
            epoch_ms: $relays.epoch_ms,
            actions: &mut $relays.actions,
        }
    };
}

/// What was told last, so that only changes are.
#[derive(Debug, Default)]
struct Said {
    leases: Vec<RelayLease>,
    outside: Option<(Vec<SocketAddr>, NatSummary)>,
    homes: Vec<RelayHome>,
}

impl Relays {
    /// The lease client at start: it knows no relay.
    #[must_use]
    pub fn new(boot: RelaysBoot) -> Self {
        Self {
            sites: BTreeMap::new(),
            own: BTreeMap::new(),
            tokens: BTreeMap::new(),
            choice: Choice::default(),
            guests: BTreeMap::new(),
            sightings: Sightings::default(),
            stun: Stun::default(),
            measure_at: None,
            measured_since: None,
            rounds: 0,
            suspected: None,
            random: Random::new(boot.seed),
            counter: 0,
            epoch_ms: boot.epoch_ms,
            actions: VecDeque::new(),
            said: Said::default(),
        }
    }

    /// Takes in one event. `now` is the time since an origin that stays the same.
    pub fn handle(&mut self, now: Duration, event: RelayEvent) {
        match event {
            RelayEvent::Map(map) => self.use_map(now, map),
            RelayEvent::Own(own) => {
                let before = std::mem::replace(&mut self.own, own);
                for (group, _) in before.iter().filter(|(group, key)| self.own.get(*group) != Some(*key)) {
                    self.sites.values_mut().for_each(|site| site.forget(group));
                }
            }
            RelayEvent::Agreed { group, relay, shared } => self.agreed(now, &group, &relay, shared.as_ref()),
            RelayEvent::Frame { from, payload } => self.frame(now, from, &payload),
            RelayEvent::Refused { to } => self.sites.values_mut().for_each(|site| site.refused(to, now)),
            RelayEvent::TlsUp { relay, at } => {
                if let Some(site) = self.sites.get_mut(&relay) {
                    site.tls_up(at, now);
                }
            }
            RelayEvent::TlsDown { relay, why } => {
                if let Some(site) = self.sites.get_mut(&relay) {
                    site.tls_down(why, now);
                }
            }
            RelayEvent::Wanted(relay) => {
                // A home of ours holds a lease anyway.
                if self.sites.contains_key(&relay)
                    && self.choice.chosen().all(|own| *own != relay)
                    && (self.guests.len() < MAX_GUESTS || self.guests.contains_key(&relay))
                {
                    self.guests.insert(relay, now + GUEST_FOR);
                }
            }
            RelayEvent::Suspect => self.suspect(now),
            RelayEvent::NetworkChanged => {
                self.sightings.forget();
                self.sites.values_mut().for_each(|site| site.doubt(true, now));
                self.measure(now);
            }
            RelayEvent::Measure => self.measure(now),
            RelayEvent::Tick => {}
        }
        self.run(now);
        self.say();
    }

    /// The next action, until there is none.
    pub fn poll(&mut self) -> Option<RelayAction> {
        self.actions.pop_front()
    }

    /// When [`RelayEvent::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let held = self.held();
        let sites = held.iter().filter_map(|id| self.sites.get(id)?.deadline());
        let measured = self.measured_since.map(|since| since + MEASURE_WAIT);
        let guests = self.guests.values().copied();
        let rounds = [self.stun.deadline(), self.measure_at, measured].into_iter().flatten();
        sites.chain(guests).chain(rounds).min()
    }

    /// Finds out whether relays are there; many peers may fall silent at once.
    fn suspect(&mut self, now: Duration) {
        if self.suspected.is_none_or(|last| last + SUSPECT_EVERY <= now) {
            self.suspected = Some(now);
            self.sites.values_mut().for_each(|site| site.doubt(false, now));
        }
    }

    /// Takes in what control told of relays. It is whole: what it does not name is gone.
    fn use_map(&mut self, now: Duration, map: RelayMap) {
        self.tokens = map.tokens.into_iter().map(|grant| (grant.group, grant.token)).collect();
        let (mut sites, mut is_new) = (BTreeMap::new(), false);
        for entry in map.relays.into_iter().take(MAX_RELAYS) {
            let kept = self.sites.remove(&entry.id).filter(|site| site.entry == entry);
            is_new |= kept.is_none();
            sites.insert(entry.id.clone(), kept.unwrap_or_else(|| Site::new(entry)));
        }
        let gone = std::mem::replace(&mut self.sites, sites);
        let mut hands = hands!(self, now);
        gone.into_values().for_each(|mut site| site.release(&mut hands));
        let sites = &self.sites;
        self.choice.keep(|id| sites.contains_key(id));
        self.guests.retain(|id, _| sites.contains_key(id));
        if is_new {
            self.measure(now);
        }
    }

    fn agreed(&mut self, now: Duration, group: &GroupId, relay: &PublicKey, shared: Option<&Shared>) {
        let (Some(own), Some(shared)) = (self.own.get(group), shared) else { return };
        for site in self.sites.values_mut().filter(|site| site.entry.key == *relay) {
            site.agreed(group, own, &shared.0, now);
        }
    }

    fn frame(&mut self, now: Duration, from: SocketAddr, bytes: &[u8]) {
        if is_stun(bytes) {
            if let Some(seen) = self.stun.answered(from, bytes) {
                self.seen(now, from, seen);
            }
            return;
        }
        let mut hands = hands!(self, now);
        let Some(site) = self.sites.values_mut().find(|site| site.is_at(from)) else { return };
        match site.frame(from, bytes, &mut hands) {
            Told::Nothing => {}
            Told::Seen { by, at } => self.seen(now, by, at),
            Told::PeerUnknown { lease, address } => {
                self.actions.push_back(RelayAction::PeerUnknown { remote: from, lease, address });
            }
            Told::Leaving => self.measure(now),
        }
    }

    /// An observer told how it sees this node. Where that has changed, the others are asked again.
    fn seen(&mut self, now: Duration, by: SocketAddr, at: SocketAddr) {
        if self.sightings.saw(by, at) == News::Moved {
            self.ask_observers(now);
        }
    }

    fn ask_observers(&mut self, now: Duration) {
        let all: Vec<SocketAddr> = self.sites.values().flat_map(|site| site.entry.stun.clone()).collect();
        self.stun.ask(now, all);
    }

    /// Begins a round of measurements.
    fn measure(&mut self, now: Duration) {
        if self.sites.is_empty() {
            (self.measure_at, self.measured_since) = (None, None);
            return;
        }
        self.ask_observers(now);
        self.measure_at = (self.sites.len() > 1).then_some(now + MEASURE_EVERY);
        self.measured_since = Some(now);
        let chosen: BTreeSet<RelayId> = self.choice.chosen().cloned().collect();
        let mut hands = hands!(self, now);
        let (own, mut others): (Vec<&mut Site>, Vec<&mut Site>) =
            self.sites.values_mut().partition(|site| chosen.contains(&site.entry.id));
        // The first home is the nearest of all. Later each few are measured for as many rounds as make a new one.
        let few = if chosen.is_empty() { MAX_RELAYS } else { MAX_MEASURED };
        let turn = self.rounds / HOME_ROUNDS as usize * MAX_MEASURED;
        self.rounds += usize::from(!chosen.is_empty());
        let first = turn.checked_rem(others.len()).unwrap_or_default();
        others.rotate_left(first);
        for site in own.into_iter().chain(others.into_iter().take(few)) {
            site.probe(&mut hands);
        }
    }

    /// Ends a round of measurements: whoever has answered may be home.
    fn choose(&mut self, since: Duration) {
        let near = self.sites.iter().filter_map(|(id, site)| Some((id.clone(), site.distance(since)?)));
        self.choice.round(&near.collect());
    }

    /// Relays where leases are held: home and backup, or the first two until there is a home, and those of peers.
    fn held(&self) -> BTreeSet<RelayId> {
        let first = if self.choice.home().is_none() { 2 } else { 0 };
        self.choice.chosen().chain(self.sites.keys().take(first)).chain(self.guests.keys()).cloned().collect()
    }

    fn run(&mut self, now: Duration) {
        if self.measure_at.is_some_and(|at| at <= now) {
            self.measure(now);
        }
        if let Some(since) = self.measured_since.take_if(|since| *since + MEASURE_WAIT <= now) {
            self.choose(since);
        }
        self.guests.retain(|_, until| *until > now);
        let held = self.held();
        let had_home = self.choice.home().and_then(|home| self.sites.get(home)).is_some_and(Site::is_sound);
        let mut hands = hands!(self, now);
        for (id, site) in &mut self.sites {
            if held.contains(id) { site.run(&mut hands) } else { site.release(&mut hands) }
        }
        self.stun.run(now, &mut self.random, &mut self.actions);
        let has_home = self.choice.home().and_then(|home| self.sites.get(home)).is_some_and(Site::is_sound);
        if had_home && !has_home && self.sites.len() > 1 {
            self.measure(now);
        }
    }

    fn judge(&self) -> (Vec<SocketAddr>, NatSummary) {
        self.sightings.judge()
    }

    /// Tells what has changed.
    fn say(&mut self) {
        let leases: Vec<RelayLease> = self.sites.values().flat_map(Site::bound).collect();
        if is_news(&self.said.leases, &leases) {
            self.said.leases.clone_from(&leases);
            self.actions.push_back(RelayAction::Leases(leases));
        }
        let (addresses, nat) = self.judge();
        if self.said.outside.as_ref() != Some(&(addresses.clone(), nat)) {
            self.said.outside = Some((addresses.clone(), nat));
            self.actions.push_back(RelayAction::Outside { addresses, nat });
        }
        // A home that was told of is taken back where there is no choice any more.
        if self.sites.len() > 1 || !self.said.homes.is_empty() {
            let chosen = self.choice.chosen().filter(|_| self.sites.len() > 1);
            let ranked = chosen.zip(0u8..);
            let homes: Vec<RelayHome> =
                ranked.map(|(id, rank)| RelayHome { relay: RecordId::from(id), rank }).collect();
            if homes != self.said.homes {
                self.said.homes.clone_from(&homes);
                self.actions.push_back(RelayAction::Home(homes));
            }
        }
    }
}

/// Whether leases differ in more than a round trip that is almost the same.
fn is_news(before: &[RelayLease], now: &[RelayLease]) -> bool {
    let same = |(before, now): (&RelayLease, &RelayLease)| {
        let near = match (before.rtt, now.rtt) {
            (Some(before), Some(now)) => before.abs_diff(now) <= RTT_NEWS.max(before / 5),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        near && RelayLease { rtt: now.rtt, ..before.clone() } == *now
    };
    before.len() != now.len() || !before.iter().zip(now).all(same)
}

#[cfg(test)]
mod tests;
