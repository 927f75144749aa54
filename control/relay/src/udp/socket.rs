//! The UDP sockets: one for each worker, all on one port, each for both families where the host has them.
#![expect(
    unsafe_code,
    reason = "setting socket options that socket2 does not know, and waiting for a socket"
)]

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits;

/// One worker's socket.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    socket: Socket,
    /// Whether it speaks IPv6, and IPv4 as addresses mapped into that.
    pub(crate) v6: bool,
}

impl UdpSocket {
    /// Binds an address; the unspecified one of IPv6 takes IPv4, too.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let v6 = address.is_ipv6();
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        if v6 {
            socket.set_only_v6(false)?;
        }
        let socket = Self { socket, v6 };
        socket.socket.bind(&address.into())?;
        // Only now: the first socket has the port for itself, or is told that somebody else has it.
        socket.tune();
        Ok(socket)
    }

    /// Binds the wildcard addresses of both families, or of IPv4 where the host has no IPv6.
    pub(crate) fn bind_any(port: u16) -> io::Result<Self> {
        match Self::bind((Ipv6Addr::UNSPECIFIED, port).into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            Err(_) => Self::bind((Ipv4Addr::UNSPECIFIED, port).into()),
            Ok(socket) => Ok(socket),
        }
    }

    /// Another socket on the same port; the kernel spreads sources over both.
    pub(crate) fn another(&self) -> io::Result<Self> {
        let address = self.address()?;
        let domain = if self.v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        if self.v6 {
            socket.set_only_v6(false)?;
        }
        let socket = Self { socket, v6: self.v6 };
        for sharing in [self, &socket] {
            sharing.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        socket.socket.bind(&address.into())?;
        socket.tune();
        Ok(socket)
    }

    /// Where it is bound.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?;
        address.as_socket().ok_or_else(|| io::Error::other("a UDP socket has an address and a port"))
    }

    /// Asks for large buffers, merged receives, the address each message was sent to and its congestion mark. It works without any.
    fn tune(&self) {
        let size = libc::c_int::try_from(limits::SOCKET_BUFFER).unwrap_or(libc::c_int::MAX);
        for (forced, plain) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            // Only root may pass the system's limit; others get as much as it allows.
            if self.set(libc::SOL_SOCKET, forced, size).is_err() {
                let _ = self.set(libc::SOL_SOCKET, plain, size);
            }
        }
        let v4 = [(libc::IPPROTO_IP, libc::IP_PKTINFO), (libc::IPPROTO_IP, libc::IP_RECVTOS)];
        let v6 = [
            (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
            // Of IPv4 that comes mapped.
            (libc::IPPROTO_IP, libc::IP_RECVTOS),
        ];
        let beside = if self.v6 { &v6[..] } else { &v4[..] };
        for (level, option) in [(libc::SOL_UDP, libc::UDP_GRO)].iter().chain(beside) {
            if let Err(error) = self.set(*level, *option, 1) {
                tracing::debug!(level, option, %error, "socket option refused");
            }
        }
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
        let pointer = (&raw const value).cast();
        // SAFETY: the pointer and size describe `value`, which lives through the call.
        let result = unsafe { libc::setsockopt(self.socket.as_raw_fd(), level, option, pointer, size) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> libc::c_int {
        self.socket.as_raw_fd()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Ends the sleep of every worker that waits for it, once and for all.
#[derive(Debug)]
pub(crate) struct Stop(OwnedFd);

impl Stop {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two numbers and returns a descriptor that nobody else owns.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just returned this descriptor to us and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Stops whoever waits, now or later.
    pub(crate) fn stop(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the pointer and length describe `one`.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Waits until the socket has something to read; `false` when it is time to stop.
    pub(crate) fn wait(&self, socket: &UdpSocket) -> io::Result<bool> {
        let read = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut wanted = [read(socket.as_raw_fd()), read(self.0.as_raw_fd())];
        // SAFETY: the pointer and length describe `wanted`.
        let result = unsafe { libc::poll(wanted.as_mut_ptr(), 2, -1) };
        if result < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(true) } else { Err(error) };
        }
        Ok(wanted[1].revents == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_another_has_is_refused_and_workers_share_one() {
        let first = UdpSocket::bind_any(0).unwrap();
        let port = first.address().unwrap().port();
        assert_eq!(UdpSocket::bind_any(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let second = first.another().unwrap();
        assert_eq!(second.address().unwrap(), first.address().unwrap());
    }

    #[test]
    fn a_stop_ends_every_wait() {
        let socket = UdpSocket::bind_any(0).unwrap();
        let stop = Stop::new().unwrap();
        let port = socket.address().unwrap().port();
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", ("127.0.0.1", port)).unwrap();
        assert!(stop.wait(&socket).unwrap());
        stop.stop();
        assert!(!stop.wait(&socket).unwrap() && !stop.wait(&socket).unwrap());
    }
}
