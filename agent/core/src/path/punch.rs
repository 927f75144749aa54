//! When both ends probe: rounds, and in each a moment that they agree on.
//!
//! ```text
//! leader   t0 ── CANDIDATES, PUNCH(wait) ──▶                t0 + R/2 + wait: probes
//! follower            t0 + R/2 ── CANDIDATES, PUNCH-ACK ──▶   the same moment: probes
//! ```
//! A NAT that lets strangers in as far as itself remaps a port when the peer's probe comes before its own; therefore
//! both begin together. A leader that does not know the follower's addresses learns them with the acknowledgement, and
//! begins then; the follower waits for half a round trip so long.
//!
//! A peer that is called has reason to lead as well, and its proposal crosses the caller's. Whoever knows the other's
//! addresses leads then, because it will not wait; of two that do, the lesser key. Two that do not have told each other
//! all that is needed, and wait for no acknowledgement:
//! ```text
//! one    t0 ── CANDIDATES, PUNCH ─▶ ╲ ╱                t0 + x + R/2: the later proposal is there, probes
//! other      t0 + x ── CANDIDATES, PUNCH ─▶ ╳          t0 + x + R/2: its proposal must be there, probes
//! ```
//!
//! Round 2 has openers (`OPENER_TTL`), round 3 begins with silence, later ones follow ever more rarely.

use std::time::Duration;

use super::limits::{
    CLASH_SILENCE, EXCHANGE_TRIES, LATER_ROUND_AFTER, LATER_ROUND_MAX, LATER_WAIT, ROUND_SPACING,
    SECOND_ROUND_AFTER, THIRD_ROUND_AFTER,
};

/// How much longer a follower waits before it leads a round itself.
const FOLLOWER_WAITS: Duration = Duration::from_millis(500);

/// What a node does about a proposal of its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It begins when the peer says.
    Follows,
    /// It has proposed the same: both begin when the later proposal arrives.
    Crosses,
    /// It abides by the meeting that it knows of.
    Abides,
}

/// Half a round trip by what this node has measured, and by what its peer `asked` it to wait if that `tells`: a first
/// proposal of a peer without our addresses, unless it is repeated. A busy host measures too much and never too little,
/// and who begins late meets a NAT that has remapped the port.
pub(super) fn half_of_both(ours: Duration, asked: Duration, tells: bool) -> Duration {
    if tells && !asked.is_zero() { ours.min(asked) } else { ours }
}

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
    /// Half a round trip to the peer, as this node knew it then.
    half: Duration,
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
        let wait = if self.number == 1 && !knows { half } else { silence_before(self.number) };
        let instant = knows.then_some(now + half + wait);
        let meeting = Meeting {
            round: self.number,
            leads: true,
            agreed: false,
            instant,
            wait,
            began: now,
            half,
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
            half: Duration::ZERO,
            tries: 0,
            again_at: None,
        };
        self.meeting = Some(meeting);
        meeting
    }

    /// What to do about a proposal of this round by a peer that `knows` this node's addresses or does not. A proposal that
    /// is only repeated, or comes behind its own acknowledgement, changes nothing.
    pub(super) fn part(&self, now: Duration, round: u8, knows: bool, is_lesser: bool) -> Part {
        let Some(meeting) = self.meeting else { return Part::Follows };
        let is_over = now > meeting.began + meeting.wait + SECOND_ROUND_AFTER;
        let is_same = meeting.round == round;
        if is_over {
            return Part::Follows;
        }
        if meeting.agreed {
            let is_repeated = is_same && (!meeting.leads || now < meeting.began + ROUND_SPACING);
            return if is_repeated { Part::Abides } else { Part::Follows };
        }
        match (meeting.instant.is_some(), knows) {
            // What comes later than that was sent when ours should have been there: it is lost, or the peer is a new one.
            (false, false) if is_same && now <= meeting.began + meeting.half * 3 => Part::Crosses,
            (false, true) => Part::Follows,
            (true, false) => Part::Abides,
            (true, true) | (false, false) if is_lesser => Part::Abides,
            (true, true) | (false, false) => Part::Follows,
        }
    }

    /// The peer has proposed the same as this node; `half` is half a round trip as both know it. Of the two, the greater
    /// key does not lead the next round.
    pub(super) fn cross(&mut self, now: Duration, half: Duration, is_lesser: bool) -> Option<Meeting> {
        let meeting = self.meeting.as_mut()?;
        meeting.instant = Some(now.max(meeting.began + half) + silence_before(meeting.round));
        meeting.agreed = true;
        meeting.again_at = None;
        if !is_lesser {
            self.next = self.next.map(|next| next + FOLLOWER_WAITS);
        }
        self.meeting
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

/// How long both are silent before a round, beside what the exchange takes.
const fn silence_before(round: u8) -> Duration {
    match round {
        0 | 1 => Duration::ZERO,
        3 => CLASH_SILENCE,
        _ => LATER_WAIT,
    }
}

#[cfg(test)]
mod tests;
