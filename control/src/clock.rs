//! The only reader of the clock and of randomness.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time in Unix milliseconds.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes that nobody can foresee.
///
/// # Panics
/// Where the kernel has no randomness to give: nothing that control makes would be safe.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

/// A duration that differs from `middle` by up to `percent` either way, so that many do not act at once.
pub(crate) fn around(middle: Duration, percent: u32) -> Duration {
    let share = f64::from(u32::from_be_bytes(random())) / f64::from(u32::MAX);
    let spread = f64::from(percent) / 100.0;
    middle.mul_f64(1.0 + spread * (2.0 * share - 1.0))
}

/// This moment, to measure from.
pub(crate) fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// The moment that is so far away.
pub(crate) fn later(wait: Duration) -> tokio::time::Instant {
    now() + wait
}
