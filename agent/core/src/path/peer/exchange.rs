//! What two peers tell each other: where they may be, and when both probe.

use std::time::Duration;

use lacis_proto::MAX_RELAY_HOMES;

use super::{Agent, Carrier, Keys, Scene};
use crate::path::{
    body::{Body, Offer, Punch},
    candidate::CandidateKind,
    event::PathAction,
    limits::{
        CLASH_SILENCE, EXCHANGE_AGAIN, MAX_HALF, OPENER_BEFORE, ROUND_POSTPONED, SECOND_ROUND_AFTER,
        USUAL_HALF,
    },
    punch::{Meeting, Part, half_of_both},
    relay::relay_tag,
};

impl Agent {
    /// Leads a round if one is due, and repeats a proposal that nobody answered.
    pub(super) fn run_rounds(&mut self, scene: &mut Scene<'_>) {
        if !matches!(self.keys, Keys::Agreed(_)) {
            return;
        }
        let is_due = self.rounds.next.is_some_and(|at| at <= scene.now);
        if is_due && self.is_in_use(scene.now) {
            if scene.has_room || self.is_discovering() {
                self.lead_round(scene);
            } else {
                self.rounds.next = Some(scene.now + ROUND_POSTPONED);
            }
        }
        if self.rounds.again_at().is_some_and(|at| at <= scene.now) {
            self.propose(scene);
        }
    }

    fn lead_round(&mut self, scene: &mut Scene<'_>) {
        let half = self.half(scene);
        let knows = self.theirs.revision != 0;
        let meeting = self.rounds.lead(scene.now, half, knows);
        self.need_homes(scene);
        self.propose(scene);
        self.meet(scene, meeting);
    }

    /// Asks for leases at the peer's home and backup, so that either serves at once when the other is gone. Leases that
    /// nobody asks for end: this is said again as long as the peer is in use and a relay may be needed.
    pub(super) fn need_homes(&self, scene: &mut Scene<'_>) {
        for home in scene.known.relays.iter().take(MAX_RELAY_HOMES) {
            let (group, relay) = (scene.group.clone(), home.relay.clone());
            scene.actions.push_back(PathAction::NeedRelay { group, relay });
        }
    }

    /// Sends this node's candidates and the proposal of the meeting.
    fn propose(&mut self, scene: &mut Scene<'_>) {
        let Some(meeting) = self.rounds.meeting else { return };
        let passed = scene.now.saturating_sub(meeting.began);
        let wait = meeting.wait.saturating_sub(passed);
        let punch = Punch {
            round: meeting.round,
            revision: scene.ours.revision,
            has: self.theirs.revision,
            wait_ms: u16::try_from(wait.as_millis()).unwrap_or(u16::MAX),
        };
        for carrier in self.carriers(usize::from(self.rounds.tries()) + 1) {
            self.tell_candidates(scene, carrier);
            self.send(scene, carrier, &Body::Punch(punch), None);
        }
        let pause = EXCHANGE_AGAIN.max(self.half(scene) * 3);
        self.rounds.proposed(scene.now, pause);
    }

    /// Tells the peer of a change at once, without a round.
    pub(super) fn announce(&mut self, scene: &mut Scene<'_>) {
        for carrier in self.carriers(1) {
            self.tell_candidates(scene, carrier);
        }
    }

    /// More is known of the NAT: while a round is under way, the peer must hear what ports to expect.
    pub(in crate::path) fn nat_changed(&mut self, scene: &mut Scene<'_>) {
        let is_meeting = self
            .rounds
            .meeting
            .is_some_and(|meeting| scene.now < meeting.began + meeting.wait + SECOND_ROUND_AFTER);
        if is_meeting && self.wants_better() {
            self.announce(scene);
        }
    }

    pub(super) fn tell_candidates(&mut self, scene: &mut Scene<'_>, carrier: Carrier) {
        if self.told != scene.ours.revision {
            let offer = self.own_offer(scene);
            self.send(scene, carrier, &Body::Candidates(offer), None);
        }
    }

    /// The first few carriers of an exchange: the relay, control, the direct path in use.
    pub(super) fn carriers(&self, count: usize) -> Vec<Carrier> {
        let relay = self.relays_to_try().next().map(Carrier::Way);
        let direct = self.primary.filter(super::Way::is_direct).map(Carrier::Way);
        relay.into_iter().chain([Carrier::Control]).chain(direct).take(count).collect()
    }

