//! The internet checksum (RFC 1071), in partial sums that add up.
//!
//! A partial sum is the plain sum of 32-bit words in host order. Sums of parts that begin at even offsets add without
//! carry handling: 2^32 words fit. [`fold`] brings one down to 16 bits, still in host order, so that storing it with
//! `to_ne_bytes` gives the bytes of the wire.
#![expect(unsafe_code, reason = "calling a function compiled for AVX2 after asking the CPU")]

/// Returns the partial sum of `bytes`; an odd last byte counts as if a zero followed.
#[inline]
pub(crate) fn partial(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= 128 && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU was just found to have AVX2, the function's only demand.
        return unsafe { partial_avx2(bytes) };
    }
    lanes(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn partial_avx2(bytes: &[u8]) -> u64 {
    lanes(bytes)
}

/// Sums in sixteen independent lanes, a shape that compilers turn into vector code.
#[inline(always)]
fn lanes(bytes: &[u8]) -> u64 {
    let mut lanes = [0_u64; 16];
    let (chunks, rest) = bytes.as_chunks::<64>();
    for chunk in chunks {
        let (words, _) = chunk.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let (words, tail) = rest.as_chunks::<4>();
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    lanes.iter().sum::<u64>() + sum + u64::from(u32::from_ne_bytes(last))
}

/// Returns the partial sum of one 16-bit word given in network order of value.
#[inline]
pub(crate) fn word(value: u16) -> u64 {
    u64::from(u16::from_ne_bytes(value.to_be_bytes()))
}

/// Folds a partial sum to 16 bits, not complemented.
#[inline]
pub(crate) fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) as u16
}

/// Returns the bytes of the checksum that covers `sum`.
#[inline]
pub(crate) fn finish(sum: u64) -> [u8; 2] {
    (!fold(sum)).to_ne_bytes()
}

/// Whether a sum that includes its own checksum is right.
#[inline]
pub(crate) fn verifies(sum: u64) -> bool {
    fold(sum) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 §4.1, word by word.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(partial(&bytes)).to_ne_bytes(), [0xdd, 0xf2]);
    }

    #[test]
    fn a_word_counts_like_its_bytes() {
        assert_eq!(fold(word(0x1234)), fold(partial(&[0x12, 0x34])));
    }

    proptest::proptest! {
        #[test]
        fn every_length_agrees_with_the_reference(bytes: Vec<u8>, long in 0_usize..3000) {
            for bytes in [bytes, (0..long).map(|i| u8::try_from(i * 37 % 251).unwrap()).collect()] {
                let expected = reference(&bytes);
                let found = u16::from_be_bytes(fold(partial(&bytes)).to_ne_bytes());
                // Zero has two forms in one's complement.
                proptest::prop_assert!(found == expected || (found ^ expected) == 0xffff && (found == 0 || expected == 0));
                proptest::prop_assert_eq!(fold(lanes(&bytes)), fold(partial(&bytes)));
            }
        }

        #[test]
        fn parts_at_even_offsets_add_up(bytes: Vec<u8>, cut in 0_usize..64) {
            let cut = (cut * 2).min(bytes.len() & !1);
            let (a, b) = bytes.split_at(cut);
            proptest::prop_assert_eq!(fold(partial(a) + partial(b)), fold(partial(&bytes)));
        }
    }
}
