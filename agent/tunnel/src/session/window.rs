//! Which counters were seen: the last 8192, a bit each (WireGuard paper §5.4.6; RFC 6479 for the ring of words).
//!
//! The kernel's window has this size too. It must span what is still on its way by an old path when a new one, say a
//! direct one after a relayed one, already delivers.

/// Counters that are told apart.
pub(crate) const WIDTH: u64 = 8192;
const WORDS: usize = (WIDTH / 64) as usize;

/// The last [`WIDTH`] counters below `next`; bit `c % WIDTH` says whether `c` was seen.
pub(crate) struct Window {
    /// One more than the greatest counter seen.
    next: u64,
    seen: [u64; WORDS],
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { next: 0, seen: [0; WORDS] }
    }

    /// Whether a counter is neither seen nor too old.
    #[inline]
    pub(crate) fn is_new(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        self.reaches(counter) && self.seen[word(counter)] & bit(counter) == 0
    }

    /// Whether a counter is not too old to tell.
    pub(crate) fn reaches(&self, counter: u64) -> bool {
        self.next.saturating_sub(counter) <= WIDTH
    }

    /// Marks a new counter as seen. It is below `u64::MAX`.
    #[inline]
    pub(crate) fn mark(&mut self, counter: u64) {
        if counter >= self.next {
            if counter - self.next >= WIDTH {
                self.seen.fill(0);
            } else {
                self.forget(self.next, counter);
            }
            self.next = counter.saturating_add(1);
        }
        self.seen[word(counter)] |= bit(counter);
    }

    /// Clears the bits of `first..=last`, fewer than [`WIDTH`], word by word.
    #[inline]
    fn forget(&mut self, first: u64, last: u64) {
        let mut at = first;
        while at <= last {
            let span = (64 - at % 64).min(last - at + 1);
            let mask = (u64::MAX >> (64 - span)) << (at % 64);
            self.seen[word(at)] &= !mask;
            at += span;
        }
    }
}

#[inline]
fn word(counter: u64) -> usize {
    (counter / 64 % WORDS as u64) as usize
}

#[inline]
fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What the window must be: every counter seen, and how far it got.
    #[derive(Default)]
    struct Model {
        seen: BTreeSet<u64>,
    }

    impl Model {
        fn take(&mut self, counter: u64) -> bool {
            let next = self.seen.last().map_or(0, |last| last + 1);
            (counter >= next || next - counter <= WIDTH) && self.seen.insert(counter)
        }
    }

    fn take(window: &mut Window, counter: u64) -> bool {
        let new = window.is_new(counter);
        if new {
            window.mark(counter);
        }
        new
    }

    #[test]
    fn a_late_burst_is_taken_once_and_the_edge_is_exact() {
        let mut window = Window::new();
        assert!(take(&mut window, 8192));
        assert!(!take(&mut window, 0), "8192 behind the next is out");
        assert!((1..8192).rev().all(|counter| take(&mut window, counter)));
        assert!((0..=8192).all(|counter| !take(&mut window, counter)));
        assert!(take(&mut window, u64::MAX - 8193));
        assert!(!take(&mut window, u64::MAX - 8193));
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(steps in prop::collection::vec((0_u64..4, 0_u64..9000), 1..400)) {
            let (mut window, mut model, mut base) = (Window::new(), Model::default(), 0_u64);
            for (kind, step) in steps {
                let counter = match kind {
                    0 => { base += 1; base }
                    1 => { base += step; base }
                    2 => base.saturating_sub(step),
                    _ => base.saturating_sub(step % 70),
                };
                prop_assert_eq!(take(&mut window, counter), model.take(counter), "counter {}", counter);
            }
        }
    }
}
