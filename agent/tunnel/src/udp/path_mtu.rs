//! What the kernel knows of the width of a way.
//!
//! The kernel keeps the path MTU of each destination, from the routes, the links and the ICMP errors it took in for any
//! socket of ours. A short-lived connected socket is how one asks.
#![expect(unsafe_code, reason = "the MTU of a route is a socket option that socket2 does not know")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::path::Endpoint;

/// Headers in front of a UDP payload.
const HEADERS_V4: usize = 28;
const HEADERS_V6: usize = 48;

/// Returns the largest UDP payload that reaches `to` in one packet, as far as the kernel knows.
pub(crate) fn payload_room(to: &Endpoint) -> Option<usize> {
    let mtu = route_mtu(to).inspect_err(|error| tracing::debug!(%error, "path MTU not found")).ok()?;
    let headers = if to.remote.ip().to_canonical().is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
    mtu.checked_sub(headers).filter(|room| *room > 0)
}

fn route_mtu(to: &Endpoint) -> io::Result<usize> {
    let remote = SocketAddr::new(to.remote.ip().to_canonical(), to.remote.port());
    let remote = if remote.is_ipv4() { remote } else { to.remote };
    let (domain, level, option) = if remote.is_ipv4() {
        (Domain::IPV4, libc::IPPROTO_IP, libc::IP_MTU)
    } else {
        (Domain::IPV6, libc::IPPROTO_IPV6, libc::IPV6_MTU)
    };
    let socket = Socket::new(domain, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    if let Some(local) = to.local {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    socket.connect(&remote.into())?;
    let mut mtu: libc::c_int = 0;
    let mut size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    let pointer = (&raw mut mtu).cast();
    // SAFETY: the pointer and size describe `mtu`, which the kernel may overwrite.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, pointer, &raw mut size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_wide_in_both_families() {
        for remote in ["127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
            let to = Endpoint { remote: remote.parse().unwrap(), local: None, relay: None, auxiliary: None };
            match payload_room(&to) {
                Some(room) => assert!(room >= 1472, "{remote}: {room}"),
                None => assert!(remote.starts_with("[::1"), "a host may lack IPv6, not IPv4"),
            }
        }
    }
}
