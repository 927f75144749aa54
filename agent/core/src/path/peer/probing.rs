//! Probes that leave, answers that come, and what either says about the peer.

use std::time::Duration;

use super::{Agent, Carrier, Keys, Scene};
use crate::{
    path::{
        body::Body,
        event::PathAction,
        frame::PROBE,
        limits::{DOUBT_MS, GOOD_ENOUGH, HEARTBEAT, MOVED_FOR, QUIET_START, SEALED_BY, SEARCH_EVERY},
        measure::Tier,
        replay::Proof,
        unique::Transaction,
    },
    way::Way,
};

impl Agent {
    /// Sends every probe that is due.
    pub(super) fn run_probes(&mut self, scene: &mut Scene<'_>) {
        if !matches!(self.keys, Keys::Agreed(_)) {
            return;
        }
        self.run_count(scene);
        self.run_openers(scene);
        self.run_ladders(scene);
        self.run_soundings(scene);
        self.run_doubt(scene);
        self.run_heartbeat(scene);
        self.run_search(scene);
    }

    fn run_openers(&mut self, scene: &mut Scene<'_>) {
        let is_due = |at: &Duration| *at <= scene.now;
        let due: Vec<Way> = self
            .paths
            .iter_mut()
            .filter(|path| path.opener_at.as_ref().is_some_and(is_due))
            .map(|path| {
                path.opener_at = None;
                path.way
            })
            .collect();
        due.into_iter().for_each(|way| self.open(scene, way));
    }

    fn run_ladders(&mut self, scene: &mut Scene<'_>) {
        if self.short_until.is_some_and(|until| scene.now < until) {
            return;
        }
        self.short_until = None;
        for at in 0..self.paths.len() {
            if self.paths[at].probe_at().is_none_or(|due| due > scene.now) {
                continue;
            }
            if !scene.budget.take(scene.now) {
                self.short_until = Some(scene.now + scene.budget.pause());
                return;
            }
            self.paths[at].climbed(scene.now);
            self.probe(scene, self.paths[at].way);
        }
    }

    /// Probes the primary in doubt; once nothing came back for long enough, another path takes over.
    fn run_doubt(&mut self, scene: &mut Scene<'_>) {
        let (Some(mut doubt), Some(primary)) = (self.doubt, self.primary) else { return };
        if self.doubt_ends_at().is_some_and(|at| at <= scene.now) {
            self.drop_primary(scene);
            return;
        }
        while doubt.next_at().is_some_and(|at| at <= scene.now) {
            doubt.sent += 1;
            self.probe(scene, primary);
        }
        self.doubt = Some(doubt);
    }

    fn run_heartbeat(&mut self, scene: &mut Scene<'_>) {
        if self.beat_at.is_none_or(|at| at > scene.now) {
            return;
        }
        if !self.is_in_use(scene.now) {
            self.beat_at = None;
            return;
        }
        self.beat_at = Some(scene.now + scene.unique.around(HEARTBEAT));
        if self.wants_better() {
            self.need_homes(scene);
        }
        if let (Some(primary), Some(_), None) = (self.primary, self.heard_at, self.doubt) {
            self.probe(scene, primary);
        }
    }

    /// Data leaves and nothing comes back: only a probe tells whether it arrives. The next heartbeat is put off by it, so
    /// that a stream that is one-way costs one probe a second and no more.
    pub(in crate::path) fn unanswered(&mut self, scene: &mut Scene<'_>) {
        if let (Some(primary), Some(_), None) = (self.primary, self.heard_at, self.doubt) {
            self.beat_at = Some(scene.now + scene.unique.around(HEARTBEAT));
            self.probe(scene, primary);
        }
        self.doubt_width(scene);
    }

    /// Short probes may be answered while data is too long to arrive.
    pub(super) fn doubt_width(&mut self, scene: &Scene<'_>) {
        let primary = self.primary;
        let path = self.paths.iter_mut().find(|path| Some(path.way) == primary && path.proven);
        path.into_iter().for_each(|path| path.width.doubt(scene.now, scene.packet));
    }

