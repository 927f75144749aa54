//! One peer's protocol state, over one of two cores: boringtun, or our own.
//!
//! The engine sees neither. Both take and make the same messages, so each end of a tunnel chooses for itself.
//! boringtun reads its own clock; the own core lives by the moments it is given, and only for the stamps of its
//! initiations the wall clock is read here.

mod boring;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::clock;
use crate::limits;
use crate::noise::{Identity, Remote, Stamp, Verdict};
use crate::own;
use crate::random;
use crate::wire;

/// Which implementation of the protocol carries the tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Core {
    /// boringtun.
    Boringtun,
    /// The session layer of this crate.
    #[default]
    Own,
}

impl Core {
    /// Its name on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boringtun => "boringtun",
            Self::Own => "own",
        }
    }

    /// The core of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Boringtun, Self::Own].into_iter().find(|core| core.name() == name)
    }
}

/// A private key. It is wiped when dropped and never printed.
#[derive(Clone)]
pub struct PrivateKey(StaticSecret);

impl PrivateKey {
    /// Makes a new key from the kernel's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self::from(generate_private_key())
    }

    /// Returns the public key that belongs to it.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    /// Returns the secret that the owner of the public key `other` finds as well (X25519, RFC 7748 §6.1); `None` for a
    /// point of low order, with which everybody would.
    ///
    /// It is the raw result: keys are derived from it under a label that names their use.
    #[must_use]
    pub fn agree(&self, other: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let shared = self.0.diffie_hellman(&PublicKey::from(*other));
        shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
    }

    /// Returns the bytes, to be stored by the caller with care.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl From<[u8; 32]> for PrivateKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// A preshared key. It is wiped when dropped and never printed.
#[derive(Clone)]
pub struct PresharedKey(StaticSecret);

impl From<[u8; 32]> for PresharedKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }
}

impl PresharedKey {
    /// Returns the bytes, to be stored by the caller with care.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl PartialEq for PresharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes() == other.0.as_bytes()
    }
}

impl Eq for PresharedKey {}

impl std::fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}

/// Returns the public key of a private one.
#[must_use]
pub fn public_key(private: &[u8; 32]) -> [u8; 32] {
    PrivateKey::from(*private).public()
}

/// Makes the bytes of a new private key, clamped as `wg genkey` does.
#[must_use]
pub fn generate_private_key() -> [u8; 32] {
    let mut bytes = [0; 32];
    random::fill(&mut bytes);
    bytes[0] &= 0xf8;
    bytes[31] = (bytes[31] & 0x7f) | 0x40;
    bytes
}

/// What the gate says of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Its first authenticator is right, and load or cookie allow it.
    Welcome,
    /// A cookie reply of this length is to be sent to where the message came from.
    Cookie(usize),
    /// It is not for this key.
    Refused,
}

/// Guards one network's key: who may make us compute (WireGuard paper §5.3).
#[derive(Debug)]
pub(crate) struct Gate(GateCore);

enum GateCore {
    Boringtun(boring::Gate),
    Own(own::Door),
}

impl Gate {
    pub(crate) fn new(key: &PrivateKey, core: Core) -> Self {
        Self(match core {
            Core::Boringtun => GateCore::Boringtun(boring::Gate::new(key)),
            Core::Own => {
                GateCore::Own(own::Door::new(Identity::new(key.0.clone()), limits::HANDSHAKES_PER_SECOND))
            }
        })
    }

    /// Checks a handshake message against the key and the load. `reply` needs [`wire::COOKIE`] bytes.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        reply: &mut [u8],
    ) -> Admission {
        let door = match &mut self.0 {
            GateCore::Boringtun(gate) => return gate.admit(from, message, reply),
            GateCore::Own(door) => door,
        };
        match door.check(now, from, message, random::bytes) {
            Verdict::Welcome => Admission::Welcome,
            Verdict::Refused => Admission::Refused,
            Verdict::Prove => {
                let written = reply.first_chunk_mut().and_then(|reply| {
                    door.cookie(now, from, message, (random::bytes, random::bytes()), reply)
                });
                written.map_or(Admission::Refused, |()| Admission::Cookie(wire::COOKIE))
            }
        }
    }

    /// Reads who sent an admitted initiation.
    pub(crate) fn initiator(&self, message: &[u8]) -> Option<[u8; 32]> {
        match &self.0 {
            GateCore::Boringtun(gate) => gate.initiator(message),
            GateCore::Own(door) => Some(door.claim(message)?.public()),
        }
    }
}

