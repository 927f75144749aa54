//! The first message, from both sides.
//!
//! ```text
//!  1 000 | sender(4) | ephemeral(32) | static(32+16) | stamp(12+16) | mac1(16) | mac2(16)     148 B
//! ```

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::symmetric::{hash, kdf1, kdf2, kdf3, open, seal};
use super::{Identity, Keys, Remote, Secret, Stamp, agree, begin, sealed_length};
use crate::wire;

const EPHEMERAL: usize = 8;
const STATIC: usize = EPHEMERAL + 32;
const STAMP: usize = STATIC + sealed_length(32);
/// Where the authenticators begin.
const MACS: usize = STAMP + sealed_length(12);

/// A handshake that we began and that waits for its response.
pub(crate) struct Initiation {
    pub(crate) sender: u32,
    ephemeral: StaticSecret,
    chain: Secret,
    hash: [u8; 32],
}

impl Initiation {
    /// Writes an initiation but for its authenticators. `ephemeral` must be fresh and random.
    ///
    /// `None` when the peer's key is of low order.
    pub(crate) fn write(
        identity: &Identity,
        remote: &Remote,
        (sender, ephemeral, stamp): (u32, [u8; 32], Stamp),
        message: &mut [u8; wire::INITIATION],
    ) -> Option<Self> {
        let ephemeral = StaticSecret::from(ephemeral);
        let public = PublicKey::from(&ephemeral);
        let (chain, state) = begin(&remote.public);
        message[..4].copy_from_slice(&[1, 0, 0, 0]);
        message[4..EPHEMERAL].copy_from_slice(&sender.to_le_bytes());
        message[EPHEMERAL..STATIC].copy_from_slice(public.as_bytes());
        let chain = kdf1(&chain, public.as_bytes());
        let state = hash(&[&state, public.as_bytes()]);
        let shared = agree(&ephemeral, &remote.public)?;
        let (chain, key) = kdf2(&chain, shared.as_slice());
        message[STATIC..STATIC + 32].copy_from_slice(identity.public.as_bytes());
        seal(&key, &state, &mut message[STATIC..STAMP]);
        let state = hash(&[&state, &message[STATIC..STAMP]]);
        let (chain, key) = kdf2(&chain, remote.shared.as_ref()?.as_slice());
        message[STAMP..STAMP + 12].copy_from_slice(&stamp.0);
        seal(&key, &state, &mut message[STAMP..MACS]);
        let state = hash(&[&state, &message[STAMP..MACS]]);
        message[MACS..].fill(0);
        Some(Self { sender, ephemeral, chain, hash: state })
    }

    /// Takes the response to this initiation; returns the responder's index and the keys.
    pub(crate) fn finish(
        &self,
        identity: &Identity,
        remote: &Remote,
        response: &[u8; wire::RESPONSE],
    ) -> Option<(u32, Keys)> {
        let sender = u32::from_le_bytes(*response[4..].first_chunk()?);
        let public = PublicKey::from(*response[12..].first_chunk::<32>()?);
        let chain = kdf1(&self.chain, public.as_bytes());
        let state = hash(&[&self.hash, public.as_bytes()]);
        let chain = kdf1(&chain, agree(&self.ephemeral, &public)?.as_slice());
        let chain = kdf1(&chain, agree(&identity.private, &public)?.as_slice());
        let (chain, mixed, key) = kdf3(&chain, remote.preshared.as_slice());
        let state = hash(&[&state, mixed.as_slice()]);
        open::<0>(&key, &state, &response[44..44 + sealed_length(0)])?;
        let (send, receive) = kdf2(&chain, &[]);
        Some((sender, Keys { send, receive }))
    }
}

/// An initiation read as far as our own key allows: who claims to have sent it. Nothing is proven yet.
pub(crate) struct Claim {
    pub(super) sender: u32,
    pub(super) ephemeral: PublicKey,
    pub(super) chain: Secret,
    pub(super) hash: [u8; 32],
    public: [u8; 32],
    sealed_stamp: [u8; sealed_length(12)],
}

impl Claim {
    /// Reads an initiation that is meant for `identity`.
    pub(crate) fn read(identity: &Identity, message: &[u8; wire::INITIATION]) -> Option<Self> {
        let sender = u32::from_le_bytes(*message[4..].first_chunk()?);
        let ephemeral = PublicKey::from(*message[EPHEMERAL..].first_chunk::<32>()?);
        let (chain, state) = begin(&identity.public);
        let chain = kdf1(&chain, ephemeral.as_bytes());
        let state = hash(&[&state, ephemeral.as_bytes()]);
        let shared = agree(&identity.private, &ephemeral)?;
        let (chain, key) = kdf2(&chain, shared.as_slice());
        let public = open::<32>(&key, &state, &message[STATIC..STAMP])?;
        let hash = hash(&[&state, &message[STATIC..STAMP]]);
        let sealed_stamp = *message[STAMP..].first_chunk()?;
        Some(Self { sender, ephemeral, chain, hash, public, sealed_stamp })
    }

    /// The static key that the sender claims.
    pub(crate) fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Proves that `remote`'s key sealed the stamp; returns the stamp, and the state for the response in `self`.
    pub(crate) fn prove(&mut self, remote: &Remote) -> Option<Stamp> {
        if self.public != remote.public() {
            return None;
        }
        let (chain, key) = kdf2(&self.chain, remote.shared.as_ref()?.as_slice());
        let stamp = open::<12>(&key, &self.hash, &self.sealed_stamp)?;
        self.hash = hash(&[&self.hash, &self.sealed_stamp]);
        self.chain = Zeroizing::new(*chain);
        Some(Stamp(stamp))
    }
}
