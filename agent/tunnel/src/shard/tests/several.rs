//! A node with several shards beside nodes with one. Its device in memory has one queue, which the first shard reads for
//! all; the kernel steers what comes from the others.

use super::*;
use crate::part::Part;

const SHARDS: u8 = 3;

pub(super) fn several(port: Port, shards: u8) -> Node {
    start_on(Shards::Exactly(shards), port, [1; 32], "10.0.0.1", Offloads::default())
}

/// A node whose peer is shard `number`'s of `of`; `host` tells it from others of that shard.
pub(super) fn node_of(number: u8, of: u8, host: u8) -> Node {
    let private = (0..=u8::MAX)
        .map(|n| [[n; 16], [host; 16]].concat().try_into().unwrap())
        .find(|private| Part::new(number, of).has(&public_key(private)))
        .expect("one key of many belongs to any shard");
    start(Port::Prefer(0), private, &format!("10.0.0.{host}"))
}

/// A node of several shards, and one peer of each of them.
fn star() -> (Node, Vec<Node>) {
    let hub = several(Port::Prefer(0), SHARDS);
    let ends: Vec<_> = (0..SHARDS).map(|number| node_of(number, SHARDS, 10 + number)).collect();
    for end in &ends {
        hub.knows(end, "127.0.0.1");
        end.knows(&hub, "127.0.0.1");
    }
    (hub, ends)
}

#[track_caller]
fn talk(hub: &Node, end: &Node) {
    hub.host.send(&hub.packet(end, b"out")).unwrap();
    end.expect(&hub.packet(end, b"out"));
    end.host.send(&end.packet(hub, b"back")).unwrap();
    hub.expect(&end.packet(hub, b"back"));
}

#[test]
fn every_shard_has_sessions_with_its_peers_whoever_begins() {
    for hub_begins in [true, false] {
        let (hub, ends) = star();
        for end in &ends {
            if !hub_begins {
                end.host.send(&end.packet(&hub, b"first")).unwrap();
                hub.expect(&end.packet(&hub, b"first"));
            }
            talk(&hub, end);
        }
        let stats = hub.tunnel.stats().unwrap();
        let peers = &stats.networks[0].peers;
        assert!(peers.iter().all(|peer| peer.session && peer.rx_bytes > 0 && peer.tx_bytes > 0), "{peers:?}");
        let keys: Vec<_> = peers.iter().map(|peer| peer.key).collect();
        assert!(keys.len() == ends.len() && keys.is_sorted());
        assert_eq!((stats.counters.handshakes, stats.counters.tunnels), (3, 3));
        assert!(stats.counters.parcels_out > 0 && stats.counters.drop_parcels_full == 0);
        assert_eq!(stats.counters.drop_unknown_index, 0, "the kernel steers");
    }
}

#[test]
fn packets_handed_over_stay_in_order() {
    let (hub, ends) = star();
    let end = ends.last().unwrap();
    talk(&hub, end);
    hub.sends_in_order(end, 10);
}

#[test]
fn a_restart_with_another_number_of_shards_is_bridged_like_any() {
    let hub = several(Port::Prefer(0), 2);
    // Its old indices name the second shard; after the restart its peer is the first one's.
    let end = (10..=u8::MAX)
        .map(|host| node_of(1, 2, host))
        .find(|end| Part::new(0, 3).has(&public_key(&end.private)))
        .unwrap();
    hub.knows(&end, "127.0.0.1");
    end.knows(&hub, "127.0.0.1");
    talk(&hub, &end);
    let port = hub.tunnel.port();
    drop(hub);
    let hub = several(Port::Exactly(port), 3);
    hub.knows(&end, "127.0.0.1");
    end.reaches_within_two_seconds(&hub);
}

