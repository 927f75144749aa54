//! The connection to control: when to connect, when to give up, how long to wait.
//!
//! ```text
//! Idle ─ start ─▶ Connecting ─ first line ─▶ Live ─ ended, silent, broken, bye ─▶ Waiting ─┐
//!                     ▲  └ refused, no line within 10 s ─────────────────────────▶ Waiting ─┤
//!                     └──────────────────────── the wait is over ──────────────────────────┘
//! ```
//! The wait after the first failure is 0.2 to 1 s; later ones are drawn from a window that doubles up to
//! five minutes ("full jitter"). A wait that control asks for comes first, and nothing cuts it short. Failures
//! are forgotten once a stream has been in sync for a minute. A stream that ends sooner, but had been in sync,
//! is followed by one short wait, because control may only have restarted; the next ones by waits of up to
//! 16 s: whatever went before, a control that brings agents in sync is there and can bear being asked so often,
//! and one that dies again and again is found soon.
//!
//! A local command that changes the groups of this node ends the stream, too ([`Link::change_over`]), without
//! being a failure.
//!
//! Invariant: between two attempts lie at least 200 ms.

use std::time::Duration;

use super::StreamId;
use crate::limits::{
    FIRST_LINE_WITHIN, FIRST_RETRY_MAX, MAX_BEAT_S, MIN_BEAT_S, REFUSED_FAILURES, RETRY_MAX, RETRY_MIN,
    SILENT_BEATS, STEADY_AFTER, SYNCED_FAILURES,
};
use crate::random::Random;

#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Idle,
    Waiting { until: Duration },
    Connecting { since: Duration },
    Live { beat: Duration, in_sync: Option<Duration>, leave_at: Option<Duration> },
}

/// Why a wait begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// Nobody answered, or the stream ended or broke.
    Lost,
    /// Control refused, and only a person can change that.
    Refused,
    /// Control asks to wait so long.
    Asked(Duration),
}

/// What has become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Connect.
    Connect,
    /// The stream or attempt has been silent for too long.
    Silent { silent: Duration },
    /// Control said goodbye a while ago: change over.
    Leave,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) phase: Phase,
    pub(super) stream: StreamId,
    pub(super) last_line: Option<Duration>,
    failures: u32,
    short_wait_used: bool,
    /// Until when control asked to be left alone: nothing hurries before.
    not_before: Duration,
    random: Random,
}

