//! Tunnels, handshakes and paths.

use super::*;
use crate::engine::respond::Arrived;
use crate::limits;
use crate::tunnel::PresharedKey;
use crate::wire;

fn done(event: &Event) -> bool {
    matches!(event, Event::HandshakeDone { .. })
}

#[test]
fn peers_without_traffic_have_no_tunnel() {
    let mut lab = Lab::new();
    for host in 10..200_u8 {
        let mut config = peer_config(NET, 'c');
        config.key = tunnel::public_key(&[host; 32]);
        config.allowed = vec![IpAddr::from([10, 0, 0, host]).into()];
        lab.a.engine.set_peer(lab.now, config, &mut lab.a.out);
    }
    lab.later(Duration::from_secs(5));
    assert_eq!(lab.a.counters().tunnels, 0);
    assert_eq!(lab.a.engine.deadline(lab.now), None);
    lab.a.tun(lab.now, &hello('a', 'b', b"x"));
    assert_eq!(lab.a.counters().tunnels, 1);
}

#[test]
fn both_sides_hear_of_the_handshake_once() {
    let lab = Lab::connected();
    assert_eq!((lab.a.event_count(done), lab.b.event_count(done)), (1, 1));
}

#[test]
fn packets_wait_for_the_session_in_order_and_the_oldest_give_way() {
    let mut lab = Lab::new();
    for n in 0..40_u8 {
        lab.a.tun(lab.now, &hello('a', 'b', &[n; 40]));
    }
    lab.carry();
    assert_eq!(lab.b.payload(), (8..40).flat_map(|n| [n; 40]).collect::<Vec<u8>>());
    assert_eq!(lab.a.counters().drop_pending, 8);
    assert_eq!(lab.a.engine.pending_bytes, 0);
}

#[test]
fn lost_initiations_are_repeated_quickly_at_first() {
    let mut lab = Lab::new();
    lab.lose = |n| n <= 2;
    lab.a.tun(lab.now, &hello('a', 'b', b"x"));
    lab.carry();
    let start = lab.now;
    while !lab.b.is_up() {
        lab.later(Duration::from_millis(250));
        assert!(lab.now - start < Duration::from_millis(3000), "no session after {:?}", lab.now - start);
    }
    assert_eq!(lab.b.packets().len(), 1);
}

#[test]
fn silence_is_reported_and_ends_after_ninety_seconds() {
    let mut lab = Lab::new();
    lab.lose = |_| true;
    lab.a.tun(lab.now, &hello('a', 'b', b"x"));
    lab.carry();
    let start = lab.now;
    while lab.now - start < Duration::from_secs(100) {
        lab.later(Duration::from_millis(250));
    }
    assert_eq!(lab.a.event_count(|event| matches!(event, Event::HandshakeUnanswered { .. })), 1);
    assert_eq!(lab.a.event_count(|event| matches!(event, Event::HandshakeFailed { .. })), 1);
    assert_eq!((lab.a.counters().tunnels, lab.a.engine.pending_bytes), (0, 0));
    // New traffic starts over.
    lab.lose = |_| false;
    lab.a.tun(lab.now, &hello('a', 'b', b"again"));
    lab.carry();
    assert_eq!(lab.b.packets().len(), 1);
}

#[test]
fn a_restarted_side_with_its_peers_initiates_at_once() {
    let mut lab = Lab::connected();
    lab.now += Duration::from_millis(20);
    lab.a = Side::new(lab.now, 'a');
    let mut config = peer_config(NET, 'b');
    config.initiate = true;
    lab.a.engine.set_peer(lab.now, config, &mut lab.a.out);
    lab.carry();
    lab.b.tun(lab.now, &hello('b', 'a', b"back"));
    lab.carry();
    assert_eq!(lab.a.packets(), [hello('b', 'a', b"back")]);
}

#[test]
fn data_without_a_session_draws_an_initiation_once_a_second() {
    let mut lab = Lab::connected();
    lab.now += Duration::from_millis(20);
    lab.a = Side::new(lab.now, 'a');
    lab.a.engine.set_peer(lab.now, peer_config(NET, 'b'), &mut lab.a.out);
    lab.lose = |_| false;
    for _ in 0..20 {
        lab.b.tun(lab.now, &hello('b', 'a', b"into the void"));
    }
    let trains = std::mem::take(&mut lab.b.out.sent);
    pass(&mut lab.a, trains, address('b', 0), (|_| false, false, lab.now), &mut 0);
    assert_eq!(lab.a.counters().initiations_out, 1);
    lab.carry();
    lab.b.tun(lab.now, &hello('b', 'a', b"heard"));
    lab.carry();
    assert_eq!(lab.a.packets(), [hello('b', 'a', b"heard")]);
}

