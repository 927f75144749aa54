//! Which frames of a peer are new, over its restarts.
//!
//! A frame carries the number of its sender's start and its own number within that start. The numbers of starts grow;
//! a frame may *claim* a later start, but the claim *counts* only once a probe of ours was answered under it, because
//! a recorded frame can claim but cannot answer (DESIGN ruling 16). Within a start a window of 64 numbers tells new
//! frames from replays.

/// What a frame is, by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// New, in the start that counts.
    New,
    /// New, in a later start that does not count yet.
    Claimed,
    /// Seen before, too late, or of an earlier start.
    Old,
}

/// What an answer to a probe of ours says about the peer's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The first one that counts.
    First,
    /// The one that counts already.
    Same,
    /// Another one counts now: the peer restarted.
    Restarted,
    /// An earlier one, too soon after the one that counts: the answer was on its way while the peer restarted.
    Late,
}

/// The starts of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Starts {
    proven: Option<Start>,
    claimed: Option<Start>,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    boot: u64,
    window: Window,
}

impl Starts {
    /// What is left of a peer while it is not in use: the start that counts and its last number.
    pub(super) fn remembered(boot: u64, last: u64) -> Self {
        let window = Window { last, seen: u64::MAX };
        Self { proven: Some(Start { boot, window }), claimed: None }
    }

    /// What to remember.
    pub(super) fn memory(&self) -> Option<(u64, u64)> {
        self.proven.map(|start| (start.boot, start.window.last))
    }

    /// Takes in the numbers of an authentic frame.
    pub(super) fn take(&mut self, boot: u64, seq: u64) -> Freshness {
        match &mut self.proven {
            Some(proven) if boot < proven.boot => return Freshness::Old,
            Some(proven) if boot == proven.boot => {
                return if proven.window.take(seq) { Freshness::New } else { Freshness::Old };
            }
            Some(_) | None => {}
        }
        let claimed = match &mut self.claimed {
            Some(claimed) if boot < claimed.boot => return Freshness::Old,
            Some(claimed) if boot == claimed.boot => claimed,
            claimed @ (Some(_) | None) => claimed.insert(Start { boot, window: Window::default() }),
        };
        if claimed.window.take(seq) { Freshness::Claimed } else { Freshness::Old }
    }

    /// The start that counts is over, as its last frame says: stragglers of it mean nothing any more.
    pub(super) const fn end(&mut self) {
        if let Some(proven) = &mut self.proven {
            proven.window = Window { last: u64::MAX, seen: u64::MAX };
        }
    }

    /// A probe of ours was answered under this start. An earlier start than the one that counts is believed only
    /// where the latter `is_quiet`: the peer lost its count.
    pub(super) fn prove(&mut self, boot: u64, is_quiet: bool) -> Proof {
        let before = self.proven.map(|start| start.boot);
        if before == Some(boot) {
            return Proof::Same;
        }
        if before.is_some_and(|before| boot < before) && !is_quiet {
            return Proof::Late;
        }
        let claimed = self.claimed.take().filter(|claimed| claimed.boot == boot);
        self.proven = Some(claimed.unwrap_or(Start { boot, window: Window::default() }));
        if before.is_some() { Proof::Restarted } else { Proof::First }
    }
}

/// The last 64 numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    last: u64,
    /// Bit n stands for `last - n`.
    seen: u64,
}

impl Window {
    /// Whether the number is new; remembers it. Numbers start at 1.
    fn take(&mut self, seq: u64) -> bool {
        if seq > self.last {
            let ahead = seq - self.last;
            self.seen = if ahead < 64 { self.seen << ahead } else { 0 } | 1;
            self.last = seq;
            return seq != 0;
        }
        let behind = self.last - seq;
        if seq == 0 || behind >= 64 || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests;
