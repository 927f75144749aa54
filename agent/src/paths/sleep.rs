//! Notices that the host slept: its monotonic clock stood still meanwhile, and its uptime did not.

use std::time::Duration;

/// A difference below this is the coarseness of the two clocks and a busy moment; nat-traversal §2.7 counts longer sleep
/// as one that voids paths.
const ASLEEP: Duration = Duration::from_secs(20);

/// How far uptime was ahead when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Sleep {
    ahead: Option<Duration>,
}

impl Sleep {
    /// Compares the time since the start with the uptime of the host. Returns for how long it slept since the last call.
    pub(super) fn look(&mut self, now: Duration, uptime: Duration) -> Option<Duration> {
        let ahead = uptime.saturating_sub(now);
        let before = self.ahead.replace(ahead)?;
        Some(ahead.saturating_sub(before)).filter(|asleep| *asleep >= ASLEEP)
    }
}

/// The uptime of this host, sleep included (proc(5)).
pub(super) fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split(' ').next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_noticed_once_and_busy_moments_are_not_sleep() {
        let mut sleep = Sleep::default();
        let at = Duration::from_secs;
        let seen: Vec<_> = [(0, 100), (10, 110), (11, 130), (12, 192), (13, 193)]
            .into_iter()
            .map(|(now, uptime)| sleep.look(at(now), at(uptime)))
            .collect();
        assert_eq!(seen, [None, None, None, Some(at(61)), None]);
    }

    #[test]
    fn the_uptime_of_this_host_can_be_read() {
        assert!(uptime().is_some_and(|uptime| uptime > Duration::ZERO));
    }
}