#[test]
fn data_from_strangers_draws_nothing() {
    let mut lab = Lab::new();
    let mut data = [0; 64];
    data[0] = 4;
    let from = "198.51.100.1:9".parse().unwrap();
    let message = Message { from, to: None, auxiliary: None, ecn: Ecn::NotCapable, stride: 64, bytes: &data };
    lab.a.engine.on_wire(lab.now, &message, &mut lab.a.out);
    assert!(lab.a.out.sent.is_empty());
    assert_eq!(lab.a.counters().drop_unknown_index, 1);
}

#[test]
fn the_endpoint_follows_authentic_data() {
    let mut lab = Lab::connected();
    lab.a.address = address('a', 5);
    lab.a.tun(lab.now, &hello('a', 'b', b"moved"));
    lab.carry();
    let moved =
        |event: &Event| matches!(event, Event::EndpointChanged { way, .. } if *way == address('a', 5).into());
    assert_eq!(lab.b.event_count(moved), 1);
    lab.b.tun(lab.now, &hello('b', 'a', b"found"));
    lab.carry();
    assert_eq!(lab.a.packets(), [hello('b', 'a', b"found")]);
}

#[test]
fn a_replayed_initiation_is_answered_but_moves_nothing() {
    let mut lab = Lab::new();
    lab.a.tun(lab.now, &hello('a', 'b', b"x"));
    let initiation = lab.a.out.sent[0].bytes.clone();
    lab.carry();
    let elsewhere = address('a', 9);
    let message = Message {
        from: elsewhere,
        to: None,
        auxiliary: None,
        ecn: Ecn::NotCapable,
        stride: wire::INITIATION,
        bytes: &initiation,
    };
    lab.b.engine.on_wire(lab.now, &message, &mut lab.b.out);
    assert_eq!(lab.b.out.sent.len(), 1);
    assert_eq!((lab.b.out.sent[0].to, lab.b.out.sent[0].bytes.len()), (elsewhere, wire::RESPONSE));
    lab.b.out.sent.clear();
    lab.b.tun(lab.now, &hello('b', 'a', b"still here"));
    assert_eq!(lab.b.out.sent[0].to, address('a', 0));
}

#[test]
fn all_candidates_are_tried_and_the_one_that_answers_is_used() {
    let mut lab = Lab::new();
    let mut config = peer_config(NET, 'b');
    config.candidates = vec![address('b', 3), address('b', 4), address('b', 0)];
    lab.a.engine.set_peer(lab.now, config, &mut lab.a.out);
    lab.a.tun(lab.now, &hello('a', 'b', b"x"));
    assert_eq!(lab.a.out.sent.iter().filter(|train| train.bytes.len() == wire::INITIATION).count(), 3);
    lab.carry();
    assert_eq!(lab.b.packets().len(), 1);
    let stats = lab.a.engine.stats(lab.now);
    assert_eq!(stats.networks[0].peers[0].way, Some(address('b', 0).into()));
}

#[test]
fn both_sides_may_start_at_once() {
    let mut lab = Lab::new();
    lab.a.tun(lab.now, &hello('a', 'b', b"one"));
    lab.b.tun(lab.now, &hello('b', 'a', b"two"));
    lab.carry();
    assert_eq!(lab.a.packets(), [hello('b', 'a', b"two")]);
    assert_eq!(lab.b.packets(), [hello('a', 'b', b"one")]);
    for n in 0..3_u8 {
        lab.a.tun(lab.now, &hello('a', 'b', &[n]));
        lab.b.tun(lab.now, &hello('b', 'a', &[n]));
        lab.carry();
    }
    assert_eq!((lab.a.packets().len(), lab.b.packets().len()), (3, 3));
}

