//! What this node tells its peers of itself.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use lacis_proto::{GroupId, RelayHome};

use super::{
    body::{Nature, Offer},
    candidate::{Candidate, CandidateKind, NatSummary, is_private},
    event::RelayWay,
    limits::{MAX_OFFERED, MAX_OFFERED_HOSTS, PREDICTED_PORTS},
    relay::distances,
};
use crate::nat64::Nat64Prefix;

/// What this node knows of itself.
#[derive(Debug, Default)]
pub(super) struct Ours {
    /// Grows with every change; 0 stands for nothing.
    pub(super) revision: u32,
    candidates: Vec<Candidate>,
    pub(super) nat: NatSummary,
    /// By which addresses of IPv4 are reached without any.
    pub(super) nat64: Option<Nat64Prefix>,
    /// Whether this node takes part in birthday probing.
    birthday: bool,
    pub(super) relays: Vec<RelayWay>,
}

impl Ours {
    /// Nothing is known but whether this node takes part in birthday probing.
    pub(super) fn new(birthday: bool) -> Self {
        Self { birthday, ..Self::default() }
    }

    /// Takes in the own addresses. Returns whether anything changed.
    pub(super) fn set_candidates(&mut self, candidates: Vec<Candidate>) -> bool {
        let changed = self.candidates != candidates;
        self.candidates = candidates;
        self.revision += u32::from(changed);
        changed
    }

    /// Takes in what is known of the NAT. Returns whether that changed.
    pub(super) fn set_nat(&mut self, nat: NatSummary) -> bool {
        let changed = self.nat != nat;
        self.nat = nat;
        self.revision += u32::from(changed);
        changed
    }

    /// A change that peers must hear of, though the addresses look the same.
    pub(super) const fn moved(&mut self) {
        self.revision += 1;
    }

    /// This node's leases in a group.
    pub(super) fn leases<'a>(&'a self, group: &GroupId) -> impl Iterator<Item = &'a RelayWay> + use<'a> {
        let group = group.clone();
        self.relays.iter().filter(move |way| way.group == group)
    }

    /// Private addresses of this host.
    pub(super) fn private(&self) -> Vec<IpAddr> {
        self.candidates.iter().map(|own| own.addr.ip()).filter(|ip| is_private(*ip)).collect()
    }

    /// Whether this host has an address of this family, or none is known at all. What others see of it is no address of its
    /// own: behind a NAT64 it is of the other family.
    pub(super) fn speaks(&self, ip: IpAddr) -> bool {
        let mut own = self.candidates.iter().filter(|own| own.kind != CandidateKind::Reflexive).peekable();
        own.peek().is_none() || own.any(|own| own.addr.is_ipv6() == ip.is_ipv6())
    }

    /// Where this host reaches an address of a peer: there, or by a NAT64 where it has no IPv4. What is private is nobody's
    /// beyond the NAT64 (RFC 6052 §3.1).
    pub(super) fn leads_to(&self, candidate: Candidate) -> Candidate {
        let ip = candidate.addr.ip();
        let prefix = self.nat64.filter(|_| ip.is_ipv4() && !is_private(ip) && !self.speaks(ip));
        Candidate {
            addr: prefix.map_or(candidate.addr, |prefix| prefix.lead_to(candidate.addr)),
            ..candidate
        }
    }

    /// What peers are told of the NAT.
    pub(super) fn nature(&self) -> Nature {
        Nature { birthday: self.birthday, ..(&self.nat).into() }
    }

    /// What a peer in this group, which can be found at these relays, is told.
    pub(super) fn offer(&self, group: &GroupId, homes: &[RelayHome]) -> Offer {
        Offer {
            revision: self.revision,
            nat: self.nature(),
            candidates: offered(&self.candidates, &self.nat),
            relays: distances(self.leases(group), homes),
        }
    }
}

/// The candidates that are offered: the own ones, and what follows from the NAT.
fn offered(own: &[Candidate], nat: &NatSummary) -> Vec<Candidate> {
    let mut hosts = own.iter().filter(|own| own.kind == CandidateKind::Host).take(MAX_OFFERED_HOSTS);
    let others = own.iter().filter(|own| own.kind != CandidateKind::Host);
    let mut all: Vec<Candidate> = others.copied().chain(hosts.by_ref().copied()).collect();
    all.extend(guess(own, nat));
    all.extend(predicted(nat).into_iter().map(|addr| Candidate { kind: CandidateKind::Predicted, addr }));
    all.sort_by_key(|candidate| candidate.kind);
    let mut seen = BTreeSet::new();
    all.retain(|candidate| is_probeable(candidate.addr) && seen.insert(candidate.addr));
    all.truncate(MAX_OFFERED);
    all
}

/// Behind a NAT that maps flows anew, the public address with the own port: it may be forwarded by hand, and a peer
/// that probes it lets in whatever else comes from there.
fn guess(own: &[Candidate], nat: &NatSummary) -> Option<Candidate> {
    let seen = nat.seen.filter(|_| nat.mapping.is_hard())?;
    let port = own.iter().find(|own| own.kind == CandidateKind::Host)?.addr.port();
    Some(Candidate { kind: CandidateKind::Guess, addr: SocketAddr::new(seen.ip(), port) })
}

/// The next ports of a NAT that counts.
pub(super) fn predicted(nat: &NatSummary) -> Vec<SocketAddr> {
    let (Some(seen), Some(step)) = (nat.seen, nat.step) else { return Vec::new() };
    (1..=PREDICTED_PORTS)
        .filter_map(|ahead| u16::try_from(i32::from(seen.port()) + i32::from(step) * ahead).ok())
        .map(|port| SocketAddr::new(seen.ip(), port))
        .collect()
}

/// Whether a probe to this address can reach one peer: not this host itself, not many at once.
pub(super) fn is_probeable(addr: SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !is_broadcast
}

#[cfg(test)]
mod tests;
