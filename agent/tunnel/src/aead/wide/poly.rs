//! Poly1305 (RFC 8439 §2.5) over eight blocks at a time, with 52-bit multiplications.
//!
//! A number modulo 2^130 - 5 is three limbs of 44, 44 and 42 bits. Lane `n` sums every eighth block with the eighth
//! power of the key; at the end each lane is brought to its own power and the lanes are added. The last group is
//! whole; the first has empty lanes in front instead, which count nothing.

#![expect(
    clippy::cast_possible_truncation,
    reason = "wide products are cut into limbs, which is their point"
)]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_loadu_si512, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_or_si512, _mm512_reduce_add_epi64, _mm512_set_epi64, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srli_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

const BLOCK: usize = 16;
const LANES: usize = 8;
const GROUP: usize = LANES * BLOCK;
const M44: u64 = (1 << 44) - 1;
const M42: u64 = (1 << 42) - 1;
/// The bit above a block's 128, as it lies in the third limb.
const TOP: i64 = 1 << 40;

type Limbs = [u64; 3];

/// The tag of a sealed packet without additional data: its bytes, zeros to a multiple of 16, and both lengths.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(super) fn tag(key: &[u8; 32], sealed: &[u8]) -> [u8; 16] {
    let r = clamped(key);
    let powers = powers(r);
    let mut lengths = [0; BLOCK];
    lengths[8..].copy_from_slice(&(sealed.len() as u64).to_le_bytes());

    // Blocks in all, and how many of them stand in the first group.
    let blocks = sealed.len().div_ceil(BLOCK) + 1;
    let leading = (blocks - 1) % LANES + 1;
    let empty = LANES - leading;
    let mut sum = [_mm512_setzero_si512(); 3];
    let mut buffer = [0; GROUP];
    let mut top = [TOP; LANES];
    top[..empty].fill(0);
    let mut rest = sealed;
    if blocks > LANES {
        let (first, after) = sealed.split_at(leading * BLOCK);
        buffer[empty * BLOCK..].copy_from_slice(first);
        sum = multiply(add(sum, &buffer, in_order(top)), &factor([powers[7]; LANES]));
        let each = factor([powers[7]; LANES]);
        let (groups, tail) = after.as_chunks::<GROUP>();
        // The last group holds at least the lengths, so what is whole here is never last.
        let whole = in_order([TOP; LANES]);
        for group in groups {
            sum = multiply(add(sum, group, whole), &each);
        }
        (rest, buffer, top) = (tail, [0; GROUP], [TOP; LANES]);
    }
    let at = if blocks > LANES { 0 } else { empty * BLOCK };
    buffer[at..at + rest.len()].copy_from_slice(rest);
    buffer[GROUP - BLOCK..].copy_from_slice(&lengths);
    let mut falling = powers;
    falling.reverse();
    sum = multiply(add(sum, &buffer, in_order(top)), &factor(falling));
    let limb = |limb: __m512i| _mm512_reduce_add_epi64(limb).cast_unsigned();
    finish(sum.map(limb), key)
}

/// Brings one value per block into the lanes where [`add`] puts the blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn in_order(v: [i64; LANES]) -> __m512i {
    _mm512_set_epi64(v[7], v[3], v[6], v[2], v[5], v[1], v[4], v[0])
}

/// What a sum is multiplied by: three limbs, and twenty times the upper two.
struct Factor {
    r: [__m512i; 3],
    s: [__m512i; 2],
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn factor(per_block: [Limbs; LANES]) -> Factor {
    let limb = |limb: usize, times: u64| in_order(per_block.map(|power| (power[limb] * times).cast_signed()));
    Factor { r: [limb(0, 1), limb(1, 1), limb(2, 1)], s: [limb(1, 20), limb(2, 20)] }
}

/// Adds eight blocks to the sums; `top` is the bit above each of them.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn add(sum: [__m512i; 3], group: &[u8; GROUP], top: __m512i) -> [__m512i; 3] {
    // SAFETY: the array has the 128 bytes that the two loads read.
    let (front, back) = unsafe {
        let at = group.as_ptr().cast::<__m512i>();
        (_mm512_loadu_si512(at), _mm512_loadu_si512(at.add(1)))
    };
    let (low, high) = (_mm512_unpacklo_epi64(front, back), _mm512_unpackhi_epi64(front, back));
    let m44 = _mm512_set1_epi64(M44.cast_signed());
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    [
        _mm512_add_epi64(sum[0], _mm512_and_si512(low, m44)),
        _mm512_add_epi64(sum[1], _mm512_and_si512(middle, m44)),
        _mm512_add_epi64(sum[2], _mm512_or_si512(_mm512_srli_epi64::<24>(high), top)),
    ]
}