impl Link {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            phase: Phase::Idle,
            stream: StreamId(0),
            last_line: None,
            failures: 0,
            short_wait_used: false,
            not_before: Duration::ZERO,
            random: Random::new(seed),
        }
    }

    /// Begins an attempt; returns a random number to choose an address by.
    pub(super) fn connect(&mut self, now: Duration) -> u64 {
        self.stream = StreamId(self.stream.0 + 1);
        self.phase = Phase::Connecting { since: now };
        self.random.next()
    }

    /// Connects anew as soon as it is allowed; `true` where this ends an attempt or a stream. No failure.
    pub(super) fn change_over(&mut self, now: Duration) -> bool {
        self.hurry(now);
        let is_open = matches!(self.phase, Phase::Connecting { .. } | Phase::Live { .. });
        if is_open {
            self.phase = Phase::Waiting { until: now + RETRY_MIN };
        }
        is_open
    }

    /// Connects as soon as it is allowed, if it waits.
    pub(super) fn hurry(&mut self, now: Duration) {
        if let Phase::Waiting { until } = &mut self.phase {
            *until = (*until).min((now + RETRY_MIN).max(self.not_before));
        }
    }

    /// Whether this attempt or stream is under way.
    pub(super) fn is_current(&self, stream: StreamId) -> bool {
        stream == self.stream && matches!(self.phase, Phase::Connecting { .. } | Phase::Live { .. })
    }

    pub(super) const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    pub(super) const fn is_in_sync(&self) -> bool {
        matches!(self.phase, Phase::Live { in_sync: Some(_), .. })
    }

    /// The stream began.
    pub(super) fn hello(&mut self, beat_s: u32) {
        let beat = Duration::from_secs(beat_s.clamp(MIN_BEAT_S, MAX_BEAT_S).into());
        self.phase = Phase::Live { beat, in_sync: None, leave_at: None };
    }

    /// What is held is what control has. `true` the first time on this stream.
    pub(super) fn confirm_sync(&mut self, now: Duration) -> bool {
        match &mut self.phase {
            Phase::Live { in_sync: in_sync @ None, .. } => {
                *in_sync = Some(now);
                true
            }
            Phase::Live { .. } | Phase::Idle | Phase::Waiting { .. } | Phase::Connecting { .. } => false,
        }
    }

    /// Control says goodbye: the change-over happens at a random moment within the time it gives.
    pub(super) fn bye(&mut self, now: Duration, within_s: u32) {
        let latest = Duration::from_secs(within_s.into()).clamp(FIRST_RETRY_MAX, RETRY_MAX);
        let at = now + self.random.between(RETRY_MIN, latest);
        if let Phase::Live { leave_at: leave_at @ None, .. } = &mut self.phase {
            *leave_at = Some(at);
        }
    }

    /// The attempt or stream is over: waits before the next.
    pub(super) fn wait(&mut self, now: Duration, failure: Failure) {
        let (in_sync, leave_at) = match self.phase {
            Phase::Live { in_sync, leave_at, .. } => (in_sync, leave_at),
            Phase::Idle | Phase::Waiting { .. } | Phase::Connecting { .. } => (None, None),
        };
        if in_sync.is_some_and(|since| now.saturating_sub(since) >= STEADY_AFTER) {
            self.failures = 0;
            self.short_wait_used = false;
        }
        if in_sync.is_some() {
            self.failures = self.failures.min(SYNCED_FAILURES);
        }
        self.failures = self.failures.saturating_add(1);
        let short = in_sync.is_some() && !self.short_wait_used;
        let pause = match failure {
            Failure::Lost if short => {
                self.short_wait_used = true;
                self.random.between(RETRY_MIN, FIRST_RETRY_MAX)
            }
            Failure::Lost => self.backoff(),
            Failure::Refused => {
                self.failures = self.failures.max(REFUSED_FAILURES);
                let window = self.window();
                self.random.between(window / 2, window)
            }
            Failure::Asked(asked) => {
                let least = self.asked(asked);
                self.not_before = now + least;
                least + self.backoff()
            }
        };
        // A goodbye spreads the agents; whoever was cut off before its moment still waits for it.
        let until = (now + pause).max(leave_at.unwrap_or_default().min(now + RETRY_MAX));
        self.phase = Phase::Waiting { until };
    }

    fn backoff(&mut self) -> Duration {
        let window = self.window();
        self.random.between(RETRY_MIN, window)
    }

    /// 1 s after the first failure, doubled by each further one.
    fn window(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        FIRST_RETRY_MAX.saturating_mul(1 << doublings).min(RETRY_MAX)
    }

    /// How long to leave control alone that asks for so long: a little longer, each agent by another while, lest all
    /// that were told the same come back at once.
    pub(super) fn asked(&mut self, asked: Duration) -> Duration {
        let asked = asked.min(RETRY_MAX);
        asked + self.random.between(Duration::ZERO, FIRST_RETRY_MAX.max(asked / 4))
    }

    /// When something becomes due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Idle => None,
            Phase::Waiting { until } => Some(until),
            Phase::Connecting { since } => Some(since + FIRST_LINE_WITHIN),
            Phase::Live { beat, leave_at, .. } => {
                let silent = self.last_line.unwrap_or_default() + beat * SILENT_BEATS;
                Some(leave_at.map_or(silent, |at| at.min(silent)))
            }
        }
    }

    /// What is due by now.
    pub(super) fn due(&self, now: Duration) -> Option<Due> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        Some(match self.phase {
            Phase::Idle | Phase::Waiting { .. } => Due::Connect,
            Phase::Connecting { since } => Due::Silent { silent: now.saturating_sub(since) },
            Phase::Live { leave_at: Some(at), .. } if at <= now => Due::Leave,
            Phase::Live { .. } => {
                Due::Silent { silent: now.saturating_sub(self.last_line.unwrap_or_default()) }
            }
        })
    }
}
