//! A path to a peer, with its measurements: when it is probed, what came back, how long that took.

use std::{collections::VecDeque, time::Duration};

use super::{
    candidate::{CandidateKind, is_private},
    limits::{
        ACCUSED_EVERY, CONFIRMED, FIRST_PATIENCE, LADDER_LEN, LADDER_MS, LADDER_STEP, LOSSY, MAX_PENDING,
        PATIENCE, SEARCH_LEN,
    },
    unique::Transaction,
    view::Fate,
    width::Width,
};
use crate::way::Way;

/// How near a path is: the least wins, whatever the round trips are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Host,
    Direct,
    Relay,
    RelayTls,
    /// A path over TLS that loses packets, which is hardly one.
    Poor,
}

impl Tier {
    pub(super) const fn worse(self) -> Self {
        match self {
            Self::Host => Self::Direct,
            Self::Direct => Self::Relay,
            Self::Relay => Self::RelayTls,
            Self::RelayTls | Self::Poor => Self::Poor,
        }
    }
}

/// Why a path is not to be used though nothing is known against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hurdle {
    /// The operating system has no way there.
    Refused,
    /// The relay does not know the peer.
    Unknown,
}

/// One path.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) way: Way,
    /// How its address came to be known; none for a relay.
    pub(super) kind: Option<CandidateKind>,
    tier: Tier,
    pub(super) hurdle: Option<Hurdle>,
    /// Probes that discover.
    ladder: Option<Ladder>,
    /// An opener leaves then.
    pub(super) opener_at: Option<Duration>,
    /// It answered, and nothing has spoken against it since.
    pub(super) proven: bool,
    /// Answers since it was last doubted.
    streak: u8,
    pending: VecDeque<(Transaction, Duration)>,
    pub(super) rtt: Option<Duration>,
    pub(super) answered_at: Option<Duration>,
    /// When the last probe left.
    pub(super) sent_at: Option<Duration>,
    /// When somebody's word last spoke against it.
    accused_at: Option<Duration>,
    pub(super) width: Width,
    /// The last 16 probes: bit set for a lost one.
    recent: u16,
    pub(super) probes: u32,
    pub(super) answers: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ladder {
    from: Duration,
    sent: u8,
    len: u8,
}

impl Path {
    /// Straight to an address.
    pub(super) fn direct(way: Way, kind: CandidateKind) -> Self {
        let tier = if is_private(way.remote.ip()) { Tier::Host } else { Tier::Direct };
        Self::new(way, Some(kind), tier)
    }

    /// Through a relay.
    pub(super) fn relayed(way: Way, tls: bool) -> Self {
        Self::new(way, None, if tls { Tier::RelayTls } else { Tier::Relay })
    }

    const fn new(way: Way, kind: Option<CandidateKind>, tier: Tier) -> Self {
        Self {
            way,
            kind,
            tier,
            hurdle: None,
            ladder: None,
            opener_at: None,
            proven: false,
            streak: 0,
            pending: VecDeque::new(),
            rtt: None,
            answered_at: None,
            sent_at: None,
            accused_at: None,
            width: Width::new(),
            recent: 0,
            probes: 0,
            answers: 0,
        }
    }

    pub(super) const fn is_relay(&self) -> bool {
        self.kind.is_none()
    }

    /// The tier, one worse where a quarter of the last probes was lost.
    pub(super) const fn tier(&self) -> Tier {
        if self.recent.count_ones() >= LOSSY { self.tier.worse() } else { self.tier }
    }

    /// Lost ones of the last probes, in percent.
    pub(super) fn loss_percent(&self) -> u8 {
        let counted = self.probes.clamp(1, 16);
        u8::try_from(self.recent.count_ones() * 100 / counted).unwrap_or(100).min(100)
    }

    /// Whether data may go there: it answered often enough.
    pub(super) const fn is_confirmed(&self) -> bool {
        self.proven && self.streak >= CONFIRMED && self.hurdle.is_none()
    }

    /// How long an answer is waited for.
    pub(super) fn patience(&self) -> Duration {
        self.rtt.map_or(FIRST_PATIENCE, |rtt| PATIENCE.max(rtt * 4))
    }

    /// Probes it anew from `from` on, with all the probes of a round.
    pub(super) const fn discover(&mut self, from: Duration) {
        self.ladder = Some(Ladder { from, sent: 0, len: LADDER_LEN });
        self.hurdle = None;
    }

    /// Probes it a few times.
    pub(super) fn look_again(&mut self, now: Duration) {
        if self.ladder.is_none() {
            self.ladder = Some(Ladder { from: now, sent: 0, len: SEARCH_LEN });
        }
    }

    /// Probes it now, and goes on from where its ladder is; begins one where there is none.
    pub(super) fn nudge(&mut self, now: Duration) {
        match &mut self.ladder {
            Some(ladder) => ladder.from = ladder.from.min(now.saturating_sub(rung(ladder.sent))),
            None => self.discover(now),
        }
    }

    /// Something better is in use: probes that follow each other closely are not needed any more.
    pub(super) fn relax(&mut self) {
        if let Some(ladder) = &mut self.ladder {
            ladder.len = ladder.len.min(u8::try_from(LADDER_MS.len()).unwrap_or(u8::MAX));
        }
    }

