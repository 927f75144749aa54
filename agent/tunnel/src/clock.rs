//! The only reader of the clock.

use std::time::Instant;

/// Returns the present moment of the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate where time comes in")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
