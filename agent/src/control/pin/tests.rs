use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _};

use super::*;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pin: Pin,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let hash = Sha256::digest(key.subject_public_key_info());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
    Authority { issuer, pin: Pin::try_new(hash.into()).unwrap() }
}

fn leaf(authority: &Authority) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["control.example".into()]).unwrap();
    params.signed_by(&key, &authority.issuer).unwrap().der().clone()
}

fn verify(
    pins: &[&Authority],
    leaf: &CertificateDer<'_>,
    chain: &[&Authority],
    unix_s: u64,
) -> Result<(), String> {
    let pinned = Pinned {
        pins: pins.iter().map(|authority| authority.pin).collect(),
        or_system: false,
        provider: Arc::new(aws_lc_rs::default_provider()),
    };
    let chain: Vec<CertificateDer<'_>> =
        chain.iter().map(|authority| authority.issuer.der().clone()).collect();
    let name = ServerName::try_from("192.0.2.7").unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(unix_s));
    pinned.verify_server_cert(leaf, &chain, &name, &[], now).map(drop).map_err(|error| error.to_string())
}

const NOW: u64 = 1_795_323_600;

#[test]
fn a_leaf_of_the_pinned_authority_is_control_whatever_its_name() {
    let (ours, next) = (authority(), authority());
    assert_eq!(verify(&[&ours], &leaf(&ours), &[&ours], NOW), Ok(()));
    assert_eq!(verify(&[&ours, &next], &leaf(&next), &[&next], NOW), Ok(()));
}

#[test]
fn a_host_without_a_clock_still_knows_control() {
    let ours = authority();
    assert_eq!(verify(&[&ours], &leaf(&ours), &[&ours], 0), Ok(()));
    assert_eq!(verify(&[&ours], &leaf(&ours), &[&ours], 99_000_000_000), Ok(()));
}

#[test]
fn another_authority_or_a_borrowed_one_is_refused() {
    let (ours, other) = (authority(), authority());
    let foreign = verify(&[&ours], &leaf(&other), &[&other], NOW).unwrap_err();
    assert!(foreign.contains(NOT_THE_PINNED_AUTHORITY), "{foreign}");
    assert!(verify(&[&ours], &leaf(&ours), &[], NOW).is_err());
    let borrowed = verify(&[&ours], &leaf(&other), &[&ours], NOW).unwrap_err();
    assert!(borrowed.contains("does not verify"), "{borrowed}");
}

#[test]
fn der_lengths_have_their_short_and_long_forms() {
    assert_eq!(der_sequence(&[1, 2])[..2], [0x30, 2]);
    assert_eq!(der_sequence(&[0; 0x7f])[..2], [0x30, 0x7f]);
    assert_eq!(der_sequence(&[0; 0x80])[..3], [0x30, 0x81, 0x80]);
    assert_eq!(der_sequence(&[0; 300])[..4], [0x30, 0x82, 1, 44]);
}
