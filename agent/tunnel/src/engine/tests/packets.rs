//! Packets and the checks on them.

use super::*;
use crate::fuzz::samples::Tcp;
use crate::limits;
use crate::packet;
use crate::tun::vnet::Gso;

#[test]
fn packets_go_both_ways_in_both_families() {
    let mut lab = Lab::connected();
    let answer = hello('b', 'a', b"answer");
    lab.b.tun(lab.now, &answer);
    let six = samples::udp("fd00::1", "fd00::2", 5000, b"six");
    lab.a.tun(lab.now, &six);
    lab.carry();
    assert_eq!(lab.a.packets(), [answer]);
    assert_eq!(lab.b.packets(), [six]);
}

#[test]
fn a_super_packet_crosses_as_one_train_and_one_frame() {
    let mut lab = Lab::connected();
    let payload: Vec<u8> = (0..45 * 1368).map(|n| (n % 251) as u8).collect();
    let packet = samples::tcp("10.0.0.1", "10.0.0.2", Tcp::default(), &payload);
    let vnet = Vnet {
        needs_checksum: true,
        gso: Gso::Tcp4,
        header_len: 52,
        segment: 1368,
        checksum_start: 20,
        checksum_offset: 16,
    };
    let slot = lab.a.slot();
    lab.a.frame(lab.now, slot, &vnet, &packet);
    assert_eq!(lab.a.out.sent.len(), 1);
    assert_eq!((lab.a.out.sent[0].stride, lab.a.out.sent[0].bytes.len()), (1452, 45 * 1452));
    lab.carry();
    let frame = lab.b.delivered.pop().unwrap();
    assert!(lab.b.delivered.is_empty());
    assert_eq!((frame.vnet, frame.packet.len()), (vnet, packet.len()));
    assert_eq!(frame.packet[52..], payload);
}

#[test]
fn loss_loses_packets_and_nothing_else() {
    let mut lab = Lab::connected();
    lab.lose = |n| n % 3 == 0;
    for n in 0..30_u8 {
        lab.a.tun(lab.now, &hello('a', 'b', &[n; 40]));
    }
    lab.carry();
    let seen = lab.b.payload();
    assert!(seen.len() == 20 * 40 && seen.is_sorted(), "{seen:?}");
}

#[test]
fn reordered_packets_arrive_once_each() {
    let mut lab = Lab::connected();
    lab.reverse = true;
    let vnet = Vnet {
        needs_checksum: true,
        gso: Gso::Udp,
        header_len: 28,
        segment: 100,
        checksum_start: 20,
        checksum_offset: 6,
    };
    let payload: Vec<u8> = (0..3000).map(|n| (n / 100) as u8).collect();
    let packet = samples::udp("10.0.0.1", "10.0.0.2", 5000, &payload);
    let slot = lab.a.slot();
    lab.a.frame(lab.now, slot, &vnet, &packet);
    let twice = lab.a.out.sent.clone();
    lab.a.out.sent.extend(twice);
    lab.carry();
    assert_eq!(lab.b.payload().len(), 3000);
    assert_eq!(lab.b.counters().drop_replay, 30);
}

#[test]
fn a_source_that_is_not_the_peers_is_dropped() {
    let mut lab = Lab::connected();
    // On a's side the stranger's address counts as its own; b knows better.
    lab.a.engine.set_addresses(NET, vec![overlay('a'), "10.0.0.9".parse().unwrap()], Vec::new());
    lab.a.tun(lab.now, &samples::udp("10.0.0.9", "10.0.0.2", 5000, b"spoofed"));
    lab.carry();
    assert!(lab.b.packets().is_empty());
    assert_eq!(lab.b.counters().drop_source, 1);
}

#[test]
fn a_peer_with_a_wide_prefix_cannot_speak_for_a_more_specific_one() {
    let mut lab = Lab::connected();
    let mut wide = peer_config(NET, 'a');
    wide.allowed.push("10.0.0.0/24".parse().unwrap());
    lab.b.engine.set_peer(lab.now, wide, &mut lab.b.out);
    let mut third = peer_config(NET, 'c');
    third.allowed = vec!["10.0.0.9/32".parse().unwrap()];
    lab.b.engine.set_peer(lab.now, third, &mut lab.b.out);
    let ours = vec![overlay('a'), "10.0.0.9".parse().unwrap(), "10.0.0.8".parse().unwrap()];
    lab.a.engine.set_addresses(NET, ours, Vec::new());
    lab.a.tun(lab.now, &samples::udp("10.0.0.9", "10.0.0.2", 5000, b"spoofed"));
    lab.a.tun(lab.now, &samples::udp("10.0.0.8", "10.0.0.2", 5000, b"allowed"));
    lab.carry();
    assert_eq!(lab.b.packets(), [samples::udp("10.0.0.8", "10.0.0.2", 5000, b"allowed")]);
    assert_eq!(lab.b.counters().drop_source, 1);
}

#[test]
fn a_destination_that_is_not_ours_is_dropped_unless_served() {
    let mut lab = Lab::connected();
    let mut served = peer_config(NET, 'b');
    served.allowed.push("172.16.0.0/16".parse().unwrap());
    lab.a.engine.set_peer(lab.now, served, &mut lab.a.out);
    let packet = samples::udp("10.0.0.1", "172.16.5.5", 5000, b"through");
    lab.a.tun(lab.now, &packet);
    lab.carry();
    assert!(lab.b.packets().is_empty());
    assert_eq!(lab.b.counters().drop_destination, 1);
    lab.b.engine.set_addresses(NET, vec![overlay('b')], vec!["172.16.0.0/16".parse().unwrap()]);
    lab.a.tun(lab.now, &packet);
    lab.carry();
    assert_eq!(lab.b.packets(), [packet]);
}

