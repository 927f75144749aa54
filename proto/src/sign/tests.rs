use ed25519_dalek::{Signer as _, SigningKey};

use super::*;

fn key() -> (SigningKey, IdentityKey) {
    let key = SigningKey::from_bytes(&[42; 32]);
    let public = IdentityKey::try_new(key.verifying_key().to_bytes()).unwrap();
    (key, public)
}

#[test]
fn every_field_of_a_request_is_covered() {
    let (key, public) = key();
    let bytes = request_bytes("POST", "/agent/v1/watch", 1_795_323_600_000, b"{}", "aud");
    let signature = Signature(key.sign(&bytes).to_bytes());
    assert_eq!(verify(&public, &bytes, &signature), Ok(()));
    for other in [
        request_bytes("PUT", "/agent/v1/watch", 1_795_323_600_000, b"{}", "aud"),
        request_bytes("POST", "/agent/v1/watch?x", 1_795_323_600_000, b"{}", "aud"),
        request_bytes("POST", "/agent/v1/watch", 1_795_323_600_001, b"{}", "aud"),
        request_bytes("POST", "/agent/v1/watch", 1_795_323_600_000, b"{ }", "aud"),
        request_bytes("POST", "/agent/v1/watch", 1_795_323_600_000, b"{}", "other"),
    ] {
        assert_eq!(verify(&public, &other, &signature), Err(SignatureError));
    }
}

#[test]
fn moving_a_byte_between_fields_changes_what_is_signed() {
    assert_ne!(request_bytes("A", "BC", 0, b"", ""), request_bytes("AB", "C", 0, b"", ""));
}

#[test]
fn an_authorization_survives_its_text() {
    let (_, public) = key();
    for signer in [Signer::Identity(public), Signer::Node(NodeId::from_random([1; 16]))] {
        let header = Authorization { signer, unix_ms: 17, signature: Signature([9; 64]) };
        assert_eq!(header.to_string().parse(), Ok(header));
    }
    for bad in ["", "Node", "Node x:1:y", "Bearer x", "Node node_1:1:", "Identity :::"] {
        assert!(bad.parse::<Authorization>().is_err(), "{bad}");
    }
}

#[test]
fn a_key_that_is_no_point_verifies_nothing() {
    let no_point = IdentityKey::try_new([2; 32]).unwrap();
    assert!(verify(&no_point, b"", &Signature([0; 64])).is_err());
}
