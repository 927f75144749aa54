//! How wide a path is: which packets of the overlay pass it whole.
//!
//! ```text
//! unknown ─ probes as long as the longest packet ─ an answer ─▶ wide
//!                      └ none, though short ones are answered ─▶ probes of several lengths ─▶ narrow: the longest answered
//! ```
//! Networks that drop what is too long should say so (RFC 1191 §4), and then the kernel knows; many do not. So each path is
//! sounded with probes that must arrive in one piece as soon as it answers, while data goes by another way, too, and again when
//! data finds no answer.
//! What these probes come to says nothing of losses: they are long.

use std::time::Duration;

use super::{
    limits::{NARROWEST, PACKET_LENGTHS, SOUND_AGAIN, SOUND_EVERY, SOUND_MS, SOUND_PATIENCE},
    unique::Transaction,
};

/// What is known of the width of one path.
#[derive(Clone, Debug)]
pub(super) struct Width {
    found: Found,
    sounding: Option<Sounding>,
    /// When it was last sounded to the end.
    sounded_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Unknown,
    Wide,
    /// Nothing longer than this passes.
    Narrow(u16),
}

/// Probes of one or several lengths that are under way.
#[derive(Clone, Debug)]
struct Sounding {
    began: Duration,
    lengths: Vec<u16>,
    /// How often each length was sent.
    times: usize,
    asked: Vec<(Transaction, Duration, u16)>,
    longest: Option<u16>,
}

impl Width {
    /// Of a path that was never sounded.
    pub(super) const fn new() -> Self {
        Self { found: Found::Unknown, sounding: None, sounded_at: None }
    }

    /// The longest packet that passes, where that is not every one.
    pub(super) const fn limit(&self) -> Option<u16> {
        match self.found {
            Found::Unknown | Found::Wide => None,
            Found::Narrow(longest) => Some(longest),
        }
    }

    /// Whether data need not go another way, too, until more is known.
    pub(super) fn is_settled(&self) -> bool {
        self.found != Found::Unknown || self.sounding.is_none()
    }

    /// Begins to find out whether packets of this length pass, unless that is known or under way.
    pub(super) fn sound(&mut self, now: Duration, packet: u16) {
        let is_due = match self.found {
            Found::Unknown => true,
            Found::Wide => false,
            Found::Narrow(_) => self.sounded_at.is_none_or(|at| now >= at + SOUND_AGAIN),
        };
        if is_due && self.sounding.is_none() && packet > NARROWEST {
            self.sounding = Some(Sounding::new(now, vec![packet]));
        }
    }

    /// Data finds no answer: perhaps it became too long.
    pub(super) fn doubt(&mut self, now: Duration, packet: u16) {
        if self.sounded_at.is_none_or(|at| now >= at + SOUND_EVERY) && self.found == Found::Wide {
            self.found = Found::Unknown;
            self.sound(now, packet);
            self.found = Found::Wide;
        }
    }

    /// Nothing that was known holds any more.
    pub(super) fn forget(&mut self) {
        *self = Self::new();
    }

    /// When something is due next.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.sounding.as_ref().map(Sounding::next_at)
    }

    /// The lengths of packets as long as which probes are to be sent now. Comes to a conclusion when it is time.
    pub(super) fn due(&mut self, now: Duration) -> Vec<u16> {
        let Some(sounding) = &mut self.sounding else { return Vec::new() };
        if sounding.next_at() > now {
            return Vec::new();
        }
        if sounding.times < SOUND_MS.len() {
            sounding.times += 1;
            return sounding.lengths.clone();
        }
        let is_first = sounding.lengths.len() == 1;
        let packet = sounding.lengths.first().copied().unwrap_or(NARROWEST);
        let shorter: Vec<u16> = PACKET_LENGTHS.into_iter().filter(|length| *length < packet).collect();
        if is_first && !shorter.is_empty() {
            self.sounding = Some(Sounding::new(now, shorter));
            return self.due(now);
        }
        self.found = Found::Narrow(sounding.longest.unwrap_or(NARROWEST));
        (self.sounding, self.sounded_at) = (None, Some(now));
        Vec::new()
    }

    /// Notes a probe as long as such a packet.
    pub(super) fn sent(&mut self, now: Duration, transaction: Transaction, packet: u16) {
        if let Some(sounding) = &mut self.sounding {
            sounding.asked.push((transaction, now, packet));
        }
    }

    /// When a probe with this transaction left.
    pub(super) fn asked(&self, transaction: &Transaction) -> Option<Duration> {
        let asked = &self.sounding.as_ref()?.asked;
        asked.iter().find(|(of, ..)| of == transaction).map(|(_, left, _)| *left)
    }

    /// A probe was answered.
    pub(super) fn answered(&mut self, now: Duration, transaction: &Transaction) {
        let Some(sounding) = &mut self.sounding else { return };
        let Some((_, _, packet)) = sounding.asked.iter().find(|(of, ..)| of == transaction) else { return };
        if sounding.lengths.len() == 1 {
            self.found = Found::Wide;
            (self.sounding, self.sounded_at) = (None, Some(now));
        } else {
            sounding.longest = sounding.longest.max(Some(*packet));
        }
    }
}

