//! The relay protocol: frames of 16 bytes and a payload, the same length to the relay and from it.
//!
//! ```text
//!  0      1      2..4   4..8          8..16
//!  0x0E | kind | zero | lease (u32) | relay address (u64)      then the body; numbers are big-endian
//! to the relay:         the sender's   the other end
//! from the relay:       the reader's   the other end
//! ```
//! A *lease* is a member's place at one relay, per group and key. The relay forwards DATA between leases of one group
//! and looks at no payload. A member proves its WireGuard key by the MACs of [`Keys`], and what it may by its
//! [`RelayToken`]; its *counter* grows with every frame that bears a MAC, so that a replay changes nothing.
//!
//! | kind | from | body | bytes |
//! |---|---|---|---|
//! | DATA | both | payload: a WireGuard packet or a path frame | 16 + n |
//! | HELLO | member | mac 16, counter 8, cookie 16, token length 2, token; then a first payload, or nothing: other end 8, payload | 58 + n |
//! | HELLO_ACK | relay | mac 16, counter 8 of the HELLO, observed source 18, lifetime in seconds 2 | 60 |
//! | HELLO_RETRY | relay | mac 16 of the frame it answers, cookie 16 | 48 |
//! | REFRESH | member | mac 16, counter 8, cookie 16, zero 8 | 64 |
//! | REFRESH_ACK | relay | as HELLO_ACK | 60 |
//! | NOT_BOUND | relay | none: the header of the frame that came from where this lease is not | 16 |
//! | PEER_UNKNOWN | relay | none: the header of the DATA frame whose other end has no lease | 16 |
//! | PROBE | anyone | zero 24; the relay address is any number | 40 |
//! | PROBE_ACK | relay | observed source 18; the header of the PROBE | 34 |
//! | GOAWAY | relay | mac 16, counter 8 of the last frame taken, within how many ms 4 | 44 |
//! | REVOKE | control | a [`RelayRevocation`] 144; the relay address is any number | 160 |
//! | REVOKE_ACK | relay | none: the header of the REVOKE | 16 |
//! | BLOCK | member | mac 16, counter 8, for how many seconds 4; the relay address is whom to block | 44 |
//!
//! In HELLO, REFRESH, their answers and GOAWAY the relay address is the member's own. No answer is longer than what it answers.
//!
//! # How a member gets a lease
//! 1. HELLO with a counter of its clock, Unix milliseconds, or one more than the last where that is larger; cookie zero.
//! 2. HELLO_ACK names the lease in its header. HELLO_RETRY asks for the same again with this cookie and a larger
//!    counter: the relay is busy, the counter is far from its clock, or the lease is bound to another source.
//! 3. REFRESH every 25 s from the same source, and at once after a move, which brings a HELLO_RETRY and, with its
//!    cookie, an ACK. Without an answer: HELLO. After NOT_BOUND: HELLO.
//! 4. After GOAWAY: use another relay, and come back within the time it says.
//!
//! # Keys
//! See [`Keys`] for the labels. They are derived from X25519 of the member's WireGuard key and the relay's key.

mod batch;
mod frame;
mod key;
mod map;
mod queue;
mod revocation;
mod token;

pub use batch::{Batch, BatchError, MAX_BATCH};
pub use frame::{
    Ack, Block, Frame, FrameError, GoAway, HELLO_FIXED, Hello, MAX_TOKEN, Packet, Refresh, Retry, mac_of,
    observed_bytes,
};
pub use key::{Cookie, Keys, Mac, MacKey, RelayAddress};
pub use map::{MAX_RELAYS, MAX_SIGNAL_TEXT, RelayEntry, RelayGrant, Relays};
pub use queue::{MAX_QUEUED_DATA, MAX_QUEUED_FOR, MAX_QUEUED_URGENT, Queue};
pub use revocation::{REVOCATION_BYTES, RelayRevocation};
pub use token::{RelayToken, RelayTokenError, TOKEN_BYTES};

use std::time::Duration;

/// The first byte of every frame. Lies where no protocol that shares ports with others begins (RFC 9443 §3).
pub const MAGIC: u8 = 0x0E;

/// Bytes before the body.
pub const HEADER: usize = 16;

/// Where a relay listens unless told otherwise: the port of STUN (RFC 8489 §18.6), which is open in many firewalls.
pub const DEFAULT_PORT: u16 = 3478;

/// The path of the WebSocket on an HTTPS listener that carries batches of frames.
pub const TLS_PATH: &str = "/relay/v1";

/// How long a lease lives without a HELLO or REFRESH: four of those that a member sends every 25 s may be lost.
pub const LEASE_LIFETIME: Duration = Duration::from_secs(120);

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A payload for, or from, another lease of the group.
    Data = 1,
    /// Asks for a lease.
    Hello = 2,
    /// Grants it.
    HelloAck = 3,
    /// Asks for the same again, with a cookie.
    HelloRetry = 4,
    /// Keeps a lease, or moves it to another source.
    Refresh = 5,
    /// Says that it is kept.
    RefreshAck = 6,
    /// The lease is not bound to where the frame came from.
    NotBound = 7,
    /// The other end has no lease here.
    PeerUnknown = 8,
    /// Measures the way to a relay.
    Probe = 9,
    /// Answers that, with the observed source.
    ProbeAck = 10,
    /// The relay stops soon.
    GoAway = 11,
    /// The member wants nothing from another end for a while.
    Block = 12,
    /// Control puts a member out.
    Revoke = 13,
    /// The relay knows.
    RevokeAck = 14,
}

impl Kind {
    /// Every kind, in the order of its numbers, which begin at one.
    pub const ALL: [Self; 14] = [
        Self::Data,
        Self::Hello,
        Self::HelloAck,
        Self::HelloRetry,
        Self::Refresh,
        Self::RefreshAck,
        Self::NotBound,
        Self::PeerUnknown,
        Self::Probe,
        Self::ProbeAck,
        Self::GoAway,
        Self::Block,
        Self::Revoke,
        Self::RevokeAck,
    ];

    /// The kind with this number.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// The first [`HEADER`] bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// The member's lease.
    pub lease: u32,
    /// The other end, or the member itself.
    pub address: RelayAddress,
}

impl Header {
    /// Reads the header of a frame; `None` where these bytes begin none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [MAGIC, kind, 0, 0, l0, l1, l2, l3, address @ ..] = bytes.first_chunk::<HEADER>()? else {
            return None;
        };
        Some(Self {
            kind: Kind::of(*kind)?,
            lease: u32::from_be_bytes([*l0, *l1, *l2, *l3]),
            address: RelayAddress(u64::from_be_bytes(*address)),
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        header(self.kind, self.lease, self.address)
    }
}

/// The header of a frame.
#[must_use]
pub fn header(kind: Kind, lease: u32, address: RelayAddress) -> [u8; HEADER] {
    let [l0, l1, l2, l3] = lease.to_be_bytes();
    let [a0, a1, a2, a3, a4, a5, a6, a7] = address.0.to_be_bytes();
    [MAGIC, kind as u8, 0, 0, l0, l1, l2, l3, a0, a1, a2, a3, a4, a5, a6, a7]
}

#[cfg(test)]
mod tests;
