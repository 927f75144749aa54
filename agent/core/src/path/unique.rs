//! Numbers that never come twice: nonces, transaction ids, and the spread of timers.
//!
//! Each is keyed BLAKE2s over a purpose, the number of this start and a counter, under the seed of this start. A
//! counter alone makes them unique within a start and the start's number over restarts, even if a seed came back; the
//! seed makes them unpredictable.

use std::time::Duration;

use zeroize::Zeroizing;

use super::keys::mac;

/// Nonce of XChaCha20.
pub(super) type Nonce = [u8; 24];

/// Ties an answer to its probe.
pub(super) type Transaction = [u8; 12];

/// The source of such numbers.
pub(super) struct Unique {
    seed: Zeroizing<[u8; 32]>,
    boot: u64,
    drawn: u64,
}

impl std::fmt::Debug for Unique {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unique").field("boot", &self.boot).field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

impl Unique {
    pub(super) const fn new(seed: Zeroizing<[u8; 32]>, boot: u64) -> Self {
        Self { seed, boot, drawn: 0 }
    }

    pub(super) fn nonce(&mut self) -> Nonce {
        self.draw(b"lacis path nonce")
    }

    pub(super) fn transaction(&mut self) -> Transaction {
        self.draw(b"lacis path transaction")
    }

    /// A time within ten percent of `middle`.
    pub(super) fn around(&mut self, middle: Duration) -> Duration {
        let spread = u32::from_le_bytes(self.draw(b"lacis path spread")) % 201;
        middle * (900 + spread) / 1_000
    }

    /// Numbers that nobody knows before.
    pub(super) fn random(&mut self) -> [u8; 8] {
        self.draw(b"lacis path random")
    }

    fn draw<const N: usize>(&mut self, purpose: &[u8]) -> [u8; N] {
        self.drawn += 1;
        let whole = mac(&self.seed, &[purpose, &self.boot.to_le_bytes(), &self.drawn.to_le_bytes()]);
        let mut part = [0; N];
        part.copy_from_slice(&whole[..N]);
        part
    }
}
