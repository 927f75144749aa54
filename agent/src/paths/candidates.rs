//! Where this node may be reached, put together from all who know.

use std::net::SocketAddr;

use lacis_agent_core::{Candidate, CandidateKind};
use lacis_proto::Endpoint;

/// Own addresses by who knows of them.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// The host's interfaces, or what a person has configured.
    endpoints: Vec<Candidate>,
    /// Relays and STUN servers.
    pub(super) outside: Vec<SocketAddr>,
}

impl Own {
    /// Takes what the host and its configuration say. Returns whether that is news.
    pub(super) fn set_endpoints(&mut self, endpoints: &[Endpoint]) -> bool {
        let now: Vec<Candidate> = endpoints.iter().filter_map(Candidate::of_endpoint).collect();
        let is_news = now != self.endpoints;
        self.endpoints = now;
        is_news
    }

    /// Whether this host has addresses of IPv6 and none of IPv4.
    pub(super) fn lacks_v4(&self) -> bool {
        !self.endpoints.is_empty() && self.endpoints.iter().all(|own| own.addr.is_ipv6())
    }

    /// Whether an address is one of the host's own.
    pub(super) fn is_own(&self, addr: SocketAddr) -> bool {
        self.endpoints.iter().any(|own| own.addr == addr)
    }

    /// Every address once, under the first kind that names it.
    pub(super) fn all(&self) -> Vec<Candidate> {
        let mut all = self.endpoints.clone();
        for addr in &self.outside {
            if all.iter().all(|known| known.addr != *addr) {
                all.push(Candidate { kind: CandidateKind::Reflexive, addr: *addr });
            }
        }
        all
    }
}
