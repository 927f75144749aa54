//! The agent's side of birthday probing: what `Birthday` decides is sent, opened and closed here.

use super::{Agent, Carrier, Path, Scene};
use crate::{
    path::{
        birthday::{Act, Role, role},
        body::Body,
        event::PathAction,
        limits::EXCHANGE_AGAIN,
    },
    way::{Auxiliary, Way},
};

impl Agent {
    /// Does what is due of it.
    pub(super) fn run_birthday(&mut self, scene: &mut Scene<'_>) {
        let is_relayed = self.is_in_use(scene.now) && self.primary_path().is_some_and(Path::is_relay);
        let role = self.birthday_role(scene);
        self.birthday.look(scene.now, role, is_relayed);
        let is_direct = self.primary_path().is_some_and(|path| path.proven && !path.is_relay());
        self.birthday.settle(scene.now, is_direct);
        let pause = EXCHANGE_AGAIN.max(self.half(scene) * 3);
        while let Some(act) = self.birthday.next(scene.now, scene.may_attempt, pause, scene.budget) {
            match act {
                Act::Call(attempt) => {
                    for carrier in self.carriers(1) {
                        self.tell_candidates(scene, carrier);
                        self.send(scene, carrier, &Body::Birthday { attempt }, None);
                    }
                }
                Act::Open(count) => {
                    let (group, key) = (scene.group.clone(), self.key);
                    scene.actions.push_back(PathAction::OpenSockets { group, key, count });
                }
                Act::Probe(way) => {
                    let body =
                        Body::Ping { transaction: scene.unique.transaction(), moved: false, longer: 0 };
                    self.send(scene, Carrier::Way(way), &body, None);
                }
            }
        }
        self.close_sockets(scene);
    }

    /// This node's part in it with this peer, where both ends want it.
    fn birthday_role(&self, scene: &Scene<'_>) -> Option<Role> {
        let (ours, theirs) = (scene.ours.nature(), self.theirs.nat);
        role(&ours, &theirs).filter(|_| ours.birthday && theirs.birthday)
    }

    /// The peer calls to an attempt.
    pub(super) fn birthday_called(&mut self, scene: &mut Scene<'_>, carrier: Carrier, attempt: u8) {
        let random = scene.unique.random();
        let has_place = scene.may_attempt && self.wants_better();
        if self.birthday.called(scene.now, attempt, has_place, &self.theirs, random) {
            self.tell_candidates(scene, carrier);
            self.send(scene, carrier, &Body::BirthdayAck { attempt }, None);
        }
    }

    /// The peer takes part.
    pub(super) fn birthday_accepted(&mut self, scene: &mut Scene<'_>, attempt: u8) {
        let random = scene.unique.random();
        self.birthday.accepted(scene.now, attempt, &self.theirs, random);
    }

    /// Auxiliary sockets were opened for this peer.
    pub(in crate::path) fn sockets_opened(&mut self, sockets: Vec<Auxiliary>) {
        self.birthday.opened(sockets);
    }

    /// Something new of the peer came by this way. Returns whether the way may be used: one that leaves from a socket
    /// which another one has beaten may not.
    pub(super) fn takes_way(&mut self, way: Way) -> bool {
        self.birthday.met(way);
        way.auxiliary.is_none_or(|socket| self.birthday.holds(socket))
    }

    /// Gives up the attempt under way, without a rest.
    pub(super) fn stop_birthday(&mut self, scene: &mut Scene<'_>) {
        self.birthday.abandon();
        self.close_sockets(scene);
    }

    /// Closes the sockets that are no longer needed, and forgets the paths that left from them.
    fn close_sockets(&mut self, scene: &mut Scene<'_>) {
        let closed = self.birthday.take_closed();
        if closed.is_empty() {
            return;
        }
        let is_closed = |way: Way| way.auxiliary.is_some_and(|socket| closed.contains(&socket));
        self.former = self.former.filter(|former| !is_closed(*former));
        self.paths.retain(|path| !is_closed(path.way));
        scene.actions.push_back(PathAction::CloseSockets(closed));
    }
}
