//! What goes beside a message that is sent: control messages (cmsg(3)).
#![expect(unsafe_code, reason = "control messages have no safe writer")]

use std::net::IpAddr;

/// Room for all three, as words, so that headers inside are aligned.
const WORDS: usize = 12;

/// How a message is to leave, in the form that the kernel reads.
#[derive(Clone, Copy, Debug)]
pub struct Details {
    words: [u64; WORDS],
    used: usize,
}

impl Default for Details {
    fn default() -> Self {
        Self::none()
    }
}

impl Details {
    /// Nothing beside the bytes.
    #[must_use]
    pub const fn none() -> Self {
        Self { words: [0; WORDS], used: 0 }
    }

    /// The kernel cuts the bytes into datagrams of so many.
    pub fn cut(&mut self, stride: u16) {
        self.put(libc::SOL_UDP, libc::UDP_SEGMENT, stride);
    }

    /// It leaves from this address of the host. A socket of IPv6 takes IPv4 ones mapped.
    pub fn leave_from(&mut self, source: IpAddr) {
        match source {
            IpAddr::V4(source) => {
                let address = libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) };
                let any = libc::in_addr { s_addr: 0 };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: any };
                self.put(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            IpAddr::V6(source) => {
                let address = libc::in6_addr { s6_addr: source.octets() };
                let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 };
                self.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        }
    }

    /// It bears this traffic class. `is_v4`: the packets are of IPv4, whichever socket they leave by.
    pub fn mark(&mut self, class: u8, is_v4: bool) {
        let (level, kind) =
            if is_v4 { (libc::IPPROTO_IP, libc::IP_TOS) } else { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) };
        self.put(level, kind, libc::c_int::from(class));
    }

    /// Has a header point here; both must stay where they are until it is sent.
    pub fn attach(&mut self, header: &mut libc::msghdr) {
        header.msg_controllen = self.used;
        header.msg_control =
            if self.used == 0 { std::ptr::null_mut() } else { self.words.as_mut_ptr().cast() };
    }

    fn put<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        let size = libc::c_uint::try_from(size_of::<T>()).unwrap_or(0);
        // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
        let (length, space) = unsafe { (libc::CMSG_LEN(size) as usize, libc::CMSG_SPACE(size) as usize) };
        assert!(self.used + space <= size_of_val(&self.words), "each kind is put once, and all fit");
        // SAFETY: there is room for `space` bytes at `used`, as just asserted; the words are aligned and `used` is a sum
        // of CMSG_SPACEs, hence aligned as well. The value is written unaligned.
        unsafe {
            let at = self.words.as_mut_ptr().cast::<u8>().add(self.used).cast::<libc::cmsghdr>();
            (*at).cmsg_level = level;
            (*at).cmsg_type = kind;
            (*at).cmsg_len = length;
            libc::CMSG_DATA(at).cast::<T>().write_unaligned(value);
        }
        self.used += space;
    }
}
