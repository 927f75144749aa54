//! Waits for conditions, until a generous deadline.

use std::time::{Duration, Instant};

/// Far more than anything here takes on a busy machine.
const GENEROUS: Duration = Duration::from_secs(60);

/// Lets time pass, for what must come at any moment.
#[expect(clippy::disallowed_methods, reason = "the moment of a kill is not a condition to wait for")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// How often a condition of another process is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `condition` gives a value; panics with `what` when it does not within 60 s.
#[track_caller]
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    eventually_within(GENEROUS, what, condition).0
}

/// Waits until `condition` gives a value, and says how long that took.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "other processes are looked at from outside, there is nothing to await"
)]
pub fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Option<T>,
) -> (T, Duration) {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return (value, begin.elapsed());
        }
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(LOOK);
    }
}
