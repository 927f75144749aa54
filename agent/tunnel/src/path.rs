//! Where a peer is: its proven endpoint, and the candidates to try while there is none.
//!
//! The proven endpoint follows the source of authenticated data, and of the response to an initiation of ours. An
//! initiation alone proves nothing: it may be a replay from elsewhere.

use std::net::{IpAddr, SocketAddr};

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
        moved
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
