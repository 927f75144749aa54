//! The UDP sockets of all shards: one per shard and family, all on one port.

use std::io;
use std::sync::Arc;

use crate::start::{Port, StartError};
use crate::udp::socket::UdpSocket;
use crate::udp::steer;

/// Ports tried before giving up on one that is free in both families.
const PORT_TRIES: usize = 16;

/// The UDP sockets of a data plane, bound to one port. A clone is the same sockets.
#[derive(Clone, Debug)]
pub struct Sockets(Arc<Families>);

#[derive(Debug)]
struct Families {
    v4: Vec<UdpSocket>,
    /// Empty on a host without IPv6.
    v6: Vec<UdpSocket>,
}

impl Sockets {
    /// Binds both families to one port.
    pub(crate) fn bind(port: Port, ipv6: bool, shards: u8) -> Result<Self, StartError> {
        let (wanted, any) = match port {
            Port::Exactly(port) => (port, false),
            Port::Prefer(port) => (port, true),
        };
        match bind_both(wanted, ipv6, shards) {
            Err(StartError::PortInUse { .. }) if any => {}
            bound => return bound,
        }
        let mut last = StartError::PortInUse { port: wanted };
        for _ in 0..PORT_TRIES {
            match bind_both(0, ipv6, shards) {
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
        u8::try_from(self.0.v4.len()).unwrap_or(u8::MAX)
    }

    pub(crate) fn port(&self) -> io::Result<u16> {
        self.0.v4[0].port()
    }

    pub(crate) fn has_ipv6(&self) -> bool {
        !self.0.v6.is_empty()
    }
}

fn bind_both(port: u16, ipv6: bool, shards: u8) -> Result<Sockets, StartError> {
    let failed = |port| {
        move |source: io::Error| {
            if source.kind() == io::ErrorKind::AddrInUse {
                StartError::PortInUse { port }
            } else {
                StartError::Bind { port, source }
            }
        }
    };
    let v4 = steer::bind(false, port, shards).map_err(failed(port))?;
    let both = |v4, v6| Ok(Sockets(Arc::new(Families { v4, v6 })));
    if !ipv6 {
        return both(v4, Vec::new());
    }
    let port = v4[0].port().map_err(failed(port))?;
    match steer::bind(true, port, shards) {
        Ok(v6) => both(v4, v6),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(StartError::PortInUse { port }),
        Err(error) => {
            tracing::info!(%error, "no IPv6 socket, tunnels run over IPv4 alone");
            both(v4, Vec::new())
        }
    }
}
