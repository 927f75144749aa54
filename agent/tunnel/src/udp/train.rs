//! Sending a train with one system call, and what to do when the kernel refuses.
#![expect(unsafe_code, reason = "sendmsg has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use lacis_udp::Details;
use socket2::SockAddr;

use crate::ecn::Ecn;
use crate::path::Endpoint;
use crate::udp::path_mtu;
use crate::udp::socket::{UdpSocket, reachable};

/// What one call sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagrams<'a> {
    /// Size of each datagram but the last, which may be shorter.
    pub(crate) stride: usize,
    /// The congestion mark of all of them.
    pub(crate) ecn: Ecn,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Datagrams<'a> {
    /// One message of ours, unmarked.
    pub(crate) fn single(bytes: &'a [u8]) -> Self {
        Self { stride: bytes.len(), ecn: Ecn::NotCapable, bytes }
    }

    /// Whether there is more than one.
    fn several(&self) -> bool {
        self.bytes.len() > self.stride
    }
}

/// What became of a train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It left in one call.
    Whole,
    /// It left datagram by datagram, since the kernel would not take it whole.
    Singly,
    /// It left datagram by datagram and maybe in fragments, since the way is narrower than its datagrams.
    Narrow,
    /// The socket is full. Nothing of it left; try again when it is writable.
    Full,
    /// The source address is gone; it left, or was tried, without one.
    SourceGone,
    /// The kernel refused it; the datagrams are lost.
    Refused,
    /// The kernel knows no way there; the datagrams are lost.
    Unreachable,
}

/// Sends datagrams to one place.
pub(crate) fn send(socket: &UdpSocket, to: &Endpoint, datagrams: Datagrams<'_>) -> Sent {
    let Err(error) = send_once(socket, to, datagrams) else { return Sent::Whole };
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Sent::Full,
        // ENOBUFS passes; a second refusal is taken as loss.
        Some(libc::ENOBUFS | libc::EINTR) => match send_once(socket, to, datagrams) {
            Ok(()) => Sent::Whole,
            Err(_) => Sent::Refused,
        },
        // EMSGSIZE, on older kernels EINVAL: the way is narrower than a segment. Datagram by datagram, the kernel cuts
        // them to fragments.
        Some(libc::EMSGSIZE | libc::EINVAL) if datagrams.several() && is_narrow(to, datagrams.stride) => {
            send_singly(socket, to, datagrams, Sent::Narrow)
        }
        Some(libc::EINVAL | libc::ENETUNREACH | libc::EADDRNOTAVAIL | libc::EHOSTUNREACH)
            if to.local.is_some() =>
        {
            let anywhere = Endpoint { local: None, ..*to };
            match send(socket, &anywhere, datagrams) {
                Sent::Full => Sent::Full,
                Sent::Unreachable => Sent::Unreachable,
                Sent::Whole | Sent::Singly | Sent::Narrow | Sent::SourceGone | Sent::Refused => {
                    Sent::SourceGone
                }
            }
        }
        // EIO: no checksum offload on the way out, which segmentation needs.
        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE) if datagrams.several() => {
            send_singly(socket, to, datagrams, Sent::Singly)
        }
        _ => {
            tracing::debug!(to = %to.remote, %error, "send refused");
            if is_unreachable(&error) { Sent::Unreachable } else { Sent::Refused }
        }
    }
}

/// Whether the kernel knows no way to where something was sent. What routers say of unreachable ports and hosts is not
/// heard by sockets like ours.
pub(crate) fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN))
}

/// Sends each datagram with a call of its own; returns `sent` when any left.
fn send_singly(socket: &UdpSocket, to: &Endpoint, datagrams: Datagrams<'_>, sent: Sent) -> Sent {
    let Datagrams { stride, ecn, bytes } = datagrams;
    let leaves = |one| send_once(socket, to, Datagrams { ecn, ..Datagrams::single(one) }).is_ok();
    if bytes.chunks(stride).filter(|one| leaves(one)).count() > 0 { sent } else { Sent::Refused }
}

/// Whether the way to `to` is known to carry less than `payload` bytes in one packet.
fn is_narrow(to: &Endpoint, payload: usize) -> bool {
    path_mtu::payload_room(to).is_some_and(|room| room < payload)
}

fn send_once(socket: &UdpSocket, to: &Endpoint, datagrams: Datagrams<'_>) -> io::Result<()> {
    let Datagrams { stride, ecn, bytes } = datagrams;
    let name = SockAddr::from(reachable(socket, to.remote));
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut details = Details::none();
    if datagrams.several() {
        details.cut(u16::try_from(stride).map_err(|_| io::ErrorKind::InvalidInput)?);
    }
    if let Some(local) = to.local {
        details.leave_from(local);
    }
    if ecn != Ecn::NotCapable {
        details.mark(ecn.bits(), !socket.v6);
    }
    // SAFETY: plain data of the C interface; all zeros is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_ptr().cast_mut().cast();
    header.msg_namelen = name.len();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    details.attach(&mut header);
    // SAFETY: name, part and details live to the end of the function, with their true sizes; the kernel only reads.
    let n = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
