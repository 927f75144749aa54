//! When a shard steps back behind the programs whose packets it carries.
//!
//! Ahead of them it answers at once, and that costs nothing while packets come in trains. Lone packets in their
//! thousands are another matter: a shard that wakes for each takes the core from whoever is about to send the next, so
//! that no train ever forms, and from whoever is to read them, so that they are lost in its socket. Behind, it finds more
//! packets at each wake-up and carries twice as many.

use std::time::{Duration, Instant};

use crate::limits;
use crate::stats::Counters;

/// What a shard has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    packets: u64,
    /// Frames and messages that brought them.
    trains: u64,
}

impl Work {
    pub(super) fn of(counters: &Counters) -> Self {
        Self {
            packets: counters.device_packets_in + counters.datagrams_in,
            trains: counters.device_frames_in + counters.trains_in,
        }
    }

    /// Whether so much since `earlier`, which was `span` ago, is a flood of lone packets.
    fn is_flood(self, earlier: Self, span: Duration) -> bool {
        let (packets, trains) = (self.packets - earlier.packets, self.trains - earlier.trains);
        let at_least = span.as_micros() * u128::from(limits::FLOOD_PER_SECOND) / 1_000_000;
        u128::from(packets) >= at_least && packets < limits::FLOOD_TRAIN * trains
    }
}

/// Where a shard is to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Ahead of other programs, as far as the host allows.
    Ahead,
    /// An ordinary one among them that interrupts nobody.
    Behind,
}

/// Follows the work of a shard.
#[derive(Debug)]
pub(super) struct Standing {
    place: Place,
    looked: Instant,
    work: Work,
    flooded: Instant,
}

impl Standing {
    /// Ahead.
    pub(super) fn new(now: Instant) -> Self {
        Self { place: Place::Ahead, looked: now, work: Work::default(), flooded: now }
    }

    /// Whether it is time to look at the work again.
    #[inline]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.looked) >= limits::FLOOD_SPAN
    }

    /// Looks at the work so far; returns the place where that changes it.
    pub(super) fn look(&mut self, now: Instant, work: Work) -> Option<Place> {
        let is_flood = work.is_flood(self.work, now.saturating_duration_since(self.looked));
        (self.looked, self.work) = (now, work);
        let place = match self.place {
            _ if is_flood => {
                self.flooded = now;
                Place::Behind
            }
            Place::Behind if now.saturating_duration_since(self.flooded) < limits::FLOOD_CALM => {
                Place::Behind
            }
            Place::Ahead | Place::Behind => Place::Ahead,
        };
        (std::mem::replace(&mut self.place, place) != place).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const LOOK: Duration = limits::FLOOD_SPAN;

    /// Carries so many trains of so many packets a second for a while; returns the places it was given.
    fn carry(standing: &mut Standing, now: &mut Instant, trains_a_second: u64, packets: u64) -> Vec<Place> {
        let trains = trains_a_second * u64::try_from(LOOK.as_micros()).unwrap() / 1_000_000;
        let looks = 4 * limits::FLOOD_CALM.as_micros() / LOOK.as_micros();
        let looks = (0..looks).filter_map(|_| {
            *now += LOOK;
            assert!(standing.is_due(*now));
            let Work { packets: before, trains: earlier } = standing.work;
            standing.look(*now, Work { packets: before + trains * packets, trains: earlier + trains })
        });
        looks.collect()
    }

    #[test]
    fn lone_packets_in_their_thousands_send_it_back_until_they_end() {
        let mut now = clock::now();
        let mut standing = Standing::new(now);
        assert_eq!(carry(&mut standing, &mut now, 170_000, 1), [Place::Behind]);
        assert_eq!(carry(&mut standing, &mut now, 25_000, 6), [], "trains form once it stands behind");
        assert_eq!(carry(&mut standing, &mut now, 1_000, 1), [Place::Ahead]);
    }

    #[test]
    fn streams_and_calm_leave_it_ahead() {
        let mut now = clock::now();
        let mut standing = Standing::new(now);
        for (what, trains, packets) in
            [("super-packets", 12_000, 43), ("with their acknowledgements", 24_000, 22), ("calls", 10_000, 1)]
        {
            assert_eq!(carry(&mut standing, &mut now, trains, packets), [], "{what}");
        }
    }

    #[test]
    fn a_gap_in_a_flood_is_not_its_end() {
        let mut now = clock::now();
        let mut standing = Standing::new(now);
        let mut work = Work::default();
        let mut changes = 0;
        for turn in 0..1_000_u64 {
            now += LOOK;
            let packets = if turn % 5 == 0 { 0 } else { 400 };
            work = Work { packets: work.packets + packets, trains: work.trains + packets };
            changes += u32::from(standing.look(now, work).is_some());
        }
        assert_eq!(changes, 1);
    }
}
