//! The handshake: Noise_IKpsk2 as the WireGuard paper §5.4 has it, without sockets, clocks or randomness of its own.
//!
//! ```text
//!  initiator                                         responder
//!  Initiation::write ──────── initiation ──────────▶ Initiation::read   who is it?
//!                                                    Initiation::accept is it known, and new?
//!  Initiation::finish ◀─────── response ──────────── Respond::write     ─▶ Keys
//!        └─▶ Keys
//! ```
//!
//! Ephemeral keys, indices and time stamps are the caller's to give; what comes out are messages and [`Keys`]. The
//! authenticators at the end of each message (`mac1`, `mac2`) and the cookies against floods are in `cookie`, the
//! hash, key derivation and sealing in `symmetric`.
//!
//! Invariants: a message that does not authenticate changes nothing; every secret is wiped when it is dropped.

mod cookie;
mod initiation;
mod response;
mod stamp;
mod symmetric;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

pub(crate) use cookie::{Cookies, Jar, Verdict};
pub(crate) use initiation::{Claim, Initiation};
pub(crate) use response::respond;
pub(crate) use stamp::Stamp;

use symmetric::{hash, sealed_length};

/// `Construction` of the paper §5.4.
const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// `Identifier` of the paper §5.4.
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// A 32-byte secret that is wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// The transport keys that a handshake yields.
pub(crate) struct Keys {
    pub(crate) send: Secret,
    pub(crate) receive: Secret,
}

/// Our own static key and what is derived from it once.
pub(crate) struct Identity {
    private: StaticSecret,
    public: PublicKey,
}

impl Identity {
    pub(crate) fn new(private: StaticSecret) -> Self {
        let public = PublicKey::from(&private);
        Self { private, public }
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.public.to_bytes()
    }
}

/// A peer's static key, the preshared key, and what is derived from them once.
pub(crate) struct Remote {
    public: PublicKey,
    preshared: Secret,
    /// The Diffie-Hellman value of the two static keys; `None` when the peer's key is of low order.
    shared: Option<Secret>,
}

impl Remote {
    pub(crate) fn new(identity: &Identity, public: [u8; 32], preshared: Option<[u8; 32]>) -> Self {
        let public = PublicKey::from(public);
        let shared = agree(&identity.private, &public);
        Self { public, preshared: Zeroizing::new(preshared.unwrap_or_default()), shared }
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.public.to_bytes()
    }
}

/// Diffie-Hellman; `None` when the other key makes the result predictable.
fn agree(private: &StaticSecret, public: &PublicKey) -> Option<Secret> {
    let shared = private.diffie_hellman(public);
    shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
}

/// The chaining key and hash with which every handshake with `responder` begins.
fn begin(responder: &PublicKey) -> (Secret, [u8; 32]) {
    let chain = hash(&[CONSTRUCTION]);
    let named = hash(&[&chain, IDENTIFIER]);
    (Zeroizing::new(chain), hash(&[&named, responder.as_bytes()]))
}

#[cfg(test)]
mod tests;