impl std::fmt::Debug for GateCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boringtun(_) => f.write_str("Boringtun(..)"),
            Self::Own(_) => f.write_str("Own(..)"),
        }
    }
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// A packet of this length is at the start of the output.
    Packet(usize),
    /// Authenticated, with nothing to deliver: a keepalive or a cookie.
    Empty,
    /// A message of this length is to be sent back.
    Reply(usize),
    /// Refused, with the reason.
    Refused(Refusal),
}

/// Why a datagram was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It did not authenticate, or belongs to no handshake of ours.
    Authentication,
    /// Seen before.
    Replay,
    /// Too old to tell.
    TooOld,
    /// No session has its index.
    NoSession,
    /// It authenticated but holds no IP packet.
    Malformed,
}

/// What a tick asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ticked {
    /// Nothing.
    Quiet,
    /// A message of this length is to be sent.
    Send(usize),
    /// The tunnel has given up.
    Expired,
}

/// What a peer's tunnel leaves to the next one: the newest initiation accepted, so that none is replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory(Option<Stamp>);

/// The protocol state of one peer.
#[expect(
    clippy::large_enum_variant,
    reason = "a live tunnel is boxed whole, and the larger variant is small enough"
)]
pub(crate) enum Protocol {
    /// Boxed, for it takes eleven kilobytes.
    Boringtun(Box<boring::Protocol>),
    /// Our own.
    Own(own::Tunnel),
}

impl Protocol {
    /// Makes the state for a peer; `index` has 24 bits and is unique on this node.
    pub(crate) fn new(
        gate: &Gate,
        peer: &[u8; 32],
        preshared: Option<&PresharedKey>,
        keepalive: Option<u16>,
        (index, memory): (u32, Memory),
    ) -> Self {
        match &gate.0 {
            GateCore::Boringtun(gate) => {
                Self::Boringtun(Box::new(boring::Protocol::new(gate, peer, preshared, keepalive, index)))
            }
            GateCore::Own(door) => {
                let remote = Remote::new(&door.identity, *peer, preshared.map(|key| key.0.to_bytes()));
                Self::Own(own::Tunnel::new(&door.identity, remote, keepalive, index, memory.0))
            }
        }
    }

    /// What must outlive this tunnel.
    pub(crate) fn memory(&self) -> Memory {
        match self {
            // boringtun does not tell.
            Self::Boringtun(_) => Memory(None),
            Self::Own(tunnel) => Memory(tunnel.last_stamp()),
        }
    }

    /// Whether packets can be sealed.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        match self {
            Self::Boringtun(protocol) => protocol.is_up(),
            Self::Own(tunnel) => tunnel.is_up(),
        }
    }

    /// Seals a packet into `out`, which needs `packet.len() + 32` bytes and at least 148; `None` without a session.
    #[inline]
    pub(crate) fn seal(&mut self, now: Instant, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Boringtun(protocol) => protocol.seal(packet, out),
            Self::Own(tunnel) => tunnel.seal(now, packet, out),
        }
    }

    /// Opens a message into `out`, which needs as many bytes as the message has and at least 148.
    #[inline]
    pub(crate) fn open(&mut self, now: Instant, from: SocketAddr, message: &[u8], out: &mut [u8]) -> Opened {
        match self {
            Self::Boringtun(protocol) => protocol.open(from, message, out),
            Self::Own(tunnel) => tunnel.open(now, message, random::bytes, out),
        }
    }

    /// Moves the clock and asks what is due. `out` needs 148 bytes.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut [u8]) -> Ticked {
        match self {
            Self::Boringtun(protocol) => protocol.tick(out),
            Self::Own(tunnel) => tunnel.tick(now, clock::since_1970(), random::bytes, out),
        }
    }

    /// Returns how long a tunnel with a session may be left alone: a second at most, for others look then as well.
    pub(crate) fn rest(&self, now: Instant) -> Duration {
        match self {
            Self::Boringtun(_) => limits::TICK_SESSION,
            Self::Own(tunnel) => tunnel
                .deadline(now)
                .map_or(limits::TICK_SESSION, |at| at.saturating_duration_since(now))
                .min(limits::TICK_SESSION),
        }
    }

    /// Writes an initiation into `out`, which needs 148 bytes, whether or not one is under way.
    pub(crate) fn initiate(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Boringtun(protocol) => protocol.initiate(out),
            Self::Own(tunnel) => tunnel.initiate(now, clock::since_1970(), random::bytes(), out),
        }
    }
}

impl std::fmt::Debug for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protocol").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
