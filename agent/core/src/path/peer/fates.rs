//! What people are told of a peer's paths.

use std::time::Duration;

use lacis_proto::GroupId;

use super::{Agent, Keys};
use crate::path::{
    measure::Path,
    offer::Ours,
    roster::Known,
    view::{Considered, Fate, PathView},
};

impl Agent {
    /// Everything that is known of the peer's paths.
    pub(in crate::path) fn view(
        &self,
        group: &GroupId,
        known: &Known,
        ours: &Ours,
        now: Duration,
    ) -> PathView {
        let primary = self.primary_path();
        PathView {
            group: group.clone(),
            peer: known.peer.clone(),
            key: self.key,
            active: true,
            primary: self.primary,
            also: self.ways.as_ref().and_then(|ways| ways.also),
            since: self.primary.map(|_| self.since),
            rtt: primary.and_then(|path| path.rtt),
            loss_percent: primary.map_or(0, Path::loss_percent),
            why: self.why(ours).to_owned(),
            birthday: self.birthday.state(now, &ours.nature(), &self.theirs.nat),
            candidates: self.paths.iter().map(|path| self.considered(path)).collect(),
        }
    }

    fn considered(&self, path: &Path) -> Considered {
        let fate = if self.primary == Some(path.way) { Fate::InUse } else { path.fate() };
        let (probes, answers) = (path.probes, path.answers);
        Considered { way: path.way, kind: path.kind, fate, rtt: path.rtt, probes, answers }
    }

    /// Why the peer is not reached directly.
    fn why(&self, ours: &Ours) -> &'static str {
        let is_direct = self.primary_path().is_some_and(|path| !path.is_relay());
        let direct = || self.paths.iter().filter(|path| !path.is_relay());
        if is_direct {
            ""
        } else if matches!(self.keys, Keys::Impossible) {
            "the peer's key is no key to agree with, so its paths cannot be probed"
        } else if self.detour_since.is_some() || direct().any(|path| path.proven) {
            "a direct path answers, but the relay is much faster"
        } else if self.heard_at.is_none() {
            "the peer has not answered yet: it may be off, or at no relay that this node can reach"
        } else if self.theirs.revision == 0 {
            "the peer has not told where it may be"
        } else if self.is_discovering() {
            "direct paths are being probed"
        } else if ours.nat.mapping.is_hard() && self.theirs.nat.mapping.is_hard() {
            "the NATs of both ends choose another port for every destination; a port mapping on one of them helps"
        } else if direct().next().is_none() {
            "the peer offers no address"
        } else {
            "no address of the peer answered: a NAT or a firewall on the way lets nothing in"
        }
    }
}
