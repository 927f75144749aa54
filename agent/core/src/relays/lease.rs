//! One lease: the place of one peer of this node at one relay.
//!
//! ```text
//! no keys ─ Agreed ─▶ HELLO … ─ HELLO_ACK ─▶ bound ─ 25 s ─▶ REFRESH … ─ REFRESH_ACK ─▶ bound
//!                      ▲ ▲  └ HELLO_RETRY: again, with its cookie     │
//!                      │ └─ NOT_BOUND: the lease is held meanwhile ──┤
//!                      └────────────── no answer to four of them ────┘
//! ```
//! Nobody seals a NOT_BOUND, so it is a reason to ask and none to let go. Every frame that asks bears a larger counter
//! than the one before, so that an answer tells which of them it answers, hence the round trip.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use lacis_proto::relay::{
    Ack, Cookie, Frame, Hello, Keys, Mac, Packet, Refresh, RelayAddress, RelayToken, Retry, mac_of,
};

use super::limits::{HELLO_WAITS, MAX_ASKED, NOT_BOUND_EVERY, REFRESH_WAITS, UDP_AGAIN};

/// Where a lease is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) at: SocketAddr,
    pub(super) id: u32,
}

/// A frame that wants an answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    counter: u64,
    mac: Mac,
    to: SocketAddr,
    at: Duration,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Lease {
    address: RelayAddress,
    keys: Option<Keys>,
    bound: Option<Bound>,
    asked: VecDeque<Asked>,
    cookie: Option<(SocketAddr, Cookie)>,
    /// Rounds of frames since the last answer.
    tries: u32,
    due: Duration,
    rtt: Option<Duration>,
    /// The largest counter that was answered.
    answered: u64,
    /// Whether it was said that the lease is not bound to our source: until an answer, HELLOs ask for it anew.
    is_denied: bool,
    /// When that was last taken in.
    denied: Option<Duration>,
}

impl Lease {
    /// A lease that is yet to be had, from `now` on.
    pub(super) const fn new(now: Duration, address: RelayAddress) -> Self {
        Self {
            address,
            keys: None,
            bound: None,
            asked: VecDeque::new(),
            cookie: None,
            tries: 0,
            due: now,
            rtt: None,
            answered: 0,
            is_denied: false,
            denied: None,
        }
    }

