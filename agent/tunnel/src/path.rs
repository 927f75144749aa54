//! Where a peer is: its proven endpoint, and the candidates to try while there is none.
//!
//! The proven endpoint follows the source of authenticated data, and of the response to an initiation of ours. An
//! initiation alone proves nothing: it may be a replay from elsewhere.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::auxiliary::Auxiliary;
use crate::limits;
use crate::relay;
use crate::way::{Hop, Way, Ways};

/// One end of a way, as the sockets see it, and what a relay there must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) remote: SocketAddr,
    /// Our address that the peer spoke to; packets leave from it as long as it exists.
    pub(crate) local: Option<IpAddr>,
    /// What stands in front of every datagram when a relay is there.
    pub(crate) relay: Option<Hop>,
    /// The socket at our end, where it is not the usual one.
    pub(crate) auxiliary: Option<Auxiliary>,
}

impl Endpoint {
    /// The way that leads there.
    pub(crate) fn way(&self) -> Way {
        Way { remote: self.remote, relay: self.relay, auxiliary: self.auxiliary }
    }

    /// Bytes in front of every datagram.
    #[inline]
    pub(crate) fn header_len(&self) -> usize {
        if self.relay.is_some() { relay::HEADER } else { 0 }
    }
}

impl From<Way> for Endpoint {
    fn from(Way { remote, relay, auxiliary }: Way) -> Self {
        Self { remote, local: None, relay, auxiliary }
    }
}

/// What is known of the way to one peer.
#[derive(Debug, Default)]
pub(crate) struct Path {
    pub(crate) proven: Option<Endpoint>,
    /// The largest packet the way carries once sealed, where that was found to be less than the overlay's MTU, and
    /// until when that is believed.
    narrow: Option<(usize, Instant)>,
    /// Until when datagrams leave one by one, since the kernel takes no trains for this way.
    alone: Option<Instant>,
    candidates: Vec<SocketAddr>,
    /// What the control side chose; `None` for a peer that is followed to wherever its packets come from.
    ways: Option<Box<Ways>>,
    /// A candidate from which something came, and our address that it came to.
    spoken: Option<Endpoint>,
}

impl Path {
    /// Replaces the candidates, keeping the first eight distinct ones that can be sent to.
    pub(crate) fn set_candidates(&mut self, candidates: &[SocketAddr]) {
        self.candidates.clear();
        for candidate in candidates {
            let usable =
                candidate.port() != 0 && !candidate.ip().is_unspecified() && !candidate.ip().is_multicast();
            if usable && !self.candidates.contains(candidate) && self.candidates.len() < limits::CANDIDATES {
                self.candidates.push(*candidate);
            }
        }
        self.candidates.shrink_to_fit();
    }

    /// Sends by the chosen ways from now on.
    pub(crate) fn steer(&mut self, ways: Ways) {
        let former = self.ways.replace(Box::new(ways.limited()));
        let chosen = self.ways.as_ref().and_then(|ways| ways.primary);
        let was_chosen = former.is_none_or(|former| former.primary.is_some());
        // What was found while nothing was chosen stays until something is.
        if self.way() != chosen && (chosen.is_some() || was_chosen) {
            self.proven = chosen.map(Endpoint::from);
            (self.narrow, self.alone) = (None, None);
        }
    }

    /// Returns the second way for the next data packet, while there is one; each call is one packet.
    #[inline]
    pub(crate) fn copy_to(&mut self) -> Option<Endpoint> {
        let ways = self.ways.as_mut()?;
        let also = ways.also.filter(|_| ways.also_for > 0)?;
        if ways.also_for != u32::MAX {
            ways.also_for -= 1;
        }
        (self.proven.map(|known| known.way()) != Some(also)).then(|| also.into())
    }

    /// Whether packets keep to the way they go, wherever the peer's own come from.
    pub(crate) fn is_steered(&self) -> bool {
        self.ways.is_some()
    }