#[test]
fn a_change_of_routes_or_candidates_keeps_the_session() {
    let mut lab = Lab::connected();
    let mut config = peer_config(NET, 'b');
    config.allowed.push("10.9.0.0/16".parse().unwrap());
    config.candidates = vec![address('b', 7)];
    lab.a.engine.set_peer(lab.now, config.clone(), &mut lab.a.out);
    assert!(lab.a.is_up() && lab.a.out.sent.is_empty());
    config.preshared_key = Some(PresharedKey::from([1; 32]));
    lab.a.engine.set_peer(lab.now, config, &mut lab.a.out);
    assert!(!lab.a.is_up());
}

#[test]
fn a_preshared_key_must_agree() {
    let mut lab = Lab::new();
    let with =
        |of, byte| PeerConfig { preshared_key: Some(PresharedKey::from([byte; 32])), ..peer_config(NET, of) };
    lab.a.engine.set_peer(lab.now, with('b', 1), &mut lab.a.out);
    lab.b.engine.set_peer(lab.now, with('a', 2), &mut lab.b.out);
    lab.a.tun(lab.now, &hello('a', 'b', b"x"));
    lab.carry();
    assert!(!lab.a.is_up());
    lab.b.engine.set_peer(lab.now, with('a', 1), &mut lab.b.out);
    lab.later(Duration::from_secs(1));
    lab.later(Duration::from_secs(1));
    assert!(lab.a.is_up() && lab.b.is_up());
}

#[test]
fn a_removed_peer_is_gone() {
    let mut lab = Lab::connected();
    let key = peer_config(NET, 'b').key;
    lab.a.engine.remove_peer(NET, &key);
    lab.a.tun(lab.now, &hello('a', 'b', b"x"));
    assert!(lab.a.out.sent.is_empty());
    assert_eq!((lab.a.counters().tunnels, lab.a.engine.known.len()), (0, 0));
    assert_eq!(lab.a.packets().len(), 1, "the host hears that nobody is there");
    lab.b.tun(lab.now, &hello('b', 'a', b"x"));
    lab.carry();
    assert!(lab.a.packets().is_empty());
}

#[test]
fn an_idle_tunnel_gives_its_memory_back_and_comes_again() {
    let mut lab = Lab::connected();
    // A session layer on virtual time doubts one on real time after 15 s; the renewal counts as use.
    let end = lab.now + limits::IDLE + Duration::from_secs(20);
    while lab.now < end {
        lab.later(Duration::from_secs(1));
    }
    assert_eq!((lab.a.counters().tunnels, lab.b.counters().tunnels), (0, 0));
    lab.b.tun(lab.now, &hello('b', 'a', b"again"));
    lab.carry();
    assert_eq!(lab.a.packets(), [hello('b', 'a', b"again")]);
}

#[test]
fn a_flood_of_handshakes_is_asked_for_cookies() {
    let mut lab = Lab::new();
    lab.a.tun(lab.now, &hello('a', 'b', b"x"));
    let initiation = lab.a.out.sent[0].bytes.clone();
    for port in 0..1000_u16 {
        let from = SocketAddr::from(([198, 51, 100, 1], port + 1));
        let message = Message {
            from,
            to: None,
            auxiliary: None,
            ecn: Ecn::NotCapable,
            stride: wire::INITIATION,
            bytes: &initiation,
        };
        lab.b.engine.on_wire(lab.now, &message, &mut lab.b.out);
    }
    assert!(lab.b.counters().cookies_out > 0);
    // A cookie is taken in and proves the address with the next initiation.
    lab.b.out.sent.retain(|train| train.bytes.len() == wire::COOKIE);
    let cookie = lab.b.out.sent[0].bytes.clone();
    let message = Message {
        from: address('b', 0),
        to: None,
        auxiliary: None,
        ecn: Ecn::NotCapable,
        stride: wire::COOKIE,
        bytes: &cookie,
    };
    lab.a.engine.on_wire(lab.now, &message, &mut lab.a.out);
    assert_eq!(lab.a.counters().drop_handshake, 0);
}

#[test]
fn requested_handshakes_are_paced() {
    let mut lab = Lab::new();
    for host in 0..600_u16 {
        let mut config = peer_config(NET, 'c');
        config.key = tunnel::public_key(&[(host % 250) as u8 + 1; 32]);
        config.key[31] = (host / 250) as u8;
        config.allowed = Vec::new();
        config.initiate = true;
        lab.a.engine.set_peer(lab.now, config, &mut lab.a.out);
    }
    let burst = u64::from(limits::INITIATION_BURST);
    assert_eq!(lab.a.counters().initiations_out, burst);
    lab.now += Duration::from_millis(100);
    lab.a.engine.on_tick(lab.now, &mut lab.a.out);
    assert_eq!(lab.a.counters().initiations_out, burst + u64::from(limits::INITIATIONS_PER_SECOND) / 10);
}

