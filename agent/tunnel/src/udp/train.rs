//! Sending a train with one system call, and what to do when the kernel refuses.
#![expect(unsafe_code, reason = "sendmsg with control messages has no safe wrapper")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use socket2::SockAddr;

use crate::path::Endpoint;
use crate::udp::socket::UdpSocket;

/// Room for the segment size and the source address; words, so that headers inside are aligned.
const CONTROL: usize = 12;

/// What became of a train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It left in one call.
    Whole,
    /// It left datagram by datagram, since the kernel would not take it whole.
    Singly,
    /// The socket is full. Nothing of it left; try again when it is writable.
    Full,
    /// The source address is gone; it left, or was tried, without one.
    SourceGone,
    /// The kernel refused it; the datagrams are lost.
    Refused,
}

/// Sends `bytes`, cut into datagrams of `stride` bytes, the last of which may be shorter.
pub(crate) fn send(socket: &UdpSocket, to: &Endpoint, stride: usize, bytes: &[u8]) -> Sent {
    let Err(error) = send_once(socket, to, stride, bytes) else { return Sent::Whole };
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Sent::Full,
        // ENOBUFS passes; a second refusal is taken as loss.
        Some(libc::ENOBUFS | libc::EINTR) => match send_once(socket, to, stride, bytes) {
            Ok(()) => Sent::Whole,
            Err(_) => Sent::Refused,
        },
        Some(libc::EINVAL | libc::ENETUNREACH | libc::EADDRNOTAVAIL | libc::EHOSTUNREACH)
            if to.local.is_some() =>
        {
            let anywhere = Endpoint { remote: to.remote, local: None };
            match send(socket, &anywhere, stride, bytes) {
                Sent::Full => Sent::Full,
                Sent::Whole | Sent::Singly | Sent::SourceGone | Sent::Refused => Sent::SourceGone,
            }
        }
        // EIO: no checksum offload on the way out. EINVAL, EMSGSIZE: the way is narrower than a segment.
        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE) if bytes.len() > stride => {
            let sent =
                bytes.chunks(stride).filter(|one| send_once(socket, to, one.len(), one).is_ok()).count();
            if sent > 0 { Sent::Singly } else { Sent::Refused }
        }
        _ => {
            tracing::debug!(to = %to.remote, %error, "send refused");
            Sent::Refused
        }
    }
}

fn send_once(socket: &UdpSocket, to: &Endpoint, stride: usize, bytes: &[u8]) -> io::Result<()> {
    let name = SockAddr::from(reachable(socket, to.remote));
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = [0_u64; CONTROL];
    // SAFETY: plain data of the C interface; all zeros is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_ptr().cast_mut().cast();
    header.msg_namelen = name.len();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    let mut used = 0;
    if bytes.len() > stride {
        let size = u16::try_from(stride).map_err(|_| io::ErrorKind::InvalidInput)?;
        used += put(&mut header, used, libc::SOL_UDP, libc::UDP_SEGMENT, size);
    }
    match to.local {
        Some(IpAddr::V4(local)) => {
            let address = libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
            let any = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: any };
            used += put(&mut header, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(local)) => {
            let address = libc::in6_addr { s6_addr: local.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 };
            used += put(&mut header, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    header.msg_controllen = used;
    if used == 0 {
        header.msg_control = std::ptr::null_mut();
    }
    // SAFETY: name, part and control live to the end of the function, with their true sizes; the kernel only reads.
    let n = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Writes one control message at `used` bytes into the buffer of `header`; returns the room it takes.
fn put<T: Copy>(
    header: &mut libc::msghdr,
    used: usize,
    level: libc::c_int,
    kind: libc::c_int,
    value: T,
) -> usize {
    let size = libc::c_uint::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
    let (length, space) = unsafe { (libc::CMSG_LEN(size) as usize, libc::CMSG_SPACE(size) as usize) };
    assert!(used + space <= CONTROL * 8, "the control buffer holds a segment size and one source address");
    // SAFETY: the buffer has room for `space` bytes at `used`, as just asserted; it is aligned to words and `used` is a
    // sum of CMSG_SPACEs, hence aligned as well. The value is written unaligned.
    unsafe {
        let at = header.msg_control.cast::<u8>().add(used).cast::<libc::cmsghdr>();
        (*at).cmsg_level = level;
        (*at).cmsg_type = kind;
        (*at).cmsg_len = length;
        libc::CMSG_DATA(at).cast::<T>().write_unaligned(value);
    }
    space
}

/// A v4-mapped address on the v4 socket is the v4 address itself.
fn reachable(socket: &UdpSocket, to: SocketAddr) -> SocketAddr {
    if socket.v6 { to } else { SocketAddr::new(to.ip().to_canonical(), to.port()) }
}
