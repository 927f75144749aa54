//! Receiving: several messages per call, each up to 64 KiB of datagrams that the kernel merged.
#![expect(unsafe_code, reason = "recvmmsg and control messages have no safe wrapper")]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd as _},
    ptr,
};

/// Longest message, in bytes: the largest that the kernel merges.
pub const SLOT: usize = 65_536;

/// Room for the stride, the destination address and the traffic class; words, so that headers inside are aligned.
const CONTROL: usize = 12;

/// Space between slots, so that their starts do not share cache sets.
const STAGGER: usize = 1_024;

/// Bytes from the start of one slot to that of the next.
const STEP: usize = SLOT + STAGGER;

/// Datagrams from one source.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Who sent them.
    pub from: SocketAddr,
    /// Our address they were sent to; `None` where the socket does not tell.
    pub to: Option<IpAddr>,
    /// The traffic class of all of them.
    pub class: u8,
    /// Size of each datagram but the last; at least 1.
    pub stride: usize,
    /// Where they begin in [`Receiver::bytes`].
    pub start: usize,
    /// Their size in all.
    pub length: usize,
}

/// Buffers for one receive call, made once. A message is valid until the next call.
pub struct Receiver<const SLOTS: usize> {
    slots: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[[u64; CONTROL]]>,
    lengths: [usize; SLOTS],
    controls_used: [usize; SLOTS],
}

impl<const SLOTS: usize> Default for Receiver<SLOTS> {
    fn default() -> Self {
        // SAFETY: sockaddr_storage is plain data of the C interface; all zeros is a valid value.
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        Self {
            slots: vec![0; SLOTS * STEP].into_boxed_slice(),
            names: vec![name; SLOTS].into_boxed_slice(),
            controls: vec![[0; CONTROL]; SLOTS].into_boxed_slice(),
            lengths: [0; SLOTS],
            controls_used: [0; SLOTS],
        }
    }
}

impl<const SLOTS: usize> Receiver<SLOTS> {
    /// Receives what is there, without waiting; returns how many messages.
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` where nothing is there.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        self.lengths = [0; SLOTS];
        // SAFETY: both are plain data of the C interface; all zeros is a valid value.
        let (mut parts, mut headers): ([libc::iovec; SLOTS], [libc::mmsghdr; SLOTS]) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        for (slot, part) in self.slots.chunks_exact_mut(STEP).zip(&mut parts) {
            *part = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT };
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
        let count = libc::c_uint::try_from(SLOTS).unwrap_or(1);
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: every header points to a name, a part and a control buffer that live in `self` or above, each with
        // its true size; the parts point to disjoint slots of `self`.
        let n =
            unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT, ptr::null_mut()) };
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        for (at, header) in headers[..n].iter().enumerate() {
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            self.lengths[at] = if truncated { 0 } else { header.msg_len as usize };
            self.controls_used[at] = header.msg_hdr.msg_controllen;
        }
        Ok(n)
    }

    /// A message of the last call; `None` for empty and truncated ones, and beyond the last.
    #[must_use]
    pub fn message(&self, at: usize) -> Option<Message> {
        let length = self.lengths.get(at).copied().filter(|length| *length > 0)?;
        let from = address(&self.names[at])?;
        let Beside { stride, to, class } = self.beside(at);
        Some(Message { from, to, class, stride: stride.unwrap_or(length), start: at * STEP, length })
    }

    /// The memory that messages lie in.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.slots
    }

    /// The same, to rewrite messages where they lie.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.slots
    }

    /// Reads the control messages of a slot.
    fn beside(&self, at: usize) -> Beside {
        // SAFETY: plain data of the C interface; all zeros is a valid value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_control = self.controls[at].as_ptr().cast_mut().cast();
        header.msg_controllen = self.controls_used[at];
        let mut found = Beside::default();
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
                        found.to = Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into());
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        found.to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                    }
                    // One byte for IPv4, a host-order word for IPv6.
                    (libc::IPPROTO_IP, libc::IP_TOS) => found.class = data.read(),
                    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                        found.class = data.cast::<libc::c_int>().read_unaligned().to_le_bytes()[0];
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
struct Beside {
    stride: Option<usize>,
    to: Option<IpAddr>,
    class: u8,
}

impl<const SLOTS: usize> std::fmt::Debug for Receiver<SLOTS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("slots", &SLOTS).finish_non_exhaustive()
    }
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let pointer = &raw const *name;
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: sockaddr_storage is large enough and aligned for every family, and the family says which it is.
            let v4 = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}