    /// Takes note of where an authenticated packet came from; returns whether the remote side moved.
    pub(crate) fn prove(&mut self, seen: Endpoint) -> bool {
        let moved = self.way() != Some(seen.way());
        if moved && self.is_steered() && self.proven.is_some() {
            return false;
        }
        if moved || seen.local.is_some() {
            self.proven = Some(seen);
        }
        if moved {
            (self.narrow, self.alone) = (None, None);
        }
        moved
    }

    /// The way to the proven endpoint.
    pub(crate) fn way(&self) -> Option<Way> {
        self.proven.map(|endpoint| endpoint.way())
    }

    /// Takes note of where something came from that proves nothing: only our own address is taken from it.
    pub(crate) fn answer_from(&mut self, seen: Endpoint) {
        match &mut self.proven {
            Some(known) if known.way() == seen.way() => known.local = seen.local.or(known.local),
            Some(_) | None => self.spoken = Some(seen),
        }
    }

    /// Takes note that the way carries UDP payloads of at most `room` bytes.
    pub(crate) fn narrowed(&mut self, now: Instant, room: usize) {
        let until = now + limits::PATH_MTU_AGE;
        let header = self.proven.map_or(0, |endpoint| endpoint.header_len());
        let packet = room.saturating_sub(limits::SEAL_OVERHEAD + header);
        self.narrow = Some((packet, until));
        if packet < limits::LEAST_V6 {
            // Such packets leave in fragments of the underlay, which trains cannot be.
            self.alone = Some(until);
        }
    }

    /// Takes note that the kernel refuses trains for this way.
    pub(crate) fn refuse_trains(&mut self, now: Instant) {
        self.alone = Some(now + limits::OFFLOAD_REST);
    }

