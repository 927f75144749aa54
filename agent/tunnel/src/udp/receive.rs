//! Receiving: several messages per call, each up to 64 KiB of datagrams that the kernel merged.
//!
//! Slots, headers and control buffers are allocated once. A message is valid until the next call.
#![expect(unsafe_code, reason = "recvmmsg and control messages have no safe wrapper")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

use crate::ecn::Ecn;
use crate::limits;
use crate::udp::socket::UdpSocket;

/// Room for the stride, the destination address and the traffic class; words, so that headers inside are aligned.
const CONTROL: usize = 12;

/// Space between slots, so that their starts do not share cache sets.
const STAGGER: usize = 1024;

/// Datagrams from one source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) from: SocketAddr,
    /// Our address it was sent to.
    pub(crate) to: Option<IpAddr>,
    /// The congestion mark of all of them.
    pub(crate) ecn: Ecn,
    /// Size of each datagram but the last.
    pub(crate) stride: usize,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Returns its datagrams in order.
    #[inline]
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.stride.max(1))
    }
}

/// Buffers for one receive call.
pub(crate) struct Receiver {
    slots: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[[u64; CONTROL]]>,
    received: usize,
    lengths: [usize; limits::RECEIVE_SLOTS],
    controls_used: [usize; limits::RECEIVE_SLOTS],
}

impl Receiver {
    pub(crate) fn new() -> Self {
        // SAFETY: sockaddr_storage is plain data of the C interface; all zeros is a valid value.
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        Self {
            slots: vec![0; limits::RECEIVE_SLOTS * (limits::RECEIVE_SLOT + STAGGER)].into_boxed_slice(),
            names: vec![name; limits::RECEIVE_SLOTS].into_boxed_slice(),
            controls: vec![[0; CONTROL]; limits::RECEIVE_SLOTS].into_boxed_slice(),
            received: 0,
            lengths: [0; limits::RECEIVE_SLOTS],
            controls_used: [0; limits::RECEIVE_SLOTS],
        }
    }

    /// Receives what is there, without waiting; returns how many messages.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.received = 0;
        // SAFETY: both are plain data of the C interface; all zeros is a valid value.
        let (mut parts, mut headers): (
            [libc::iovec; limits::RECEIVE_SLOTS],
            [libc::mmsghdr; limits::RECEIVE_SLOTS],
        ) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let slots = self.slots.chunks_exact_mut(limits::RECEIVE_SLOT + STAGGER);
        for (slot, part) in slots.zip(&mut parts) {
            *part = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: limits::RECEIVE_SLOT };
        }
        let name_len = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).unwrap_or(0);
        let buffers = self.names.iter_mut().zip(&mut self.controls).zip(&mut parts);
        for (header, ((name, control), part)) in headers.iter_mut().zip(buffers) {
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = name_len;
            header.msg_iov = part;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of_val(control);
        }
        let count = libc::c_uint::try_from(limits::RECEIVE_SLOTS).unwrap_or(1);
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: every header points to a name, a part and a control buffer that live in `self` or above, each with
        // its true size; the parts point to disjoint slots of `self`.
        let n = unsafe {
            libc::recvmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        for (at, header) in headers[..n].iter().enumerate() {
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            self.lengths[at] = if truncated { 0 } else { header.msg_len as usize };
            self.controls_used[at] = header.msg_hdr.msg_controllen;
        }
        self.received = n;
        Ok(n)
    }

    /// Returns a message of the last call; `None` for empty and truncated ones.
    pub(crate) fn message(&self, at: usize) -> Option<Message<'_>> {
        if at >= self.received || self.lengths[at] == 0 {
            return None;
        }
        let from = socket_address(&self.names[at])?;
        let start = at * (limits::RECEIVE_SLOT + STAGGER);
        let bytes = self.slots.get(start..start + self.lengths[at])?;
        let Control { stride, to, ecn } = self.control(at);
        Some(Message { from, to, ecn, stride: stride.unwrap_or(bytes.len()).max(1), bytes })
    }

    /// Reads the control messages of slot `at`.
    fn control(&self, at: usize) -> Control {
        // SAFETY: plain data of the C interface; all zeros is a valid value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_control = self.controls[at].as_ptr().cast_mut().cast();
        header.msg_controllen = self.controls_used[at];
        let mut found = Control::default();
        // SAFETY: the control buffer was filled by the kernel up to `msg_controllen`; it is only read here.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
        while !next.is_null() {
            // SAFETY: the macros only return pointers to complete headers inside the buffer, whose words are aligned;
            // the data behind each kind has the type read here, unaligned.
            unsafe {
                let data = libc::CMSG_DATA(next);
                match ((*next).cmsg_level, (*next).cmsg_type) {
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        let stride = usize::try_from(data.cast::<libc::c_int>().read_unaligned());
                        found.stride = stride.ok().filter(|stride| *stride > 0);
                    }
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                        found.to = Some(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        found.to = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                    }
                    // One byte for IPv4, a host-order word for IPv6.
                    (libc::IPPROTO_IP, libc::IP_TOS) => found.ecn = Ecn::of_class(data.read()),
                    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                        let class = data.cast::<libc::c_int>().read_unaligned();
                        found.ecn = Ecn::of_class(class.to_le_bytes()[0]);
                    }
                    _ => {}
                }
                next = libc::CMSG_NXTHDR(&raw const header, next);
            }
        }
        found
    }
}

/// What comes beside a message.
#[derive(Clone, Copy, Debug, Default)]
struct Control {
    stride: Option<usize>,
    to: Option<IpAddr>,
    ecn: Ecn,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("received", &self.received).finish_non_exhaustive()
    }
}

fn socket_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let pointer = &raw const *name;
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: sockaddr_storage is large enough and aligned for every family, and the family says which it is.
            let v4 = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(address, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::path::Endpoint;
    use crate::udp::poll::Poll;
    use crate::udp::train::{self, Datagrams, Sent};

    #[test]
    fn a_mark_crosses_the_kernel_with_its_train() {
        for (v6, local) in [(false, "127.0.0.1"), (true, "::1")] {
            let (Ok(from), Ok(to)) = (UdpSocket::bind(v6, 0), UdpSocket::bind(v6, 0)) else {
                assert!(v6, "a host may lack IPv6, not IPv4");
                continue;
            };
            let mut poll = Poll::new().unwrap();
            poll.add(&to.as_fd(), 1).unwrap();
            let local: IpAddr = local.parse().unwrap();
            let place = Endpoint {
                remote: SocketAddr::new(local, to.port().unwrap()),
                local: Some(local),
                relay: None,
            };
            let bytes: Vec<u8> = (0..250).collect();
            for ecn in [Ecn::Zero, Ecn::NotCapable, Ecn::Congested, Ecn::One] {
                let sent = train::send(&from, &place, Datagrams { stride: 100, ecn, bytes: &bytes });
                assert_eq!(sent, Sent::Whole);
                let (mut receiver, mut seen) = (Receiver::new(), Vec::new());
                while seen.len() < bytes.len() {
                    assert!(poll.wait(Some(std::time::Duration::from_secs(10))).unwrap().count() > 0);
                    for at in 0..receiver.receive(&to).unwrap() {
                        let message = receiver.message(at).unwrap();
                        assert_eq!((message.ecn, message.to), (ecn, Some(local)));
                        seen.extend_from_slice(message.bytes);
                    }
                }
                assert_eq!(seen, bytes);
            }
        }
    }
}
