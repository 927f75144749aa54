//! Where data goes: promoted only on proof, demoted only on evidence.

use std::{net::SocketAddr, time::Duration};

use super::{Agent, Keys, Scene};
use crate::{
    path::{
        candidate::{Candidate, CandidateKind},
        event::PathAction,
        greet::greet,
        limits::{ALSO_FOR, DETOUR_FOR, MAX_GREET_RELAYS, PATIENCE, SECOND_ROUND_AFTER, STALE_AFTER},
        measure::{Hurdle, Path},
        select::{best, is_detour, promotes},
    },
    way::{PeerWays, Way},
};

/// The primary may be dead.
#[derive(Clone, Copy, Debug)]
pub(in crate::path) struct Doubt {
    pub(in crate::path) since: Duration,
    /// Probes of the primary since.
    pub(in crate::path) sent: usize,
}

impl Agent {
    /// Does everything that is due.
    pub(in crate::path) fn run_due(&mut self, scene: &mut Scene<'_>) {
        self.give_up_probes(scene.now);
        self.run_rounds(scene);
        self.run_probes(scene);
        self.run_birthday(scene);
        self.settle(scene);
    }

    /// When something is due next.
    pub(in crate::path) fn deadline(&self, now: Duration) -> Duration {
        let in_use = self.used_at.filter(|_| self.is_in_use(now));
        let has_keys = matches!(self.keys, Keys::Agreed(_));
        let probes = self.paths.iter().filter(|_| has_keys).filter_map(|path| {
            let probe = path.probe_at().map(|at| at.max(self.short_until.unwrap_or_default()));
            [probe, path.opener_at, path.width.next_at()].into_iter().flatten().min()
        });
        let given_up = self.paths.iter().filter_map(Path::gives_up_at);
        let doubt = self.doubt.filter(|_| has_keys);
        let others = [
            in_use.and(self.rounds.next).filter(|_| has_keys),
            self.rounds.again_at().filter(|_| has_keys),
            self.beat_at.filter(|_| has_keys),
            self.search_at.filter(|_| has_keys),
            self.counting.next_at().filter(|_| has_keys),
            doubt.and_then(|doubt| doubt.next_at()),
            doubt.and_then(|_| self.doubt_ends_at()),
            self.stale_at().filter(|at| *at > now),
            self.birthday.deadline().filter(|_| has_keys),
        ];
        let earliest = probes.chain(given_up).chain(others.into_iter().flatten()).min();
        earliest.map_or(self.over_at(), |at| at.min(self.over_at()))
    }

    fn give_up_probes(&mut self, now: Duration) {
        let primary = self.primary;
        let mut is_doubtful = false;
        for path in &mut self.paths {
            let lost = path.give_up(now);
            is_doubtful |= lost > 0 && Some(path.way) == primary;
        }
        if is_doubtful && self.is_in_use(now) {
            self.begin_doubt(now);
        }
    }

    /// Whether a better path is worth a round: there is none, or a relay is in between.
    pub(super) fn wants_better(&self) -> bool {
        self.primary_path().is_none_or(|path| path.is_relay() || !path.proven)
    }

    /// A path works: an answer to a probe that left at `left`, or a handshake, came by it.
    pub(super) fn works(&mut self, scene: &mut Scene<'_>, way: Way, left: Duration) {
        let Some(path) = self.path(way) else { return };
        if self.primary == Some(way) {
            if self.doubt.is_some_and(|doubt| left >= doubt.since) {
                self.doubt = None;
            }
            self.judge_detour(scene);
            return;
        }
        let moves = match self.primary_path() {
            None => true,
            Some(primary) if self.doubt.is_some_and(|doubt| left >= doubt.since) => {
                path.tier() <= primary.tier() || !primary.proven
            }
            Some(primary) => path.is_confirmed() && promotes(path, primary),
        };
        if moves {
            self.switch(scene, way);
        } else {
            self.prefer_relay(scene);
        }
    }

    /// Moves from one relay to another that the pair prefers, once that one answers.
    fn prefer_relay(&mut self, scene: &mut Scene<'_>) {
        let is_relayed = self.primary_path().is_some_and(Path::is_relay);
        let preferred = self.paths.iter().find(|path| path.is_relay() && path.is_confirmed());
        if let Some(preferred) = preferred.filter(|path| is_relayed && Some(path.way) != self.primary) {
            let primary = self.primary_path().map(Path::tier);
            if primary.is_none_or(|tier| preferred.tier() <= tier) {
                self.switch(scene, preferred.way);
            }
        }
    }

