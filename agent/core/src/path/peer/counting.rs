//! Flows to the peer through a NAT of this node that counts: opened, counted, and told to the peer as ports to expect.
//!
//! ```text
//! meeting ─▶ open_at: openers to the peer's addresses ─▶ ask_at: flows of another socket ─▶ counted ─▶ ports told
//!                                                                                            probes begin with the peer's
//! ```
//! The flows keep their ports while they live, so a later round tells the next ports further back instead of opening and
//! counting anew. Openers die before the peer's NAT: one that remaps whoever is early (`punch`) must hear the peer first.

use std::{net::SocketAddr, time::Duration};

use super::{Agent, Carrier, Scene};
use crate::path::{
    body::{Body, Offer},
    candidate::{Candidate, CandidateKind, Mapping},
    count::Count,
    event::PathAction,
    limits::{CLASH_SILENCE, COUNT_AFTER, COUNT_TAKES, EXPECTED_PORTS, MAX_OFFERED, OPENER_TTL},
    measure::Path,
    offer::is_probeable,
    punch::Meeting,
};
use crate::way::Way;

/// How far the count of the flows to one peer is.
#[derive(Debug, Default)]
pub(super) struct Counting {
    /// The meeting that it is done for, by its beginning.
    meeting: Option<Duration>,
    open_at: Option<Duration>,
    ask_at: Option<Duration>,
    /// A count is waited for since then.
    asked: Option<Duration>,
    count: Option<Count>,
    /// Ports nearest to the count that the peer has tried in vain.
    earlier: i32,
}

impl Counting {
    /// When something is due next.
    pub(super) fn next_at(&self) -> Option<Duration> {
        [self.open_at, self.ask_at].into_iter().flatten().min()
    }
}

impl Agent {
    /// Plans the flows of a meeting, if this node's NAT counts and the peer's does not choose ports anew itself. Returns
    /// until when the peer's addresses behind NATs must not be probed.
    pub(super) fn plan_count(&mut self, scene: &Scene<'_>, meeting: Meeting) -> Option<Duration> {
        let (nat, instant) = (&scene.ours.nat, meeting.instant?);
        // Whether it counts may have been hidden by flows of others when it was measured.
        let may_count =
            nat.step.is_some() || meeting.round > 1 && nat.mapping == Mapping::AddressAndPortDependent;
        if !may_count || self.theirs.revision == 0 || self.theirs.nat.mapping.is_hard() {
            return None;
        }
        let half = self.half(scene);
        if self.counting.meeting.replace(meeting.began) != Some(meeting.began) {
            self.counting.open_at = Some(instant.saturating_sub(half + COUNT_TAKES).max(scene.now));
        }
        Some(self.counting.open_at.unwrap_or(scene.now) + COUNT_TAKES + half)
    }

    /// Opens flows and has them counted, as far as that is due.
    pub(super) fn run_count(&mut self, scene: &mut Scene<'_>) {
        if self.counting.open_at.take_if(|at| *at <= scene.now).is_some() {
            self.open_flows(scene);
        }
        if self.counting.ask_at.take_if(|at| *at <= scene.now).is_some() {
            self.counting.asked = Some(scene.now);
            scene.actions.push_back(PathAction::CountFlows);
        }
    }

    fn open_flows(&mut self, scene: &mut Scene<'_>) {
        let is_dead = |path: &Path| path.sent_at.is_none_or(|at| scene.now >= at + CLASH_SILENCE);
        let unproven = self.paths.iter().filter(|path| !path.is_relay() && !path.proven);
        let dead: Vec<Way> = unproven
            .filter(|path| path.kind == Some(CandidateKind::Reflexive) && is_dead(path))
            .map(|path| path.way)
            .collect();
        if dead.is_empty() && self.counting.count.is_some() {
            self.counting.earlier += EXPECTED_PORTS;
            self.tell_count(scene);
            return;
        }
        for way in dead {
            self.open(scene, way);
        }
        self.counting.ask_at = Some(scene.now + COUNT_AFTER);
    }

    /// Sends a datagram that opens this node's NAT for the peer and dies before the peer's own.
    pub(super) fn open(&mut self, scene: &mut Scene<'_>, way: Way) {
        if let Some(path) = self.path_mut(way) {
            path.sent_at = Some(scene.now);
        }
        // Nobody waits for its answer: it should not get there.
        let body = Body::Ping { transaction: scene.unique.transaction(), moved: false, longer: 0 };
        self.send(scene, Carrier::Way(way), &body, Some(OPENER_TTL));
    }

    /// Flows that were opened right after those to the peer were seen at these ports.
    pub(in crate::path) fn counted(&mut self, scene: &mut Scene<'_>, seen: &[SocketAddr]) {
        if self.counting.asked.take().is_none() {
            return;
        }
        (self.counting.count, self.counting.earlier) = (Count::of(seen), 0);
        if self.counting.count.is_some() && self.wants_better() {
            self.tell_count(scene);
        }
    }

    /// Tells the peer where it will be probed from, and probes it once it has heard that.
    fn tell_count(&mut self, scene: &mut Scene<'_>) {
        let offer = self.own_offer(scene);
        for carrier in self.carriers(2) {
            self.send(scene, carrier, &Body::Candidates(offer.clone()), None);
        }
        let heard = scene.now + self.half(scene);
        let held = self.paths.iter_mut().filter(|path| path.kind == Some(CandidateKind::Reflexive));
        held.filter(|path| !path.proven).for_each(|path| path.discover(heard));
    }

    /// What this node tells the peer of itself: with a count, the ports of its flows to the peer.
    pub(super) fn own_offer(&self, scene: &Scene<'_>) -> Offer {
        let mut offer = scene.ours.offer(scene.group, &scene.known.relays);
        if let Some(count) = self.counting.count {
            offer.candidates.retain(|candidate| candidate.kind != CandidateKind::Predicted);
            let expected = count.before(self.counting.earlier).into_iter().filter(|addr| is_probeable(*addr));
            let expected = expected.map(|addr| Candidate { kind: CandidateKind::Predicted, addr });
            offer.candidates.extend(expected);
            offer.candidates.truncate(MAX_OFFERED);
        }
        offer
    }
}
