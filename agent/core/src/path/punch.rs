//! When both ends probe: rounds, and in each a moment that they agree on.
//!
//! ```text
//! leader   t0 ── CANDIDATES, PUNCH(wait) ──▶                t0 + R/2 + wait: probes
//! follower            t0 + R/2 ── CANDIDATES, PUNCH-ACK ──▶   the same moment: probes
//! ```
//! A NAT that lets strangers in as far as itself remaps a port when the peer's probe comes before its own; therefore
//! both begin together. A leader that does not know the follower's addresses learns them with the acknowledgement, and
//! begins then; the follower waits for half a round trip so long. Where both lead, the lesser key does.
//!
//! Round 2 has openers (`OPENER_TTL`), round 3 begins with silence, later ones follow ever more rarely.

use std::time::Duration;

use super::limits::{
    CLASH_SILENCE, EXCHANGE_TRIES, LATER_ROUND_AFTER, LATER_ROUND_MAX, LATER_WAIT, ROUND_SPACING,
    SECOND_ROUND_AFTER, THIRD_ROUND_AFTER,
};

/// How much longer a follower waits before it leads a round itself.
const FOLLOWER_WAITS: Duration = Duration::from_millis(500);

/// One round, as far as this node is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meeting {
    pub(super) round: u8,
    /// This node proposed it.
    pub(super) leads: bool,
    /// The peer agreed, or this node follows.
    pub(super) agreed: bool,
    /// When the candidates behind NATs are probed; none until the peer's are known.
    pub(super) instant: Option<Duration>,
    /// How long the follower was asked to wait.
    pub(super) wait: Duration,
    pub(super) began: Duration,
    /// How often the proposal was sent, and when it is sent again.
    tries: u8,
    again_at: Option<Duration>,
}

/// The rounds with one peer.
#[derive(Debug)]
pub(super) struct Rounds {
    /// When this node leads the next round, if there is reason for one.
    pub(super) next: Option<Duration>,
    pub(super) meeting: Option<Meeting>,
    /// Number of the last round.
    number: u8,
    /// The pause after the last of the later rounds.
    pause: Duration,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { next: None, meeting: None, number: 0, pause: LATER_ROUND_AFTER }
    }
}

impl Rounds {
    /// Something changed: begin with the first round.
    pub(super) fn restart(&mut self, now: Duration) {
        let earliest = self.meeting.map_or(now, |meeting| meeting.began + ROUND_SPACING);
        self.next = Some(now.max(earliest));
        self.number = 0;
        self.pause = LATER_ROUND_AFTER;
    }

    /// No round is needed any more.
    pub(super) const fn stop(&mut self) {
        self.next = None;
        self.number = 0;
    }

    /// The peer is gone: nobody answers a proposal that is under way.
    pub(super) const fn end(&mut self) {
        self.stop();
        self.meeting = None;
    }

    /// Leads the next round. `half` is half a round trip to the peer, `knows` whether its addresses are known.
    pub(super) fn lead(&mut self, now: Duration, half: Duration, knows: bool) -> Meeting {
        self.number = self.number.saturating_add(1);
        self.next = Some(now + self.pause_after());
        let wait = match self.number {
            1 if knows => Duration::ZERO,
            1 => half,
            3 => CLASH_SILENCE,
            _ => LATER_WAIT,
        };
        let instant = knows.then_some(now + half + wait);
        let meeting = Meeting {
            round: self.number,
            leads: true,
            agreed: false,
            instant,
            wait,
            began: now,
            tries: 0,
            again_at: None,
        };
        self.meeting = Some(meeting);
        meeting
    }

    /// Follows the peer's proposal, and leads none for a while.
    pub(super) fn follow(&mut self, now: Duration, round: u8, wait: Duration) -> Meeting {
        self.number = round;
        if self.next.is_some() {
            self.next = Some(now + self.pause_after() + FOLLOWER_WAITS);
        }
        let meeting = Meeting {
            round,
            leads: false,
            agreed: true,
            instant: Some(now + wait),
            wait,
            began: now,
            tries: 0,
            again_at: None,
        };
        self.meeting = Some(meeting);
        meeting
    }

    /// Whether a proposal of this round is to be followed: not where it is only repeated, nor where this node
    /// proposed at the same time and leads.
    pub(super) fn follows(&self, now: Duration, round: u8, is_lesser: bool) -> bool {
        self.meeting.is_none_or(|meeting| {
            let is_over = now > meeting.began + meeting.wait + SECOND_ROUND_AFTER;
            is_over || if meeting.leads { meeting.agreed || !is_lesser } else { meeting.round != round }
        })
    }

    /// The peer agreed. Returns the meeting unless that was known.
    pub(super) fn agreed(&mut self, now: Duration, round: u8) -> Option<Meeting> {
        let meeting = self.meeting.as_mut()?;
        if !meeting.leads || meeting.agreed || meeting.round != round {
            return None;
        }
        meeting.agreed = true;
        meeting.again_at = None;
        // A follower that was not asked to wait has begun half a round trip ago; one that had to tell its addresses
        // first begins now.
        meeting.instant = match meeting.instant {
            Some(instant) if meeting.wait.is_zero() => Some(instant.min(now)),
            Some(instant) => Some(instant),
            None => Some(now),
        };
        Some(*meeting)
    }

    /// Notes that the proposal was sent; it is sent again after `pause` unless the peer agrees.
    pub(super) fn proposed(&mut self, now: Duration, pause: Duration) {
        let Some(meeting) = &mut self.meeting else { return };
        meeting.tries += 1;
        meeting.again_at = (meeting.tries < EXCHANGE_TRIES).then_some(now + pause);
    }

    /// How often the proposal was sent.
    pub(super) fn tries(&self) -> u8 {
        self.meeting.map_or(0, |meeting| meeting.tries)
    }

    /// When the proposal is sent again.
    pub(super) fn again_at(&self) -> Option<Duration> {
        self.meeting.filter(|meeting| meeting.leads && !meeting.agreed)?.again_at
    }

    /// The pause between this round and the next one.
    fn pause_after(&mut self) -> Duration {
        match self.number {
            0 | 1 => SECOND_ROUND_AFTER,
            2 => THIRD_ROUND_AFTER,
            _ => {
                let pause = self.pause;
                self.pause = (pause * 2).min(LATER_ROUND_MAX);
                pause
            }
        }
    }
}

#[cfg(test)]
mod tests;
