//! The UDP sockets of all shards: one per shard and family, all on one port.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use crate::start::{Port, StartError};
use crate::udp::socket::UdpSocket;
use crate::udp::steer;

/// Ports tried before giving up on one that is free in both families.
const PORT_TRIES: usize = 16;

/// The UDP sockets of a data plane, bound to one port. A clone is the same sockets.
#[derive(Clone, Debug)]
pub struct Sockets(Arc<Bound>);

/// A family that the host gives no sockets of is empty; one of them is not.
#[derive(Debug)]
struct Bound {
    v4: Vec<UdpSocket>,
    v6: Vec<UdpSocket>,
}

/// Which families of addresses tunnels run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Families {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

impl Families {
    /// Whether an address is of one of them.
    pub(crate) fn have(self, ip: IpAddr) -> bool {
        if ip.to_canonical().is_ipv4() { self.v4 } else { self.v6 }
    }
}

impl Sockets {
    /// Binds the families to one port: all that are wanted and that the host has.
    pub(crate) fn bind(port: Port, families: Families, shards: u8) -> Result<Self, StartError> {
        let (wanted, any) = match port {
            Port::Exactly(port) => (port, false),
            Port::Prefer(port) => (port, true),
        };
        match bind_all(wanted, families, shards) {
            Err(StartError::PortInUse { .. }) if any => {}
            bound => return bound,
        }
        let mut last = StartError::PortInUse { port: wanted };
        for _ in 0..PORT_TRIES {
            match bind_all(0, families, shards) {
                Err(error @ StartError::PortInUse { .. }) => last = error,
                bound => return bound,
            }
        }
        Err(last)
    }

    /// Returns the socket of a shard and family.
    pub(crate) fn of_shard(&self, number: u8, v6: bool) -> Option<&UdpSocket> {
        let family = if v6 { &self.0.v6 } else { &self.0.v4 };
        family.get(usize::from(number))
    }

    /// Returns how many shards they are for.
    pub(crate) fn shards(&self) -> u8 {
        u8::try_from(self.0.v4.len().max(self.0.v6.len())).unwrap_or(u8::MAX)
    }

    pub(crate) fn port(&self) -> io::Result<u16> {
        let any = self.0.v4.first().or(self.0.v6.first()).ok_or(io::ErrorKind::NotFound)?;
        any.port()
    }

    pub(crate) fn families(&self) -> Families {
        Families { v4: !self.0.v4.is_empty(), v6: !self.0.v6.is_empty() }
    }
}

fn bind_all(port: u16, families: Families, shards: u8) -> Result<Sockets, StartError> {
    let v4 = bind_one(false, port, families.v4, shards);
    // The second family takes the port that the first was given.
    let taken = v4.as_ref().ok().and_then(|sockets| sockets.first()?.port().ok()).unwrap_or(port);
    let v6 = match &v4 {
        Err(StartError::PortInUse { .. }) => Ok(Vec::new()),
        Ok(_) | Err(_) => bind_one(true, taken, families.v6, shards),
    };
    let (v4, v6) = match (v4, v6) {
        (Err(error @ StartError::PortInUse { .. }), _) | (_, Err(error @ StartError::PortInUse { .. })) => {
            return Err(error);
        }
        (Ok(v4), Ok(v6)) => (v4, v6),
        (Ok(v4), Err(error)) if !v4.is_empty() => {
            tracing::info!(%error, "no IPv6 socket, tunnels run over IPv4 alone");
            (v4, Vec::new())
        }
        (Err(error), Ok(v6)) if !v6.is_empty() => {
            tracing::info!(%error, "no IPv4 socket, tunnels run over IPv6 alone");
            (Vec::new(), v6)
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    Ok(Sockets(Arc::new(Bound { v4, v6 })))
}

/// Binds a family where it is wanted.
fn bind_one(v6: bool, port: u16, wanted: bool, shards: u8) -> Result<Vec<UdpSocket>, StartError> {
    if !wanted {
        return Ok(Vec::new());
    }
    steer::bind(v6, port, shards).map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            StartError::PortInUse { port }
        } else {
            StartError::Bind { port, source }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Families = Families { v4: true, v6: true };

    #[test]
    fn one_family_is_enough() {
        for families in [BOTH, Families { v6: false, ..BOTH }, Families { v4: false, ..BOTH }] {
            let Ok(sockets) = Sockets::bind(Port::Prefer(0), families, 2) else {
                assert!(!families.v4, "there is IPv4 here");
                continue;
            };
            assert_eq!((sockets.shards(), sockets.families()), (2, families));
            assert_ne!(sockets.port().unwrap(), 0);
            for (v6, has) in [(false, families.v4), (true, families.v6)] {
                assert_eq!(sockets.of_shard(1, v6).is_some(), has);
            }
            assert_eq!(families.have("192.0.2.1".parse().unwrap()), families.v4);
            assert_eq!(families.have("::ffff:192.0.2.1".parse().unwrap()), families.v4);
            assert_eq!(families.have("2001:db8::1".parse().unwrap()), families.v6);
        }
    }

    #[test]
    fn a_port_that_either_family_lacks_is_in_use() {
        for v6 in [false, true] {
            let Ok(holder) = UdpSocket::bind(v6, 0) else { continue };
            let port = holder.port().unwrap();
            let refused = Sockets::bind(Port::Exactly(port), BOTH, 1).unwrap_err();
            assert!(matches!(refused, StartError::PortInUse { .. }), "{refused}");
            assert_ne!(Sockets::bind(Port::Prefer(port), BOTH, 1).unwrap().port().unwrap(), port);
        }
    }
}
