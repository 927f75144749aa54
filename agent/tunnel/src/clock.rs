//! The only reader of the clocks.
#![expect(unsafe_code, reason = "the standard library has no clock that counts while the machine sleeps")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the present moment of the monotonic clock, which stands still while the machine sleeps.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate where time comes in")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns the time since the beginning of 1970, as others reckon it. For display and for stamps of
/// handshakes only: it may jump.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate where time comes in")]
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns how long the machine slept since it started.
pub(crate) fn asleep() -> Duration {
    // Read in this order, the difference is never too large.
    let boot = read(libc::CLOCK_BOOTTIME);
    boot.saturating_sub(read(libc::CLOCK_MONOTONIC))
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to `time`, which the kernel fills.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec)) else {
        return Duration::ZERO;
    };
    if result < 0 { Duration::ZERO } else { Duration::new(seconds, nanos) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_awake_does_not_gain_sleep() {
        let before = asleep();
        let since = now();
        assert!(asleep().abs_diff(before) < Duration::from_secs(5) + since.elapsed());
    }
}
