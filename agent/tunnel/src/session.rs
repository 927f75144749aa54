//! One pair of transport keys: seals and opens data messages (WireGuard paper §5.4.6).
//!
//! ```text
//!  4 000 | receiver(4) | counter(8) | packet, padded | tag(16)
//! ```
//!
//! Invariants: no counter is used twice; a counter is accepted once, and only after its message authenticated.

mod window;

use std::time::{Duration, Instant};

use crate::aead;
use crate::noise::{Keys, Secret};
use crate::wire;

#[cfg(test)]
pub(crate) use window::WIDTH;
use window::Window;

/// A session is renewed after this many messages (WireGuard paper §6.1).
const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// And refuses to go on after this many.
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// An initiator renews its session after this long.
pub(crate) const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// And nobody uses it after this long.
pub(crate) const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);

/// Length of the header before the sealed packet.
const HEADER: usize = 16;

/// Why a data message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It did not authenticate.
    Forged,
    /// Its counter was seen before.
    Replayed,
    /// Its counter is too old to tell.
    TooOld,
    /// The session is past its time.
    Expired,
}

/// A pair of transport keys with its counters.
pub(crate) struct Session {
    /// Our index: the receiver in messages to us.
    pub(crate) local: u32,
    /// The peer's index.
    remote: u32,
    pub(crate) created: Instant,
    /// Whether the handshake was ours; the initiator is the one who renews.
    pub(crate) initiator: bool,
    send: Secret,
    receive: Secret,
    counter: u64,
    window: Window,
}

impl Session {
    pub(crate) fn new(now: Instant, (local, remote): (u32, u32), keys: Keys, initiator: bool) -> Self {
        let Keys { send, receive } = keys;
        Self { local, remote, created: now, initiator, send, receive, counter: 0, window: Window::new() }
    }

    /// Whether the session may still be used.
    #[inline]
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.created) < REJECT_AFTER_TIME
            && self.counter < REJECT_AFTER_MESSAGES
    }

    /// Whether sending a message calls for new keys.
    #[inline]
    pub(crate) fn wants_renewal(&self, now: Instant) -> bool {
        self.counter >= REKEY_AFTER_MESSAGES
            || (self.initiator && now.saturating_duration_since(self.created) >= REKEY_AFTER_TIME)
    }

    /// Writes a data message into `out`; `None` when it does not fit or the session is past its time.
    #[inline]
    pub(crate) fn seal(&mut self, now: Instant, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        if !self.is_fresh(now) {
            return None;
        }
        let (header, body) = out.split_at_mut_checked(HEADER)?;
        let length = aead::seal(&self.send, self.counter, packet, body)?;
        header[..4].copy_from_slice(&[4, 0, 0, 0]);
        header[4..8].copy_from_slice(&self.remote.to_le_bytes());
        header[8..].copy_from_slice(&self.counter.to_le_bytes());
        self.counter += 1;
        Some(HEADER + length)
    }

    /// Opens a data message into `out`, which has the message's length; returns the length of what was inside.
    #[inline]
    pub(crate) fn open(&mut self, now: Instant, message: &[u8], out: &mut [u8]) -> Result<usize, Refused> {
        if message.len() < wire::KEEPALIVE {
            return Err(Refused::Forged);
        }
        if now.saturating_duration_since(self.created) >= REJECT_AFTER_TIME {
            return Err(Refused::Expired);
        }
        let counter = message[8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if counter >= REJECT_AFTER_MESSAGES || !self.window.is_new(counter) {
            return Err(if self.window.reaches(counter) { Refused::Replayed } else { Refused::TooOld });
        }
        let length = aead::open(&self.receive, counter, &message[HEADER..], out).ok_or(Refused::Forged)?;
        self.window.mark(counter);
        Ok(length)
    }

    /// Moves the send counter on, as if as many messages had been sent.
    #[cfg(test)]
    pub(crate) fn skip_to(&mut self, counter: u64) {
        self.counter = counter;
    }
}

#[cfg(test)]
mod tests;
