//! Keys of path frames, out of the secret that two static WireGuard keys agree on.
//!
//! ```text
//! pair      = MAC(shared,  "lacis path v1 pair"  | group | lesser key | greater key)
//! direction = MAC(pair,    "lacis path v1 frame" | sender's key)
//! tag       = HASH("lacis path v1 tag" | group | sender's key), first 8 bytes
//! ```
//! `MAC` is keyed BLAKE2s, `HASH` plain BLAKE2s, both of 256 bits; the group is preceded by its length. The two
//! directions have keys of their own, so that a frame cannot be turned back on its sender. `SECURITY.md` beside this
//! file argues why that is sound.

use blake2::{
    Blake2s256, Blake2sMac256, Digest as _,
    digest::{FixedOutput as _, KeyInit as _, Update},
};
use lacis_proto::{GroupId, PublicKey};
use zeroize::Zeroizing;

const PAIR: &[u8] = b"lacis path v1 pair";
const FRAME: &[u8] = b"lacis path v1 frame";
const TAG: &[u8] = b"lacis path v1 tag";

/// A key of one direction. Never logged.
pub(super) type FrameKey = Zeroizing<[u8; 32]>;

/// Names the sender of a frame to who knows its group and key.
pub(super) type Tag = [u8; 8];

/// The keys of a pair.
pub(super) struct PairKeys {
    /// Seals what this node sends.
    pub(super) to_peer: FrameKey,
    /// Opens what the peer sends.
    pub(super) from_peer: FrameKey,
}

impl std::fmt::Debug for PairKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PairKeys(..)")
    }
}

impl PairKeys {
    /// The keys between `own` and `peer` in a group.
    pub(super) fn derive(group: &GroupId, own: &PublicKey, peer: &PublicKey, shared: &[u8; 32]) -> Self {
        let (lesser, greater) = if own < peer { (own, peer) } else { (peer, own) };
        let pair = mac(
            shared,
            &[PAIR, &length(group), group.as_str().as_bytes(), lesser.as_bytes(), greater.as_bytes()],
        );
        Self {
            to_peer: mac(&pair, &[FRAME, own.as_bytes()]),
            from_peer: mac(&pair, &[FRAME, peer.as_bytes()]),
        }
    }
}

/// The tag under which `sender` sends in a group.
pub(super) fn tag_of(group: &GroupId, sender: &PublicKey) -> Tag {
    short_hash(&[TAG, &length(group), group.as_str().as_bytes(), sender.as_bytes()])
}

/// First bytes of the BLAKE2s of the parts.
pub(super) fn short_hash(parts: &[&[u8]]) -> [u8; 8] {
    let whole: [u8; 32] =
        parts.iter().fold(Blake2s256::new(), |hash, part| hash.chain_update(part)).finalize().into();
    let mut short = [0; 8];
    short.copy_from_slice(&whole[..8]);
    short
}

/// Keyed BLAKE2s of the parts, one after the other.
pub(super) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> FrameKey {
    let mut mac = Blake2sMac256::new(key.into());
    parts.iter().for_each(|part| Update::update(&mut mac, part));
    Zeroizing::new(mac.finalize_fixed().into())
}

fn length(group: &GroupId) -> [u8; 1] {
    [u8::try_from(group.as_str().len()).unwrap_or(u8::MAX)]
}

#[cfg(test)]
mod tests;
