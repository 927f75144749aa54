//! Sending one datagram of the control side, with a life and a manner of its own.
//!
//! The options are the socket's, not the message's, in one family at least. So they are set for the one call; such
//! datagrams are few.

use std::io;
use std::net::SocketAddr;

use crate::udp::socket::{UdpSocket, reachable};

/// How a datagram travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// How many routers it may pass; the system's default if absent.
    pub(crate) ttl: Option<u8>,
    /// Whether it must arrive in one piece, whatever the kernel believes of the way.
    pub(crate) whole: bool,
}

/// Sends one datagram without waiting.
///
/// # Errors
/// As the kernel says; a full socket is one.
pub(crate) fn send(socket: &UdpSocket, to: SocketAddr, datagram: &[u8], manner: Manner) -> io::Result<()> {
    let (ip, ttl, cutting) = if socket.v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, libc::IPV6_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_MTU_DISCOVER)
    };
    let usual = manner.whole.then(|| socket.get(ip, cutting)).transpose()?;
    if let Some(routers) = manner.ttl {
        socket.set(ip, ttl, routers.max(1).into())?;
    }
    if manner.whole {
        socket.set(ip, cutting, libc::IP_PMTUDISC_PROBE)?;
    }
    let sent = socket.send_to(reachable(socket, to), datagram);
    if let Some(usual) = usual {
        socket.set(ip, cutting, usual)?;
    }
    if manner.ttl.is_some() {
        socket.set(ip, ttl, DEFAULT_TTL)?;
    }
    sent
}

/// Gives a socket the system's default back (ip(7), ipv6(7)).
const DEFAULT_TTL: libc::c_int = -1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::receive::{Message, Receiver};

    #[test]
    fn a_datagram_keeps_its_manner_to_itself() {
        for (v6, local) in [(false, "127.0.0.1"), (true, "::1")] {
            let (Ok(from), Ok(to)) = (UdpSocket::bind(v6, 0), UdpSocket::bind(v6, 0)) else {
                assert!(v6, "a host may lack IPv6, not IPv4");
                continue;
            };
            let place = SocketAddr::new(local.parse().unwrap(), to.port().unwrap());
            let (ip, ttl, cutting) = if v6 {
                (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, libc::IPV6_MTU_DISCOVER)
            } else {
                (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_MTU_DISCOVER)
            };
            let before = [ttl, cutting].map(|option| from.get(ip, option).unwrap());
            for manner in [
                Manner { ttl: Some(3), whole: true },
                Manner { ttl: Some(0), whole: false },
                Manner { ttl: None, whole: true },
                Manner::default(),
            ] {
                if send(&from, place, b"raw", manner).is_err() && v6 {
                    return;
                }
                let mut receiver = Receiver::default();
                // Over loopback a datagram has arrived when the call returns.
                assert_eq!(receiver.receive(&to).unwrap(), 1);
                assert_eq!(Message::of(&receiver, None, 0).unwrap().bytes, b"raw");
                assert_eq!([ttl, cutting].map(|option| from.get(ip, option).unwrap()), before, "{manner:?}");
            }
        }
    }
}
