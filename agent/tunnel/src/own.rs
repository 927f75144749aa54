//! One peer's tunnel over our own session layer: handshakes, the three sessions, and the timers of the paper's §6.
//!
//! ```text
//!  we initiate:  response arrives ─▶ current (the old one becomes previous)
//!  we respond:   response sent ─▶ next ─ first message under it ─▶ current (the old one becomes previous)
//! ```
//!
//! Time comes in with every call, also the wall clock's for the stamps; random bytes come in where keys are made.
//! There is no queue: whoever wants to send without a session keeps the packet and initiates.
//!
//! Invariants:
//! - what is sealed goes under the current session; a responder has none until the initiator has proven its keys;
//! - the stamps we accept from a peer only rise, also across tunnels: see [`Tunnel::last_stamp`];
//! - a session past its time is wiped at the next look, which [`Tunnel::deadline`] asks for.
//!
//! The repetition of an unanswered initiation is the owner's, who paces all of them together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::noise::{self, Claim, Cookies, Identity, Initiation, Jar, Remote, Stamp, Verdict};
use crate::session::{REJECT_AFTER_TIME, REKEY_AFTER_TIME, Refused, Session};
use crate::tunnel::{Opened, Refusal, Ticked};
use crate::wire::{self, Message};

/// A peer that sent us data hears from us after this long at the latest (WireGuard paper §6.1).
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// An initiation is given this long to be answered.
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Spread of the renewals of many tunnels.
const JITTER_MS: u32 = 334;
/// Initiations of one peer that come faster are not computed.
const INITIATION_INTERVAL: Duration = Duration::from_millis(20);

/// What all tunnels of one network share: its key, and who may make us compute.
pub(crate) struct Door {
    pub(crate) identity: Arc<Identity>,
    cookies: Cookies,
}

impl Door {
    pub(crate) fn new(identity: Identity, limit: u64) -> Self {
        let cookies = Cookies::new(identity.public(), limit);
        Self { identity: Arc::new(identity), cookies }
    }

    /// Checks the authenticators of a handshake message; `random` gives secrets for cookies.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        random: impl FnOnce() -> [u8; 32],
    ) -> Verdict {
        self.cookies.check(now, from, message, random)
    }

    /// Writes the cookie reply to a message that was told to prove its address.
    pub(crate) fn cookie(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        random: (impl FnOnce() -> [u8; 32], [u8; 24]),
        reply: &mut [u8; wire::COOKIE],
    ) -> Option<()> {
        self.cookies.reply(now, from, message, (random.1, random.0), reply)
    }

    /// Reads who claims to have sent an initiation.
    pub(crate) fn claim(&self, message: &[u8]) -> Option<Claim> {
        Claim::read(&self.identity, message.try_into().ok()?)
    }
}

/// The state of one peer's tunnel.
pub(crate) struct Tunnel {
    identity: Arc<Identity>,
    remote: Remote,
    jar: Jar,
    persistent: Option<Duration>,
    /// Our indices: 24 bits that are ours alone, and a count of handshakes below.
    index: u32,
    attempts: u8,
    initiation: Option<(Initiation, Instant)>,
    previous: Option<Box<Session>>,
    current: Option<Box<Session>>,
    next: Option<Box<Session>>,
    timers: Timers,
    /// The newest stamp accepted from the peer, and when.
    newest: Option<Stamp>,
    accepted: Option<Instant>,
    /// The stamp of our last initiation.
    sent_stamp: Option<Stamp>,
}

/// When what was last seen or done.
#[derive(Clone, Copy, Debug, Default)]
struct Timers {
    /// The first packet sent since the peer was last heard.
    unanswered: Option<Instant>,
    /// The first packet received since we last sent anything.
    owed: Option<Instant>,
    /// The last authentic message in either direction.
    passed: Option<Instant>,
    /// A message called for new keys.
    renew: bool,
}

impl Tunnel {
    /// Makes the state for a peer. `index` has 24 bits; `newest` is what an earlier tunnel to this peer left.
    pub(crate) fn new(
        identity: &Arc<Identity>,
        remote: Remote,
        persistent: Option<u16>,
        index: u32,
        newest: Option<Stamp>,
    ) -> Self {
        Self {
            identity: identity.clone(),
            jar: Jar::new(remote.public()),
            remote,
            persistent: persistent.filter(|secs| *secs > 0).map(|secs| Duration::from_secs(secs.into())),
            index,
            attempts: 0,
            initiation: None,
            previous: None,
            current: None,
            next: None,
            timers: Timers::default(),
            newest,
            accepted: None,
            sent_stamp: None,
        }
    }