    /// No probe leaves until it is discovered anew.
    pub(super) const fn hold(&mut self) {
        self.ladder = None;
        self.opener_at = None;
    }

    /// Whether probes that discover are under way or planned.
    pub(super) const fn is_discovering(&self) -> bool {
        self.ladder.is_some()
    }

    /// When the next probe that discovers is due.
    pub(super) fn probe_at(&self) -> Option<Duration> {
        self.ladder.map(|ladder| ladder.from + rung(ladder.sent))
    }

    /// Notes that a probe left. Where it came late, the rungs it missed are not made up for.
    pub(super) fn climbed(&mut self, now: Duration) {
        let Some(ladder) = &mut self.ladder else { return };
        ladder.sent += 1;
        while ladder.sent < ladder.len && ladder.from + rung(ladder.sent) <= now {
            ladder.sent += 1;
        }
        if ladder.sent >= ladder.len {
            self.ladder = None;
        }
    }

    /// Notes a probe whose answer is waited for.
    pub(super) fn sent(&mut self, now: Duration, transaction: Transaction) {
        self.probes += 1;
        self.sent_at = Some(now);
        if self.pending.len() == MAX_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back((transaction, now));
    }

    /// Whether this transaction is one of its probes.
    pub(super) fn asked(&self, transaction: &Transaction) -> Option<Duration> {
        let short = self.pending.iter().find(|(pending, _)| pending == transaction).map(|(_, at)| *at);
        short.or_else(|| self.width.asked(transaction))
    }

    /// Takes in an answer; returns when its probe left.
    pub(super) fn answered(&mut self, now: Duration, transaction: &Transaction) -> Option<Duration> {
        if let Some(left) = self.width.asked(transaction) {
            self.width.answered(now, transaction);
            self.works(now);
            return Some(left);
        }
        let at = self.pending.iter().position(|(pending, _)| pending == transaction)?;
        let (_, left) = self.pending.remove(at)?;
        if !self.proven {
            // What left before the first one that got through opened the way, and says nothing of losses.
            self.pending.retain(|(_, at)| *at >= left);
        }
        let sample = now.saturating_sub(left);
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
        self.recent <<= 1;
        self.answers += 1;
        self.works(now);
        if self.streak >= CONFIRMED {
            self.ladder = None;
        }
        Some(left)
    }

    /// It leads to the peer: an answer or a handshake came by it.
    pub(super) fn works(&mut self, now: Duration) {
        self.proven = true;
        self.hurdle = None;
        self.streak = self.streak.saturating_add(1);
        self.answered_at = Some(now);
    }

    /// When the oldest probe without an answer is given up.
    pub(super) fn gives_up_at(&self) -> Option<Duration> {
        self.pending.front().map(|(_, at)| *at + self.patience())
    }

    /// Gives up probes that stayed without an answer; returns how many.
    pub(super) fn give_up(&mut self, now: Duration) -> usize {
        let mut lost = 0;
        while self.gives_up_at().is_some_and(|at| at <= now) {
            self.pending.pop_front();
            self.recent = self.recent << 1 | 1;
            lost += 1;
        }
        lost
    }

    /// Nothing that was known of it holds any more.
    pub(super) fn void(&mut self) {
        self.proven = false;
        self.streak = 0;
        self.recent = 0;
        self.width.forget();
        self.hold();
        self.pending.clear();
    }

    /// It may not work any more: it must confirm itself.
    pub(super) fn doubt(&mut self) {
        self.width.forget();
        self.streak = 0;
        self.hurdle = None;
    }

    /// Somebody says that it leads nowhere. Returns whether that is reason to look: not again and again.
    pub(super) fn accuse(&mut self, now: Duration) -> bool {
        let is_rested = self.accused_at.is_none_or(|at| now >= at + ACCUSED_EVERY);
        if is_rested {
            self.accused_at = Some(now);
        }
        is_rested
    }

    /// Whether it was probed and gave no answer of late.
    pub(super) const fn is_unanswering(&self) -> bool {
        !self.proven && self.probes > 0
    }

    /// It failed: it must prove itself from scratch.
    pub(super) const fn fail(&mut self) {
        self.proven = false;
        self.streak = 0;
    }

    /// What became of it, where it is not the primary.
    pub(super) fn fate(&self) -> Fate {
        match (self.hurdle, self.proven) {
            (Some(Hurdle::Refused), _) => Fate::Refused,
            (Some(Hurdle::Unknown), _) => Fate::Unknown,
            (None, true) => Fate::Proven,
            (None, false) if self.ladder.is_some() || !self.pending.is_empty() => Fate::Probing,
            (None, false) if self.answers > 0 => Fate::Lost,
            (None, false) if self.probes > 0 => Fate::Unanswered,
            (None, false) => Fate::Waiting,
        }
    }
}

/// When the probe after so many others leaves.
fn rung(sent: u8) -> Duration {
    let dense = LADDER_MS.get(usize::from(sent)).copied().map(Duration::from_millis);
    dense.unwrap_or_else(|| {
        let last = LADDER_MS.last().copied().map_or(Duration::ZERO, Duration::from_millis);
        let beyond = usize::from(sent).saturating_sub(LADDER_MS.len()) + 1;
        last + LADDER_STEP * u32::try_from(beyond).unwrap_or(u32::MAX)
    })
}

#[cfg(test)]
mod tests;
