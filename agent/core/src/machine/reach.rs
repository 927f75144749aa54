//! Whether anybody answers over UDP at all.
//!
//! One silent peer is a peer that is down. When of all that were called nobody has answered for a while,
//! the way itself is suspect: a firewall that drops UDP looks exactly like that.

use std::{collections::BTreeSet, time::Duration};

use lacis_proto::PublicKey;

use crate::limits::{ANSWER_COUNTS, MAX_CALLS, UNANSWERED_AFTER};

/// Peers that were called in vain since the last answer of anybody.
#[derive(Debug, Default)]
pub(super) struct Reach {
    in_vain: BTreeSet<PublicKey>,
    /// First and last call in vain.
    calls: Option<(Duration, Duration)>,
    answered: Option<Duration>,
}

impl Reach {
    pub(super) fn answered(&mut self, now: Duration) {
        *self = Self { answered: Some(now), ..Self::default() };
    }

    pub(super) fn unanswered(&mut self, now: Duration, key: PublicKey) {
        if self.answered.is_some_and(|last| now.saturating_sub(last) < ANSWER_COUNTS) {
            return;
        }
        if self.in_vain.len() < MAX_CALLS {
            self.in_vain.insert(key);
        }
        self.calls = Some((self.calls.map_or(now, |(first, _)| first), now));
    }

    pub(super) fn entries(&self) -> usize {
        self.in_vain.len()
    }

    /// How many peers were called in vain, where that says something about the way.
    pub(super) fn silent(&self, now: Duration) -> Option<usize> {
        let (first, last) = self.calls?;
        let long_enough = now.saturating_sub(first) >= UNANSWERED_AFTER;
        let still = now.saturating_sub(last) < ANSWER_COUNTS;
        (long_enough && still).then_some(self.in_vain.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey::try_new([n; 32]).unwrap()
    }

    #[test]
    fn silence_of_everybody_is_told_and_an_answer_of_anybody_ends_it() {
        let at = Duration::from_secs;
        let mut reach = Reach::default();
        assert_eq!(reach.silent(at(100)), None, "nobody was called");
        reach.unanswered(at(1), key(1));
        assert_eq!(reach.silent(at(2)), None, "too early to tell");
        reach.unanswered(at(12), key(2));
        reach.unanswered(at(13), key(1));
        assert_eq!(reach.silent(at(13)), Some(2));
        assert_eq!(reach.silent(at(13) + ANSWER_COUNTS), None, "nobody is called any more");
        reach.answered(at(14));
        reach.unanswered(at(15), key(1));
        assert_eq!(reach.silent(at(60)), None, "somebody answers");
        reach.unanswered(at(14) + ANSWER_COUNTS, key(1));
        assert_eq!(reach.silent(at(30) + ANSWER_COUNTS), Some(1));
    }
}