    /// Leaves a direct path that has been a detour for long enough.
    fn judge_detour(&mut self, scene: &mut Scene<'_>) {
        let relay = best(self.paths.iter().filter(|path| path.is_relay() && path.is_confirmed()));
        let detour = self
            .primary_path()
            .zip(relay)
            .filter(|(primary, relay)| is_detour(primary, relay))
            .map(|(_, relay)| relay.way);
        let Some(relay) = detour else {
            self.detour_since = None;
            return;
        };
        let since = *self.detour_since.get_or_insert(scene.now);
        if scene.now >= since + DETOUR_FOR {
            self.switch(scene, relay);
        }
    }

    /// Data goes there from now on, and for some packets where it went before.
    fn switch(&mut self, scene: &mut Scene<'_>, to: Way) {
        let from = self.primary.replace(to);
        self.former = from.filter(|former| self.path(*former).is_some_and(|path| path.hurdle.is_none()));
        self.since = scene.now;
        self.doubt = None;
        self.detour_since = None;
        if self.wants_better() {
            // Rounds may have become rare while the peer was away.
            let is_near = self.rounds.next.is_some_and(|next| next <= scene.now + SECOND_ROUND_AFTER);
            if !is_near && (from.is_none() || self.rounds.next.is_none()) && self.is_in_use(scene.now) {
                self.rounds.restart(scene.now);
            }
        } else {
            self.rounds.stop();
            self.paths.iter_mut().filter(|path| !path.proven && !path.is_relay()).for_each(Path::relax);
        }
        let is_greeted = self.ways.as_ref().is_some_and(|ways| ways.greet.contains(&to));
        if from.is_none() && !self.has_met && !is_greeted {
            scene.actions.push_back(PathAction::Initiate { group: scene.group.clone(), key: self.key });
        }
        let (group, peer) = (scene.group.clone(), scene.known.peer.clone());
        scene.actions.push_back(PathAction::Moved { group, peer, from, to: Some(to) });
    }

    /// Begins to doubt the primary, unless that was so already. A peer that sends no path frames could not dispel it.
    pub(in crate::path) fn begin_doubt(&mut self, now: Duration) {
        if self.primary.is_some() && self.doubt.is_none() && self.heard_at.is_some() {
            self.doubt = Some(Doubt { since: now, sent: 0 });
            self.former = None;
        }
    }

    pub(super) fn doubt_ends_at(&self) -> Option<Duration> {
        let patience =
            self.primary_path().and_then(|path| path.rtt).map_or(PATIENCE, |rtt| PATIENCE.max(rtt * 4));
        self.doubt.map(|doubt| doubt.since + patience)
    }

    /// The primary failed: the next one takes over. Where there is none, it stays, because nothing is worse.
    pub(super) fn drop_primary(&mut self, scene: &mut Scene<'_>) {
        let (Some(primary), doubt) = (self.primary, self.doubt.take()) else { return };
        if let Some(path) = self.path_mut(primary) {
            path.fail();
        }
        let since = doubt.map_or(scene.now, |doubt| doubt.since);
        let answered = |path: &&Path| path.answered_at.is_some_and(|at| at >= since) && path.proven;
        let answering = best(self.paths.iter().filter(answered)).map(|path| path.way);
        let next = answering.or_else(|| self.relay_in_order(Some(primary))).or_else(|| self.spare(scene.now));
        if let Some(next) = next {
            self.switch(scene, next);
            self.former = None;
        }
        if self.is_in_use(scene.now) {
            self.rounds.restart(scene.now);
        }
    }

    /// The relay that comes first, those that failed last; not `without`.
    pub(super) fn relay_in_order(&self, without: Option<Way>) -> Option<Way> {
        let usable = |path: &&Path| path.is_relay() && path.hurdle.is_none() && Some(path.way) != without;
        let relays = self.paths.iter().filter(usable);
        relays.min_by_key(|path| path.is_unanswering()).map(|path| path.way)
    }

    /// Relays through which to look for the peer: it may have come to one that did not know it.
    pub(super) fn relays_to_try(&self) -> impl Iterator<Item = Way> {
        let relays = || self.paths.iter().filter(|path| path.is_relay());
        let usable = relays().filter(|path| path.hurdle.is_none());
        let without_peer = relays().filter(|path| path.hurdle == Some(Hurdle::Unknown));
        usable.chain(without_peer).map(|path| path.way)
    }

    /// Where data goes, too, while the primary is in doubt.
    fn spare(&self, now: Duration) -> Option<Way> {
        let relay = self.relay_in_order(self.primary);
        let is_recent = |path: &Path| path.answered_at.is_some_and(|at| now < at + STALE_AFTER);
        let others = self.paths.iter().filter(|path| Some(path.way) != self.primary && !path.is_relay());
        relay.or_else(|| {
            best(others.filter(|path| path.is_confirmed() && is_recent(path))).map(|path| path.way)
        })
    }