#[test]
fn a_storm_of_initiations_is_answered_in_turns_while_packets_flow() {
    let mut lab = Lab::connected();
    let mut storm = Vec::new();
    for side in 'c'..='z' {
        let mut stranger = Side::new(lab.now, side);
        lab.b.engine.set_peer(lab.now, peer_config(NET, side), &mut lab.b.out);
        let config = PeerConfig { initiate: true, ..peer_config(NET, 'b') };
        stranger.engine.set_peer(lab.now, config, &mut stranger.out);
        storm.push((stranger.out.sent.remove(0).bytes, SocketAddr::from(([192, 0, 2, 99], side as u16))));
    }
    for (bytes, from) in &storm {
        let (from, stride) = (*from, bytes.len());
        let message = Message { from, to: None, auxiliary: None, ecn: Ecn::NotCapable, stride, bytes };
        lab.b.engine.on_wire(lab.now, &message, &mut lab.b.out);
    }
    let each = limits::HANDSHAKES_PER_TURN as usize;
    assert_eq!(lab.b.out.sent.len(), each);
    assert_eq!(lab.b.engine.deadline(lab.now), Some(lab.now));
    lab.b.engine.flush(&mut lab.b.out);
    // Packets of a session do not stand behind the storm.
    lab.b.tun(lab.now, &hello('b', 'a', b"between"));
    assert_eq!(lab.b.out.sent.len(), each + 1);
    for turn in 2..=3 {
        lab.b.engine.on_tick(lab.now, &mut lab.b.out);
        lab.b.engine.flush(&mut lab.b.out);
        assert_eq!(lab.b.out.sent.len(), turn * each + 1);
    }
    assert_eq!(storm.len(), 3 * each);
    assert_eq!(lab.b.counters().handshakes_deferred, 2 * each as u64);
    assert_ne!(lab.b.engine.deadline(lab.now), Some(lab.now));
}

#[test]
fn initiations_beyond_all_waiting_ones_are_dropped_and_counted() {
    let mut lab = Lab::connected();
    let place = Endpoint { remote: address('a', 0), local: None, relay: None, auxiliary: None };
    lab.b.engine.answers_left = 0;
    for _ in 0..limits::HANDSHAKES_WAITING + 3 {
        lab.b.engine.greet(lab.now, Arrived::new((NET, false), [0; wire::INITIATION], place), &mut lab.b.out);
    }
    assert_eq!(lab.b.counters().drop_handshakes_full, 3);
    // What waited for a network that is gone goes nowhere.
    lab.b.engine.remove_network(NET);
    lab.b.engine.flush(&mut lab.b.out);
    lab.b.engine.answer_arrivals(lab.now, &mut lab.b.out);
    assert!(lab.b.out.sent.is_empty());
}

#[test]
fn a_suspended_machine_renews_its_sessions_when_it_wakes() {
    let mut lab = Lab::connected();
    lab.now += Duration::from_millis(20);
    lab.a.engine.on_resume(lab.now, Duration::from_secs(30), &mut lab.a.out);
    assert_eq!(lab.a.out.sent[0].bytes.len(), wire::INITIATION);
    // Meanwhile the session carries on.
    assert!(lab.a.is_up());
    lab.carry();
    assert_eq!(lab.a.counters().handshakes, 2);
    lab.a.tun(lab.now, &hello('a', 'b', b"awake"));
    lab.carry();
    assert_eq!(lab.b.packets(), [hello('a', 'b', b"awake")]);
}

#[test]
fn keys_that_grew_old_in_sleep_are_not_used() {
    let mut lab = Lab::connected();
    lab.now += Duration::from_millis(20);
    lab.a.engine.on_resume(lab.now, Duration::from_secs(3600), &mut lab.a.out);
    assert!(!lab.a.is_up());
    lab.a.tun(lab.now, &hello('a', 'b', b"waits"));
    lab.carry();
    assert!(lab.a.is_up());
    assert_eq!(lab.b.packets(), [hello('a', 'b', b"waits")]);
}
