//! Sockets beside the usual ones: data and datagrams of the control side come and go by them, whichever shard has the peer.

use super::several::{node_of, several};
use super::*;
use crate::way::{Way, Ways};

const SHARDS: u8 = 3;

/// Whether any UDP socket of this host has this port.
fn bound(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/self/net/udp").unwrap();
    let local = format!(":{port:04X} ");
    table
        .lines()
        .any(|line| line.split_whitespace().nth(1).is_some_and(|at| format!("{at} ").ends_with(&local)))
}

/// Sends a datagram of the control side from an auxiliary socket, and returns the port that it came from.
fn port_of(from: &Node, socket: Auxiliary, to: &Node) -> u16 {
    let place = ([127, 0, 0, 1], to.tunnel.port()).into();
    let way = Way { auxiliary: Some(socket), ..Way::straight(place) };
    let payload = [&[0x0d, 1, 0, 0][..], &[7; 90]].concat();
    from.tunnel.send(Command::SendTo { way, payload: payload.clone(), ttl: None, whole: false }).unwrap();
    loop {
        if let Event::Datagram { way, payload: came, .. } = to.events.recv_timeout(PATIENCE).unwrap() {
            assert_eq!((came, way.auxiliary), (payload, None));
            return way.remote.port();
        }
    }
}

#[test]
fn a_peer_is_reached_by_a_socket_of_its_own_in_every_shard() {
    let hub = several(Port::Prefer(0), SHARDS);
    let ends: Vec<_> = (0..SHARDS).map(|number| node_of(number, SHARDS, 10 + number)).collect();
    for end in &ends {
        let key = public_key(&end.private);
        let sockets = hub.tunnel.open_auxiliary(key, 3);
        let [first, second, third] = sockets[..] else { panic!("{} sockets", sockets.len()) };
        let [near, far] = [first, second].map(|socket| port_of(&hub, socket, end));
        assert!(near != far && near != hub.tunnel.port(), "each has a port of its own");
        hub.knows(end, "127.0.0.1");
        end.knows(&hub, "127.0.0.1");
        let straight = |port| Way::straight(([127, 0, 0, 1], port).into());
        let out = Way { auxiliary: Some(first), ..straight(end.tunnel.port()) };
        for (node, key, way) in [(&hub, key, out), (end, public_key(&hub.private), straight(near))] {
            let ways = Ways { primary: Some(way), ..Ways::default() };
            node.tunnel.send(Command::SetWays { network: NET, key, ways }).unwrap();
        }
        for round in 0..20_u8 {
            hub.host.send(&hub.packet(end, &[round])).unwrap();
            end.expect(&hub.packet(end, &[round]));
            end.host.send(&end.packet(&hub, &[round])).unwrap();
            hub.expect(&end.packet(&hub, &[round]));
        }
        let stats = end.tunnel.stats().unwrap();
        assert_eq!(
            stats.networks[0].peers[0].way.map(|way| way.remote.port()),
            Some(near),
            "it comes from there"
        );
        hub.tunnel.close_auxiliary(&[second, third, third]);
        hub.tunnel.stats().unwrap();
        assert!(bound(near) && !bound(far), "what is closed is closed, the winner stays");
        hub.host.send(&hub.packet(end, b"still")).unwrap();
        end.expect(&hub.packet(end, b"still"));
        hub.tunnel.close_all_auxiliary();
        hub.tunnel.stats().unwrap();
        assert!(!bound(near));
        // A way that leads from a closed socket leads nowhere, and says nothing of the place.
        hub.host.send(&hub.packet(end, b"lost")).unwrap();
        let said = |event: &Event| matches!(event, Event::Refused { .. });
        hub.tunnel.stats().unwrap();
        assert!(!hub.events.try_iter().any(|event| said(&event)));
    }
}

#[test]
fn what_comes_to_a_socket_of_its_own_is_told_with_it() {
    let a = start(Port::Prefer(0), [1; 32], "10.0.0.1");
    let b = start(Port::Prefer(0), [2; 32], "10.0.0.2");
    let sockets = a.tunnel.open_auxiliary(public_key(&b.private), 64);
    assert_eq!(sockets.len(), 64);
    let payload = [&[0x0d, 1, 0, 0][..], &[7; 90]].concat();
    for socket in sockets {
        let way = Way::straight(([127, 0, 0, 1], port_of(&a, socket, &b)).into());
        b.tunnel.send(Command::SendTo { way, payload: payload.clone(), ttl: None, whole: false }).unwrap();
        let event = a.events.recv_timeout(PATIENCE).unwrap();
        let came = Way { auxiliary: Some(socket), ..Way::straight(([127, 0, 0, 1], b.tunnel.port()).into()) };
        assert_eq!(
            event,
            Event::Datagram { way: came, local: Some([127, 0, 0, 1].into()), payload: payload.clone() }
        );
    }
}
