//! Where a peer is: its proven endpoint, and the candidates to try while there is none.
//!
//! The proven endpoint follows the source of authenticated data, and of the response to an initiation of ours. An
//! initiation alone proves nothing: it may be a replay from elsewhere.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::limits;

/// A proven endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) remote: SocketAddr,
    /// Our address that the peer spoke to; packets leave from it as long as it exists.
    pub(crate) local: Option<IpAddr>,
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

    /// Takes note of where an authenticated packet came from; returns whether the remote side moved.
    pub(crate) fn prove(&mut self, seen: Endpoint) -> bool {
        let moved = self.proven.map(|known| known.remote) != Some(seen.remote);
        if moved || seen.local.is_some() {
            self.proven = Some(seen);
        }
        if moved {
            (self.narrow, self.alone) = (None, None);
        }
        moved
    }

    /// Takes note that the way carries UDP payloads of at most `room` bytes.
    pub(crate) fn narrowed(&mut self, now: Instant, room: usize) {
        let until = now + limits::PATH_MTU_AGE;
        let packet = room.saturating_sub(limits::SEAL_OVERHEAD);
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
        let Some((packet, _)) = self.narrow else { return mtu };
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
    }

    /// Returns where an initiation goes: the proven endpoint, and every candidate when that did not answer.
    pub(crate) fn targets(&self, everywhere: bool) -> impl Iterator<Item = Endpoint> + '_ {
        let proven = self.proven;
        let candidates = if everywhere || proven.is_none() { self.candidates.as_slice() } else { &[] };
        let others = candidates
            .iter()
            .filter(move |candidate| proven.map(|known| known.remote) != Some(**candidate))
            .map(|candidate| Endpoint { remote: *candidate, local: None });
        proven.into_iter().chain(others)
    }

    /// Returns every endpoint known of the peer, proven or not.
    pub(crate) fn known(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.targets(true).map(|endpoint| endpoint.remote)
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
        assert!(path.prove(Endpoint { remote: b, local: None }));
        assert!(!path.prove(Endpoint { remote: b, local: None }));
        assert_eq!(remotes(&path, false), [b]);
        assert_eq!(remotes(&path, true), [b, a]);
    }

    #[test]
    fn at_most_eight_candidates_are_kept() {
        let many: Vec<_> = (1..20).map(|port| SocketAddr::new("192.0.2.1".parse().unwrap(), port)).collect();
        let mut path = Path::default();
        path.set_candidates(&many);
        assert_eq!(remotes(&path, true), many[..8]);
    }
}
