//! Asking the scheduler for short turns.
//!
//! A packet waits for the shard whenever other threads fill the cores. Linux since 6.12 lets a thread choose short
//! slices: it gets no larger share of the processor, but its turn comes sooner after it wakes.
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

/// Asks for slices of this length for the calling thread. Nothing else about it changes.
pub(super) fn shorten(slice: Duration) -> io::Result<()> {
    let mut attributes = read()?;
    if attributes.policy != libc::SCHED_OTHER.cast_unsigned() {
        return Ok(());
    }
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
    fn a_shorter_slice_leaves_the_rest_as_it_was() {
        assert_eq!(size_of::<Attributes>(), SIZE as usize);
        let before = read().unwrap();
        shorten(Duration::from_micros(200)).unwrap();
        let after = read().unwrap();
        assert_eq!((after.policy, after.nice), (before.policy, before.nice));
        // Kernels before 6.12 take the value and forget it.
        assert!([0, before.runtime, 200_000].contains(&after.runtime), "{after:?}");
    }
}
