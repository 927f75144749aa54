//! Birthday probing: a direct path where one end is behind a NAT that takes a random port for each flow, and the other
//! behind one that keeps its port but lets in only whom it has sent to.
//!
//! ```text
//! hard end   N sockets, a packet from each to the easy end's address     N random ports lead to it
//! easy end   a packet to each of k random ports of the hard end's NAT    one is met with 1 − (1 − N/64512)^k
//!
//! relayed for 30 s or 10 MB ─▶ BIRTHDAY ─▶ attempt 1: 64 sockets ─ 40 s ─▶ attempt 2: 256 sockets ─▶ an hour's rest
//!           either end calls ◀─ BIRTHDAY-ACK
//! ```
//! In the first attempt both ends begin at once. In the second the hard end waits until all probes of the easy end have
//! left: a NAT that strangers can reach as far as itself would give the probes that come after them another port.
//!
//! It is off unless both ends switched it on, it serves relayed pairs in use alone, and never two hard NATs: there is
//! nothing to meet by chance among 2³² pairs of ports. A node makes one attempt at a time, at `BIRTHDAY_RATE`. Whoever is
//! met first is the winner: the hard end closes all other sockets at once, so that both ends keep to the same one, which
//! stays open as long as the peer is in use.

use std::{fmt, net::SocketAddr, time::Duration};

use super::{
    body::{Nature, Offer},
    budget::Budget,
    candidate::{CandidateKind, Mapping, is_private},
    limits::{
        BIRTHDAY_AGAIN, BIRTHDAY_AT_ONCE, BIRTHDAY_BYTES, BIRTHDAY_CALL_AGAIN, BIRTHDAY_EVERY,
        BIRTHDAY_HEAD_START, BIRTHDAY_LASTS, BIRTHDAY_PROBES, BIRTHDAY_RELAYED, BIRTHDAY_REST,
        BIRTHDAY_SOCKETS, CLASH_SILENCE, EXCHANGE_TRIES, ROUND_POSTPONED,
    },
    ports::Ports,
};
use crate::way::{Auxiliary, Way};

/// Attempts until the pair rests.
const ATTEMPTS: u8 = 2;

/// A node's part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Its NAT takes another port for each flow: it opens sockets.
    Hard,
    /// Its NAT keeps the port: it looks for one of the other end's.
    Easy,
}

/// What a node's part is, by the NATs of both ends, if they are a pair for it.
pub(super) fn role(ours: &Nature, theirs: &Nature) -> Option<Role> {
    match (is_random(ours), is_random(theirs)) {
        (true, false) if is_easy(theirs) => Some(Role::Hard),
        (false, true) if is_easy(ours) => Some(Role::Easy),
        (_, _) => None,
    }
}

fn is_random(nat: &Nature) -> bool {
    nat.udp && nat.mapping == Mapping::AddressAndPortDependent && nat.step.is_none() && !nat.mapped
}

fn is_easy(nat: &Nature) -> bool {
    nat.udp && nat.mapping == Mapping::EndpointIndependent
}

/// Where the other end is seen from outside, over IPv4. One without a NAT is seen where it is; a guess has the wrong port
/// and the right address.
fn seen_at(offer: &Offer) -> Option<SocketAddr> {
    let of_kind = |kind| {
        let mut all = offer.candidates.iter().filter(move |candidate| candidate.kind == kind);
        all.find(|candidate| candidate.addr.is_ipv4() && !is_private(candidate.addr.ip()))
    };
    let mut kinds = [CandidateKind::Reflexive, CandidateKind::Host, CandidateKind::Guess].into_iter();
    kinds.find_map(of_kind).map(|candidate| candidate.addr)
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Call the peer to this attempt.
    Call(u8),
    /// Open so many sockets, then tell [`Birthday::opened`].
    Open(usize),
    /// Send one probe whose answer nobody waits for.
    Probe(Way),
}

/// What outlives the agent of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rest {
    /// No attempt begins before.
    pub(super) until: Duration,
    /// Attempts that failed since the last success or rest.
    failed: u8,
    /// The pair has tried everything, and rests.
    is_beaten: bool,
}

/// What has gone through relays since the pair was last direct or idle.
#[derive(Clone, Copy, Debug)]
struct Relayed {
    since: Duration,
    /// Bytes that had been carried when they were told first.
    from: Option<u64>,
}

/// A call that was not answered yet.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: u8,
    tries: u8,
    again_at: Duration,
}