    /// When the direct primary will not have been proven for so long that a NAT may have forgotten it.
    fn stale_at(&self) -> Option<Duration> {
        let primary = self.primary_path().filter(|path| !path.is_relay())?;
        Some(primary.answered_at.unwrap_or(self.since) + STALE_AFTER)
    }

    pub(super) fn is_stale(&self, now: Duration) -> bool {
        self.heard_at.is_some() && self.stale_at().is_some_and(|at| at <= now)
    }

    /// Tells the tunnel which ways to use, if that changed.
    fn settle(&mut self, scene: &mut Scene<'_>) {
        let spare = || self.spare(scene.now);
        let is_doubtful = self.doubt.is_some()
            || self.is_stale(scene.now)
            || self.primary_path().is_some_and(|path| !path.proven || !path.width.is_settled());
        let (also, also_for) = match (self.primary, is_doubtful, self.former) {
            (None, _, _) => (None, 0),
            (Some(_), true, _) => (spare(), u32::MAX),
            (Some(_), false, former) => (former, ALSO_FOR),
        };
        let also_for = if also.is_some() { also_for } else { 0 };
        let widths = [self.primary, also].map(|way| self.path(way?)?.width.limit());
        let packet = widths.into_iter().flatten().min();
        let ways = PeerWays { primary: self.primary, also, also_for, packet, greet: self.greet(scene) };
        if self.ways.as_ref() != Some(&ways) {
            let (group, key) = (scene.group.clone(), self.key);
            scene.actions.push_back(PathAction::SetWays { group, key, ways: ways.clone() });
            self.ways = Some(ways);
        }
    }

    /// Where initiations go while nothing is proven.
    fn greet(&self, scene: &Scene<'_>) -> Vec<Way> {
        let relays: Vec<Way> = self.relays_to_try().take(MAX_GREET_RELAYS).collect();
        let candidates: Vec<Candidate> = self
            .paths
            .iter()
            // Who plays a recorded probe again must not draw an initiation.
            .filter(|path| {
                path.hurdle.is_none() && (path.proven || path.kind != Some(CandidateKind::PeerReflexive))
            })
            .filter(|path| path.way.auxiliary.is_none())
            .filter_map(|path| Some(Candidate { kind: path.kind?, addr: path.way.remote }))
            .collect();
        greet(&relays, &candidates, &scene.ours.private())
    }

    /// The direct address that data goes to, if it works.
    pub(in crate::path) fn working_address(&self) -> Option<SocketAddr> {
        let lasts = |path: &&Path| path.proven && !path.is_relay() && path.way.auxiliary.is_none();
        self.primary_path().filter(lasts).map(|path| path.way.remote)
    }

    /// What the tunnel is told when the agent goes: initiations find the peer, no data leaves before.
    pub(in crate::path) fn parting_ways(&self) -> Option<PeerWays> {
        let ways = self.ways.as_ref().filter(|ways| ways.primary.is_some())?;
        Some(PeerWays { greet: ways.greet.clone(), ..PeerWays::default() })
    }

    /// The tunnel hears nothing though it sends.
    pub(in crate::path) fn silent(&mut self, scene: &mut Scene<'_>) {
        if self.heard_at.is_some() {
            self.begin_doubt(scene.now);
            self.doubt_width(scene);
        } else {
            // The peer sends no path frames: only its handshakes tell where it is.
            self.forget_primary(scene);
        }
    }

    /// A handshake is complete: its way works in both directions.
    pub(in crate::path) fn met(&mut self, scene: &mut Scene<'_>, way: Way) {
        self.touched_at = scene.now;
        self.has_met = true;
        if way.is_direct() && (!self.takes_way(way) || !self.add_observed(scene, way)) {
            return;
        }
        let answers_probes = self.heard_at.is_some();
        let Some(path) = self.path_mut(way) else { return };
        path.works(scene.now);
        if answers_probes {
            // A handshake is short: it does not show that the first packets of data pass.
            path.width.sound(scene.now, scene.packet);
        }
        let is_mute = !answers_probes && way.is_direct();
        if is_mute && self.primary != Some(way) {
            self.switch(scene, way);
        }
        self.works(scene, way, scene.now);
    }

    /// Authentic data came by this way: the peer can send there, and perhaps hear there.
    pub(in crate::path) fn heard(&mut self, scene: &mut Scene<'_>, way: Way) {
        self.touched_at = scene.now;
        if self.heard_at.is_none() {
            self.met(scene, way);
        } else if way.is_direct() && self.takes_way(way) && self.add_observed(scene, way) {
            self.path_mut(way)
                .filter(|path| !path.is_confirmed())
                .into_iter()
                .for_each(|path| path.nudge(scene.now));
        }
    }