    pub(super) const fn bound(&self) -> Option<Bound> {
        self.bound
    }

    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) const fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    pub(super) fn set_keys(&mut self, now: Duration, keys: Keys) {
        self.keys = Some(keys);
        self.due = now;
    }

    /// When the next frame is due; never without keys.
    pub(super) fn due(&self) -> Option<Duration> {
        self.keys.map(|_| self.due)
    }

    /// Asks at once.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.tries = 0;
        self.due = now;
    }

    /// Whether the last round of frames went without an answer; the one under way may still be answered.
    pub(super) const fn is_unanswered(&self) -> bool {
        self.tries > 0
    }

    /// Whether the lease is held and nothing speaks against it.
    pub(super) const fn is_sound(&self) -> bool {
        self.bound.is_some() && self.tries < 2
    }

    /// Whether so many refreshes went without an answer that the lease is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.bound.is_some() && self.tries as usize > REFRESH_WAITS.len()
    }

    /// Gives the lease up; it is asked for again at once.
    pub(super) fn lose(&mut self, now: Duration) {
        (self.bound, self.rtt, self.is_denied) = (None, None, false);
        self.hurry(now);
    }

    /// A round of frames goes out now: sets when the next one is due.
    pub(super) fn begin_round(&mut self, now: Duration) {
        let waits = if self.kept().is_some() { REFRESH_WAITS } else { HELLO_WAITS };
        let (at, last) = (self.tries as usize, waits[waits.len() - 1]);
        let doubled = (at + 1).saturating_sub(waits.len()).min(16);
        let wait = waits
            .get(at)
            .copied()
            .unwrap_or_else(|| (last * 2u32.pow(u32::try_from(doubled).unwrap_or(16))).min(UDP_AGAIN));
        self.tries = self.tries.saturating_add(1);
        self.due = now + wait;
    }

    /// A HELLO to `to`.
    pub(super) fn hello(
        &mut self,
        now: Duration,
        to: SocketAddr,
        token: &RelayToken,
        counter: u64,
    ) -> Option<Vec<u8>> {
        let token = token.to_bytes();
        let hello = Hello { counter, cookie: self.cookie_for(to), token: &token, first: None };
        self.ask(now, to, counter, 0, Frame::Hello(hello))
    }

    /// Where the lease is bound and nobody says otherwise: REFRESHes go there.
    pub(super) fn kept_at(&self) -> Option<SocketAddr> {
        self.kept().map(|bound| bound.at)
    }

    fn kept(&self) -> Option<Bound> {
        self.bound.filter(|_| !self.is_denied)
    }

    /// A REFRESH to where the lease is kept.
    pub(super) fn refresh(&mut self, now: Duration, counter: u64) -> Option<(SocketAddr, Vec<u8>)> {
        let Bound { at, id } = self.kept()?;
        let refresh = Refresh { counter, cookie: self.cookie_for(at) };
        Some((at, self.ask(now, at, counter, id, Frame::Refresh(refresh))?))
    }

    /// The relay grants or keeps the lease. Gives the round trip, or nothing where this answers no frame of ours.
    pub(super) fn acked(
        &mut self,
        now: Duration,
        from: SocketAddr,
        bytes: &[u8],
        (id, ack): (u32, &Ack),
        next: Duration,
    ) -> Option<Duration> {
        let asked =
            self.asked.iter().find(|asked| asked.counter == ack.counter && asked.to == from).copied()?;
        if !self.keys?.to_member.check(bytes) {
            return None;
        }
        let rtt = now.saturating_sub(asked.at);
        // RFC 6298 §2.3: an eighth of each new sample.
        self.rtt = Some(self.rtt.map_or(rtt, |before| (before * 7 + rtt) / 8));
        self.asked.retain(|other| other.counter > ack.counter);
        self.answered = self.answered.max(ack.counter);
        self.bound = Some(Bound { at: from, id });
        (self.cookie, self.tries, self.due, self.is_denied) = (None, 0, next, false);
        Some(rtt)
    }

    /// The relay wants the same again, with a cookie. Returns whether that is to be done at once: not where the lease is
    /// held and `is_wanted` does not say that it is to move there, for then it was tried at several addresses and had at
    /// the first.
    pub(super) fn retried(&mut self, from: SocketAddr, retry: &Retry, is_wanted: bool) -> bool {
        let Some(at) = self.asked.iter().position(|asked| asked.mac == retry.echo && asked.to == from) else {
            return false;
        };
        self.asked.remove(at);
        let is_elsewhere = self.bound.is_some_and(|bound| bound.at != from);
        if is_elsewhere && self.is_sound() && !is_wanted {
            return false;
        }
        // A cookie that is answered with another one is waited with: the relay and we would go on for ever.
        let first = self.cookie.is_none_or(|(of, _)| of != from);
        self.cookie = Some((from, retry.cookie));
        first
    }

    /// Somebody says that the lease is not bound to our source. Anybody can: it is asked for anew, but not at everybody's
    /// word, and goes when nobody answers.
    pub(super) fn not_bound(&mut self, now: Duration, from: SocketAddr, id: u32) {
        let is_ours = self.bound == Some(Bound { at: from, id });
        if is_ours && !self.is_denied && self.denied.is_none_or(|last| last + NOT_BOUND_EVERY <= now) {
            (self.is_denied, self.denied) = (true, Some(now));
            self.hurry(now);
        }
    }

    /// Whether a GOAWAY is the relay's, and newer than the last answer.
    pub(super) fn is_told_to_go(&self, from: SocketAddr, bytes: &[u8], counter: u64) -> bool {
        let is_sealed = self.keys.is_some_and(|keys| keys.to_member.check(bytes));
        is_sealed && self.bound.is_some_and(|bound| bound.at == from) && counter >= self.answered
    }

    fn cookie_for(&self, to: SocketAddr) -> Cookie {
        self.cookie.filter(|(of, _)| *of == to).map_or([0; 16], |(_, cookie)| cookie)
    }

    fn ask(
        &mut self,
        now: Duration,
        to: SocketAddr,
        counter: u64,
        lease: u32,
        frame: Frame<'_>,
    ) -> Option<Vec<u8>> {
        let mut bytes = Packet { lease, address: self.address, frame }.to_bytes();
        self.keys?.to_relay.seal(&mut bytes);
        if self.asked.len() >= MAX_ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { counter, mac: mac_of(&bytes)?, to, at: now });
        Some(bytes)
    }
}
