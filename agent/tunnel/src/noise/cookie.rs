//! The authenticators of handshake messages, and cookies against floods (WireGuard paper §5.3, §5.4.4, §5.4.7).
//!
//! `mac1` proves that the sender knows whom it talks to, `mac2` that it receives at its address: under load we answer
//! with a cookie instead of computing, and the sender signs its next message with it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Secret;
use super::symmetric::{hash, mac, open_cookie, seal_cookie};
use crate::wire;

/// How long a cookie holds (WireGuard paper §5.3).
const COOKIE_LIFE: Duration = Duration::from_secs(120);
/// Its receiver stops using it a little earlier, for it spent time on the way.
const COOKIE_USE: Duration = Duration::from_secs(115);
const MAC: usize = 16;
/// The load is counted over this long.
const SECOND: Duration = Duration::from_secs(1);

/// What a check of the authenticators found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Compute.
    Welcome,
    /// Ask for a proof of the address first.
    Prove,
    /// It is not for this key.
    Refused,
}

/// The receiving side: checks authenticators and bakes cookies.
pub(crate) struct Cookies {
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    secret: Secret,
    made: Option<Instant>,
    /// Messages that were welcome in the second that began then.
    second: Option<Instant>,
    count: u64,
    limit: u64,
}

impl Cookies {
    /// Guards `public`; more than `limit` messages a second must prove where they come from.
    pub(crate) fn new(public: [u8; 32], limit: u64) -> Self {
        Self {
            mac1_key: mac1_key(&public),
            cookie_key: cookie_key(&public),
            secret: Zeroizing::new([0; 32]),
            made: None,
            second: None,
            count: 0,
            limit,
        }
    }

    /// Checks a message's authenticators. `fresh` gives a random secret when the one in use has had its time.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        fresh: impl FnOnce() -> [u8; 32],
    ) -> Verdict {
        let Some((body, macs)) = message.split_last_chunk::<{ 2 * MAC }>() else { return Verdict::Refused };
        let (mac1, mac2) = macs.split_at(MAC);
        if !same(&mac(&self.mac1_key, &[body]), mac1) {
            return Verdict::Refused;
        }
        if self.second.is_none_or(|second| now.saturating_duration_since(second) >= SECOND) {
            (self.second, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        if self.count <= self.limit {
            return Verdict::Welcome;
        }
        let cookie = self.cookie(now, from, fresh);
        if same(&mac(&cookie, &[body, mac1]), mac2) { Verdict::Welcome } else { Verdict::Prove }
    }

    /// Writes the cookie reply to `message`, which came from `from` and was told to prove it. `nonce` is random.
    pub(crate) fn reply(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        (nonce, fresh): ([u8; 24], impl FnOnce() -> [u8; 32]),
        reply: &mut [u8; wire::COOKIE],
    ) -> Option<()> {
        let sender = message.get(4..8)?;
        let (_, macs) = message.split_last_chunk::<{ 2 * MAC }>()?;
        let cookie = self.cookie(now, from, fresh);
        reply[..4].copy_from_slice(&[3, 0, 0, 0]);
        reply[4..8].copy_from_slice(sender);
        reply[8..32].copy_from_slice(&nonce);
        reply[32..].copy_from_slice(&seal_cookie(&self.cookie_key, &nonce, macs.first_chunk()?, cookie));
        Some(())
    }

    /// The cookie of an address and port.
    fn cookie(&mut self, now: Instant, from: SocketAddr, fresh: impl FnOnce() -> [u8; 32]) -> [u8; 16] {
        if self.made.is_none_or(|made| now.saturating_duration_since(made) >= COOKIE_LIFE) {
            (self.secret, self.made) = (Zeroizing::new(fresh()), Some(now));
        }
        let port = from.port().to_be_bytes();
        match from.ip() {
            IpAddr::V4(address) => mac(self.secret.as_slice(), &[&address.octets(), &port]),
            IpAddr::V6(address) => mac(self.secret.as_slice(), &[&address.octets(), &port]),
        }
    }
}

/// The sending side: signs messages to one peer and keeps the cookie it gave us.
pub(crate) struct Jar {
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    cookie: Option<(Zeroizing<[u8; 16]>, Instant)>,
    /// `mac1` of the last message, to which a cookie reply must refer.
    last: Option<[u8; MAC]>,
}

impl Jar {
    pub(crate) fn new(peer: [u8; 32]) -> Self {
        Self { mac1_key: mac1_key(&peer), cookie_key: cookie_key(&peer), cookie: None, last: None }
    }

    /// Writes the authenticators into the last 32 bytes of a message.
    pub(crate) fn sign(&mut self, now: Instant, message: &mut [u8]) {
        let Some((body, macs)) = message.split_last_chunk_mut::<{ 2 * MAC }>() else { return };
        let mac1 = mac(&self.mac1_key, &[body]);
        macs[..MAC].copy_from_slice(&mac1);
        macs[MAC..].fill(0);
        self.last = Some(mac1);
        if let Some((cookie, taken)) = &self.cookie
            && now.saturating_duration_since(*taken) < COOKIE_USE
        {
            macs[MAC..].copy_from_slice(&mac(cookie.as_slice(), &[body, &mac1]));
        }
    }

    /// Takes in a cookie reply to the last message; returns whether it was one.
    pub(crate) fn take(&mut self, now: Instant, reply: &[u8; wire::COOKIE]) -> bool {
        let (Some(last), Some(nonce), Some(sealed)) =
            (self.last, reply[8..].first_chunk(), reply[32..].first_chunk())
        else {
            return false;
        };
        let Some(cookie) = open_cookie(&self.cookie_key, nonce, &last, sealed) else { return false };
        self.cookie = Some((Zeroizing::new(cookie), now));
        // One message draws one cookie; a second reply to it would be a replay.
        self.last = None;
        true
    }
}

fn mac1_key(public: &[u8; 32]) -> [u8; 32] {
    hash(&[b"mac1----", public])
}

fn cookie_key(public: &[u8; 32]) -> [u8; 32] {
    hash(&[b"cookie--", public])
}

fn same(ours: &[u8], theirs: &[u8]) -> bool {
    ours.ct_eq(theirs).into()
}
