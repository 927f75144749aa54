//! The path agent: which way packets take to each peer.
//!
//! ```text
//! records, leases, own addresses, frames, tunnel events ─▶ Paths ─▶ frames to send, ways for the tunnel
//! ```
//! One machine for all peers of a node, and in it one small agent for each peer that is in use. The shell hands over
//! events ([`Paths::handle`]), takes actions until there are none ([`Paths::poll`]) and sleeps until
//! [`Paths::deadline`].
//!
//! Invariants: no packet leaves for a peer that nobody uses; data is never sent to an address that has not answered.

mod candidate;
mod event;
mod greet;
pub mod limits;
mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use lacis_proto::{GroupId, PublicKey};

use self::{candidate::is_private, greet::greet, limits::LAST_GOOD_FOR};
pub use self::{
    candidate::{Candidate, CandidateKind, Mapping, NatSummary},
    event::{LastGood, PathAction, PathEvent, PathsBoot, RelayWay, RemotePeer, Seed, Shared},
    view::{Considered, Fate, PathView},
};
use crate::way::{PeerWays, Way};

/// A peer of another node: its group and its key.
type PeerName = (GroupId, PublicKey);

/// The path agent. See the module's text.
#[derive(Debug)]
pub struct Paths {
    roster: BTreeMap<PeerName, RemotePeer>,
    own: Vec<Candidate>,
    nat: NatSummary,
    relays: Vec<RelayWay>,
    ways: BTreeMap<PeerName, PeerWays>,
    last_good: Vec<LastGood>,
    actions: VecDeque<PathAction>,
}

impl Paths {
    /// The path agent at start.
    #[must_use]
    pub fn new(boot: PathsBoot) -> Self {
        Self {
            roster: BTreeMap::new(),
            own: Vec::new(),
            nat: NatSummary::default(),
            relays: Vec::new(),
            ways: BTreeMap::new(),
            last_good: boot.last_good.into_iter().filter(|path| path.age < LAST_GOOD_FOR).collect(),
            actions: VecDeque::new(),
        }
    }

    /// Takes in one event. `now` is the time since an origin that stays the same.
    pub fn handle(&mut self, _now: Duration, event: PathEvent) {
        match event {
            PathEvent::Peer(peer) => {
                self.roster.insert((peer.group.clone(), peer.key), peer);
            }
            PathEvent::PeerGone { group, key } => {
                self.roster.remove(&(group.clone(), key));
                self.ways.remove(&(group, key));
            }
            PathEvent::OwnCandidates(own) => self.own = own,
            PathEvent::Nat(nat) => self.nat = nat,
            PathEvent::Relays(relays) => {
                self.relays = relays;
                let known: Vec<PeerName> = self.ways.keys().cloned().collect();
                known.iter().for_each(|name| self.set_ways(name));
            }
            PathEvent::Wanted { group, key } | PathEvent::Sending { group, key } => {
                let name = (group, key);
                if !self.ways.contains_key(&name) {
                    self.set_ways(&name);
                }
            }
            PathEvent::Handshake { group, key, way } | PathEvent::Heard { group, key, way } => {
                self.proven(&(group, key), way);
            }
            PathEvent::Silent { .. }
            | PathEvent::Agreed { .. }
            | PathEvent::Refused { .. }
            | PathEvent::PeerUnknown { .. }
            | PathEvent::Frame { .. }
            | PathEvent::Signal { .. }
            | PathEvent::NetworkChanged
            | PathEvent::Resumed { .. }
            | PathEvent::Leaving { .. }
            | PathEvent::Tick => {}
        }
    }

    /// The next action, until there is none.
    pub fn poll(&mut self) -> Option<PathAction> {
        self.actions.pop_front()
    }

    /// When [`PathEvent::Tick`] is due.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        None
    }

    /// What is known of the paths of every peer that is in use.
    #[must_use]
    pub fn view(&self) -> Vec<PathView> {
        self.ways.iter().filter_map(|(name, ways)| self.view_of(name, ways)).collect()
    }

    /// The direct paths that worked, for the disk.
    #[must_use]
    pub fn last_good(&self) -> &[LastGood] {
        &self.last_good
    }

    fn view_of(&self, name: &PeerName, ways: &PeerWays) -> Option<PathView> {
        let known = self.roster.get(name)?;
        Some(PathView {
            group: known.group.clone(),
            peer: known.peer.clone(),
            key: known.key,
            active: true,
            primary: ways.primary,
            also: ways.also,
            since: None,
            rtt: None,
            loss_percent: 0,
            why: String::new(),
            candidates: Vec::new(),
        })
    }

    /// Authentic data or a handshake came by this way: it leads to the peer.
    fn proven(&mut self, name: &PeerName, way: Way) {
        if !self.roster.contains_key(name) {
            return;
        }
        let ways = self.ways.entry(name.clone()).or_default();
        if ways.primary.is_none() || way.is_direct() {
            ways.primary = Some(way);
            self.set_ways(name);
        }
    }

    fn set_ways(&mut self, name: &PeerName) {
        let Some(known) = self.roster.get(name) else { return };
        let relays: Vec<Way> = self
            .relays
            .iter()
            .filter(|lease| lease.group == known.group)
            .map(|lease| Way::relayed(lease.remote, lease.lease, known.address))
            .collect();
        let candidates: Vec<Candidate> = known.endpoints.iter().filter_map(Candidate::of_endpoint).collect();
        let own: Vec<IpAddr> =
            self.own.iter().map(|own| own.addr.ip()).filter(|ip| is_private(*ip)).collect();
        let ways = self.ways.entry(name.clone()).or_default();
        ways.greet = greet(&relays, &candidates, &own);
        let (group, key) = name.clone();
        self.actions.push_back(PathAction::SetWays { group, key, ways: ways.clone() });
    }
}

#[cfg(test)]
mod tests;
