use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::clock;
use crate::wire;

struct Parties {
    a: Identity,
    b: Identity,
    to_b: Remote,
    to_a: Remote,
}

fn parties(preshared: Option<[u8; 32]>) -> Parties {
    let (a, b) = (Identity::new([1; 32].into()), Identity::new([2; 32].into()));
    let (to_b, to_a) = (Remote::new(&a, b.public(), preshared), Remote::new(&b, a.public(), preshared));
    Parties { a, b, to_b, to_a }
}

fn initiation(parties: &Parties) -> (Initiation, [u8; wire::INITIATION]) {
    let mut message = [0; wire::INITIATION];
    let stamp = Stamp::at(Duration::from_secs(7));
    let made = Initiation::write(&parties.a, &parties.to_b, (0xa1, [3; 32], stamp), &mut message).unwrap();
    (made, message)
}

#[test]
fn both_sides_come_to_the_same_keys() {
    for preshared in [None, Some([5; 32])] {
        let parties = parties(preshared);
        let (made, message) = initiation(&parties);
        let mut claim = Claim::read(&parties.b, &message).unwrap();
        assert_eq!(claim.public(), parties.a.public());
        assert_eq!(claim.prove(&parties.to_a), Some(Stamp::at(Duration::from_secs(7))));
        let mut response = [0; wire::RESPONSE];
        let (to_initiator, theirs) = respond(&claim, &parties.to_a, (0xb2, [4; 32]), &mut response).unwrap();
        let (to_responder, ours) = made.finish(&parties.a, &parties.to_b, &response).unwrap();
        assert_eq!((to_initiator, to_responder), (0xa1, 0xb2));
        assert_eq!((&ours.send, &ours.receive), (&theirs.receive, &theirs.send));
        assert_ne!(ours.send, ours.receive);
    }
}

#[test]
fn a_bent_initiation_proves_nothing() {
    let parties = parties(None);
    let (_, message) = initiation(&parties);
    for at in 8..wire::INITIATION - 32 {
        let mut bent = message;
        bent[at] ^= 1;
        let proven = Claim::read(&parties.b, &bent).and_then(|mut claim| claim.prove(&parties.to_a));
        // The top bit of an X25519 key is ignored, but the hash sees it.
        assert_eq!(proven, None, "byte {at}");
    }
}

#[test]
fn a_bent_response_yields_no_keys() {
    let parties = parties(None);
    let (made, message) = initiation(&parties);
    let mut claim = Claim::read(&parties.b, &message).unwrap();
    claim.prove(&parties.to_a).unwrap();
    let mut response = [0; wire::RESPONSE];
    respond(&claim, &parties.to_a, (2, [4; 32]), &mut response).unwrap();
    for at in 12..wire::RESPONSE - 32 {
        let mut bent = response;
        bent[at] ^= 0x80;
        assert!(made.finish(&parties.a, &parties.to_b, &bent).is_none(), "byte {at}");
    }
    assert!(made.finish(&parties.a, &parties.to_b, &response).is_some());
}

#[test]
fn an_initiation_for_another_is_not_read() {
    let parties = parties(None);
    let (_, message) = initiation(&parties);
    assert!(Claim::read(&parties.a, &message).is_none());
    let stranger = Remote::new(&parties.b, Identity::new([9; 32].into()).public(), None);
    assert_eq!(Claim::read(&parties.b, &message).unwrap().prove(&stranger), None);
}

#[test]
fn keys_of_low_order_are_refused() {
    let parties = parties(None);
    let low = Remote::new(&parties.a, [0; 32], None);
    let mut message = [0; wire::INITIATION];
    let stamp = Stamp::at(Duration::ZERO);
    assert!(Initiation::write(&parties.a, &low, (1, [3; 32], stamp), &mut message).is_none());
    let (_, mut message) = initiation(&parties);
    message[8..40].fill(0);
    assert!(Claim::read(&parties.b, &message).is_none());
}

#[test]
fn authenticators_and_cookies_hold_what_they_promise() {
    let now = clock::now();
    let parties = parties(None);
    let (_, mut message) = initiation(&parties);
    let (mut jar, mut cookies) = (Jar::new(parties.b.public()), Cookies::new(parties.b.public(), 2));
    let from = "192.0.2.1:1000".parse().unwrap();
    let check =
        |cookies: &mut Cookies, now: Instant, message: &[u8]| cookies.check(now, from, message, || [8; 32]);
    assert_eq!(check(&mut cookies, now, &message), Verdict::Refused);
    jar.sign(now, &mut message);
    assert_eq!(check(&mut cookies, now, &message), Verdict::Welcome);
    assert_eq!(check(&mut cookies, now, &message), Verdict::Welcome);
    assert_eq!(check(&mut cookies, now, &message), Verdict::Prove);
    let mut reply = [0; wire::COOKIE];
    cookies.reply(now, from, &message, ([6; 24], || [8; 32]), &mut reply).unwrap();
    assert!(!Jar::new(parties.b.public()).take(now, &reply), "nothing was sent that it could answer");
    assert!(jar.take(now, &reply) && !jar.take(now, &reply));
    jar.sign(now, &mut message);
    assert_eq!(check(&mut cookies, now, &message), Verdict::Welcome);
    let elsewhere = "192.0.2.1:1001".parse().unwrap();
    assert_eq!(cookies.check(now, elsewhere, &message, || [8; 32]), Verdict::Prove);
    // A second later the load is counted afresh; two minutes later the cookie is stale on both sides.
    assert_eq!(check(&mut cookies, now + Duration::from_secs(1), &message), Verdict::Welcome);
    let later = now + Duration::from_secs(120);
    jar.sign(later, &mut message);
    assert_eq!(message[wire::INITIATION - 16..], [0; 16]);
}

proptest! {
    #[test]
    fn soup_is_refused(soup in prop::collection::vec(any::<u8>(), wire::INITIATION)) {
        let parties = parties(None);
        let (made, _) = initiation(&parties);
        let message: [u8; wire::INITIATION] = soup.as_slice().try_into().unwrap();
        prop_assert!(Claim::read(&parties.b, &message).is_none());
        prop_assert!(made.finish(&parties.a, &parties.to_b, message.first_chunk().unwrap()).is_none());
        let mut jar = Jar::new(parties.b.public());
        prop_assert!(!jar.take(clock::now(), message.first_chunk().unwrap()));
        let from = "[::1]:1".parse().unwrap();
        let mut cookies = Cookies::new(parties.b.public(), 0);
        for length in [0, 31, 32, 92, 148] {
            prop_assert_eq!(cookies.check(clock::now(), from, &soup[..length], || [8; 32]), Verdict::Refused);
        }
    }
}
