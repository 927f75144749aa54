use lacis_proto::PublicKey;
use proptest::prelude::*;

use super::{PROBE, open, seal, sender};
use crate::{
    fixtures::{group, key},
    path::{
        body::{Body, Nature, Offer, Punch},
        candidate::{Candidate, CandidateKind, Mapping},
        keys::{PairKeys, tag_of},
    },
};

fn keys(own: &PublicKey, peer: &PublicKey) -> PairKeys {
    PairKeys::derive(&group(1), own, peer, &[3; 32])
}

fn sealed(body: &Body) -> Vec<u8> {
    let keys = keys(&key(1), &key(2));
    seal(&keys.to_peer, tag_of(&group(1), &key(1)), &[5; 24], 7, 8, body)
}

fn full_offer() -> Body {
    let addr = "[2001:db8::1]:51820".parse().unwrap();
    let kinds = [CandidateKind::Static, CandidateKind::Host, CandidateKind::Predicted];
    Body::Candidates(Offer {
        revision: 3,
        nat: Nature {
            mapping: Mapping::AddressDependent,
            step: Some(-2),
            udp: true,
            mapped: false,
            v6: true,
            birthday: true,
            ports: Some((20_000, 20_999)),
        },
        candidates: (0..16).map(|n| Candidate { kind: kinds[n % 3], addr }).collect(),
        relays: vec![([1; 8], 20), ([2; 8], 30), ([3; 8], 65_535)],
    })
}

fn every_body() -> Vec<Body> {
    let punch = Punch { round: 2, revision: 5, has: 6, wait_ms: 35_000 };
    vec![
        Body::Ping { transaction: [1; 12], moved: true, longer: 0 },
        Body::Pong { transaction: [2; 12], seen: "192.0.2.1:7".parse().unwrap() },
        Body::Pong { transaction: [2; 12], seen: "[2001:db8::2]:8".parse().unwrap() },
        full_offer(),
        Body::Punch(punch),
        Body::PunchAck(punch),
        Body::Bye,
        Body::Birthday { attempt: 1 },
        Body::BirthdayAck { attempt: 2 },
        Body::Ping { transaction: [3; 12], moved: false, longer: 1_432 - PROBE },
    ]
}

#[test]
fn every_message_is_opened_as_it_was_sealed() {
    let theirs = keys(&key(2), &key(1));
    for body in every_body() {
        let frame = sealed(&body);
        assert_eq!(sender(&frame), Some(tag_of(&group(1), &key(1))));
        let opened = open(&theirs.from_peer, &frame).unwrap();
        assert_eq!((opened.boot, opened.seq, opened.body), (7, 8, body));
    }
}

#[test]
fn a_probe_is_as_long_as_its_answer_and_no_message_is_longer_than_600_bytes() {
    let lengths: Vec<usize> = every_body().iter().map(|body| sealed(body).len()).collect();
    let (long_probe, others) = lengths.split_last().unwrap();
    assert_eq!(others[..3], [usize::from(PROBE); 3]);
    assert!(others.iter().all(|length| *length <= 600), "{lengths:?}");
    assert_eq!(*long_probe, 1_432, "as long as a sealed packet of 1,400 bytes");
}

#[test]
fn a_frame_of_another_sender_or_turned_back_is_not_opened() {
    let frame = sealed(&Body::Bye);
    let (ours, stranger) = (keys(&key(1), &key(2)), keys(&key(3), &key(1)));
    assert!(open(&ours.from_peer, &frame).is_none(), "the sender opens its own frame");
    assert!(open(&stranger.from_peer, &frame).is_none());
}

#[test]
fn a_change_of_any_bit_is_noticed() {
    let theirs = keys(&key(2), &key(1));
    let frame = sealed(&Body::Bye);
    for at in 0..frame.len() * 8 {
        let mut forged = frame.clone();
        forged[at / 8] ^= 1 << (at % 8);
        assert!(open(&theirs.from_peer, &forged).is_none(), "bit {at}");
    }
}

#[test]
fn truncated_frames_are_not_opened() {
    let theirs = keys(&key(2), &key(1));
    let frame = sealed(&full_offer());
    assert!((0..frame.len()).all(|length| open(&theirs.from_peer, &frame[..length]).is_none()));
}

proptest! {
    #[test]
    fn any_content_is_read_or_refused_and_read_again_as_written(number in 0_u8..9, content in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Some(body) = Body::read(number, &content) {
            let mut written = Vec::new();
            body.write(&mut written);
            prop_assert_eq!(Body::read(number, &written), Some(body));
        }
    }
}