    /// The operating system has no way to this address.
    pub(in crate::path) fn refused(&mut self, scene: &mut Scene<'_>, to: SocketAddr) {
        self.bar(scene, Hurdle::Refused, |way| way.remote == to);
    }

    /// The relay, or whoever speaks in its name, says that it does not know the peer. Where the peer has answered probes by
    /// it, they decide, and the word alone moves no data.
    pub(in crate::path) fn unknown(&mut self, scene: &mut Scene<'_>, way: Way) {
        let (primary, answers_probes) = (self.primary, self.heard_at.is_some());
        let Some(path) = self.path_mut(way) else { return };
        if !path.proven || !answers_probes {
            self.bar(scene, Hurdle::Unknown, |other| other == way);
        } else if path.accuse(scene.now) {
            if primary == Some(way) {
                self.begin_doubt(scene.now);
            } else {
                path.hurdle = Some(Hurdle::Unknown);
                path.look_again(scene.now);
            }
        }
    }

    fn bar(&mut self, scene: &mut Scene<'_>, hurdle: Hurdle, is_barred: impl Fn(Way) -> bool) {
        for path in self.paths.iter_mut().filter(|path| is_barred(path.way)) {
            path.hold();
            path.hurdle = Some(hurdle);
        }
        if self.primary.is_some_and(is_barred) {
            self.drop_primary(scene);
        }
    }

    /// The relays of this node changed.
    pub(in crate::path) fn relays_changed(&mut self, scene: &mut Scene<'_>) {
        self.refresh_relays(scene);
        let is_gone = self.primary.is_some_and(|primary| self.path(primary).is_none());
        self.former = self.former.filter(|former| self.path(*former).is_some());
        if is_gone {
            match self.relay_in_order(None).or_else(|| self.spare(scene.now)) {
                Some(next) => self.switch(scene, next),
                None => self.forget_primary(scene),
            }
            self.former = None;
        }
        if self.is_in_use(scene.now) && self.wants_better() && self.rounds.next.is_none() {
            self.rounds.restart(scene.now);
        }
    }

    /// Addresses of IPv4 are reached otherwise than before, or not any more.
    pub(in crate::path) fn nat64_changed(&mut self, scene: &mut Scene<'_>) {
        self.refresh_candidates(scene);
        if self.is_in_use(scene.now) && self.wants_better() {
            self.rounds.restart(scene.now);
        }
    }

    /// This node's network changed: the primary is in doubt, and so is everything else.
    pub(in crate::path) fn network_changed(&mut self, scene: &mut Scene<'_>) {
        self.paths.iter_mut().for_each(Path::doubt);
        self.stop_birthday(scene);
        if self.is_in_use(scene.now) {
            self.begin_doubt(scene.now);
            self.rounds.restart(scene.now);
        }
    }

    /// This node slept: nothing that was known of paths holds.
    pub(in crate::path) fn slept(&mut self, scene: &mut Scene<'_>) {
        self.paths.iter_mut().for_each(Path::void);
        self.doubt = None;
        self.former = None;
        match self.relay_in_order(None) {
            Some(relay) if self.primary != Some(relay) && self.primary.is_some() => self.switch(scene, relay),
            Some(_) | None => {}
        }
        self.former = None;
        if self.is_in_use(scene.now) {
            self.begin_doubt(scene.now);
            self.rounds.restart(scene.now);
        }
    }

    /// What this node tells of itself changed.
    pub(in crate::path) fn own_changed(&mut self, scene: &mut Scene<'_>) {
        if self.told == scene.ours.revision {
            return;
        }
        if self.is_in_use(scene.now) && self.wants_better() {
            self.rounds.restart(scene.now);
        } else if self.is_in_use(scene.now) && self.heard_at.is_some() || self.is_heard(scene.now) {
            // Who only listens proposes nothing, but whoever sends must hear of it.
            self.announce(scene);
        }
    }

    /// The peer said goodbye: nothing leads to it until its next start speaks. Initiations find it meanwhile.
    pub(super) fn left(&mut self, scene: &mut Scene<'_>) {
        self.starts.end();
        self.paths.iter_mut().for_each(Path::void);
        self.stop_birthday(scene);
        self.rounds.end();
        self.used_at = None;
        self.has_met = false;
        self.forget_primary(scene);
    }

    fn forget_primary(&mut self, scene: &mut Scene<'_>) {
        self.doubt = None;
        self.former = None;
        if let Some(from) = self.primary.take() {
            let (group, peer) = (scene.group.clone(), scene.known.peer.clone());
            scene.actions.push_back(PathAction::Moved { group, peer, from: Some(from), to: None });
        }
    }
}