#[derive(Debug)]
struct Attempt {
    number: u8,
    role: Role,
    began: Duration,
    /// The easy end's address; of the hard end's, the port is drawn.
    remote: SocketAddr,
    /// When the next probes leave.
    next_at: Duration,
    sent: usize,
    /// Ports of the hard end's NAT that are still to be tried.
    ports: Ports,
    opening: Opening,
    sockets: Vec<Auxiliary>,
}

/// How far the hard end is with its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// They are not wanted yet, or never will be.
    Later,
    Asked,
    Open,
}

impl Attempt {
    /// Sockets that the hard end is to open.
    fn wanted(&self) -> usize {
        BIRTHDAY_SOCKETS[usize::from(self.number > 1)]
    }

    /// The next probe, if there is one left.
    fn probe(&mut self) -> Option<Way> {
        let way = match self.role {
            Role::Hard => self.sockets.get(self.sent).map(|socket| Way::from_auxiliary(self.remote, *socket)),
            Role::Easy if self.sent >= BIRTHDAY_PROBES => None,
            Role::Easy => self.ports.next().map(|port| Way::direct(SocketAddr::new(self.remote.ip(), port))),
        };
        self.sent += usize::from(way.is_some());
        way
    }

    fn has_probes(&self) -> bool {
        match self.role {
            Role::Hard => self.sent < self.sockets.len(),
            Role::Easy => self.sent < BIRTHDAY_PROBES && !self.ports.is_empty(),
        }
    }

    fn next(&mut self, now: Duration, budget: &mut Budget) -> Option<Act> {
        if now < self.next_at {
            return None;
        }
        if self.role == Role::Hard && self.opening == Opening::Later {
            self.opening = Opening::Asked;
            return Some(Act::Open(self.wanted()));
        }
        if !self.has_probes() {
            return None;
        }
        if !budget.take(now) {
            self.next_at = now + budget.pause();
            return None;
        }
        let way = self.probe()?;
        if self.sent.is_multiple_of(BIRTHDAY_AT_ONCE) {
            self.next_at = now + BIRTHDAY_EVERY;
        }
        Some(Act::Probe(way))
    }
}

/// What one pair has of it.
#[derive(Debug, Default)]
pub(super) struct Birthday {
    rest: Rest,
    /// This node does not call the peer before: it did not answer, or another attempt was under way.
    quiet_until: Duration,
    /// This node's part, where the pair is one for it and both ends want it.
    role: Option<Role>,
    carried: u64,
    relayed: Option<Relayed>,
    call: Option<Call>,
    attempt: Option<Attempt>,
    /// The socket by which the peer was met.
    winner: Option<Auxiliary>,
    /// The last attempt ended with a direct path.
    has_found: bool,
    /// Sockets to close.
    closed: Vec<Auxiliary>,
}

impl Birthday {
    pub(super) fn rested(rest: Rest) -> Self {
        Self { rest, ..Self::default() }
    }

    pub(super) const fn rest(&self) -> Rest {
        self.rest
    }

    /// Bytes that went to the peer and came from it so far; fewer than before mean that the count began anew.
    pub(super) fn carried(&mut self, bytes: u64) {
        self.carried = bytes;
        if let Some(relayed) = &mut self.relayed {
            relayed.from = Some(relayed.from.map_or(bytes, |from| from.min(bytes)));
        }
    }

    /// Notes what this node's part is, and whether data goes through relays now, in use.
    pub(super) fn look(&mut self, now: Duration, role: Option<Role>, is_relayed: bool) {
        self.role = role;
        if is_relayed {
            self.relayed.get_or_insert(Relayed { since: now, from: None });
            self.has_found = false;
        } else {
            self.relayed = None;
        }
        if role.is_none() || !is_relayed {
            self.call = None;
        }
    }

    /// Whether an attempt is at work or called for: a node has one at a time.
    pub(super) const fn is_busy(&self) -> bool {
        self.attempt.is_some() || self.call.is_some()
    }

    /// Whether this socket is one of the pair's.
    pub(super) fn holds(&self, socket: Auxiliary) -> bool {
        let trying = self.attempt.as_ref().filter(|_| self.winner.is_none());
        self.winner == Some(socket) || trying.is_some_and(|attempt| attempt.sockets.contains(&socket))
    }

    /// When the peer may be called, as far as this pair is concerned.
    fn call_at(&self) -> Option<Duration> {
        let relayed = self.relayed.filter(|_| self.role.is_some() && !self.is_busy())?;
        let is_much = relayed.from.is_some_and(|from| self.carried.saturating_sub(from) >= BIRTHDAY_BYTES);
        let earliest = if is_much { relayed.since } else { relayed.since + BIRTHDAY_RELAYED };
        Some(earliest.max(self.rest.until).max(self.quiet_until))
    }

