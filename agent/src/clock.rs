//! The only reader of the clock and of randomness in the agent.
//!
//! Cores get a [`Duration`] since the agent's start; signatures get Unix milliseconds, corrected by what
//! is known of control's clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads time. The offset stands for a host whose clock is wrong, in tests.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall_offset_ms: i64,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with_offset(0)
    }

    /// A clock whose wall time is off by so many milliseconds.
    #[expect(clippy::disallowed_methods, reason = "this file is where the clock is read")]
    #[must_use]
    pub fn start_with_offset(wall_offset_ms: i64) -> Self {
        Self { start: Instant::now(), wall_offset_ms }
    }

    /// Time since the start, never going back.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Wall time in Unix milliseconds.
    #[expect(clippy::disallowed_methods, reason = "this file is where the clock is read")]
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add_signed(self.wall_offset_ms)
    }
}

/// Random bytes of the operating system.
///
/// # Panics
/// Where the operating system has none: no key may be made there.
#[must_use]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