    /// Half of the round trip through the relay, as well as it is known.
    pub(super) fn half(&self, scene: &Scene<'_>) -> Duration {
        let measured = self.paths.iter().find(|path| path.is_relay() && path.rtt.is_some());
        let half = measured.and_then(|path| path.rtt).map(|rtt| rtt / 2);
        let legs = || {
            let ours = scene.ours.leases(scene.group).filter_map(|lease| Some((lease, lease.rtt?)));
            let sums = ours.map(|(lease, leg)| {
                let tag = relay_tag(&lease.relay);
                let theirs = self.theirs.relays.iter().find(|(relay, _)| *relay == tag);
                (leg + theirs.map_or(leg, |(_, ms)| Duration::from_millis((*ms).into()))) / 2
            });
            sums.min()
        };
        half.or_else(legs).unwrap_or(USUAL_HALF).min(MAX_HALF)
    }

    /// Probes what can be probed now, and what is behind NATs at the agreed moment.
    fn meet(&mut self, scene: &Scene<'_>, meeting: Meeting) {
        let counted_at = self.plan_count(scene, meeting);
        // The direct way in use, too: a peer that proposes a meeting has none, and the NATs on it must see us begin.
        let relay = self.primary.filter(|primary| !primary.is_direct());
        for path in self.paths.iter_mut().filter(|path| Some(path.way) != relay) {
            let Some(kind) = path.kind else {
                path.look_again(scene.now);
                continue;
            };
            if !scene.ours.speaks(path.way.remote.ip()) {
                continue;
            }
            let is_open = kind.is_open();
            if path.proven {
                path.look_again(scene.now);
            } else if is_open && (meeting.round != 3 || !path.is_discovering()) {
                path.discover(scene.now);
            } else if let Some(instant) = meeting.instant.filter(|_| !is_open) {
                path.discover(counted_at.unwrap_or(instant).max(scene.now));
                let opener_at = instant.saturating_sub(OPENER_BEFORE);
                let opens = meeting.round > 1
                    && kind == CandidateKind::Reflexive
                    && opener_at >= scene.now
                    && counted_at.is_none();
                path.opener_at = opens.then_some(opener_at);
            }
        }
    }

    /// The peer tells where it may be.
    pub(super) fn offered(&mut self, scene: &Scene<'_>, offer: Offer) {
        if offer.revision < self.theirs.revision {
            return;
        }
        let is_elsewhere = self.theirs.revision != 0 && offer.leads_elsewhere_than(&self.theirs);
        self.theirs = offer;
        if is_elsewhere && self.is_in_use(scene.now) && self.wants_better() {
            self.rounds.restart(scene.now);
        }
        self.refresh_candidates(scene);
        self.refresh_relays(scene);
        let meeting = self.rounds.meeting;
        let counted_at = meeting.and_then(|meeting| self.plan_count(scene, meeting));
        let instant = counted_at.or_else(|| meeting?.instant);
        for path in self.paths.iter_mut().filter(|path| !path.proven && path.probes == 0) {
            if path.is_discovering() || !scene.ours.speaks(path.way.remote.ip()) {
                continue;
            }
            match path.kind {
                Some(kind) if kind.is_open() => path.discover(scene.now),
                Some(_) => instant.into_iter().for_each(|instant| path.discover(instant.max(scene.now))),
                None => path.look_again(scene.now),
            }
        }
    }

    /// The peer proposes a moment.
    pub(super) fn proposed(&mut self, scene: &mut Scene<'_>, carrier: Carrier, punch: Punch) {
        let knows = punch.has == scene.ours.revision;
        let asked = Duration::from_millis(punch.wait_ms.into()).min(CLASH_SILENCE);
        let tells = punch.round == 1 && punch.has == 0;
        let half = half_of_both(self.half(scene), asked, tells);
        let wait = match (knows, punch.round) {
            (true, _) => asked,
            (false, 1) => half,
            (false, _) => asked.max(half),
        };
        self.told = punch.has;
        self.tell_candidates(scene, carrier);
        let answer = Punch {
            round: punch.round,
            revision: scene.ours.revision,
            has: self.theirs.revision,
            wait_ms: u16::try_from(wait.as_millis()).unwrap_or(u16::MAX),
        };
        self.send(scene, carrier, &Body::PunchAck(answer), None);
        let is_lesser = scene.own < self.key;
        let meeting = match self.rounds.part(scene.now, punch.round, punch.has != 0, is_lesser) {
            Part::Follows => Some(self.rounds.follow(scene.now, punch.round, wait)),
            Part::Crosses => self.rounds.cross(scene.now, half, is_lesser),
            Part::Abides => None,
        };
        meeting.into_iter().for_each(|meeting| self.meet(scene, meeting));
    }

    /// The peer agrees to what this node proposed.
    pub(super) fn accepted(&mut self, scene: &mut Scene<'_>, punch: Punch) {
        self.told = punch.has;
        self.announce(scene);
        if let Some(meeting) = self.rounds.agreed(scene.now, punch.round) {
            self.meet(scene, meeting);
        }
    }
}
