//! When to look at a tunnel again, and how fast to start handshakes.
//!
//! Only live tunnels are in the wheel, each once; ten thousand idle peers cost nothing. An entry carries the slot time
//! it was made for: one that its tunnel no longer waits for is stale and ignored, so nothing is ever searched for.

use std::time::{Duration, Instant};

use crate::limits;

/// Tunnels ask for a second at most; four keep the wheel small, since each slot keeps the room it once needed.
const SLOTS: u64 = 16;

/// A moment, counted in quarter seconds from the wheel's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due(u64);

/// A hashed wheel of 16 slots of 250 ms.
#[derive(Debug)]
pub(crate) struct Wheel {
    start: Instant,
    /// The first slot time not yet handed out.
    next: u64,
    slots: Vec<Vec<(u32, Due)>>,
    waiting: usize,
}

impl Wheel {
    pub(crate) fn new(now: Instant) -> Self {
        Self { start: now, next: 1, slots: (0..SLOTS).map(|_| Vec::new()).collect(), waiting: 0 }
    }

    /// Enters `owner` for the first slot not before `at`. Moments past the wheel's 4 s come early.
    pub(crate) fn schedule(&mut self, owner: u32, at: Instant) -> Due {
        let since = at.saturating_duration_since(self.start).as_millis();
        let wanted = u64::try_from(since.div_ceil(limits::TICK_HANDSHAKE.as_millis())).unwrap_or(u64::MAX);
        let due = Due(wanted.clamp(self.next, self.next + SLOTS - 1));
        self.slot(due.0).push((owner, due));
        self.waiting += 1;
        due
    }

    /// Moves all entries that are due into `due`, in order of time.
    pub(crate) fn collect(&mut self, now: Instant, due: &mut Vec<(u32, Due)>) {
        let since = now.saturating_duration_since(self.start).as_millis();
        let reached = u64::try_from(since / limits::TICK_HANDSHAKE.as_millis()).unwrap_or(u64::MAX);
        // After a suspension one turn of the wheel empties it.
        let mut turns = SLOTS;
        while self.next <= reached && turns > 0 && self.waiting > 0 {
            let at = self.next;
            let slot = &mut self.slots[(at % SLOTS) as usize];
            self.waiting -= slot.len();
            due.append(slot);
            self.next += 1;
            turns -= 1;
        }
        self.next = self.next.max(reached.saturating_add(1));
    }

    /// Returns when the next entry is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.waiting == 0 {
            return None;
        }
        let at = (self.next..self.next + SLOTS).find(|at| !self.slots[(at % SLOTS) as usize].is_empty())?;
        let tick = u64::try_from(limits::TICK_HANDSHAKE.as_millis()).unwrap_or(250);
        self.start.checked_add(Duration::from_millis(at * tick))
    }

    fn slot(&mut self, at: u64) -> &mut Vec<(u32, Due)> {
        &mut self.slots[(at % SLOTS) as usize]
    }
}

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: u32,
    burst: u32,
    /// Tokens in thousandths.
    level: u64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(now: Instant, per_second: u32, burst: u32) -> Self {
        Self { per_second, burst, level: u64::from(burst) * 1000, filled: now }
    }

    /// Takes one token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            let most = u64::from(self.burst) * 1000;
            self.level =
                self.level.saturating_add(millis.saturating_mul(u64::from(self.per_second))).min(most);
            self.filled = now;
        }
        let enough = self.level >= 1000;
        if enough {
            self.level -= 1000;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn owners(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.collect(now, &mut due);
        due.into_iter().map(|(owner, _)| owner).collect()
    }

    #[test]
    fn entries_come_in_order_and_never_early() {
        let start = crate::clock::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(2, start + ms(600));
        wheel.schedule(1, start + ms(10));
        assert_eq!(wheel.deadline(), Some(start + ms(250)));
        assert_eq!(owners(&mut wheel, start + ms(249)), []);
        assert_eq!(owners(&mut wheel, start + ms(250)), [1]);
        assert_eq!(owners(&mut wheel, start + ms(749)), []);
        assert_eq!(owners(&mut wheel, start + ms(750)), [2]);
        assert_eq!(wheel.deadline(), None);
    }

    #[test]
    fn a_long_sleep_empties_the_wheel_once() {
        let start = crate::clock::now();
        let mut wheel = Wheel::new(start);
        for owner in 0..100 {
            wheel.schedule(owner, start + ms(u64::from(owner) * 400));
        }
        let later = start + Duration::from_secs(86_400);
        assert_eq!(owners(&mut wheel, later), (0..100).collect::<Vec<_>>());
        wheel.schedule(7, later + ms(1));
        assert_eq!(owners(&mut wheel, later + ms(500)), [7]);
    }

    #[test]
    fn a_moment_past_the_wheel_comes_early() {
        let start = crate::clock::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(1, start + Duration::from_secs(3600));
        assert!(wheel.deadline().unwrap() <= start + Duration::from_secs(4));
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = crate::clock::now();
        let mut bucket = Bucket::new(start, 10, 3);
        assert_eq!((0..10).filter(|_| bucket.take(start)).count(), 3);
        assert_eq!((0..10).filter(|_| bucket.take(start + ms(200))).count(), 2);
        assert_eq!((0..10).filter(|_| bucket.take(start + Duration::from_secs(60))).count(), 3);
    }
}
