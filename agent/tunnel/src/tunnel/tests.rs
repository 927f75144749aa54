use super::*;

#[test]
fn generated_keys_differ_and_have_a_public_key() {
    let (a, b) = (generate_private_key(), generate_private_key());
    assert_ne!(a, b);
    assert_eq!(public_key(&a), PrivateKey::from(a).public());
    assert_eq!(format!("{:?}", PrivateKey::from(a)), "PrivateKey(..)");
}

#[test]
fn cookies_tell_ports_apart() {
    for ip in ["192.0.2.1", "2001:db8::1"] {
        let at = |port| cookie_subject(SocketAddr::new(ip.parse().unwrap(), port));
        assert_ne!(at(1), at(2));
        assert_eq!(at(1), at(1));
    }
}

#[test]
fn a_handshake_carries_packets_both_ways() {
    let (ka, kb) = (PrivateKey::generate(), PrivateKey::generate());
    let (ga, gb) = (Gate::new(&ka), Gate::new(&kb));
    let from = "192.0.2.1:1".parse().unwrap();
    let mut a = Protocol::new(&ga, &gb.public(), None, None, 1);
    let mut b = Protocol::new(&gb, &ga.public(), None, None, 2);
    let (mut x, mut y, mut z) = ([0; 256], [0; 256], [0; 256]);
    assert!(a.seal(&[0x45; 20], &mut x).is_none());
    let n = a.initiate(&mut x).unwrap();
    assert_eq!(gb.admit(from, &x[..n], &mut z), Admission::Welcome);
    assert_eq!(ga.admit(from, &x[..n], &mut z), Admission::Refused);
    assert_eq!(gb.initiator(&x[..n]), Some(ga.public()));
    let Opened::Reply(n) = b.open(from, &x[..n], &mut y) else { panic!("no response") };
    assert!(!b.is_up());
    let Opened::Reply(n) = a.open(from, &y[..n], &mut x) else { panic!("no keepalive") };
    assert!(a.is_up());
    assert_eq!(b.open(from, &x[..n], &mut y), Opened::Empty);
    assert!(b.is_up());
    let mut packet = [0; 20];
    (packet[0], packet[3]) = (0x45, 20);
    let n = b.seal(&packet, &mut x).unwrap();
    assert_eq!(a.open(from, &x[..n], &mut y), Opened::Packet(20));
    assert_eq!(a.open(from, &x[..n], &mut y), Opened::Refused(Refusal::Replay));
}
