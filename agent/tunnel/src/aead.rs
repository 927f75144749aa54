//! Sealing and opening of packets: ChaCha20-Poly1305 (RFC 8439) as WireGuard's data messages use it.
//!
//! ring does it everywhere. Where the CPU has AVX-512, `wide` does it in about half the time and without a copy, once
//! it has proven at the first use that it agrees with ring; packets too short to gain stay with ring.
//!
//! Keys are plain bytes, wiped by their owner when they go; the key schedule of this cipher is nothing but a copy, so
//! building ring's key type for each packet costs about 1 % and saves a kilobyte for each session.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calling functions compiled for AVX-512 after asking the CPU")
)]

#[cfg(target_arch = "x86_64")]
mod wide;

use std::sync::LazyLock;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::noise::Secret;

/// Length of the tag behind a sealed packet.
pub(crate) const TAG: usize = 16;

/// Length of a nonce.
const NONCE: usize = 12;

/// Packets shorter than this gain nothing from wide registers.
const WIDE_FROM: usize = 192;

/// Whether the wide implementation is used: the CPU can, and it agrees with ring.
static WIDE: LazyLock<bool> = LazyLock::new(|| {
    let wide = Route::Wide.is_possible();
    let agrees = wide && agree();
    if wide && !agrees {
        tracing::error!("the AVX-512 cipher does not agree with ring, which is used instead");
    }
    agrees
});

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Ring,
    Wide,
}

impl Route {
    #[inline]
    fn choose(length: usize) -> Self {
        if length >= WIDE_FROM && *WIDE { Self::Wide } else { Self::Ring }
    }

    fn is_possible(self) -> bool {
        match self {
            Self::Ring => true,
            #[cfg(target_arch = "x86_64")]
            Self::Wide => wide::is_supported(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Wide => false,
        }
    }

    #[inline]
    fn seal(self, key: &Secret, nonce: &[u8; NONCE], plain: &[u8], out: &mut [u8]) -> Option<usize> {
        let (text, rest) = out.split_at_mut_checked(plain.len())?;
        let tag = rest.first_chunk_mut::<TAG>()?;
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this route is chosen only where `is_possible` found the CPU features it is compiled for.
            Self::Wide => *tag = unsafe { wide::seal(key, nonce, plain, text) },
            #[cfg(not(target_arch = "x86_64"))]
            Self::Wide => return None,
            Self::Ring => {
                text.copy_from_slice(plain);
                let key = ring_key(key)?;
                let sealed = key.seal_in_place_separate_tag(ring_nonce(nonce), Aad::empty(), text).ok()?;
                tag.copy_from_slice(sealed.as_ref());
            }
        }
        Some(plain.len() + TAG)
    }

    #[inline]
    fn open(self, key: &Secret, nonce: &[u8; NONCE], sealed: &[u8], out: &mut [u8]) -> Option<usize> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Wide => {
                let (text, tag) = sealed.split_last_chunk::<TAG>()?;
                let out = out.get_mut(..text.len())?;
                // SAFETY: this route is chosen only where `is_possible` found the CPU features it is compiled for.
                unsafe { wide::open(key, nonce, text, tag, out) }.then_some(text.len())
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Wide => None,
            Self::Ring => {
                let text = out.get_mut(..sealed.len())?;
                text.copy_from_slice(sealed);
                let plain = ring_key(key)?.open_in_place(ring_nonce(nonce), Aad::empty(), text).ok()?;
                Some(plain.len())
            }
        }
    }
}

/// Seals `plain` into the start of `out`, which has room for the tag as well; returns the length written.
#[inline]
pub(crate) fn seal(key: &Secret, counter: u64, plain: &[u8], out: &mut [u8]) -> Option<usize> {
    Route::choose(plain.len()).seal(key, &nonce(counter), plain, out)
}

/// Opens `sealed` into the start of `out`, which has room for the tag as well; returns the length of the packet.
///
/// Nothing of a packet that does not authenticate is to be used, whatever `out` holds then.
#[inline]
pub(crate) fn open(key: &Secret, counter: u64, sealed: &[u8], out: &mut [u8]) -> Option<usize> {
    Route::choose(sealed.len()).open(key, &nonce(counter), sealed, out)
}

/// Seals and opens with both routes and panics where they differ; for fuzzers. Without the wide route it checks ring's
/// own way back.
pub(crate) fn compare(key: &Secret, nonce: &[u8; NONCE], plain: &[u8], flip: usize) {
    let mut sealed =
        [Route::Ring, Route::Wide].into_iter().filter(|route| route.is_possible()).map(|route| {
            let (mut message, mut opened) = (vec![0; plain.len() + TAG], vec![0; plain.len() + TAG]);
            let written = route.seal(key, nonce, plain, &mut message);
            assert_eq!(written, Some(message.len()), "{route:?} seals what fits");
            assert_eq!(route.open(key, nonce, &message, &mut opened), Some(plain.len()), "{route:?} opens");
            assert_eq!(opened[..plain.len()], *plain, "{route:?} gives back what was sealed");
            let mut forged = message.clone();
            forged[flip % message.len()] ^= 1 << (flip % 8);
            assert_eq!(route.open(key, nonce, &forged, &mut opened), None, "{route:?} refuses a flipped bit");
            message
        });
    let ring = sealed.next();
    assert!(sealed.all(|message| Some(message) == ring), "the routes differ");
}

/// Whether both routes give the same bytes at lengths around each of the wide one's seams.
fn agree() -> bool {
    const LENGTHS: [usize; 16] = [0, 1, 15, 16, 63, 64, 65, 112, 113, 127, 128, 300, 1420, 1472, 1473, 3000];
    let key = Secret::new(std::array::from_fn(|at| at.to_le_bytes()[0] ^ 0xa5));
    let plain: [u8; 3000] = std::array::from_fn(|at| (at * at).to_le_bytes()[1]);
    let (mut ours, mut rings, mut opened) = ([0; 3016], [0; 3016], [0; 3016]);
    LENGTHS.into_iter().all(|length| {
        let (plain, nonce) = (&plain[..length], nonce(u64::MAX / (length as u64 + 3)));
        let sealed = Route::Wide.seal(&key, &nonce, plain, &mut ours);
        let same = sealed.is_some() && sealed == Route::Ring.seal(&key, &nonce, plain, &mut rings);
        let Some(message) = ours.get_mut(..length + TAG) else { return false };
        let opens = Route::Wide.open(&key, &nonce, message, &mut opened) == Some(length);
        let right = same && *message == rings[..length + TAG] && opens && opened[..length] == *plain;
        message[length / 2] ^= 4;
        right && Route::Wide.open(&key, &nonce, message, &mut opened).is_none()
    })
}

#[inline]
fn ring_key(key: &Secret) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key.as_slice()).ok().map(LessSafeKey::new)
}

#[inline]
fn ring_nonce(nonce: &[u8; NONCE]) -> Nonce {
    Nonce::assume_unique_for_key(*nonce)
}

/// Four zero bytes and the counter (WireGuard paper §5.4: `Aead`).
#[inline]
fn nonce(counter: u64) -> [u8; NONCE] {
    let mut bytes = [0; NONCE];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests;