impl Sounding {
    const fn new(began: Duration, lengths: Vec<u16>) -> Self {
        Self { began, lengths, times: 0, asked: Vec::new(), longest: None }
    }

    fn next_at(&self) -> Duration {
        let after = |ms: &u64| self.began + Duration::from_millis(*ms);
        let last = SOUND_MS.last().map_or(self.began, after);
        SOUND_MS.get(self.times).map_or(last + SOUND_PATIENCE, after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u16 = 1_400;

    /// Sounds a path that drops what is longer than `passes`; returns what is sent, and when it is over.
    fn sounded(width: &mut Width, begins: Duration, passes: u16) -> (Vec<u16>, Duration) {
        let (mut sent, mut now) = (Vec::new(), begins);
        while let Some(at) = width.next_at() {
            now = now.max(at);
            for packet in width.due(now) {
                let transaction = [u8::try_from(sent.len()).unwrap(); 12];
                sent.push(packet);
                width.sent(now, transaction, packet);
                if packet <= passes {
                    width.answered(now, &transaction);
                }
            }
        }
        (sent, now - begins)
    }

    #[test]
    fn one_long_probe_shows_that_a_path_is_wide() {
        let mut width = Width::new();
        width.sound(Duration::ZERO, FULL);
        assert!(!width.is_settled());
        assert_eq!(sounded(&mut width, Duration::ZERO, FULL), (vec![FULL], Duration::ZERO));
        assert!(width.is_settled() && width.limit().is_none());
        width.sound(Duration::from_secs(9_999), FULL);
        assert_eq!(width.next_at(), None, "it is known");
    }

    #[test]
    fn a_path_that_drops_what_is_long_carries_the_longest_that_was_answered() {
        for (passes, limit) in [(1_399, 1_360), (1_340, 1_320), (1_319, 1_280), (1_000, NARROWEST)] {
            let mut width = Width::new();
            width.sound(Duration::ZERO, FULL);
            let (sent, took) = sounded(&mut width, Duration::ZERO, passes);
            assert_eq!((width.limit(), sent.len()), (Some(limit), 12), "{passes}: {sent:?}");
            assert!(took < Duration::from_millis(1_500), "{took:?}");
            width.sound(took + Duration::from_secs(60), FULL);
            assert_eq!(width.next_at(), None, "it is sounded again after minutes only");
            width.sound(took + SOUND_AGAIN, FULL);
            sounded(&mut width, took + SOUND_AGAIN, FULL);
            assert_eq!(width.limit(), None, "it got wider");
        }
    }

    #[test]
    fn a_path_in_doubt_stays_wide_until_it_is_found_narrow_and_is_sounded_seldom() {
        let mut width = Width::new();
        width.sound(Duration::ZERO, FULL);
        sounded(&mut width, Duration::ZERO, FULL);
        width.doubt(Duration::from_secs(1), FULL);
        assert_eq!(width.next_at(), None);
        width.doubt(SOUND_EVERY, FULL);
        assert!(width.next_at().is_some() && width.is_settled());
        sounded(&mut width, SOUND_EVERY, 1_300);
        assert_eq!(width.limit(), Some(1_280));
        width.forget();
        assert_eq!(width.limit(), None);
    }
}
