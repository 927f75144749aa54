//! The UDP sockets: one per family and shard, all on the same port, and auxiliary ones.
#![expect(unsafe_code, reason = "setting socket options that socket2 does not know")]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use socket2::{Domain, Protocol, Socket, Type};

use crate::auxiliary::Auxiliary;
use crate::limits;

/// Figures of `SO_MEMINFO`, and where the drops are among them (`linux/sock_diag.h`).
const MEMORY_FIGURES: usize = 9;
const MEMORY_DROPS: usize = 8;

/// One family's socket.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    socket: Socket,
    pub(crate) v6: bool,
    /// Its number, where it is not one of the usual ones.
    pub(crate) auxiliary: Option<Auxiliary>,
}

impl UdpSocket {
    /// Binds the wildcard address of a family at `port`, which nobody else may have; 0 takes any.
    pub(crate) fn bind(v6: bool, port: u16) -> io::Result<Self> {
        Self::bind_as(v6, port, |_| Ok(()))
    }

    /// Binds a port that others have shared.
    pub(crate) fn bind_beside(v6: bool, port: u16) -> io::Result<Self> {
        Self::bind_as(v6, port, Self::share_port)
    }

    /// Binds any free port of IPv4, under a number of its own.
    pub(crate) fn bind_auxiliary(number: Auxiliary) -> io::Result<Self> {
        Ok(Self { auxiliary: Some(number), ..Self::bind(false, 0)? })
    }

    /// Lets other sockets of the same user bind this one's port.
    pub(crate) fn share_port(&self) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
    }

    fn bind_as(v6: bool, port: u16, prepare: impl FnOnce(&Self) -> io::Result<()>) -> io::Result<Self> {
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        let address = if v6 {
            socket.set_only_v6(true)?;
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
        } else {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
        };
        let socket = Self { socket, v6, auxiliary: None };
        prepare(&socket)?;
        socket.socket.bind(&address.into())?;
        socket.tune();
        Ok(socket)
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.as_socket().map_or(0, |address| address.port()))
    }

    /// Returns its descriptor, as a number to compare.
    pub(crate) fn descriptor(&self) -> u64 {
        u64::try_from(self.socket.as_raw_fd()).unwrap_or(u64::MAX)
    }

    /// Marks all sent packets for the host's routing rules; 0 takes the mark away.
    pub(crate) fn mark(&self, mark: u32) -> io::Result<()> {
        self.socket.set_mark(mark)
    }

    /// Asks for large buffers, merged receives, the address each message was sent to and its congestion mark. The
    /// socket works without any.
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
        let (level, destination, class) = if self.v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, libc::IPV6_RECVTCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_PKTINFO, libc::IP_RECVTOS)
        };
        for (what, level, option) in [
            ("gro", libc::SOL_UDP, libc::UDP_GRO),
            ("pktinfo", level, destination),
            ("traffic class", level, class),
        ] {
            if let Err(error) = self.set(level, option, 1) {
                tracing::debug!(what, %error, "socket option refused");
            }
        }
    }

    /// Has each datagram received by itself from now on.
    pub(crate) fn refuse_merged(&self) {
        if let Err(error) = self.set(libc::SOL_UDP, libc::UDP_GRO, 0) {
            tracing::debug!(%error, "merged receives cannot be turned off");
        }
    }

    /// Returns how many datagrams the kernel dropped since the socket was made, for want of room.
    pub(crate) fn dropped(&self) -> u64 {
        let mut memory = [0_u32; MEMORY_FIGURES];
        let mut size = libc::socklen_t::try_from(size_of_val(&memory)).unwrap_or(0);
        let (fd, pointer) = (self.socket.as_raw_fd(), memory.as_mut_ptr().cast());
        // SAFETY: the pointer and size describe `memory`, which the kernel may overwrite up to its size.
        let result =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, pointer, &raw mut size) };
        if result < 0 { 0 } else { u64::from(memory[MEMORY_DROPS]) }
    }

    /// Sends one datagram without waiting.
    pub(super) fn send_to(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to(datagram, &to.into()).map(|_| ())
    }

    /// Returns an option that is a number.
    pub(super) fn get(&self, level: libc::c_int, option: libc::c_int) -> io::Result<libc::c_int> {
        let mut value: libc::c_int = 0;
        let mut size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
        let pointer = (&raw mut value).cast();
        // SAFETY: the pointer and size describe `value`, which the kernel may overwrite.
        let result =
            unsafe { libc::getsockopt(self.socket.as_raw_fd(), level, option, pointer, &raw mut size) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
    }

    /// Changes an option that is a number.
    pub(super) fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
        let pointer = (&raw const value).cast();
        // SAFETY: the pointer and size describe `value`, which lives through the call.
        let result = unsafe { libc::setsockopt(self.socket.as_raw_fd(), level, option, pointer, size) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Returns how many descriptors this process may have; a limit that cannot be read is none.
pub(crate) fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a whole structure of this type, which the kernel may overwrite.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result < 0 { u64::MAX } else { limit.rlim_cur }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A v4-mapped address on the v4 socket is the v4 address itself.
pub(super) fn reachable(socket: &UdpSocket, to: SocketAddr) -> SocketAddr {
    if socket.v6 { to } else { SocketAddr::new(to.ip().to_canonical(), to.port()) }
}

/// Returns how many segments this kernel takes in one send.
pub(crate) fn segment_limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        if since_6_9(&release) { limits::SEGMENTS_NEW_KERNEL } else { limits::SEGMENTS_OLD_KERNEL }
    })
}

fn since_6_9(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0_u32));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_version_decides_the_segment_limit() {
        for (release, expected) in [
            ("6.18.44", true),
            ("6.9.0-rc1", true),
            ("7.0", true),
            ("6.8.12-generic", false),
            ("5.15", false),
            ("", false),
        ] {
            assert_eq!(since_6_9(release), expected, "{release}");
        }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let socket = UdpSocket::bind(false, 0).unwrap();
        assert_eq!(socket.dropped(), 0);
        for option in [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF] {
            let _ = socket.set(libc::SOL_SOCKET, option, 1);
        }
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            sender.send_to(&[0; 1000], ("127.0.0.1", socket.port().unwrap())).unwrap();
        }
        assert!((90..100).contains(&socket.dropped()), "{}", socket.dropped());
    }

    #[test]
    fn both_families_share_a_port() {
        let v4 = UdpSocket::bind(false, 0).unwrap();
        let port = v4.port().unwrap();
        assert_ne!(port, 0);
        if let Ok(v6) = UdpSocket::bind(true, port) {
            assert_eq!(v6.port().unwrap(), port);
        }
        assert_eq!(UdpSocket::bind(false, port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
