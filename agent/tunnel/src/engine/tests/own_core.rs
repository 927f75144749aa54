//! What our own core does by the clock it is given: virtual time reaches every timer.

use super::*;
use crate::limits;

struct Own;

impl Cores for Own {
    const A: Core = Core::Own;
    const B: Core = Core::Own;
}

type Lab = super::Lab<Own>;

fn handshakes(lab: &Lab) -> (u64, u64) {
    (lab.a.counters().handshakes, lab.b.counters().handshakes)
}

#[test]
fn keys_are_renewed_every_two_minutes_without_loss() {
    let mut lab = Lab::connected();
    let end = lab.now + Duration::from_secs(600);
    let mut sent = 0;
    while lab.now < end {
        lab.later(Duration::from_millis(250));
        lab.a.tun(lab.now, &hello('a', 'b', b"steady"));
        lab.b.tun(lab.now, &hello('b', 'a', b"steady"));
        lab.carry();
        sent += 1;
    }
    assert_eq!((lab.a.packets().len(), lab.b.packets().len()), (sent, sent));
    let (a, b) = handshakes(&lab);
    assert!((5..=6).contains(&a) && a == b, "{a} and {b} handshakes in 600 s");
}

#[test]
fn who_only_receives_renews_as_well() {
    let mut lab = Lab::connected();
    let end = lab.now + Duration::from_secs(400);
    let mut sent = 0;
    while lab.now < end {
        lab.later(Duration::from_millis(500));
        lab.b.tun(lab.now, &hello('b', 'a', b"one way"));
        lab.carry();
        sent += 1;
    }
    assert_eq!(lab.a.packets().len(), sent);
    assert!(handshakes(&lab).0 >= 3);
}

#[test]
fn silence_after_sending_draws_a_handshake_and_no_sooner() {
    let mut lab = Lab::connected();
    // A long silence alone is no reason to doubt the session.
    for _ in 0..60 {
        lab.later(Duration::from_secs(1));
    }
    lab.a.tun(lab.now, &hello('a', 'b', b"after silence"));
    lab.lose = |_| true;
    lab.carry();
    let (start, before) = (lab.now, lab.a.counters().initiations_out);
    while lab.a.counters().initiations_out == before {
        lab.later(Duration::from_millis(250));
        assert!(lab.now - start < Duration::from_secs(17), "the session is doubted after 15 s");
    }
    assert!(lab.now - start >= Duration::from_secs(15), "not before");
}

#[test]
fn received_data_is_acknowledged_by_a_keepalive_after_ten_seconds() {
    let mut lab = Lab::connected();
    lab.a.tun(lab.now, &hello('a', 'b', b"x"));
    lab.carry();
    let (start, before) = (lab.now, lab.carried);
    while lab.carried == before {
        lab.later(Duration::from_millis(250));
        assert!(lab.now - start < Duration::from_secs(11));
    }
    assert!(lab.now - start >= Duration::from_secs(10));
    let after = lab.carried;
    for _ in 0..40 {
        lab.later(Duration::from_secs(1));
    }
    assert_eq!(lab.carried, after, "a keepalive is not answered by another");
}

#[test]
fn a_persistent_keepalive_holds_the_session_for_ever() {
    let mut lab = Lab::new();
    let mut config = peer_config(NET, 'b');
    config.keepalive = Some(25);
    lab.a.engine.set_peer(lab.now, config, &mut lab.a.out);
    lab.carry();
    for _ in 0..1200 {
        lab.later(Duration::from_secs(1));
    }
    assert!(lab.a.is_up() && lab.b.is_up());
    let (a, _) = handshakes(&lab);
    assert!((8..=12).contains(&a), "{a} handshakes in 1200 s");
}

#[test]
fn an_old_session_ends_after_three_minutes() {
    let mut lab = Lab::connected();
    for _ in 0..179 {
        lab.later(Duration::from_secs(1));
    }
    assert!(lab.a.is_up() && lab.b.is_up());
    for _ in 0..5 {
        lab.later(Duration::from_secs(1));
    }
    assert!(!lab.a.is_up() && !lab.b.is_up());
}

#[test]
fn a_replayed_initiation_is_refused_also_by_the_next_tunnel() {
    let mut lab = Lab::new();
    lab.a.tun(lab.now, &hello('a', 'b', b"x"));
    let initiation = lab.a.out.sent[0].bytes.clone();
    lab.carry();
    let end = lab.now + limits::IDLE + Duration::from_secs(5);
    while lab.now < end {
        lab.later(Duration::from_secs(1));
    }
    assert_eq!(lab.b.counters().tunnels, 0);
    let from = address('a', 0);
    let (stride, bytes) = (initiation.len(), initiation.as_slice());
    let message = Message { from, to: None, auxiliary: None, stride, ecn: Ecn::NotCapable, bytes };
    lab.b.engine.on_wire(lab.now, &message, &mut lab.b.out);
    assert!(lab.b.out.sent.is_empty());
    assert_eq!(lab.b.counters().drop_handshake, 1);
    // The peer itself is heard.
    lab.a.tun(lab.now, &hello('a', 'b', b"again"));
    lab.carry();
    assert_eq!(lab.b.packets().pop(), Some(hello('a', 'b', b"again")));
}

#[test]
fn thousands_of_late_packets_of_an_old_path_are_accepted() {
    let mut lab = Lab::connected();
    // Packets over the relay are on their way still when the direct path delivers.
    for n in 0..4500_u32 {
        lab.a.tun(lab.now, &hello('a', 'b', &n.to_be_bytes()));
    }
    let late = std::mem::take(&mut lab.a.out.sent);
    for n in 0..3600_u32 {
        lab.a.tun(lab.now, &hello('a', 'b', &n.to_be_bytes()));
    }
    lab.carry();
    assert_eq!(lab.b.payload().len(), 3600 * 4);
    pass(&mut lab.b, late, address('a', 0), (|_| false, false, lab.now), &mut 0);
    assert_eq!((lab.b.payload().len(), lab.b.counters().drop_replay), (4500 * 4, 0));
}

#[test]
fn losing_a_third_of_all_messages_never_ends_the_tunnel_for_long() {
    let mut lab = Lab::connected();
    lab.lose = |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33 & 3 == 0;
    let (mut sent, end) = (0, lab.now + Duration::from_secs(500));
    while lab.now < end {
        lab.later(Duration::from_millis(500));
        lab.a.tun(lab.now, &hello('a', 'b', b"steady"));
        lab.carry();
        sent += 1;
    }
    let arrived = lab.b.packets().len();
    assert!(arrived * 3 > sent * 2, "{arrived} of {sent} arrived");
}
