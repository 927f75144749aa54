//! What can happen to the program from outside, in one place to wait.
#![expect(unsafe_code, reason = "signalfd, inotify, netlink groups and poll are system calls")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// Somebody asked the program to end.
    Stop,
    /// The data plane cannot go on.
    Ended,
    /// A file of the watched folder went away.
    Files,
    /// Some interface changed.
    Links,
}

/// Everything that is waited for.
#[derive(Debug)]
pub(super) struct Watch {
    signals: OwnedFd,
    files: OwnedFd,
    /// `None` where the kernel gives no such socket: the MTU is then taken as it was at first.
    links: Option<OwnedFd>,
    ended: UnixStream,
}

impl Watch {
    /// Blocks SIGTERM, SIGINT and SIGHUP in this thread and those it starts, and waits for them. `ended` becomes
    /// readable when the data plane has ended.
    pub(super) fn new(ended: UnixStream) -> io::Result<Self> {
        // SAFETY: inotify_init1 takes a number and returns a descriptor that nobody else owns.
        let files = owned(unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) })?;
        Ok(Self { signals: signals()?, files, links: links().ok(), ended })
    }

    /// Waits for files that go away from `folder` as well.
    pub(super) fn files_in(&mut self, folder: &Path) -> io::Result<()> {
        let folder = CString::new(folder.as_os_str().as_bytes())?;
        let what = libc::IN_DELETE | libc::IN_MOVED_FROM | libc::IN_DELETE_SELF;
        // SAFETY: `folder` is a terminated string that outlives the call.
        match unsafe { libc::inotify_add_watch(self.files.as_raw_fd(), folder.as_ptr(), what) } {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits for the next thing that happens.
    pub(super) fn next(&self) -> io::Result<Happening> {
        let links = self.links.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let kinds = [
            (self.signals.as_raw_fd(), Happening::Stop),
            (self.ended.as_raw_fd(), Happening::Ended),
            (self.files.as_raw_fd(), Happening::Files),
            (links, Happening::Links),
        ];
        let mut waiting = kinds.map(|(fd, _)| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
        loop {
            // SAFETY: the pointer and the count describe `waiting`, whose descriptors are open or negative.
            let n = unsafe { libc::poll(waiting.as_mut_ptr(), 4, -1) };
            if n < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            let ready = waiting.iter().zip(kinds).find(|(entry, _)| entry.revents != 0);
            if let Some((_, (fd, happening))) = ready {
                if matches!(happening, Happening::Files | Happening::Links) {
                    drain(fd);
                }
                return Ok(happening);
            }
        }
    }
}

/// Takes away all that a descriptor has to say: that it spoke is all that counts.
fn drain(fd: libc::c_int) {
    let mut bytes = [0_u8; 4096];
    // SAFETY: the pointer and the length describe `bytes`; the descriptor does not block.
    while unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) } > 0 {}
}

fn signals() -> io::Result<OwnedFd> {
    // SAFETY: a signal set is plain data that sigemptyset and sigaddset fill in.
    let set = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    };
    // SAFETY: `set` is initialised, and the former mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => {}
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    // SAFETY: `set` is initialised; the descriptor returned belongs to nobody else.
    owned(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) })
}

/// Opens a netlink socket that hears of every change of an interface.
fn links() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes three numbers and returns a descriptor that nobody else owns.
    let socket = owned(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    // SAFETY: sockaddr_nl is plain data of the C interface; all zeros is a valid value.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK).unwrap_or(16);
    address.nl_groups = libc::RTMGRP_LINK.cast_unsigned();
    let size = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(12);
    // SAFETY: the pointer and the size describe `address`, which lives through the call.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) } {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor to us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_removed_file_and_the_end_of_the_data_plane_are_noticed() {
        let folder = std::env::temp_dir().join(format!("lacis-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("wg0.sock");
        std::fs::write(&file, "").unwrap();
        let (mut ended, end) = UnixStream::pair().unwrap();
        let mut watch = Watch::new(end).unwrap();
        watch.files_in(&folder).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(until_no_link(&watch), Happening::Files);
        ended.write_all(&[1]).unwrap();
        assert_eq!(until_no_link(&watch), Happening::Ended);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// Interfaces of this machine may change beside the test.
    fn until_no_link(watch: &Watch) -> Happening {
        loop {
            match watch.next().unwrap() {
                Happening::Links => {}
                other @ (Happening::Stop | Happening::Ended | Happening::Files) => return other,
            }
        }
    }
}
