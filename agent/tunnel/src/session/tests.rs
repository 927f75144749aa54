use super::*;
use crate::clock;
use zeroize::Zeroizing;

fn pair(now: Instant) -> (Session, Session) {
    let keys =
        |send, receive| Keys { send: Zeroizing::new([send; 32]), receive: Zeroizing::new([receive; 32]) };
    (Session::new(now, (1, 2), keys(1, 2), true), Session::new(now, (2, 1), keys(2, 1), false))
}

#[test]
fn a_data_message_has_the_layout_of_the_paper() {
    let now = clock::now();
    let (mut a, mut b) = pair(now);
    let (mut sealed, mut opened) = ([0xee; 64], [0; 64]);
    a.skip_to(0x0102);
    assert_eq!(a.seal(now, b"packet", &mut sealed), Some(38));
    assert_eq!(sealed[..16], [4, 0, 0, 0, 2, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(sealed[38..], [0xee; 26]);
    assert_eq!(b.open(now, &sealed[..38], &mut opened), Ok(6));
    assert_eq!(&opened[..6], b"packet");
    assert_eq!(b.open(now, &sealed[..38], &mut opened), Err(Refused::Replayed));
}

#[test]
fn a_forged_message_does_not_use_up_its_counter() {
    let now = clock::now();
    let (mut a, mut b) = pair(now);
    let (mut sealed, mut opened) = ([0; 64], [0; 64]);
    let length = a.seal(now, b"packet", &mut sealed).unwrap();
    for at in 8..length {
        let mut bent = sealed;
        bent[at] ^= 0x10;
        assert_eq!(b.open(now, &bent[..length], &mut opened), Err(Refused::Forged), "byte {at}");
    }
    for shorter in 0..length {
        assert!(b.open(now, &sealed[..shorter], &mut opened).is_err());
    }
    assert_eq!(b.open(now, &sealed[..length], &mut opened), Ok(6));
}

#[test]
fn no_room_seals_nothing_and_uses_no_counter() {
    let now = clock::now();
    let (mut a, _) = pair(now);
    let mut out = [0; 64];
    for room in 0..38 {
        assert_eq!(a.seal(now, b"packet", &mut out[..room]), None);
    }
    a.seal(now, b"packet", &mut out).unwrap();
    assert_eq!(out[8..16], [0; 8]);
}

#[test]
fn messages_and_time_wear_a_session_out() {
    let now = clock::now();
    let (mut a, mut b) = pair(now);
    let mut out = [0; 64];
    assert!(!a.wants_renewal(now) && !b.wants_renewal(now));
    let later = now + REKEY_AFTER_TIME;
    assert!(a.wants_renewal(later) && !b.wants_renewal(later), "only the initiator renews by time");
    b.skip_to(REKEY_AFTER_MESSAGES);
    assert!(b.wants_renewal(now));
    b.skip_to(REJECT_AFTER_MESSAGES - 1);
    assert!(b.seal(now, b"last", &mut out).is_some());
    assert_eq!(b.seal(now, b"over", &mut out), None);
    let end = now + REJECT_AFTER_TIME;
    assert_eq!(a.seal(end, b"late", &mut out), None);
    let length = a.seal(now, b"early", &mut out).unwrap();
    let sealed = out;
    assert_eq!(b.open(end, &sealed[..length], &mut out), Err(Refused::Expired));
}

#[test]
fn a_counter_at_the_end_is_refused() {
    let now = clock::now();
    let (mut a, mut b) = pair(now);
    let (mut sealed, mut opened) = ([0; 64], [0; 64]);
    let length = a.seal(now, b"x", &mut sealed).unwrap();
    sealed[8..16].fill(0xff);
    assert_eq!(b.open(now, &sealed[..length], &mut opened), Err(Refused::Replayed));
}
