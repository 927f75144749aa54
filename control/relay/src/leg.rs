//! Where a member's frames come from and go to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The way between the relay and one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leg {
    /// Datagrams.
    Udp(Place),
    /// A stream.
    Tls(Stream),
}

/// A member's stream: known by its number, which no other ever has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    /// Counts streams.
    pub(crate) client: u64,
    /// The member's address, as it is seen here.
    pub(crate) ip: Ipv6Addr,
    /// Its port.
    pub(crate) port: u16,
}

impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        self.client == other.client
    }
}

impl Eq for Stream {}

/// The two ends of a member's datagrams. IPv4 addresses are mapped into IPv6 (RFC 4291 §2.5.5.2), so that one socket
/// serves both families.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The member's address, as it is seen here.
    pub(crate) ip: Ipv6Addr,
    /// Its port.
    pub(crate) port: u16,
    /// Which of our addresses it speaks to: answers come from there, or a NAT on the way would not know them. The
    /// unspecified address where the kernel did not tell.
    pub(crate) local: Ipv6Addr,
}

/// A member is where it sends from; which of our addresses it chose says nothing of that.
impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.ip == other.ip && self.port == other.port
    }
}

impl Eq for Place {}

impl Place {
    /// From a source as a socket tells it.
    pub(crate) fn of(remote: SocketAddr) -> Self {
        let ip = mapped(remote.ip());
        Self { ip, port: remote.port(), local: Ipv6Addr::UNSPECIFIED }
    }

    /// The two ends of a message.
    pub(crate) fn of_message(message: &lacis_udp::Message) -> Self {
        let local = message.to.map_or(Ipv6Addr::UNSPECIFIED, mapped);
        Self { local, ..Self::of(message.from) }
    }

    /// The member's address and port, an IPv4 one as such.
    pub(crate) fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.ip.to_canonical(), self.port)
    }

    /// The same in the form for a socket of IPv6.
    pub(crate) fn remote_v6(&self) -> SocketAddrV6 {
        SocketAddrV6::new(self.ip, self.port, 0, 0)
    }
}

impl Leg {
    /// The address that a member is told as its own.
    pub(crate) fn observed(&self) -> SocketAddr {
        match self {
            Self::Udp(place) => place.remote(),
            Self::Tls(stream) => SocketAddr::new(stream.ip.to_canonical(), stream.port),
        }
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}
