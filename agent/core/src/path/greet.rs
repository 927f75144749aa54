//! Where the first initiation goes before anything is proven.

use std::net::IpAddr;

use super::{
    candidate::{Candidate, CandidateKind, is_near, is_private},
    limits::MAX_GREET,
};
use crate::way::Way;

/// Ways that initiations go to: the relays first, then addresses from the likeliest down.
///
/// An initiation carries no data, so an unproven address may get one; a private address of another network gets
/// one only where no relay could carry it.
#[must_use]
pub(super) fn greet(relays: &[Way], candidates: &[Candidate], own: &[IpAddr]) -> Vec<Way> {
    let mut ranked: Vec<(u8, Candidate)> = candidates
        .iter()
        .map(|candidate| (likelihood(candidate, own), *candidate))
        .filter(|(rank, _)| relays.is_empty() || *rank < UNLIKELY)
        .collect();
    ranked.sort();
    let mut ways: Vec<Way> = relays.to_vec();
    for (_, candidate) in ranked {
        let way = Way::direct(candidate.addr);
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways.truncate(MAX_GREET);
    ways
}

/// Rank of addresses that probably belong to a stranger, or answer only after both ends have sent.
const UNLIKELY: u8 = 4;

fn likelihood(candidate: &Candidate, own: &[IpAddr]) -> u8 {
    let ip = candidate.addr.ip();
    match candidate.kind {
        CandidateKind::LastGood => 0,
        CandidateKind::Static => 1,
        CandidateKind::Portmap => 2,
        CandidateKind::Host | CandidateKind::PeerReflexive
            if !is_private(ip) || own.iter().any(|own| is_near(*own, ip)) =>
        {
            3
        }
        CandidateKind::Reflexive => UNLIKELY,
        CandidateKind::Host
        | CandidateKind::PeerReflexive
        | CandidateKind::Guess
        | CandidateKind::Predicted => UNLIKELY + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_addresses_the_likeliest_few_are_greeted() {
        let candidate = |n: u8, kind| Candidate { kind, addr: ([203, 0, 113, n], 47_820).into() };
        let mut candidates: Vec<Candidate> = (1..=20).map(|n| candidate(n, CandidateKind::Host)).collect();
        candidates.push(candidate(21, CandidateKind::LastGood));
        let ways = greet(&[], &candidates, &[]);
        assert_eq!(ways.len(), MAX_GREET);
        assert_eq!(ways[0].remote, candidates[20].addr);
    }
}
