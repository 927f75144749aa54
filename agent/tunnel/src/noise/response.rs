//! The second message, from the responder's side.
//!
//! ```text
//!  2 000 | sender(4) | receiver(4) | ephemeral(32) | nothing(0+16) | mac1(16) | mac2(16)      92 B
//! ```

use x25519_dalek::{PublicKey, StaticSecret};

use super::symmetric::{hash, kdf1, kdf2, kdf3, seal};
use super::{Claim, Keys, Remote, agree, sealed_length};
use crate::wire;

const EPHEMERAL: usize = 12;
const NOTHING: usize = EPHEMERAL + 32;
/// Where the authenticators begin.
const MACS: usize = NOTHING + sealed_length(0);

/// Writes the response to a proven initiation but for its authenticators; returns the initiator's index and the
/// keys. `ephemeral` must be fresh and random.
pub(crate) fn respond(
    claim: &Claim,
    remote: &Remote,
    (sender, ephemeral): (u32, [u8; 32]),
    message: &mut [u8; wire::RESPONSE],
) -> Option<(u32, Keys)> {
    let ephemeral = StaticSecret::from(ephemeral);
    let public = PublicKey::from(&ephemeral);
    message[..4].copy_from_slice(&[2, 0, 0, 0]);
    message[4..8].copy_from_slice(&sender.to_le_bytes());
    message[8..EPHEMERAL].copy_from_slice(&claim.sender.to_le_bytes());
    message[EPHEMERAL..NOTHING].copy_from_slice(public.as_bytes());
    let chain = kdf1(&claim.chain, public.as_bytes());
    let state = hash(&[&claim.hash, public.as_bytes()]);
    let chain = kdf1(&chain, agree(&ephemeral, &claim.ephemeral)?.as_slice());
    let chain = kdf1(&chain, agree(&ephemeral, &remote.public)?.as_slice());
    let (chain, mixed, key) = kdf3(&chain, remote.preshared.as_slice());
    let state = hash(&[&state, mixed.as_slice()]);
    seal(&key, &state, &mut message[NOTHING..MACS]);
    message[MACS..].fill(0);
    let (receive, send) = kdf2(&chain, &[]);
    Some((claim.sender, Keys { send, receive }))
}