/// Multiplies lane by lane and brings the limbs back to size: 44 bits and a little for the middle one.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn multiply(h: [__m512i; 3], by: &Factor) -> [__m512i; 3] {
    let zero = _mm512_setzero_si512();
    let Factor { r, s } = by;
    // 2^132 is 4 x 5 modulo the prime: what passes the third limb comes back twentyfold.
    let rows = [[r[0], s[1], s[0]], [r[1], r[0], s[1]], [r[2], r[1], r[0]]];
    let low = rows.map(|row| {
        let sum = _mm512_madd52lo_epu64(zero, h[0], row[0]);
        _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(sum, h[2], row[2]), h[1], row[1])
    });
    let high = rows.map(|row| {
        let sum = _mm512_madd52hi_epu64(zero, h[0], row[0]);
        _mm512_madd52hi_epu64(_mm512_madd52hi_epu64(sum, h[2], row[2]), h[1], row[1])
    });
    let (m44, m42) = (_mm512_set1_epi64(M44.cast_signed()), _mm512_set1_epi64(M42.cast_signed()));
    // Upper halves weigh 2^52: eight bits into the next limb, ten into the one past the third.
    let d0 = low[0];
    let d1 = _mm512_add_epi64(low[1], _mm512_slli_epi64::<8>(high[0]));
    let d1 = _mm512_add_epi64(d1, _mm512_srli_epi64::<44>(d0));
    let d2 = _mm512_add_epi64(low[2], _mm512_slli_epi64::<8>(high[1]));
    let d2 = _mm512_add_epi64(d2, _mm512_srli_epi64::<44>(d1));
    let over = _mm512_add_epi64(_mm512_slli_epi64::<10>(high[2]), _mm512_srli_epi64::<42>(d2));
    let five = _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over));
    let h0 = _mm512_add_epi64(_mm512_and_si512(d0, m44), five);
    let h1 = _mm512_add_epi64(_mm512_and_si512(d1, m44), _mm512_srli_epi64::<44>(h0));
    [_mm512_and_si512(h0, m44), h1, _mm512_and_si512(d2, m42)]
}

/// The multiplier, with the bits cleared that RFC 8439 §2.5 wants cleared.
fn clamped(key: &[u8; 32]) -> Limbs {
    let bits = word(key, 0) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
    [bits as u64 & M44, (bits >> 44) as u64 & M44, (bits >> 88) as u64]
}

/// The first eight powers.
fn powers(r: Limbs) -> [Limbs; LANES] {
    let r2 = scalar(r, r);
    let (r3, r4) = (scalar(r2, r), scalar(r2, r2));
    [r, r2, r3, r4, scalar(r4, r), scalar(r4, r2), scalar(r4, r3), scalar(r4, r4)]
}

/// Multiplies two numbers.
#[inline]
fn scalar(a: Limbs, b: Limbs) -> Limbs {
    let product = |x: u64, y: u64| u128::from(x) * u128::from(y);
    let (s1, s2) = (b[1] * 20, b[2] * 20);
    let d0 = product(a[0], b[0]) + product(a[1], s2) + product(a[2], s1);
    let d1 = product(a[0], b[1]) + product(a[1], b[0]) + product(a[2], s2) + (d0 >> 44);
    let d2 = product(a[0], b[2]) + product(a[1], b[1]) + product(a[2], b[0]) + (d1 >> 44);
    let h0 = (d0 as u64 & M44) + (d2 >> 42) as u64 * 5;
    [h0 & M44, (d1 as u64 & M44) + (h0 >> 44), d2 as u64 & M42]
}

/// Reduces fully and adds the second half of the key.
fn finish(h: Limbs, key: &[u8; 32]) -> [u8; 16] {
    let [mut h0, mut h1, mut h2] = h;
    for _ in 0..3 {
        h1 += h0 >> 44;
        h0 &= M44;
        h2 += h1 >> 44;
        h1 &= M44;
        h0 += (h2 >> 42) * 5;
        h2 &= M42;
    }
    h1 += h0 >> 44;
    h0 &= M44;
    // Less the prime, if that is not negative; chosen without a branch.
    let g0 = h0 + 5;
    let g1 = h1 + (g0 >> 44);
    let g2 = (h2 + (g1 >> 44)).wrapping_sub(1 << 42);
    let keep = (g2 >> 63).wrapping_neg();
    let choose = |h: u64, g: u64| u128::from((h & keep) | (g & !keep));
    let value = choose(h0, g0 & M44) | choose(h1, g1 & M44) << 44 | choose(h2, g2 & M42) << 88;
    value.wrapping_add(word(key, 16)).to_le_bytes()
}

fn word(key: &[u8; 32], at: usize) -> u128 {
    key[at..].first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::wide::is_supported;
    use poly1305::Poly1305;
    use poly1305::universal_hash::KeyInit;

    /// Carries are longest where all bits are set; RFC 8439 §A.3 has such cases for the same reason.
    #[test]
    fn extreme_keys_and_messages_agree_with_another_implementation() {
        if !is_supported() {
            return;
        }
        let mut one = [0; 32];
        one[0] = 1;
        for key in [[0xff; 32], [0; 32], one, [0x0f; 32], [0xfc; 32]] {
            for byte in [0xff, 0, 0xfb, 0x80] {
                for length in 0..700 {
                    let sealed = vec![byte; length];
                    let mut padded = sealed.clone();
                    padded.resize(length.next_multiple_of(16), 0);
                    padded.extend_from_slice(&0_u64.to_le_bytes());
                    padded.extend_from_slice(&(length as u64).to_le_bytes());
                    let expected = Poly1305::new(&key.into()).compute_unpadded(&padded);
                    // SAFETY: the CPU was found to have the features at the top.
                    let found = unsafe { tag(&key, &sealed) };
                    assert_eq!(found[..], expected[..], "{length} times {byte:#x} under {key:x?}");
                }
            }
        }
    }
}
