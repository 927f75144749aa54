//! The shard's place among the threads of the host.
//!
//! A packet waits for the shard whenever other threads fill the cores, and whoever makes the traffic is one of them.
//! The kernel's own network code is not in that queue at all; the shard stands as near to its head as the host lets it.
//! It holds one core at most; where shards could hold all cores the order is left as it is, or they could shut everybody
//! else out.
#![expect(unsafe_code, reason = "scheduling attributes have no safe wrapper")]

use std::io;

use super::standing::Place;
use crate::limits;

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

/// How the calling thread stood, and how it may stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Priority {
    /// `None` where it is left as it is.
    places: Option<(Attributes, Attributes)>,
}

impl Priority {
    /// Of the calling thread, one of `shards`. One that is not scheduled as ordinary threads are is left alone.
    /// `ahead`: whether it may ever stand higher than it does.
    pub(super) fn of_thread(ahead: bool, shards: u8) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let ordinary = read().ok().filter(|found| found.policy == libc::SCHED_OTHER.cast_unsigned());
        let places = ordinary.map(|behind| {
            let mut raised = behind;
            if ahead && cores > usize::from(shards) {
                raised.nice = raised.nice.min(limits::SHARD_NICE);
                // Kernels before 6.12 take the value and forget it.
                raised.runtime = u64::try_from(limits::SHARD_SLICE.as_nanos()).unwrap_or(u64::MAX);
            }
            // Such a thread interrupts no other when it wakes (sched(7)).
            (raised, Attributes { policy: libc::SCHED_BATCH.cast_unsigned(), ..behind })
        });
        Self { places }
    }

    /// Takes a place, as far as the host allows it: without CAP_SYS_NICE and with a lower RLIMIT_NICE it does not.
    pub(super) fn take(&self, place: Place) {
        let Some((ahead, behind)) = self.places else { return };
        let attributes = match place {
            Place::Ahead => ahead,
            Place::Behind => behind,
        };
        if let Err(error) = write(attributes) {
            tracing::debug!(%error, "packets wait their turn behind other programs");
            // Back at least to how it was scheduled.
            let nice = read().map_or(behind.nice, |found| found.nice);
            let _ = write(Attributes { nice, ..attributes });
        }
    }
}

fn write(attributes: Attributes) -> io::Result<()> {
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
    fn the_place_changes_as_the_host_allows_and_nothing_else_does() {
        assert_eq!(size_of::<Attributes>(), SIZE as usize);
        let before = read().unwrap();
        let one_core = std::thread::available_parallelism().unwrap().get() < 2;
        let priority = Priority::of_thread(true, 1);
        for _ in 0..2 {
            priority.take(Place::Ahead);
            let ahead = read().unwrap();
            assert_eq!(
                (ahead.policy, ahead.flags, ahead.priority),
                (before.policy, before.flags, before.priority)
            );
            let slice = u64::try_from(limits::SHARD_SLICE.as_nanos()).unwrap();
            assert!([0, before.runtime, slice].contains(&ahead.runtime), "{ahead:?}");
            let may_rise = !one_core && write(Attributes { nice: limits::SHARD_NICE, ..ahead }).is_ok();
            assert_eq!(ahead.nice, if may_rise { limits::SHARD_NICE } else { before.nice });
            priority.take(Place::Behind);
            let behind = read().unwrap();
            assert_eq!((behind.policy, behind.nice), (libc::SCHED_BATCH.cast_unsigned(), before.nice));
        }
        priority.take(Place::Ahead);
        assert_eq!(read().unwrap().policy, before.policy);
    }

    #[test]
    fn shards_that_could_hold_all_cores_never_stand_ahead() {
        let before = read().unwrap();
        for priority in [Priority::of_thread(true, u8::MAX), Priority::of_thread(false, 1)] {
            priority.take(Place::Ahead);
            assert_eq!(read().unwrap().nice, before.nice);
        }
    }
}
