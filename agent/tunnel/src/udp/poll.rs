//! Sleeping until something is ready, and being woken from another thread.
#![expect(unsafe_code, reason = "epoll and eventfd are system calls without a safe wrapper here")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Events taken in one call; what does not fit comes with the next.
const EVENTS: usize = 64;

/// Wakes the shard from another thread.
#[derive(Debug)]
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two numbers and returns a descriptor that nobody else owns.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        owned(fd).map(Self)
    }

    /// Makes the next sleep end at once. A counter that is full has woken the shard already.
    pub(crate) fn wake(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the pointer and length describe `one`.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Forgets earlier wakes.
    pub(crate) fn clear(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: the pointer and length describe `count`.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// An epoll set.
pub(crate) struct Poll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes a number and returns a descriptor that nobody else owns.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        Ok(Self { fd: owned(fd)?, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS] })
    }

    /// Adds a descriptor. It leaves the set when it is closed, or by [`Poll::remove`].
    pub(crate) fn add(&self, fd: &impl AsFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, true, false)
    }

    /// Changes what is waited for.
    pub(crate) fn watch(&self, fd: &impl AsFd, token: u64, read: bool, write: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, read, write)
    }

    /// Takes a descriptor out.
    pub(crate) fn remove(&self, fd: &impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, false, false)
    }

    /// Waits until something is ready or `timeout` has passed; `None` waits for ever. Rounds up to milliseconds.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<impl Iterator<Item = Ready> + '_> {
        let millis = timeout.map_or(-1, |timeout| {
            let rounded = timeout.as_micros().div_ceil(1000);
            libc::c_int::try_from(rounded).unwrap_or(libc::c_int::MAX)
        });
        let room = libc::c_int::try_from(EVENTS).unwrap_or(1);
        // SAFETY: `events` has EVENTS initialised elements that the kernel may overwrite.
        let n = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), room, millis) };
        let n = match usize::try_from(n) {
            Ok(n) => n,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
                0
            }
        };
        Ok(self.events[..n].iter().map(|event| {
            let bits = event.events;
            let has = |bit: libc::c_int| bits & bit.cast_unsigned() != 0;
            let broken = has(libc::EPOLLERR) || has(libc::EPOLLHUP);
            Ready { token: event.u64, readable: has(libc::EPOLLIN) || broken, writable: has(libc::EPOLLOUT) }
        }))
    }

    fn control(
        &self,
        what: libc::c_int,
        fd: &impl AsFd,
        token: u64,
        read: bool,
        write: bool,
    ) -> io::Result<()> {
        let bit = |wanted: bool, bit: libc::c_int| if wanted { bit.cast_unsigned() } else { 0 };
        let events = bit(read, libc::EPOLLIN) | bit(write, libc::EPOLLOUT);
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: both descriptors are open and `event` is valid for the call.
        let result =
            unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, fd.as_fd().as_raw_fd(), &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Poll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poll").field("fd", &self.fd).finish_non_exhaustive()
    }
}

fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor to us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
