//! The interface as the host sees it: whether it exists, and its MTU.
#![expect(unsafe_code, reason = "ioctls on interfaces have no safe wrapper")]

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

/// Returns the number of the interface `name`.
pub(super) fn index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}

/// Whether there is an interface `name`.
pub(super) fn exists(name: &str) -> bool {
    index(name).is_some()
}

/// Returns the MTU of the interface `name`.
pub(super) fn mtu(name: &str) -> Option<u16> {
    let mut request = request(name);
    ask(libc::SIOCGIFMTU, &mut request).ok()?;
    // SAFETY: the kernel filled in the MTU, as this request asks.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u16::try_from(mtu).ok()
}

/// Changes the MTU of the interface `name`.
pub(super) fn set_mtu(name: &str, mtu: u16) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_mtu = libc::c_int::from(mtu);
    ask(libc::SIOCSIFMTU, &mut request)
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain data of the C interface; all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request
}

fn ask(what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let request: *mut libc::ifreq = request;
    // SAFETY: both requests read and write one ifreq, which the pointer names; the descriptor is open.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), what as _, request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_there_and_another_is_not() {
        assert!(exists("lo"));
        assert!(mtu("lo").is_none_or(|mtu| mtu >= 1280));
        assert!(!exists("no-such-link") && mtu("no-such-link").is_none());
        assert!(index("with\0zero").is_none());
    }
}
