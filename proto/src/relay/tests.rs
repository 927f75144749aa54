use std::net::SocketAddr;

use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

use super::*;
use crate::{ControlId, GroupId, IdentityKey, PublicKey, Signature};

fn group() -> GroupId {
    GroupId::parse("ng_0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d").unwrap()
}

fn key(n: u8) -> PublicKey {
    PublicKey::try_new([n; 32]).unwrap()
}

fn keys() -> Keys {
    Keys::derive(&[9; 32], &group(), &key(1), &key(2))
}

fn source() -> SocketAddr {
    ([192, 0, 2, 1], 4000).into()
}

fn packet(frame: Frame<'_>) -> Packet<'_> {
    Packet { lease: 0x0102_0304, address: RelayAddress(0x1112_1314_1516_1718), frame }
}

fn every_frame() -> Vec<(Frame<'static>, usize)> {
    let ack = Ack { counter: 7, observed: source(), lifetime_s: 120 };
    let hello = Hello { counter: 7, cookie: [3; 16], token: &[5; 156], first: None };
    vec![
        (Frame::Data(b"payload"), 23),
        (Frame::Data(b""), 16),
        (Frame::Hello(hello), 214),
        (Frame::Hello(Hello { first: Some((RelayAddress(1), b"payload")), ..hello }), 229),
        (Frame::HelloAck(ack), 60),
        (Frame::HelloRetry(Retry { echo: [1; 16], cookie: [2; 16] }), 48),
        (Frame::Refresh(Refresh { counter: 8, cookie: [0; 16] }), 64),
        (Frame::RefreshAck(Ack { observed: "[2001:db8::1]:5".parse().unwrap(), ..ack }), 60),
        (Frame::NotBound, 16),
        (Frame::PeerUnknown, 16),
        (Frame::Probe, 40),
        (Frame::ProbeAck(source()), 34),
        (Frame::GoAway(GoAway { counter: 9, within_ms: 3_000 }), 44),
        (Frame::Block(Block { counter: 9, for_s: 60 }), 44),
        (Frame::Revoke(&[7; REVOCATION_BYTES]), 160),
        (Frame::RevokeAck, 16),
    ]
}

#[test]
fn frames_have_the_lengths_of_the_table_and_read_as_they_were_written() {
    for (frame, length) in every_frame() {
        let bytes = packet(frame).to_bytes();
        assert_eq!(bytes.len(), length, "{frame:?}");
        assert_eq!(Packet::parse(&bytes), Ok(packet(frame)));
    }
}

#[test]
fn no_frame_is_read_from_more_or_fewer_bytes_than_it_has() {
    for (frame, length) in every_frame() {
        let mut bytes = packet(frame).to_bytes();
        let open_ended = matches!(frame, Frame::Data(_) | Frame::Hello(Hello { first: Some(_), .. }));
        bytes.push(0);
        assert!(open_ended || Packet::parse(&bytes).is_err(), "{frame:?} and a byte");
        for cut in 0..length {
            let cut = Packet::parse(&bytes[..cut]);
            assert!(cut.is_err() || cut != Ok(packet(frame)), "{frame:?} cut");
        }
    }
}

#[test]
fn a_header_with_another_magic_kind_or_reserved_byte_is_none() {
    let good = header(Kind::Data, 1, RelayAddress(2));
    assert_eq!(Header::parse(&good).map(Header::to_bytes), Some(good));
    for (at, value) in [(0, 0x0D), (1, 0), (1, 15), (2, 1), (3, 1)] {
        let mut bytes = good;
        bytes[at] = value;
        assert_eq!(Header::parse(&bytes), None, "byte {at} is {value}");
    }
    for kind in Kind::ALL {
        assert_eq!(Kind::of(kind as u8), Some(kind));
    }
}

#[test]
fn no_answer_is_longer_than_what_it_answers() {
    let length = |frame: Frame<'_>| packet(frame).to_bytes().len();
    let ack = Ack { counter: 0, observed: source(), lifetime_s: 0 };
    let retry = length(Frame::HelloRetry(Retry { echo: [0; 16], cookie: [0; 16] }));
    let refresh = length(Frame::Refresh(Refresh { counter: 0, cookie: [0; 16] }));
    let hello =
        length(Frame::Hello(Hello { counter: 0, cookie: [0; 16], token: &[0; TOKEN_BYTES], first: None }));
    assert!(length(Frame::HelloAck(ack)) <= hello && retry <= hello);
    assert!(length(Frame::RefreshAck(ack)) <= refresh && retry <= refresh);
    assert!(length(Frame::ProbeAck(source())) <= length(Frame::Probe));
    assert!(length(Frame::NotBound).max(length(Frame::PeerUnknown)) <= length(Frame::Data(b"")));
}

#[test]
fn a_mac_covers_every_byte_of_a_frame() {
    let key = keys().to_relay;
    for (frame, length) in every_frame().into_iter().filter(|(_, length)| *length >= 44) {
        let mut bytes = packet(frame).to_bytes();
        key.seal(&mut bytes);
        assert!(key.check(&bytes));
        for at in 0..length {
            bytes[at] ^= 1;
            assert!(!key.check(&bytes), "{frame:?}: byte {at} is not covered");
            bytes[at] ^= 1;
        }
        assert!(!keys().to_member.check(&bytes), "the other direction has another key");
    }
    assert!(!key.check(&[0; 31]), "too short for a MAC");
}

#[test]
fn keys_follow_from_every_part_of_what_they_are_for() {
    let other = GroupId::from_random([4; 16]);
    let all = [
        keys(),
        Keys::derive(&[8; 32], &group(), &key(1), &key(2)),
        Keys::derive(&[9; 32], &other, &key(1), &key(2)),
        Keys::derive(&[9; 32], &group(), &key(3), &key(2)),
        Keys::derive(&[9; 32], &group(), &key(1), &key(3)),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(one.to_relay != one.to_member);
        assert!(all[at + 1..].iter().all(|other| other.to_relay != one.to_relay));
    }
    assert_ne!(RelayAddress::of(&group(), &key(1)), RelayAddress::of(&group(), &key(2)));
    assert_ne!(RelayAddress::of(&group(), &key(1)), RelayAddress::of(&other, &key(1)));
}

#[test]
fn addresses_and_keys_are_frozen() {
    assert_eq!(RelayAddress::of(&group(), &key(1)).to_string(), "780ebf022160aa90");
    let hex = |key: MacKey| crate::id::hex(&key.0);
    assert_eq!(hex(keys().to_relay), "40d9ec90026024a0159922f5eefaa6d4f599a9e7c4227d4421a7e3cb59300e8d");
    assert_eq!(hex(keys().to_member), "2694e02b1f46c84136cc74f851433c15add7c01ee1f50060d51963a387ce35ba");
}

fn token() -> (RelayToken, IdentityKey) {
    let signing = SigningKey::from_bytes(&[42; 32]);
    let control = IdentityKey::try_new(signing.verifying_key().to_bytes()).unwrap();
    let mut token = RelayToken {
        class: 0,
        control: ControlId::of(&control),
        group: group(),
        key: key(1),
        not_before_ms: 1_000,
        expires_ms: 9_000,
        serial: 5,
        signature: Signature([0; 64]),
    };
    token.signature = Signature(signing.sign(&token.signed_bytes()).to_bytes());
    (token, control)
}

#[test]
fn a_token_is_valid_in_its_time_and_under_its_key_alone() {
    let (token, control) = token();
    for (now, expected) in [
        (499, Err(RelayTokenError::Early)),
        (500, Ok(())),
        (1_000, Ok(())),
        (9_499, Ok(())),
        (9_500, Err(RelayTokenError::Expired)),
    ] {
        assert_eq!(token.check(&control, now, 500), expected, "at {now}");
    }
    let stranger = SigningKey::from_bytes(&[43; 32]).verifying_key().to_bytes();
    let stranger = IdentityKey::try_new(stranger).unwrap();
    assert_eq!(token.check(&stranger, 1_000, 0), Err(RelayTokenError::Signature));
}

#[test]
fn a_changed_byte_of_a_token_shows() {
    let (token, control) = token();
    let bytes = token.to_bytes();
    assert_eq!(RelayToken::parse(&bytes), Ok(token.clone()));
    assert_eq!(token.to_string().parse(), Ok(token));
    for at in 0..bytes.len() {
        let mut bytes = bytes;
        bytes[at] ^= 1;
        let refused =
            RelayToken::parse(&bytes).map_or(true, |token| token.check(&control, 5_000, 0).is_err());
        assert!(refused, "byte {at} is not signed");
    }
    assert_eq!(RelayToken::parse(&bytes[1..]), Err(RelayTokenError::Form));
    assert_eq!("".parse::<RelayToken>(), Err(RelayTokenError::Form));
}

#[test]
fn the_line_of_relays_prints_as_it_reads() {
    let text = format!(
        r#"{{"relays":{{"relays":[{{"id":"relay_aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","label":"control","key":"{}","udp":["192.0.2.1:3478"],"stun":[],"tls":["wss://192.0.2.1:8443/relay/v1"]}}],"tokens":[{{"group":"{}","token":"{}"}}]}}}}"#,
        key(2),
        group(),
        token().0,
    );
    let line = crate::Line::parse(text.as_bytes()).unwrap();
    assert!(matches!(&line, crate::Line::Relays(relays) if relays.tokens.len() == 1));
    assert_eq!(line.encode(), format!("{text}\n").into_bytes());
}

#[test]
fn a_batch_holds_what_fits_and_nothing_malformed() {
    let frame = header(Kind::Data, 1, RelayAddress(2));
    let mut message = Vec::new();
    let mut count = 0;
    while Batch::push(&mut message, &frame) {
        count += 1;
    }
    assert_eq!((count, message.len()), (MAX_BATCH / 18, MAX_BATCH / 18 * 18));
    assert!(Batch::parse(&message).unwrap().all(|read| read == Ok(frame.as_slice())));
    assert!(!Batch::push(&mut Vec::new(), &frame[1..]), "shorter than a header");
    for (message, before) in [(&message[..19], 1), (&message[..17], 0), (&[0, 1, 0][..], 0), (&[0], 0)] {
        let read: Vec<_> = Batch::parse(message).unwrap().collect();
        assert_eq!(read.len(), before + 1);
        assert_eq!(read.last(), Some(&Err(BatchError)));
    }
    assert_eq!(Batch::parse(&vec![0; MAX_BATCH + 1]).map(drop), Err(BatchError));
}

proptest! {
    #[test]
    fn what_is_read_is_written_again(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 1_u8..=14) {
        let mut bytes = bytes;
        if let Some(head) = bytes.first_chunk_mut() {
            *head = [MAGIC, kind, 0, 0];
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            let mut again = packet.to_bytes();
            if again.len() >= 44 && kind != Kind::Data as u8 && kind != Kind::Revoke as u8 {
                again[HEADER..HEADER + 16].copy_from_slice(&bytes[HEADER..HEADER + 16]);
            }
            // An IPv4 address inside of IPv6 has a second spelling, which is read and never written.
            prop_assert_eq!(Packet::parse(&again), Ok(packet));
            prop_assert_eq!(again.len(), bytes.len());
        }
    }
}

#[test]
fn a_hello_with_a_token_longer_than_any_is_none() {
    let longest = [5; MAX_TOKEN + 1];
    let hello =
        |token| packet(Frame::Hello(Hello { counter: 7, cookie: [3; 16], token, first: None })).to_bytes();
    assert!(Packet::parse(&hello(&longest[1..])).is_ok());
    assert!(Packet::parse(&hello(&longest)).is_err());
}