    /// Looks whether another path has become better, unless this one leaves nothing to wish for.
    fn run_search(&mut self, scene: &mut Scene<'_>) {
        if self.search_at.is_none_or(|at| at > scene.now) {
            return;
        }
        self.search_at = self.is_in_use(scene.now).then_some(scene.now + SEARCH_EVERY);
        let Some(primary) = self.primary_path() else { return };
        let is_best = primary.tier() == Tier::Host || primary.rtt.is_some_and(|rtt| rtt <= GOOD_ENOUGH);
        if is_best || self.search_at.is_none() || primary.is_relay() {
            return;
        }
        let way = primary.way;
        for path in self.paths.iter_mut().filter(|path| path.way != way && path.hurdle.is_none()) {
            path.look_again(scene.now);
        }
    }

    /// Sends one probe on a path.
    fn probe(&mut self, scene: &mut Scene<'_>, way: Way) {
        let transaction = scene.unique.transaction();
        let moved = scene.moved_at.is_some_and(|at| scene.now < at + MOVED_FOR);
        if let Some(path) = self.path_mut(way) {
            path.sent(scene.now, transaction);
        }
        self.send(scene, Carrier::Way(way), &Body::Ping { transaction, moved, longer: 0 }, None);
    }

    /// Sends probes as long as packets.
    fn run_soundings(&mut self, scene: &mut Scene<'_>) {
        for at in 0..self.paths.len() {
            let way = self.paths[at].way;
            for packet in self.paths[at].width.due(scene.now) {
                let transaction = scene.unique.transaction();
                self.paths[at].width.sent(scene.now, transaction, packet);
                // A packet has as much around it when it is sealed, whatever carries it.
                let longer = (packet + SEALED_BY).saturating_sub(PROBE);
                self.send(scene, Carrier::Way(way), &Body::Ping { transaction, moved: false, longer }, None);
            }
        }
    }

    /// A probe of the peer came: it is answered to where it came from, and its way is tried in return.
    pub(super) fn pinged(
        &mut self,
        scene: &mut Scene<'_>,
        way: Way,
        transaction: Transaction,
        moved: bool,
        is_fresh: bool,
    ) {
        if is_fresh && !self.takes_way(way) {
            return;
        }
        self.send(scene, Carrier::Way(way), &Body::Pong { transaction, seen: way.remote }, None);
        if !is_fresh || (way.is_direct() && !self.add_observed(scene, way)) {
            return;
        }
        if moved && self.primary != Some(way) {
            self.begin_doubt(scene.now);
        }
        let is_new = self.path(way).is_some_and(|path| way.is_direct() && (!path.is_confirmed() || moved));
        if let Some(path) = self.path_mut(way).filter(|_| is_new) {
            path.nudge(scene.now);
        }
    }

    /// A probe of this node was answered.
    pub(super) fn ponged(&mut self, scene: &mut Scene<'_>, transaction: &Transaction, boot: u64) {
        let asked = self.paths.iter().find_map(|path| path.asked(transaction).map(|left| (path.way, left)));
        let Some((way, left)) = asked else { return };
        let is_quiet = self.heard_at.is_none_or(|heard| left > heard + QUIET_START);
        let proof = self.starts.prove(boot, is_quiet);
        if proof == Proof::Late {
            return;
        }
        self.heard_at = Some(scene.now);
        self.touched_at = scene.now;
        if let Some(path) = self.path_mut(way) {
            path.answered(scene.now, transaction);
            path.width.sound(scene.now, scene.packet);
        }
        if proof == Proof::Restarted {
            self.restarted(scene, way);
        }
        self.works(scene, way, left);
    }

    /// The peer runs anew: what it knew and what was known of it is void, but for the path that answered.
    fn restarted(&mut self, scene: &mut Scene<'_>, answered: Way) {
        self.paths.iter_mut().filter(|path| path.way != answered).for_each(super::Path::void);
        self.told = 0;
        self.theirs = super::Offer::default();
        self.stop_birthday(scene);
        scene.actions.push_back(PathAction::Initiate { group: scene.group.clone(), key: self.key });
        if self.is_in_use(scene.now) {
            self.rounds.restart(scene.now);
        }
    }
}

impl super::choice::Doubt {
    /// When the next probe of the doubt is due.
    pub(super) fn next_at(&self) -> Option<Duration> {
        DOUBT_MS.get(self.sent).map(|ms| self.since + Duration::from_millis(*ms))
    }
}