#[test]
fn a_probe_finds_the_shard_of_its_target() {
    let (hub, ends) = star();
    for (seq, end) in (0..).zip(&ends) {
        hub.tunnel.send(Command::Probe { network: NET, target: end.overlay, ident: 9, seq }).unwrap();
        let request = end.host.receive(PATIENCE).unwrap().unwrap();
        end.host.send(&samples::echo_reply(&request)).unwrap();
        loop {
            if let Event::ProbeReply { seq: found, target, .. } = hub.events.recv_timeout(PATIENCE).unwrap() {
                assert_eq!((found, target), (seq, end.overlay));
                break;
            }
        }
    }
    let target = "10.0.0.99".parse().unwrap();
    hub.tunnel.send(Command::Probe { network: NET, target, ident: 9, seq: 99 }).unwrap();
    while !matches!(hub.events.recv_timeout(PATIENCE).unwrap(), Event::ProbeFailed { seq: 99, .. }) {}
}

#[test]
fn a_prefix_moves_between_peers_of_different_shards_and_goes_with_its_peer() {
    let (hub, ends) = star();
    let moving: IpAddr = "10.9.9.9".parse().unwrap();
    let give = |end: &Node, more: &[IpAddr]| {
        let allowed = [&[end.overlay][..], more].concat().into_iter().map(Into::into).collect();
        let at = SocketAddr::from(([127, 0, 0, 1], end.tunnel.port()));
        let key = public_key(&end.private);
        let (keepalive, preshared_key) = (None, None);
        let peer = PeerConfig {
            network: NET,
            key,
            allowed,
            candidates: vec![at],
            keepalive,
            preshared_key,
            initiate: false,
        };
        hub.tunnel.deliver(Command::SetPeer(Box::new(peer))).unwrap();
    };
    let (accepted, addresses) = (vec![moving.into()], |end: &Node| vec![end.overlay]);
    for end in &ends {
        let (addresses, accepted) = (addresses(end), accepted.clone());
        end.tunnel.deliver(Command::SetAddresses { network: NET, addresses, accepted }).unwrap();
        give(end, &[moving]);
        let packet = samples::udp("10.0.0.1", "10.9.9.9", 5000, b"to whoever has it");
        // All shards have the command before the packet.
        hub.tunnel.stats().unwrap();
        hub.host.send(&packet).unwrap();
        end.expect(&packet);
    }
    let key = public_key(&ends[2].private);
    hub.tunnel.deliver(Command::RemovePeer { network: NET, key }).unwrap();
    let before = hub.tunnel.stats().unwrap().counters.drop_no_route;
    hub.host.send(&samples::udp("10.0.0.1", "10.9.9.9", 5000, b"nobody")).unwrap();
    let deadline = clock::now() + PATIENCE;
    while hub.tunnel.stats().unwrap().counters.drop_no_route == before {
        assert!(clock::now() < deadline, "the packet has nowhere to go");
    }
}

#[test]
fn all_shards_move_to_another_port() {
    let (hub, ends) = star();
    ends.iter().for_each(|end| talk(&hub, end));
    let former = hub.tunnel.port();
    hub.tunnel.rebind(0).unwrap();
    assert_ne!(hub.tunnel.port(), former);
    ends.iter().for_each(|end| talk(&hub, end));
    let counters = hub.tunnel.stats().unwrap().counters;
    assert_eq!((counters.handshakes, counters.drop_unknown_index), (3, 0));
    // The former port is free for others.
    assert!(std::net::UdpSocket::bind(("0.0.0.0", former)).is_ok());
}

#[test]
fn a_second_program_is_refused_the_port_of_several_shards() {
    let first = several(Port::Prefer(0), SHARDS);
    let port = first.tunnel.port();
    for shards in [1, SHARDS] {
        let start = |port| {
            let config = Config::new(port, Box::new(|_| {}));
            Tunnel::start(Config { shards: Shards::Exactly(shards), ..config })
        };
        assert!(
            matches!(start(Port::Exactly(port)), Err(StartError::PortInUse { port: taken }) if taken == port)
        );
        let other = start(Port::Prefer(port)).unwrap();
        assert_ne!(other.port(), port);
        assert!(matches!(other.rebind(port), Err(StartError::PortInUse { .. })));
    }
}

#[test]
fn a_device_that_goes_away_is_reported_once() {
    let hub = several(Port::Prefer(0), SHARDS);
    drop(hub.host);
    assert_eq!(hub.events.recv_timeout(PATIENCE).unwrap(), Event::DeviceGone { network: NET });
    hub.tunnel.stats().unwrap();
    assert!(hub.events.try_recv().is_err());
}
