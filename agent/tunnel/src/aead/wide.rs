//! ChaCha20-Poly1305 (RFC 8439) in 512-bit registers, for CPUs with AVX-512 F, BW and IFMA.
//!
//! A register holds one row of the cipher's state for four blocks. Six such groups fit the register file, 24 blocks:
//! the block that keys the authenticator and 1,472 bytes, so a whole packet at the usual MTU takes one pass. What
//! comes out is combined with the packet on its way from source to destination, so nothing is copied before.
//! The authenticator (`poly`) then takes eight blocks at a time.
//!
//! Time depends on lengths only: no branch and no index depends on a key or on data.

#![expect(unsafe_code, reason = "SIMD loads and stores take pointers")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "block numbers are cut to the words of the cipher's state"
)]

mod poly;

use std::arch::x86_64::{
    __m128i, __m512i, _mm_loadu_si128, _mm_set_epi32, _mm512_add_epi32, _mm512_broadcast_i32x4,
    _mm512_loadu_si512, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_rol_epi32, _mm512_set_epi32,
    _mm512_shuffle_epi32, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_xor_si512,
};

use subtle::ConstantTimeEq;

use super::NONCE;

const BLOCK: usize = 64;
/// Four blocks lie side by side in a register.
const GROUP: usize = 4;
/// Groups in one pass: 24 registers of state, and room for the constant rows.
const GROUPS: usize = 6;
const CONSTANTS: [u8; 16] = *b"expand 32-byte k";

/// Whether this CPU can.
pub(super) fn is_supported() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512ifma")
}

/// Seals `plain` into `out` of the same length; returns the tag.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(super) fn seal(key: &[u8; 32], nonce: &[u8; NONCE], plain: &[u8], out: &mut [u8]) -> [u8; 16] {
    let one_time = combine(key, nonce, plain, out);
    poly::tag(&one_time, out)
}

/// Opens `sealed` into `out` of the same length if `tag` is right; else `out` is zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(super) fn open(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    sealed: &[u8],
    tag: &[u8; 16],
    out: &mut [u8],
) -> bool {
    let one_time = combine(key, nonce, sealed, out);
    let right = bool::from(poly::tag(&one_time, sealed).ct_eq(tag));
    if !right {
        out.fill(0);
    }
    right
}

/// Combines `from` with the key stream into `to`, both of one length; returns the key of the authenticator.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn combine(key: &[u8; 32], nonce: &[u8; NONCE], from: &[u8], to: &mut [u8]) -> [u8; 32] {
    assert_eq!(from.len(), to.len(), "packet and room have one length");
    let blocks = 1 + from.len().div_ceil(BLOCK);
    let mut one_time = [0; BLOCK];
    let mut first = 0;
    while first < blocks {
        let groups = (blocks - first).div_ceil(GROUP).min(GROUPS);
        match groups {
            1 => pass::<1>(key, nonce, first, from, to, &mut one_time),
            2 => pass::<2>(key, nonce, first, from, to, &mut one_time),
            3 => pass::<3>(key, nonce, first, from, to, &mut one_time),
            4 => pass::<4>(key, nonce, first, from, to, &mut one_time),
            5 => pass::<5>(key, nonce, first, from, to, &mut one_time),
            _ => pass::<6>(key, nonce, first, from, to, &mut one_time),
        }
        first += groups * GROUP;
    }
    let mut key = [0; 32];
    key.copy_from_slice(&one_time[..32]);
    key
}

/// Makes the blocks from number `first` on and combines them with their part of the packet.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn pass<const N: usize>(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    first: usize,
    from: &[u8],
    to: &mut [u8],
    one_time: &mut [u8; BLOCK],
) {
    for (group, blocks) in stream::<N>(key, nonce, first).into_iter().enumerate() {
        for (lane, block) in blocks.into_iter().enumerate() {
            let number = first + group * GROUP + lane;
            let Some(at) = number.checked_sub(1).map(|before| before * BLOCK) else {
                // SAFETY: the array has the 64 bytes that are written.
                unsafe { _mm512_storeu_si512(one_time.as_mut_ptr().cast(), block) };
                continue;
            };
            let (Some(source), Some(room)) = (from.get(at..), to.get_mut(at..)) else { return };
            if source.len() >= BLOCK && room.len() >= BLOCK {
                // SAFETY: both slices were just found to have the 64 bytes that are read and written.
                unsafe {
                    let text = _mm512_loadu_si512(source.as_ptr().cast());
                    _mm512_storeu_si512(room.as_mut_ptr().cast(), _mm512_xor_si512(text, block));
                }
            } else {
                let mask = (1_u64 << source.len().min(room.len()).min(63)) - 1;
                // SAFETY: the mask has a bit for each byte that both slices have; others are not touched.
                unsafe {
                    let text = _mm512_maskz_loadu_epi8(mask, source.as_ptr().cast());
                    let mixed = _mm512_xor_si512(text, block);
                    _mm512_mask_storeu_epi8(room.as_mut_ptr().cast(), mask, mixed);
                }
                return;
            }
        }
    }
}

