//! Addresses at which a peer may be, and what is known of a NAT.

use std::net::{IpAddr, SocketAddr};

use lacis_proto::{Endpoint, EndpointKind};

/// How a candidate came to be known. The order is that in which candidates are kept and probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateKind {
    /// A direct path that worked before.
    LastGood,
    /// Configured by a person.
    Static,
    /// Mapped by a port-mapping protocol.
    Portmap,
    /// Source of an authentic probe of the peer.
    PeerReflexive,
    /// An address of the host.
    Host,
    /// Seen from outside by a relay or a STUN server.
    Reflexive,
    /// The public address with the own port: somebody may have forwarded it by hand.
    Guess,
    /// The next ports of a NAT that counts.
    Predicted,
}

impl CandidateKind {
    /// Whether it is probed at once: no NAT on the way is spoilt by a probe that comes too early.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::LastGood | Self::Static | Self::Portmap | Self::PeerReflexive | Self::Host => true,
            Self::Reflexive | Self::Guess | Self::Predicted => false,
        }
    }
}

/// An address where a peer may be, not yet proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Candidate {
    /// How it came to be known.
    pub kind: CandidateKind,
    /// The address and UDP port.
    pub addr: SocketAddr,
}

impl Candidate {
    /// What a peer's record says; none for a kind that this build does not know.
    #[must_use]
    pub const fn of_endpoint(endpoint: &Endpoint) -> Option<Self> {
        let kind = match endpoint.kind {
            EndpointKind::Static => CandidateKind::Static,
            EndpointKind::Host => CandidateKind::Host,
            EndpointKind::Portmap => CandidateKind::Portmap,
            EndpointKind::Reflexive => CandidateKind::Reflexive,
            EndpointKind::Unknown => return None,
        };
        Some(Self { kind, addr: endpoint.addr })
    }
}

/// How a NAT chooses the outside address of a flow (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mapping {
    /// Not known yet.
    #[default]
    Unknown,
    /// The same for every destination; also where there is no NAT.
    EndpointIndependent,
    /// Another for each address.
    AddressDependent,
    /// Another for each address and port.
    AddressAndPortDependent,
}

impl Mapping {
    /// Whether the address that observers see says little of the one that a peer would see.
    #[must_use]
    pub const fn is_hard(self) -> bool {
        match self {
            Self::AddressDependent | Self::AddressAndPortDependent => true,
            Self::Unknown | Self::EndpointIndependent => false,
        }
    }
}

/// What is known of a node's NAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatSummary {
    /// How it maps.
    pub mapping: Mapping,
    /// The public address that observers saw last.
    pub seen: Option<SocketAddr>,
    /// Difference between the ports of successive flows, where it was equal in three observations.
    pub step: Option<i16>,
    /// Lowest and highest port that was seen, by three observers at least.
    pub ports: Option<(u16, u16)>,
    /// Whether UDP leaves and comes back at all.
    pub udp: bool,
    /// Whether a port mapping is in force.
    pub mapped: bool,
    /// Whether IPv6 reaches the outside.
    pub v6: bool,
}

impl NatSummary {
    /// Whether this may let in peers that the other one kept out, wherever the ports are.
    pub(super) fn is_another_kind_than(&self, other: &Self) -> bool {
        self.mapping != other.mapping || self.step.is_some() && other.step.is_none() || self.udp != other.udp
    }
}

/// Whether an address belongs to some local network: a stranger elsewhere may have the same one.
#[must_use]
pub(super) const fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

/// Whether two addresses look as if they were in one local network: the first 24 bits of IPv4 or 64 of IPv6 agree.
#[must_use]
pub(super) fn is_near(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(one), IpAddr::V6(other)) => one.octets()[..8] == other.octets()[..8],
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}
