use super::*;
use proptest::prelude::*;
use zeroize::Zeroizing;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The oracle: RustCrypto's cipher, which shares no code with ring.
fn oracle(key: &[u8; 32], counter: u64, plain: &[u8]) -> Vec<u8> {
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit, aead::AeadInPlace};
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    let mut text = plain.to_vec();
    let tag =
        ChaCha20Poly1305::new(key.into()).encrypt_in_place_detached(&nonce.into(), b"", &mut text).unwrap();
    text.extend_from_slice(&tag);
    text
}

fn routes() -> impl Iterator<Item = Route> {
    [Route::Ring, Route::Wide].into_iter().filter(|route| route.is_possible())
}

#[test]
fn the_key_stream_is_that_of_rfc_8439() {
    // Appendix A.1, vectors 1 and 2: key and nonce of zeros; the tag's key is the first half of block 0.
    let expected = "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed\
                    29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f";
    for route in routes() {
        let mut out = [0; 64 + TAG];
        route.seal(&Zeroizing::new([0; 32]), &nonce(0), &[0; 64], &mut out).unwrap();
        assert_eq!(out[..64], unhex(expected), "{route:?}");
    }
}

/// The key of RFC 8439 §A.5; every length up to a large packet, both directions, and a flipped bit.
#[test]
fn all_lengths_agree_with_the_oracle() {
    let key = unhex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0");
    let key = Zeroizing::new(key.try_into().unwrap());
    let plain: Vec<u8> = (0..2048_usize).map(|n| (n * 7 + n / 256).to_le_bytes()[0]).collect();
    let (mut sealed, mut opened) = (vec![0; 2048 + TAG], vec![0; 2048 + TAG]);
    for length in 0..=2048 {
        let counter = (length as u64).wrapping_mul(0x0123_4567_89ab_cdef);
        let expected = oracle(&key, counter, &plain[..length]);
        for route in routes() {
            let n = route.seal(&key, &nonce(counter), &plain[..length], &mut sealed).unwrap();
            assert_eq!(sealed[..n], expected, "{length} bytes, {route:?}");
            assert_eq!(route.open(&key, &nonce(counter), &sealed[..n], &mut opened), Some(length));
            assert_eq!(opened[..length], plain[..length]);
            sealed[length / 2] ^= 1;
            assert_eq!(route.open(&key, &nonce(counter), &sealed[..n], &mut opened), None);
        }
    }
}

#[test]
fn jumbo_packets_and_odd_alignments_agree_with_the_oracle() {
    let key = Zeroizing::new([0x5a; 32]);
    let plain = vec![0xc3; 65_600];
    let mut sealed = vec![0; 65_700];
    for (length, shift) in [(9000, 1), (8999, 7), (16_384, 33), (65_535, 63)] {
        let expected = oracle(&key, 5, &plain[shift..shift + length]);
        for route in routes() {
            let n = route.seal(&key, &nonce(5), &plain[shift..shift + length], &mut sealed[shift..]).unwrap();
            assert_eq!(sealed[shift..shift + n], expected, "{length} bytes, {route:?}");
        }
    }
}

#[test]
fn the_routes_agree_where_both_are_possible() {
    assert_eq!(*WIDE, Route::Wide.is_possible());
}

#[test]
fn nothing_is_sealed_or_opened_without_room() {
    let key = Zeroizing::new([1; 32]);
    let mut out = [0; 64];
    for route in routes() {
        assert_eq!(route.seal(&key, &nonce(0), &[0; 60], &mut out), None);
        assert_eq!(route.open(&key, &nonce(0), &[0; 81], &mut out), None);
        assert_eq!(route.open(&key, &nonce(0), &[0; 15], &mut out), None);
    }
}

/// Project Wycheproof's vectors, as far as they have no additional data: sealed as they say, and opened only whole.
#[test]
fn the_vectors_of_wycheproof_hold() {
    let mut count = 0;
    for line in include_str!("wycheproof.txt").lines().filter(|line| !line.starts_with('#')) {
        let [number, result, key, nonce, plain, sealed, tag] =
            line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let (key, nonce) = (unhex(key).try_into().unwrap(), unhex(nonce).try_into().unwrap());
        let (key, plain) = (Zeroizing::new(key), unhex(plain));
        let message = [unhex(sealed), unhex(tag)].concat();
        let mut out = vec![0; message.len()];
        for route in routes() {
            let opened = route.open(&key, &nonce, &message, &mut out);
            assert_eq!(opened.is_some(), result == "valid", "vector {number}, {route:?}");
            if let Some(length) = opened {
                assert_eq!(out[..length], plain, "vector {number}, {route:?}");
                route.seal(&key, &nonce, &plain, &mut out).unwrap();
                assert_eq!(out, message, "vector {number}, {route:?}");
            }
        }
        count += 1;
    }
    assert_eq!(count, 45);
}

proptest! {
    #[test]
    fn what_is_sealed_opens_under_the_same_counter_only(key: [u8; 32], counter: u64, plain in prop::collection::vec(any::<u8>(), 0..4000)) {
        let key = Zeroizing::new(key);
        let (mut sealed, mut opened) = (vec![0; plain.len() + TAG], vec![0; plain.len() + TAG]);
        for route in routes() {
            let n = route.seal(&key, &nonce(counter), &plain, &mut sealed).unwrap();
            prop_assert_eq!(route.open(&key, &nonce(counter), &sealed[..n], &mut opened), Some(plain.len()));
            prop_assert_eq!(&opened[..plain.len()], &plain[..]);
            prop_assert_eq!(route.open(&key, &nonce(counter ^ 1), &sealed[..n], &mut opened), None);
        }
    }

    #[test]
    fn soup_never_opens_and_never_panics(key: [u8; 32], counter: u64, soup: Vec<u8>) {
        let mut out = vec![0; soup.len()];
        for route in routes() {
            prop_assert_eq!(route.open(&Zeroizing::new(key), &nonce(counter), &soup, &mut out), None);
        }
    }
}