#[test]
fn a_foreign_source_never_leaves_the_device() {
    let mut lab = Lab::connected();
    lab.a.tun(lab.now, &samples::udp("10.0.0.77", "10.0.0.2", 5000, b"not mine"));
    assert!(lab.a.out.sent.is_empty());
    assert_eq!(lab.a.counters().drop_foreign_source, 1);
}

#[test]
fn an_address_without_peer_is_answered_at_once_but_not_for_ever() {
    let mut lab = Lab::new();
    for _ in 0..1000 {
        lab.a.tun(lab.now, &samples::udp("10.0.0.1", "10.0.0.99", 5000, b"anybody?"));
    }
    let answers = lab.a.packets();
    assert_eq!(answers.len(), limits::ICMP_BURST as usize);
    assert_eq!((answers[0][9], answers[0][20], answers[0][21]), (packet::ICMP, 3, 1));
    lab.now += Duration::from_millis(100);
    for _ in 0..1000 {
        lab.a.tun(lab.now, &samples::udp("10.0.0.1", "10.0.0.99", 5000, b"anybody?"));
    }
    assert_eq!(lab.a.packets().len(), limits::ICMP_PER_SECOND as usize / 10);
    lab.a.tun(lab.now, &samples::udp("10.0.0.1", "192.0.2.99", 5000, b"outside the pool"));
    assert!(lab.a.packets().is_empty());
}

#[test]
fn a_packet_over_the_mtu_is_answered_with_the_mtu() {
    let mut lab = Lab::connected();
    lab.a.tun(lab.now, &samples::udp("10.0.0.1", "10.0.0.2", 5000, &[0; 1400]));
    let answers = lab.a.packets();
    assert_eq!((answers[0][20], answers[0][21], packet::be16(&answers[0], 26)), (3, 4, Some(MTU)));
    assert!(lab.a.out.sent.is_empty());
}

#[test]
fn two_networks_with_the_same_addresses_stay_apart() {
    let mut lab = Lab::connected();
    let other = NetworkId(2);
    let slot_a = lab.a.join(lab.now, 'a', other);
    let slot_b = lab.b.join(lab.now, 'b', other);
    lab.introduce(other);
    lab.a.frame(lab.now, slot_a, &Vnet::default(), &hello('a', 'b', b"second network"));
    lab.carry();
    assert_eq!(lab.b.delivered.len(), 1);
    assert_eq!(lab.b.delivered[0].network, slot_b);
    lab.b.delivered.clear();
    // With the second network gone on one side, its packets go nowhere, and the first is not touched.
    lab.b.engine.remove_network(other);
    lab.a.frame(lab.now, slot_a, &Vnet::default(), &hello('a', 'b', b"lost"));
    lab.a.tun(lab.now, &hello('a', 'b', b"kept"));
    lab.carry();
    assert_eq!(lab.b.packets(), [hello('a', 'b', b"kept")]);
    assert_eq!(lab.b.counters().drop_unknown_index, 1);
}

#[test]
fn a_key_of_one_network_opens_no_other() {
    let mut lab = Lab::new();
    let other = NetworkId(2);
    lab.b.join(lab.now, 'b', other);
    // The peer is known in b's second network only, but speaks to its first.
    let mut config = peer_config(NET, 'a');
    config.network = other;
    lab.b.engine.remove_peer(NET, &config.key);
    lab.b.engine.set_peer(lab.now, config, &mut lab.b.out);
    lab.a.tun(lab.now, &hello('a', 'b', b"wrong door"));
    lab.carry();
    assert!(lab.b.packets().is_empty());
    assert_eq!(lab.b.counters().drop_handshake, 1);
}

#[test]
fn a_probe_comes_back_as_an_event_and_not_as_a_packet() {
    let mut lab = Lab::connected();
    lab.a.engine.probe(lab.now, NET, (overlay('b'), 7, 1), &mut lab.a.out);
    lab.a.engine.flush(&mut lab.a.out);
    lab.carry();
    let request = lab.b.packets().pop().unwrap();
    lab.b.tun(lab.now, &samples::echo_reply(&request));
    lab.carry();
    assert!(lab.a.packets().is_empty());
    let reply = |event: &Event| matches!(event, Event::ProbeReply { ident: 7, seq: 1, way: Some(way), .. } if *way == address('b', 0).into());
    assert_eq!(lab.a.event_count(reply), 1);
}

#[test]
fn probes_of_oneself_and_of_nobody_are_answered_at_once() {
    let mut lab = Lab::new();
    lab.a.engine.probe(lab.now, NET, (overlay('a'), 1, 1), &mut lab.a.out);
    lab.a.engine.probe(lab.now, NET, ("10.0.0.99".parse().unwrap(), 1, 2), &mut lab.a.out);
    lab.a.drain();
    assert_eq!(lab.a.event_count(|event| matches!(event, Event::ProbeReply { seq: 1, way: None, .. })), 1);
    assert_eq!(lab.a.event_count(|event| matches!(event, Event::ProbeFailed { seq: 2, .. })), 1);
}
