use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::*;

fn key() -> PublicKey {
    PublicKey::try_new([7; 32]).unwrap()
}

/// Writes a certificate for a name and its key.
fn give(folder: &Path, name: &str) -> (Given, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let given = Given { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    fs::write(&given.certificate, made.cert.pem()).unwrap();
    fs::write(&given.key, made.signing_key.serialize_pem()).unwrap();
    (given, made.cert.der().clone())
}

fn shown(certificate: &Certificate) -> CertificateDer<'static> {
    certificate.leaf.current().cert[0].clone()
}

#[tokio::test]
async fn a_relay_keeps_its_authority_and_thereby_its_pin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut pins = Vec::new();
    for _ in 0..2 {
        let held = DataFolder::open(&path).unwrap();
        let certificate = Certificate::open(&held, None, &key()).await.unwrap();
        pins.push(certificate.pin().unwrap());
        let before = shown(&certificate);
        certificate.renew(clock::unix_ms() + 30 * 86_400_000).unwrap();
        assert_ne!(shown(&certificate), before);
    }
    assert_eq!(pins[0], pins[1]);
}

#[tokio::test]
async fn a_certificate_that_is_given_is_shown_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let held = DataFolder::open(&folder.path().join("state")).unwrap();
    let (given, first) = give(folder.path(), "relay.example");
    let certificate = Certificate::open(&held, Some(given.clone()), &key()).await.unwrap();
    assert_eq!((certificate.pin(), shown(&certificate)), (None, first));
    let (_, second) = give(folder.path(), "relay.example");
    certificate.renew(clock::unix_ms()).unwrap();
    assert_eq!(shown(&certificate), second);
    fs::write(&given.certificate, "garbage").unwrap();
    assert!(certificate.renew(clock::unix_ms()).is_err());
    assert_eq!(shown(&certificate), second, "what cannot be read changes nothing");
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let held = DataFolder::open(&folder.path().join("state")).unwrap();
    let (given, _) = give(folder.path(), "relay.example");
    let other = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap();
    for key_text in [other.signing_key.serialize_pem(), "garbage".to_owned()] {
        fs::write(&given.key, key_text).unwrap();
        let refused = Certificate::open(&held, Some(given.clone()), &key()).await.err().unwrap();
        assert!(refused.to_string().contains("key.pem"), "{refused}");
    }
    fs::remove_file(&given.certificate).unwrap();
    let refused = Certificate::open(&held, Some(given), &key()).await.err().unwrap();
    assert!(refused.to_string().contains("cert.pem"), "{refused}");
}
