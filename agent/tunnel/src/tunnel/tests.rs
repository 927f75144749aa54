use super::*;
use std::net::SocketAddr;

const CORES: [Core; 2] = [Core::Boringtun, Core::Own];

#[test]
fn generated_keys_differ_and_have_a_public_key() {
    let (a, b) = (generate_private_key(), generate_private_key());
    assert_ne!(a, b);
    assert_eq!(public_key(&a), PrivateKey::from(a).public());
    assert_eq!(format!("{:?}", PrivateKey::from(a)), "PrivateKey(..)");
}

fn from() -> SocketAddr {
    "192.0.2.1:1".parse().unwrap()
}

#[test]
fn a_handshake_carries_packets_both_ways_between_all_cores() {
    for ours in CORES {
        for theirs in CORES {
            for preshared in [None, Some(PresharedKey::from([9; 32]))] {
                carries_packets(ours, theirs, preshared.as_ref());
            }
        }
    }
}

fn carries_packets(ours: Core, theirs: Core, preshared: Option<&PresharedKey>) {
    let now = clock::now();
    let (ka, kb) = (PrivateKey::generate(), PrivateKey::generate());
    let (mut ga, mut gb) = (Gate::new(&ka, ours), Gate::new(&kb, theirs));
    let mut a = Protocol::new(&ga, &kb.public(), preshared, None, (1, Memory::default()));
    let mut b = Protocol::new(&gb, &ka.public(), preshared, None, (2, Memory::default()));
    let (mut x, mut y, mut z) = ([0; 256], [0; 256], [0; 256]);
    assert!(a.seal(now, &[0x45; 20], &mut x).is_none());
    let n = a.initiate(now, &mut x).unwrap();
    assert_eq!(gb.admit(now, from(), &x[..n], &mut z), Admission::Welcome);
    assert_eq!(ga.admit(now, from(), &x[..n], &mut z), Admission::Refused);
    assert_eq!(gb.initiator(&x[..n]), Some(ka.public()));
    let Opened::Reply(n) = b.open(now, from(), &x[..n], &mut y) else { panic!("no response") };
    assert!(!b.is_up());
    assert_eq!(ga.admit(now, from(), &y[..n], &mut z), Admission::Welcome);
    let Opened::Reply(n) = a.open(now, from(), &y[..n], &mut x) else { panic!("no keepalive") };
    assert!(a.is_up());
    assert_eq!(b.open(now, from(), &x[..n], &mut y), Opened::Empty);
    assert!(b.is_up());
    let mut packet = [0; 20];
    (packet[0], packet[3]) = (0x45, 20);
    for _ in 0..3 {
        let n = b.seal(now, &packet, &mut x).unwrap();
        assert_eq!(a.open(now, from(), &x[..n], &mut y), Opened::Packet(20));
        assert_eq!(a.open(now, from(), &x[..n], &mut y), Opened::Refused(Refusal::Replay));
        let n = a.seal(now, &packet, &mut x).unwrap();
        assert_eq!(b.open(now, from(), &x[..n], &mut y), Opened::Packet(20));
        assert_eq!(y[..20], packet);
    }
}

#[test]
fn keys_that_differ_make_no_session_between_any_cores() {
    for (ours, theirs) in [(Core::Own, Core::Boringtun), (Core::Boringtun, Core::Own), (Core::Own, Core::Own)]
    {
        let now = clock::now();
        let (ka, kb) = (PrivateKey::generate(), PrivateKey::generate());
        let (ga, gb) = (Gate::new(&ka, ours), Gate::new(&kb, theirs));
        let preshared = PresharedKey::from([9; 32]);
        let mut a = Protocol::new(&ga, &kb.public(), Some(&preshared), None, (1, Memory::default()));
        let mut b = Protocol::new(&gb, &ka.public(), None, None, (2, Memory::default()));
        let (mut x, mut y) = ([0; 256], [0; 256]);
        let n = a.initiate(now, &mut x).unwrap();
        let Opened::Reply(n) = b.open(now, from(), &x[..n], &mut y) else { panic!("no response") };
        assert_eq!(a.open(now, from(), &y[..n], &mut x), Opened::Refused(Refusal::Authentication));
        assert!(!a.is_up());
    }
}

#[test]
fn a_cookie_of_either_core_is_understood_by_the_other() {
    for (ours, theirs) in [(Core::Own, Core::Boringtun), (Core::Boringtun, Core::Own), (Core::Own, Core::Own)]
    {
        let now = clock::now();
        let (ka, kb) = (PrivateKey::generate(), PrivateKey::generate());
        let (ga, mut gb) = (Gate::new(&ka, ours), Gate::new(&kb, theirs));
        let mut a = Protocol::new(&ga, &kb.public(), None, None, (1, Memory::default()));
        let (mut x, mut y) = ([0; 256], [0; 256]);
        let n = a.initiate(now, &mut x).unwrap();
        let length = (0..=2 * limits::HANDSHAKES_PER_SECOND)
            .find_map(|_| match gb.admit(now, from(), &x[..n], &mut y) {
                Admission::Cookie(length) => Some(length),
                Admission::Welcome | Admission::Refused => None,
            })
            .expect("a flood is asked for cookies");
        assert_eq!(a.open(now, from(), &y[..length], &mut x), Opened::Empty);
        let n = a.initiate(now, &mut x).unwrap();
        assert_eq!(gb.admit(now, from(), &x[..n], &mut y), Admission::Welcome, "{ours:?} to {theirs:?}");
        let elsewhere = "192.0.2.1:2".parse().unwrap();
        assert!(matches!(gb.admit(now, elsewhere, &x[..n], &mut y), Admission::Cookie(_)));
    }
}

#[test]
fn two_keys_agree_and_a_point_of_low_order_with_nobody() {
    let [one, two] = [PrivateKey::generate(), PrivateKey::generate()];
    let [ours, theirs] = [one.agree(&two.public()).unwrap(), two.agree(&one.public()).unwrap()];
    assert_eq!(*ours, *theirs);
    assert_ne!(*ours, *one.agree(&one.public()).unwrap());
    let mut identity = [0; 32];
    identity[0] = 1;
    assert!(one.agree(&[0; 32]).is_none() && one.agree(&identity).is_none());
}