    /// Whether packets can be sealed.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        self.current.is_some()
    }

    /// The newest stamp accepted from the peer: it must outlive the tunnel, or old initiations could be replayed.
    pub(crate) fn last_stamp(&self) -> Option<Stamp> {
        self.newest
    }

    /// Seals a packet; `None` without a session or room.
    #[inline]
    pub(crate) fn seal(&mut self, now: Instant, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        let session = self.current.as_deref_mut()?;
        let length = session.seal(now, packet, out)?;
        self.timers.renew |= session.wants_renewal(now);
        self.timers.owed = None;
        self.timers.passed = Some(now);
        if !packet.is_empty() && self.timers.unanswered.is_none() {
            self.timers.unanswered = Some(now);
        }
        Some(length)
    }

    /// Takes a message; `random` gives the ephemeral key of a response.
    #[inline]
    pub(crate) fn open(
        &mut self,
        now: Instant,
        message: &[u8],
        random: impl FnOnce() -> [u8; 32],
        out: &mut [u8],
    ) -> Opened {
        match wire::classify(message) {
            Some(Message::Data { receiver }) => self.open_data(now, receiver, message, out),
            Some(Message::Initiation) => self.respond(now, message, random(), out),
            Some(Message::Response { receiver }) => self.finish(now, receiver, message, out),
            Some(Message::Cookie { .. }) => {
                let taken = message.try_into().is_ok_and(|reply| self.jar.take(now, reply));
                if taken { Opened::Empty } else { Opened::Refused(Refusal::Authentication) }
            }
            None => Opened::Refused(Refusal::Malformed),
        }
    }

    /// Writes an initiation, whether or not one is on its way. `ephemeral` is random.
    pub(crate) fn initiate(
        &mut self,
        now: Instant,
        wall: Duration,
        ephemeral: [u8; 32],
        out: &mut [u8],
    ) -> Option<usize> {
        let message = out.first_chunk_mut::<{ wire::INITIATION }>()?;
        // A clock that was set back must not make the peer deaf to us.
        let stamp = self.sent_stamp.map_or(Stamp::at(wall), |last| Stamp::at(wall).max(last.next()));
        let local = self.fresh_index();
        let made = Initiation::write(&self.identity, &self.remote, (local, ephemeral, stamp), message)?;
        self.jar.sign(now, message);
        self.sent_stamp = Some(stamp);
        self.initiation = Some((made, now));
        self.timers.renew = false;
        Some(wire::INITIATION)
    }

    /// Does what is due: wipes old sessions, keeps the peer's timers quiet, renews keys. `ephemeral` is random.
    pub(crate) fn tick(
        &mut self,
        now: Instant,
        wall: Duration,
        ephemeral: impl FnOnce() -> [u8; 32],
        out: &mut [u8],
    ) -> Ticked {
        for session in [&mut self.previous, &mut self.current, &mut self.next] {
            if session.as_ref().is_some_and(|session| !session.is_fresh(now)) {
                *session = None;
            }
        }
        let passed = |since: Option<Instant>, after| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= after)
        };
        let in_flight = self.initiation.as_ref().is_some_and(|(_, sent)| !passed(Some(*sent), REKEY_TIMEOUT));
        let dead = passed(self.timers.unanswered, self.patience());
        let held_open = self.persistent.is_some_and(|interval| passed(self.timers.passed, interval));
        let wanted = (self.is_up() && (self.timers.renew || dead)) || (held_open && !self.is_up());
        if wanted && !in_flight {
            self.timers.unanswered = None;
            return match self.initiate(now, wall, ephemeral(), out) {
                Some(length) => Ticked::Send(length),
                None => Ticked::Quiet,
            };
        }
        if passed(self.timers.owed, KEEPALIVE_TIMEOUT) || held_open {
            self.timers.owed = None;
            return self.seal(now, &[], out).map_or(Ticked::Quiet, Ticked::Send);
        }
        Ticked::Quiet
    }

    /// Returns when [`Tunnel::tick`] has something to do, as things stand at `now`.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let timers = &self.timers;
        let expiry = [&self.previous, &self.current, &self.next]
            .into_iter()
            .flatten()
            .map(|session| session.created + REJECT_AFTER_TIME)
            .min();
        let answered = self.initiation.as_ref().map_or(now, |(_, sent)| *sent + REKEY_TIMEOUT);
        let renewal = self.current.as_ref().filter(|session| session.initiator).map(|session| {
            let at = session.created + REKEY_AFTER_TIME;
            // From there on any packet calls for new keys: it is looked for each second.
            if at > now { at } else { now + Duration::from_secs(1) }
        });
        let asked = timers.renew.then_some(answered);
        let dead = timers.unanswered.filter(|_| self.is_up()).map(|since| since + self.patience());
        let owed = timers.owed.map(|since| since + KEEPALIVE_TIMEOUT);
        let held_open = timers.passed.zip(self.persistent).map(|(passed, interval)| passed + interval);
        let initiating = [dead, held_open].into_iter().flatten().map(|at| at.max(answered)).min();
        [expiry, renewal, asked, initiating, owed].into_iter().flatten().min()
    }

    /// How long a packet may stay unanswered before the session is doubted (WireGuard paper §6.4), spread by index.
    fn patience(&self) -> Duration {
        let jitter = self.index.wrapping_mul(0x9e37_79b9) % JITTER_MS;
        KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + Duration::from_millis(jitter.into())
    }

    #[inline]
    fn open_data(&mut self, now: Instant, receiver: u32, message: &[u8], out: &mut [u8]) -> Opened {
        let session = [&mut self.current, &mut self.next, &mut self.previous]
            .into_iter()
            .flatten()
            .find(|session| session.local == receiver);
        let Some(session) = session else { return Opened::Refused(Refusal::NoSession) };
        let length = match session.open(now, message, out) {
            Ok(length) => length,
            Err(Refused::Forged) => return Opened::Refused(Refusal::Authentication),
            Err(Refused::Replayed) => return Opened::Refused(Refusal::Replay),
            Err(Refused::TooOld) => return Opened::Refused(Refusal::TooOld),
            Err(Refused::Expired) => return Opened::Refused(Refusal::NoSession),
        };
        let age = now.saturating_duration_since(session.created);
        // Renewed early by who only receives, or nobody would (WireGuard paper §6.2).
        self.timers.renew |=
            session.initiator && age >= REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT;
        if self.next.as_ref().is_some_and(|next| next.local == receiver) {
            self.previous = self.current.take();
            self.current = self.next.take();
            self.timers.renew = false;
        }
        self.heard(now);
        if length == 0 {
            return Opened::Empty;
        }
        if self.timers.owed.is_none() {
            self.timers.owed = Some(now);
        }
        match trimmed(&out[..length]) {
            Some(length) => Opened::Packet(length),
            None => Opened::Refused(Refusal::Malformed),
        }
    }

    /// Takes an initiation of the peer and writes the response.
    fn respond(&mut self, now: Instant, message: &[u8], ephemeral: [u8; 32], out: &mut [u8]) -> Opened {
        let forged = Opened::Refused(Refusal::Authentication);
        let fast = self
            .accepted
            .is_some_and(|accepted| now.saturating_duration_since(accepted) < INITIATION_INTERVAL);
        if fast {
            return Opened::Refused(Refusal::Replay);
        }
        let claim = message.try_into().ok().and_then(|message| Claim::read(&self.identity, message));
        let Some(mut claim) = claim else { return forged };
        let Some(stamp) = claim.prove(&self.remote) else { return forged };
        if self.newest.is_some_and(|newest| stamp <= newest) {
            return Opened::Refused(Refusal::Replay);
        }
        let Some(response) = out.first_chunk_mut::<{ wire::RESPONSE }>() else { return forged };
        let local = self.fresh_index();
        let made = noise::respond(&claim, &self.remote, (local, ephemeral), response);
        let Some((remote, keys)) = made else { return forged };
        self.jar.sign(now, response);
        (self.newest, self.accepted) = (Some(stamp), Some(now));
        self.next = Some(Box::new(Session::new(now, (local, remote), keys, false)));
        Opened::Reply(wire::RESPONSE)
    }

    /// Takes the response to our initiation and writes the keepalive that proves our keys.
    fn finish(&mut self, now: Instant, receiver: u32, message: &[u8], out: &mut [u8]) -> Opened {
        let Some((initiation, _)) = self.initiation.as_ref().filter(|(made, _)| made.sender == receiver)
        else {
            return Opened::Refused(Refusal::NoSession);
        };
        let finished = message
            .try_into()
            .ok()
            .and_then(|message| initiation.finish(&self.identity, &self.remote, message));
        let Some((remote, keys)) = finished else { return Opened::Refused(Refusal::Authentication) };
        self.initiation = None;
        // A session that waits for its initiator is newer than the current one, and may hold messages still.
        self.previous = self.next.take().or_else(|| self.current.take());
        self.current = Some(Box::new(Session::new(now, (receiver, remote), keys, true)));
        self.timers = Timers::default();
        self.heard(now);
        self.seal(now, &[], out).map_or(Opened::Empty, Opened::Reply)
    }

    #[inline]
    fn heard(&mut self, now: Instant) {
        self.timers.unanswered = None;
        self.timers.passed = Some(now);
    }

    fn fresh_index(&mut self) -> u32 {
        self.attempts = self.attempts.wrapping_add(1);
        self.index << 8 | u32::from(self.attempts)
    }
}

/// Length of the IP packet at the start of a padded one; `None` when there is none.
#[inline]
fn trimmed(padded: &[u8]) -> Option<usize> {
    let field = |at: usize| padded.get(at..at + 2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])));
    let (shortest, length) = match padded.first()? >> 4 {
        4 => (20, field(2)?),
        6 => (40, field(4)? + 40),
        _ => return None,
    };
    (length >= shortest && length <= padded.len()).then_some(length)
}
