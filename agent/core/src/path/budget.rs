//! How fast the agent may send what nobody asked for.

use std::time::Duration;

/// A bucket of tokens: it fills at a rate and holds what a second brings.
#[derive(Debug)]
pub(super) struct Budget {
    /// Tokens a second.
    rate: u32,
    /// Thousandths of tokens.
    filled: u64,
    at: Duration,
}

impl Budget {
    pub(super) const fn new(rate: u32) -> Self {
        Self { rate, filled: rate as u64 * 1_000, at: Duration::ZERO }
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let passed = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        let capacity = u64::from(self.rate) * 1_000;
        self.filled = self.filled.saturating_add(passed.saturating_mul(self.rate.into())).min(capacity);
        self.at = self.at.max(self.at + Duration::from_millis(passed));
        let has = self.filled >= 1_000;
        if has {
            self.filled -= 1_000;
        }
        has
    }

    /// After how long a token has certainly come.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_secs(1) / self.rate + Duration::from_millis(1)
    }
}