    /// When something is due next.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let Some(attempt) = &self.attempt else {
            return self.call.map(|call| call.again_at).or_else(|| self.call_at());
        };
        let opens = attempt.role == Role::Hard && attempt.opening == Opening::Later;
        let next = (opens || attempt.has_probes()).then_some(attempt.next_at);
        let over = attempt.began + BIRTHDAY_LASTS;
        Some(next.map_or(over, |next| next.min(over)))
    }

    /// What is due now, one thing after the other; `has_place` tells whether this node may begin an attempt, `pause`
    /// after how long a call is repeated, and `budget` how many probes may leave.
    pub(super) fn next(
        &mut self,
        now: Duration,
        has_place: bool,
        pause: Duration,
        budget: &mut Budget,
    ) -> Option<Act> {
        if let Some(attempt) = &mut self.attempt {
            return attempt.next(now, budget);
        }
        if let Some(call) = &mut self.call {
            if now < call.again_at {
                return None;
            }
            call.tries += 1;
            call.again_at = now + pause;
            if call.tries <= EXCHANGE_TRIES {
                return Some(Act::Call(call.number));
            }
            self.call = None;
            self.quiet_until = now + BIRTHDAY_CALL_AGAIN;
            return None;
        }
        if self.call_at().is_none_or(|at| now < at) {
            return None;
        }
        if !has_place {
            self.quiet_until = now + ROUND_POSTPONED;
            return None;
        }
        let number = self.rest.failed + 1;
        self.call = Some(Call { number, tries: 1, again_at: now + pause });
        Some(Act::Call(number))
    }

    /// The peer calls to an attempt. Returns whether this node takes part: it answers then.
    pub(super) fn called(
        &mut self,
        now: Duration,
        number: u8,
        has_place: bool,
        theirs: &Offer,
        random: [u8; 8],
    ) -> bool {
        if let Some(attempt) = &self.attempt {
            return attempt.number == number;
        }
        // The peer's rest may have begun half a round trip before this node's.
        let lenient = BIRTHDAY_AGAIN - CLASH_SILENCE;
        let is_due = (self.rest.failed + 1..=ATTEMPTS).contains(&number)
            && now + lenient >= self.rest.until
            && !self.rest.is_beaten(now);
        is_due && has_place && self.begin(now, number, theirs, random)
    }

    /// The peer takes part in the attempt that it was called to.
    pub(super) fn accepted(&mut self, now: Duration, number: u8, theirs: &Offer, random: [u8; 8]) {
        if self.call.is_some_and(|call| call.number == number) {
            self.begin(now, number, theirs, random);
        }
    }

    fn begin(&mut self, now: Duration, number: u8, theirs: &Offer, random: [u8; 8]) -> bool {
        let (Some(role), Some(remote)) = (self.role, seen_at(theirs)) else { return false };
        let next_at = if role == Role::Hard && number > 1 { now + BIRTHDAY_HEAD_START } else { now };
        self.call = None;
        self.closed.extend(self.winner.take());
        self.attempt = Some(Attempt {
            number,
            role,
            began: now,
            remote,
            next_at,
            sent: 0,
            ports: Ports::new(theirs.nat.ports, random),
            opening: Opening::Later,
            sockets: Vec::new(),
        });
        true
    }

    /// These sockets were opened, fewer than asked for where descriptors are short.
    pub(super) fn opened(&mut self, sockets: Vec<Auxiliary>) {
        match &mut self.attempt {
            Some(attempt) if attempt.opening == Opening::Asked => {
                attempt.sockets = sockets;
                attempt.opening = Opening::Open;
            }
            Some(_) | None => self.closed.extend(sockets),
        }
    }

    /// Something of the peer came by this way: if it came to a socket of the attempt, that one wins.
    pub(super) fn met(&mut self, way: Way) {
        let (Some(attempt), Some(socket)) = (&mut self.attempt, way.auxiliary) else { return };
        if self.winner.is_some() || way.remote != attempt.remote || !attempt.sockets.contains(&socket) {
            return;
        }
        self.winner = Some(socket);
        let all = std::mem::take(&mut attempt.sockets);
        self.closed.extend(all.into_iter().filter(|other| *other != socket));
    }

    /// Ends an attempt that is over: `is_direct` tells whether data goes straight to the peer.
    pub(super) fn settle(&mut self, now: Duration, is_direct: bool) {
        let Some(attempt) = &self.attempt else { return };
        if is_direct {
            self.rest = Rest::default();
            self.has_found = true;
            self.closed.extend(self.attempt.take().into_iter().flat_map(|attempt| attempt.sockets));
            return;
        }
        let has_no_socket =
            attempt.opening == Opening::Open && attempt.sockets.is_empty() && self.winner.is_none();
        if now < attempt.began + BIRTHDAY_LASTS && !has_no_socket {
            return;
        }
        let is_last = attempt.number >= ATTEMPTS;
        self.rest = if is_last {
            Rest { until: now + BIRTHDAY_REST, failed: 0, is_beaten: true }
        } else {
            Rest { until: now + BIRTHDAY_AGAIN, failed: attempt.number, is_beaten: false }
        };
        self.abandon();
    }

    /// Gives up an attempt without a rest: the peer restarted, or this node is elsewhere. What an earlier one has found
    /// stays.
    pub(super) fn abandon(&mut self) {
        (self.call, self.relayed) = (None, None);
        if let Some(attempt) = self.attempt.take() {
            self.closed.extend(attempt.sockets.into_iter().filter(|socket| Some(*socket) != self.winner));
            self.closed.extend(self.winner.take());
        }
    }

    /// The sockets that are to be closed.
    pub(super) fn take_closed(&mut self) -> Vec<Auxiliary> {
        std::mem::take(&mut self.closed)
    }

    /// All sockets of the pair.
    pub(super) fn sockets(&self) -> Vec<Auxiliary> {
        let trying = self.attempt.iter().flat_map(|attempt| attempt.sockets.iter().copied());
        trying.chain(self.winner).collect()
    }

    /// How it stands, where the NATs of both ends are a pair for it.
    pub(super) fn state(&self, now: Duration, ours: &Nature, theirs: &Nature) -> Option<BirthdayState> {
        role(ours, theirs)?;
        let state = match &self.attempt {
            Some(attempt) => BirthdayState::AtWork {
                attempt: attempt.number,
                sockets: attempt.sockets.len().max(usize::from(self.winner.is_some())),
                wanted: if attempt.role == Role::Hard { attempt.wanted() } else { 0 },
            },
            None if self.has_found => BirthdayState::Found,
            None if !ours.birthday => BirthdayState::Off,
            None if !theirs.birthday => BirthdayState::OffThere,
            None if self.rest.is_beaten(now) => BirthdayState::Failed { again_in: self.rest.until - now },
            None if self.rest.failed > 0 && now < self.rest.until => {
                BirthdayState::Resting { again_in: self.rest.until - now }
            }
            None => BirthdayState::Waiting,
        };
        Some(state)
    }
}

