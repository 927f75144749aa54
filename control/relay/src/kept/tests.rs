use std::os::unix::fs::PermissionsExt as _;

use ed25519_dalek::{Signer as _, SigningKey};
use lacis_proto::{GroupId, PublicKey, Signature};

use super::*;

const NOW: u64 = 1_795_323_600_000;

fn control(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn key_of(control: &SigningKey) -> IdentityKey {
    IdentityKey::try_new(control.verifying_key().to_bytes()).unwrap()
}

fn said(by: &SigningKey, n: u8, until_ms: u64) -> RelayRevocation {
    let mut said = RelayRevocation {
        control: ControlId::of(&key_of(by)),
        group: GroupId::from_random([1; 16]),
        key: PublicKey::try_new([n; 32]).unwrap(),
        before_ms: NOW,
        until_ms,
        signature: Signature([0; 64]),
    };
    said.signature = Signature(by.sign(&said.signed_bytes()).to_bytes());
    said
}

/// A file in a folder of its own.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked");
    (folder, path)
}

fn open(path: &Path) -> (Kept, Found) {
    Kept::open(path, &[key_of(&control(42))], NOW).unwrap()
}

fn keys(found: &Found) -> Vec<u8> {
    let mut keys: Vec<u8> = found.revocations.iter().map(|said| said.key.as_bytes()[0]).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn what_was_appended_is_there_again_without_doubles_and_without_what_is_over() {
    let (_folder, path) = place();
    let (mut kept, found) = open(&path);
    assert_eq!((keys(&found), found.damaged), (Vec::new(), 0));
    let by = control(42);
    let all = [said(&by, 1, NOW + 1), said(&by, 2, NOW + 1), said(&by, 3, NOW - limits::TOKEN_SLACK_MS)];
    let all = all.map(|said| said.to_bytes());
    kept.append(&all.into(), NOW).unwrap();
    kept.append(&[all[0]].into(), NOW).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for _ in 0..2 {
        let (_, found) = open(&path);
        assert_eq!((keys(&found), found.damaged), (vec![1, 2], 0));
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), 2 * REVOCATION_BYTES as u64);
}

#[test]
fn a_crash_in_the_middle_of_a_write_costs_what_was_not_answered_and_no_more() {
    let (_folder, path) = place();
    let (mut kept, _) = open(&path);
    let by = control(42);
    kept.append(&[1, 2].map(|n| said(&by, n, NOW + 1).to_bytes()).into(), NOW).unwrap();
    let whole = fs::read(&path).unwrap();
    for cut in 1..REVOCATION_BYTES {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let (mut kept, found) = open(&path);
        assert_eq!((keys(&found).len(), found.damaged), (1, 1), "cut by {cut}");
        kept.append(&[said(&by, 3, NOW + 1).to_bytes()].into(), NOW).unwrap();
        assert_eq!(keys(&open(&path).1).len(), 2, "what follows stands in its place");
    }
}

#[test]
fn garbage_and_the_word_of_strangers_are_counted_and_hide_nothing_else() {
    let (_folder, path) = place();
    let (mut kept, _) = open(&path);
    let by = control(42);
    let foreign = said(&control(43), 9, NOW + 1);
    let all = [said(&by, 1, NOW + 1), foreign, said(&by, 2, NOW + 1)].map(|said| said.to_bytes());
    kept.append(&all.into(), NOW).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(32).position(|part| part == [1; 32]).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (_, found) = open(&path);
    assert_eq!((keys(&found), found.damaged), (vec![2], 2));
    fs::write(&path, b"this is no file of revocations").unwrap();
    let (_, found) = open(&path);
    assert_eq!((keys(&found), found.damaged), (Vec::new(), 1));
}

#[test]
fn a_file_that_cannot_be_written_is_no_start() {
    let (folder, _) = place();
    assert!(Kept::open(&folder.path().join("none/revoked"), &[], NOW).is_err());
    assert!(Kept::open(folder.path(), &[], NOW).is_err(), "a folder");
}