    /// Whether datagrams leave one by one.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        self.alone.is_some()
    }

    /// Returns the largest packet that goes this way, in a network of this MTU.
    ///
    /// Never less than what every host of the family may send; the underlay cuts what is still too wide.
    #[inline]
    pub(crate) fn packet_limit(&self, mtu: usize, v4: bool) -> usize {
        let told = self.ways.as_ref().and_then(|ways| ways.packet).map(usize::from);
        let Some(packet) = self.narrow.map(|(packet, _)| packet).into_iter().chain(told).min() else {
            return mtu;
        };
        packet.max(if v4 { limits::LEAST_V4 } else { limits::LEAST_V6 }).min(mtu)
    }

    /// Forgets limits that were found too long ago, so that a way that got better is tried again.
    pub(crate) fn recover(&mut self, now: Instant) {
        self.narrow = self.narrow.filter(|(_, until)| now < *until);
        self.alone = self.alone.filter(|until| now < *until);
    }

    /// Lets go of the local address, which the kernel refuses to send from.
    pub(crate) fn forget_local(&mut self) {
        if let Some(proven) = &mut self.proven {
            proven.local = None;
        }
        self.spoken = None;
    }

    /// Returns where an initiation goes: the proven endpoint, and every candidate when that did not answer. With chosen
    /// ways, the second one as well, and those to greet instead of the candidates.
    pub(crate) fn targets(&self, everywhere: bool) -> impl Iterator<Item = Endpoint> + '_ {
        let (proven, spoken, ways) = (self.proven, self.spoken, self.ways.as_deref());
        let everywhere = everywhere || proven.is_none();
        let candidates = if everywhere && ways.is_none() { self.candidates.as_slice() } else { &[] };
        let also = ways.and_then(|ways| ways.also);
        let greeted = ways.filter(|_| everywhere).map_or(&[][..], |ways| &ways.greet);
        let others = candidates
            .iter()
            .map(|candidate| Way::straight(*candidate))
            .chain(also)
            .chain(greeted.iter().copied().filter(move |way| Some(*way) != also));
        let others = others.filter(move |way| proven.map(|known| known.way()) != Some(*way));
        let heard = move |way: Way| spoken.filter(|spoken| spoken.way() == way);
        proven.into_iter().chain(others.map(move |way| heard(way).unwrap_or(Endpoint::from(way))))
    }

    /// Returns every way known to lead to the peer, proven or not.
    pub(crate) fn known(&self) -> impl Iterator<Item = Way> + '_ {
        self.targets(true).map(|endpoint| endpoint.way())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn remotes(path: &Path, everywhere: bool) -> Vec<SocketAddr> {
        path.targets(everywhere).map(|endpoint| endpoint.remote).collect()
    }

    #[test]
    fn candidates_are_tried_until_one_is_proven_and_again_when_it_is_silent() {
        let (a, b) = (at("192.0.2.1:1"), at("192.0.2.2:2"));
        let mut path = Path::default();
        path.set_candidates(&[a, b, a, at("0.0.0.0:1"), at("192.0.2.3:0")]);
        assert_eq!(remotes(&path, false), [a, b]);
        assert!(path.prove(Way::straight(b).into()));
        assert!(!path.prove(Way::straight(b).into()));
        assert_eq!(remotes(&path, false), [b]);
        assert_eq!(remotes(&path, true), [b, a]);
    }

    #[test]
    fn so_many_candidates_are_kept() {
        let many: Vec<SocketAddr> = (1..100).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
        let mut path = Path::default();
        path.set_candidates(&many);
        assert_eq!(remotes(&path, true), many[..limits::CANDIDATES]);
    }

    #[test]
    fn chosen_ways_are_kept_to_until_others_are_chosen() {
        let [straight, other] = [at("192.0.2.1:1"), at("192.0.2.2:2")].map(Way::straight);
        let relayed = Way { relay: Some(Hop { lease: 7, address: 8 }), ..other };
        let ways = |path: &Path, everywhere| -> Vec<Way> {
            path.targets(everywhere).map(|endpoint| endpoint.way()).collect()
        };
        let mut path = Path::default();
        path.set_candidates(&[at("192.0.2.9:9")]);
        path.steer(Ways { greet: vec![relayed, straight], ..Ways::default() });
        assert_eq!(ways(&path, false), [relayed, straight], "candidates are the chooser's business");
        assert!(path.prove(relayed.into()), "the first to answer is the way until one is chosen");
        assert!(!path.prove(straight.into()));
        path.steer(Ways { greet: vec![straight], ..Ways::default() });
        assert_eq!(path.way(), Some(relayed));
        let chosen = Ways {
            primary: Some(straight),
            also: Some(relayed),
            also_for: 3,
            greet: vec![other, relayed],
            packet: None,
        };
        path.steer(chosen);
        assert!(!path.prove(relayed.into()));
        assert_eq!((path.way(), ways(&path, false)), (Some(straight), vec![straight, relayed]));
        assert_eq!(ways(&path, true), [straight, relayed, other]);
        path.steer(Ways { greet: vec![other], ..Ways::default() });
        assert_eq!(
            (path.way(), ways(&path, false)),
            (None, vec![other]),
            "a way that is no longer chosen is left"
        );
    }

    #[test]
    fn the_least_that_is_known_of_a_way_limits_its_packets() {
        let (now, primary) = (crate::clock::now(), Some(Way::straight(at("192.0.2.1:1"))));
        let mut path = Path::default();
        path.steer(Ways { primary, packet: Some(1_320), ..Ways::default() });
        assert_eq!(path.packet_limit(1_400, true), 1_320);
        path.narrowed(now, 1_300 + limits::SEAL_OVERHEAD);
        assert_eq!(path.packet_limit(1_400, true), 1_300);
        path.steer(Ways { primary, ..Ways::default() });
        assert_eq!(path.packet_limit(1_400, true), 1_300, "what the kernel said of the way still holds");
        path.steer(Ways { primary, packet: Some(1_000), ..Ways::default() });
        assert_eq!(path.packet_limit(1_400, false), limits::LEAST_V6);
    }

    #[test]
    fn at_most_eight_candidates_are_kept() {
        let many: Vec<_> = (1..20).map(|port| SocketAddr::new("192.0.2.1".parse().unwrap(), port)).collect();
        let mut path = Path::default();
        path.set_candidates(&many);
        assert_eq!(remotes(&path, true), many[..8]);
    }
}
