//! The shard's place among the threads of the host.
//!
//! A packet waits for the shard whenever other threads fill the cores, and whoever makes the traffic is one of them.
//! The kernel's own network code is not in that queue at all; the shard stands as near to its head as the host lets it.
//! It holds one core at most; where shards could hold all cores the order is left as it is, or they could shut everybody
//! else out.
#![expect(unsafe_code, reason = "scheduling attributes have no safe wrapper")]

use std::io;
use std::time::Duration;

/// `struct sched_attr` of `linux/sched/types.h`, in its first form.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// The slice in nanoseconds, for ordinary threads.
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SIZE: u32 = 48;

/// Puts the calling thread, one of `shards`, ahead of ordinary ones: `nice` as setpriority(2) counts, and turns of
/// `slice`.
///
/// A thread that already has a higher place, or is not scheduled as ordinary threads are, keeps it.
///
/// # Errors
/// Without CAP_SYS_NICE and with a lower RLIMIT_NICE, among others; nothing has changed then.
pub(super) fn raise(nice: i32, slice: Duration, shards: u8) -> io::Result<()> {
    let mut attributes = read()?;
    let is_ordinary = attributes.policy == libc::SCHED_OTHER.cast_unsigned();
    if !is_ordinary || std::thread::available_parallelism()?.get() <= usize::from(shards) {
        return Ok(());
    }
    attributes.nice = attributes.nice.min(nice);
    // Kernels before 6.12 take the value and forget it.
    attributes.runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the call reads `attributes`, which is as long as its size field says; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn read() -> io::Result<Attributes> {
    let mut attributes = Attributes { size: SIZE, ..Attributes::default() };
    // SAFETY: the call writes at most SIZE bytes, the length of `attributes`; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(attributes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_raised_where_the_host_allows_it_and_nothing_else_changes() {
        assert_eq!(size_of::<Attributes>(), SIZE as usize);
        let before = read().unwrap();
        let raised = raise(before.nice - 1, Duration::from_micros(200), 1);
        let after = read().unwrap();
        assert_eq!(
            (after.policy, after.flags, after.priority),
            (before.policy, before.flags, before.priority)
        );
        let one_core = std::thread::available_parallelism().unwrap().get() < 2;
        match raised {
            Ok(()) if one_core => assert_eq!((after.nice, after.runtime), (before.nice, before.runtime)),
            Ok(()) => {
                assert_eq!(after.nice, before.nice - 1);
                assert!([0, before.runtime, 200_000].contains(&after.runtime), "{after:?}");
                // Whoever stands higher already stays there.
                raise(before.nice + 5, Duration::from_micros(200), 1).unwrap();
                assert_eq!(read().unwrap().nice, before.nice - 1);
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                assert_eq!(after.nice, before.nice);
            }
        }
    }
}
