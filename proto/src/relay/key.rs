//! Relay addresses, and the keys between a member and a relay.

use std::fmt;

use blake2::{
    Blake2s256, Blake2sMac, Digest as _,
    digest::{
        Mac as _,
        consts::{U16, U32},
    },
};

use super::HEADER;
use crate::{GroupId, PublicKey};

/// Where the MAC of a frame stands: behind the header.
const MAC_END: usize = HEADER + 16;

/// The authenticity of a frame: keyed BLAKE2s with 16 bytes (RFC 7693 §2.9).
pub type Mac = [u8; 16];

/// Shows that who sends it can read at its source address. All zeroes where there is none.
pub type Cookie = [u8; 16];

/// Where a member is found at every relay: it follows from the group and the key, so that whoever knows both can
/// send at once.
///
/// ```text
/// the first 8 bytes of BLAKE2s-256( "lacis-relay-address-v1" · group id · WireGuard key ), each part preceded by
/// its length as four big-endian bytes
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayAddress(pub u64);

impl RelayAddress {
    /// The address of the peer of a group that has this WireGuard key.
    #[must_use]
    pub fn of(group: &GroupId, key: &PublicKey) -> Self {
        let mut hash = Blake2s256::new();
        for part in [b"lacis-relay-address-v1".as_slice(), group.as_str().as_bytes(), key.as_bytes()] {
            hash.update(length(part));
            hash.update(part);
        }
        let hash: [u8; 32] = hash.finalize().into();
        Self(u64::from_be_bytes(*hash.first_chunk().expect("a hash has 32 bytes")))
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The two keys between a member and a relay, one for each direction.
///
/// Both come from `S`, the X25519 output of the member's WireGuard key and the relay's static key (all zeroes, the
/// output for a point of small order, must be refused before):
///
/// ```text
/// to_relay  = keyed BLAKE2s-256 with key S over ( "lacis-relay-v1 member to relay" · group id · member key · relay key )
/// to_member = keyed BLAKE2s-256 with key S over ( "lacis-relay-v1 relay to member" · group id · member key · relay key )
/// ```
/// each part preceded by its length as four big-endian bytes. `S` is used for nothing else: a relay's static key takes
/// part in no WireGuard handshake, so no session of WireGuard ever has the same `S`; were a relay given the key of a
/// peer, WireGuard would still use `S` only as input of HMAC-BLAKE2s under its own chaining key, which these labels
/// cannot meet. The keys serve MACs alone: keyed BLAKE2s with 16 bytes over the whole frame without its MAC field. The
/// kind stands in the header, under the MAC; so no frame of one kind passes as another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// Of HELLO, REFRESH and BLOCK.
    pub to_relay: MacKey,
    /// Of HELLO_ACK, REFRESH_ACK and GOAWAY.
    pub to_member: MacKey,
}

impl Keys {
    /// Derives both from `shared`, the X25519 output of `member` and `relay`.
    #[must_use]
    pub fn derive(shared: &[u8; 32], group: &GroupId, member: &PublicKey, relay: &PublicKey) -> Self {
        let key = |label: &str| {
            let mut mac = Blake2sMac::<U32>::new_from_slice(shared).expect("BLAKE2s takes a key of 32 bytes");
            for part in [label.as_bytes(), group.as_str().as_bytes(), member.as_bytes(), relay.as_bytes()] {
                mac.update(&length(part));
                mac.update(part);
            }
            MacKey(mac.finalize().into_bytes().into())
        };
        Self {
            to_relay: key("lacis-relay-v1 member to relay"),
            to_member: key("lacis-relay-v1 relay to member"),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// A key that seals frames against change. Never printed by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MacKey(pub [u8; 32]);

impl MacKey {
    /// Writes the MAC of a frame into its place.
    ///
    /// # Panics
    /// For a frame without that place.
    pub fn seal(&self, frame: &mut [u8]) {
        let mac = self.mac(frame).finalize().into_bytes();
        frame[HEADER..MAC_END].copy_from_slice(&mac);
    }

    /// Whether a frame bears the MAC of this key. Takes the same time for every wrong one.
    #[must_use]
    pub fn check(&self, frame: &[u8]) -> bool {
        frame.get(HEADER..MAC_END).is_some_and(|mac| self.mac(frame).verify_slice(mac).is_ok())
    }

    fn mac(&self, frame: &[u8]) -> Blake2sMac<U16> {
        let mut mac = Blake2sMac::<U16>::new_from_slice(&self.0).expect("BLAKE2s takes a key of 32 bytes");
        mac.update(&frame[..HEADER]);
        mac.update(&frame[MAC_END..]);
        mac
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

fn length(part: &[u8]) -> [u8; 4] {
    u32::try_from(part.len()).expect("parts are short").to_be_bytes()
}