/// The key stream: `N` groups of four blocks (RFC 8439 §2.3).
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn stream<const N: usize>(key: &[u8; 32], nonce: &[u8; NONCE], first: usize) -> [[__m512i; GROUP]; N] {
    let (low, high) = key.split_at(16);
    let row = |bytes: &[u8]| -> __m128i {
        let bytes: &[u8; 16] = bytes.first_chunk().expect("each half of a key has 16 bytes");
        // SAFETY: the array has the 16 bytes that are read.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    };
    let constants = _mm512_broadcast_i32x4(row(&CONSTANTS));
    let (low, high) = (_mm512_broadcast_i32x4(row(low)), _mm512_broadcast_i32x4(row(high)));
    let word = |at: usize| i32::from_le_bytes([nonce[at], nonce[at + 1], nonce[at + 2], nonce[at + 3]]);
    let start = _mm_set_epi32(word(8), word(4), word(0), first as i32);
    let lanes = _mm512_set_epi32(0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0);
    let four = _mm512_broadcast_i32x4(_mm_set_epi32(0, 0, 0, 4));
    let mut last = [_mm512_add_epi32(_mm512_broadcast_i32x4(start), lanes); N];
    for at in 1..N {
        last[at] = _mm512_add_epi32(last[at - 1], four);
    }
    let (mut a, mut b, mut c, mut d) = ([constants; N], [low; N], [high; N], last);
    for _ in 0..10 {
        round(&mut a, &mut b, &mut c, &mut d);
        for at in 0..N {
            b[at] = _mm512_shuffle_epi32::<0x39>(b[at]);
            c[at] = _mm512_shuffle_epi32::<0x4e>(c[at]);
            d[at] = _mm512_shuffle_epi32::<0x93>(d[at]);
        }
        round(&mut a, &mut b, &mut c, &mut d);
        for at in 0..N {
            b[at] = _mm512_shuffle_epi32::<0x93>(b[at]);
            c[at] = _mm512_shuffle_epi32::<0x4e>(c[at]);
            d[at] = _mm512_shuffle_epi32::<0x39>(d[at]);
        }
    }
    let mut blocks = [[constants; GROUP]; N];
    for at in 0..N {
        let (a, b) = (_mm512_add_epi32(a[at], constants), _mm512_add_epi32(b[at], low));
        let (c, d) = (_mm512_add_epi32(c[at], high), _mm512_add_epi32(d[at], last[at]));
        // Rows of four blocks become four blocks of rows.
        let (ab, cd) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0x44>(c, d));
        let (ef, gh) = (_mm512_shuffle_i32x4::<0xee>(a, b), _mm512_shuffle_i32x4::<0xee>(c, d));
        blocks[at] = [
            _mm512_shuffle_i32x4::<0x88>(ab, cd),
            _mm512_shuffle_i32x4::<0xdd>(ab, cd),
            _mm512_shuffle_i32x4::<0x88>(ef, gh),
            _mm512_shuffle_i32x4::<0xdd>(ef, gh),
        ];
    }
    blocks
}

/// Four quarter rounds on each of four blocks of each group, the groups side by side (RFC 8439 §2.1).
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn round<const N: usize>(
    a: &mut [__m512i; N],
    b: &mut [__m512i; N],
    c: &mut [__m512i; N],
    d: &mut [__m512i; N],
) {
    for at in 0..N {
        a[at] = _mm512_add_epi32(a[at], b[at]);
        d[at] = _mm512_rol_epi32::<16>(_mm512_xor_si512(d[at], a[at]));
    }
    for at in 0..N {
        c[at] = _mm512_add_epi32(c[at], d[at]);
        b[at] = _mm512_rol_epi32::<12>(_mm512_xor_si512(b[at], c[at]));
    }
    for at in 0..N {
        a[at] = _mm512_add_epi32(a[at], b[at]);
        d[at] = _mm512_rol_epi32::<8>(_mm512_xor_si512(d[at], a[at]));
    }
    for at in 0..N {
        c[at] = _mm512_add_epi32(c[at], d[at]);
        b[at] = _mm512_rol_epi32::<7>(_mm512_xor_si512(b[at], c[at]));
    }
}
