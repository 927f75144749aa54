//! The only reader of the clock and of randomness.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment: on this machine's monotonic clock since the relay's start, and on everybody's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Since the relay's start.
    pub(crate) since: Duration,
    /// Unix milliseconds.
    pub(crate) unix_ms: u64,
}

/// Measures from the relay's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Since the start.
    pub(crate) fn since(self) -> Duration {
        self.0.elapsed()
    }

    /// Both clocks.
    pub(crate) fn now(self) -> Now {
        Now { since: self.since(), unix_ms: unix_ms() }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes that nobody can foresee.
///
/// # Panics
/// Where the kernel has no randomness to give: cookies could be guessed.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}
