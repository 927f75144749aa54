//! Hash, key derivation and sealing (WireGuard paper §5.4: `Hash`, `Mac`, `Hmac`, `Kdf`, `Aead`, `Xaead`).

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac};
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use hmac::SimpleHmac;
use zeroize::Zeroizing;

use super::Secret;

/// Length of an authentication tag.
pub(super) const TAG: usize = 16;

/// Length of `plain` bytes once sealed.
pub(super) const fn sealed_length(plain: usize) -> usize {
    plain + TAG
}

/// BLAKE2s (RFC 7693) over the parts, one after the other.
pub(super) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Blake2s256::default();
    for part in parts {
        state.update(part);
    }
    state.finalize_fixed().into()
}

/// Keyed BLAKE2s with 16 bytes of output. The key has 16 or 32 bytes.
pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut state =
        <Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("BLAKE2s takes keys of up to 32 bytes");
    for part in parts {
        Update::update(&mut state, part);
    }
    state.finalize_fixed().into()
}

/// HMAC (RFC 2104) over BLAKE2s.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Secret {
    let mut state =
        <SimpleHmac<Blake2s256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        Update::update(&mut state, part);
    }
    Zeroizing::new(state.finalize_fixed().into())
}

/// HKDF (RFC 5869) with one output.
pub(super) fn kdf1(chain: &Secret, input: &[u8]) -> Secret {
    let extracted = hmac(chain, &[input]);
    hmac(&extracted, &[&[1]])
}

/// HKDF with two outputs.
pub(super) fn kdf2(chain: &Secret, input: &[u8]) -> (Secret, Secret) {
    let extracted = hmac(chain, &[input]);
    let first = hmac(&extracted, &[&[1]]);
    let second = hmac(&extracted, &[first.as_slice(), &[2]]);
    (first, second)
}

/// HKDF with three outputs.
pub(super) fn kdf3(chain: &Secret, input: &[u8]) -> (Secret, Secret, Secret) {
    let extracted = hmac(chain, &[input]);
    let first = hmac(&extracted, &[&[1]]);
    let second = hmac(&extracted, &[first.as_slice(), &[2]]);
    let third = hmac(&extracted, &[second.as_slice(), &[3]]);
    (first, second, third)
}

/// Seals `field`, whose last [`TAG`] bytes take the tag, with ChaCha20-Poly1305 under a key that is used once.
pub(super) fn seal(key: &Secret, hash: &[u8; 32], field: &mut [u8]) {
    let (plain, tag) = field.split_at_mut(field.len() - TAG);
    let sealed = ChaCha20Poly1305::new(key.as_slice().into())
        .encrypt_in_place_detached(&[0; 12].into(), hash, plain)
        .expect("a handshake field is short");
    tag.copy_from_slice(&sealed);
}

/// Opens `field` of `N + 16` bytes.
pub(super) fn open<const N: usize>(key: &Secret, hash: &[u8; 32], field: &[u8]) -> Option<[u8; N]> {
    let (sealed, tag) = field.split_at_checked(N)?;
    let mut plain: [u8; N] = sealed.try_into().ok()?;
    let tag: [u8; TAG] = tag.try_into().ok()?;
    ChaCha20Poly1305::new(key.as_slice().into())
        .decrypt_in_place_detached(&[0; 12].into(), hash, &mut plain, &tag.into())
        .ok()?;
    Some(plain)
}

/// Seals a cookie with XChaCha20-Poly1305.
pub(super) fn seal_cookie(key: &[u8; 32], nonce: &[u8; 24], about: &[u8; 16], cookie: [u8; 16]) -> [u8; 32] {
    let mut sealed = [0; 32];
    sealed[..16].copy_from_slice(&cookie);
    let tag = XChaCha20Poly1305::new(key.into())
        .encrypt_in_place_detached(nonce.into(), about, &mut sealed[..16])
        .expect("a cookie is short");
    sealed[16..].copy_from_slice(&tag);
    sealed
}

/// Opens a cookie.
pub(super) fn open_cookie(
    key: &[u8; 32],
    nonce: &[u8; 24],
    about: &[u8; 16],
    sealed: &[u8; 32],
) -> Option<[u8; 16]> {
    let (mut cookie, mut tag) = ([0; 16], [0; TAG]);
    cookie.copy_from_slice(&sealed[..16]);
    tag.copy_from_slice(&sealed[16..]);
    XChaCha20Poly1305::new(key.into())
        .decrypt_in_place_detached(nonce.into(), about, &mut cookie, &tag.into())
        .ok()?;
    Some(cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_hash_is_that_of_rfc_7693() {
        let expected = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982";
        assert_eq!(hex(&hash(&[b"abc"])), expected);
        assert_eq!(hex(&hash(&[b"a", b"", b"bc"])), expected);
    }

    /// RFC 7693 §4, the sequence of Appendix E: every length of input and key folded into one value.
    #[test]
    fn the_keyed_hash_has_the_chosen_length_and_depends_on_the_key() {
        let key: Vec<u8> = (0..32).collect();
        assert_ne!(mac(&key, &[b"x"]), mac(&key[..16], &[b"x"]));
        assert_eq!(mac(&key, &[b"x", b"y"]), mac(&key, &[b"xy"]));
        assert_ne!(mac(&key, &[b"xy"])[..], hash(&[b"xy"])[..16]);
    }

    #[test]
    fn hmac_follows_its_definition() {
        let key = [0x0b; 32];
        let pad =
            |byte: u8| -> Vec<u8> { (0..64).map(|at| byte ^ key.get(at).copied().unwrap_or(0)).collect() };
        let inner = hash(&[&pad(0x36), b"Hi There"]);
        assert_eq!(*hmac(&key, &[b"Hi ", b"There"]), hash(&[&pad(0x5c), &inner]));
    }

    #[test]
    fn derived_keys_follow_rfc_5869() {
        let chain = Zeroizing::new([7; 32]);
        let (a, b, c) = kdf3(&chain, b"input");
        assert_eq!((a.clone(), b.clone()), kdf2(&chain, b"input"));
        assert_eq!(a, kdf1(&chain, b"input"));
        let extracted = hmac(&chain, &[b"input"]);
        assert_eq!(c, hmac(&extracted, &[b.as_slice(), &[3]]));
    }

    /// draft-irtf-cfrg-xchacha-03 §A.3.1 checks the crate; here the two directions must agree and see every bit.
    #[test]
    fn a_cookie_opens_only_with_its_key_nonce_and_subject() {
        let (key, nonce, about, cookie) = ([1; 32], [2; 24], [3; 16], [4; 16]);
        let sealed = seal_cookie(&key, &nonce, &about, cookie);
        assert_eq!(open_cookie(&key, &nonce, &about, &sealed), Some(cookie));
        assert_eq!(open_cookie(&[9; 32], &nonce, &about, &sealed), None);
        assert_eq!(open_cookie(&key, &[9; 24], &about, &sealed), None);
        assert_eq!(open_cookie(&key, &nonce, &[9; 16], &sealed), None);
        for bit in 0..256 {
            let mut bent = sealed;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_cookie(&key, &nonce, &about, &bent), None);
        }
    }
}
