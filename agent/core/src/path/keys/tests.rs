use super::{PairKeys, tag_of};
use crate::fixtures::{group, key};

const SHARED: [u8; 32] = [9; 32];

fn between(own: u8, peer: u8) -> PairKeys {
    PairKeys::derive(&group(1), &key(own), &key(peer), &SHARED)
}

#[test]
fn what_one_seals_the_other_opens() {
    let (ours, theirs) = (between(1, 2), between(2, 1));
    assert_eq!(ours.to_peer, theirs.from_peer);
    assert_eq!(ours.from_peer, theirs.to_peer);
    assert_ne!(ours.to_peer, ours.from_peer, "a frame could be turned back");
}

#[test]
fn keys_differ_by_group_and_by_pair() {
    let ours = between(1, 2).to_peer;
    assert_ne!(PairKeys::derive(&group(2), &key(1), &key(2), &SHARED).to_peer, ours);
    assert_ne!(between(1, 3).to_peer, ours);
}

// The values were computed by another implementation of BLAKE2s.
#[test]
fn derivation_is_frozen() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&tag_of(&group(1), &key(2))), "1f787d37652e4dbf");
    assert_eq!(hex(&between(1, 2).to_peer[..8]), "4fb956b26a3b1a30");
}