impl Rest {
    fn is_beaten(&self, now: Duration) -> bool {
        self.is_beaten && now < self.until
    }
}

/// How birthday probing stands with a peer for whom it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BirthdayState {
    /// This node was started without it.
    Off,
    /// The peer was.
    OffThere,
    /// It begins once enough has gone through the relay.
    Waiting,
    /// An attempt is under way.
    AtWork {
        /// The first or the second.
        attempt: u8,
        /// Sockets that are open here.
        sockets: usize,
        /// Sockets that were wanted here; none at the end whose NAT keeps its port.
        wanted: usize,
    },
    /// The first attempt failed.
    Resting {
        /// The second follows after this.
        again_in: Duration,
    },
    /// Both attempts failed.
    Failed {
        /// The next one may follow after this.
        again_in: Duration,
    },
    /// It found a path.
    Found,
}

impl fmt::Display for BirthdayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off; `lacis up --birthday` at both ends turns it on"),
            Self::OffThere => f.write_str("off at the peer, which is to be started with --birthday as well"),
            Self::Waiting => f.write_str("on; begins once the relay has carried data for 30 s, or 10 MB"),
            Self::AtWork { attempt, wanted: 0, .. } => write!(f, "attempt {attempt} of {ATTEMPTS} at work"),
            Self::AtWork { attempt, sockets, wanted } => {
                write!(f, "attempt {attempt} of {ATTEMPTS} at work, {sockets} of {wanted} sockets open")
            }
            Self::Resting { again_in } => {
                write!(f, "attempt 1 of {ATTEMPTS} failed, the next follows in {} s", again_in.as_secs())
            }
            Self::Failed { again_in } => {
                write!(f, "failed; may begin again in {} min", again_in.as_secs().div_ceil(60))
            }
            Self::Found => f.write_str("found the path"),
        }
    }
}

#[cfg(test)]
mod tests;
