//! Real shards that reach each other through a relay in a thread of the test: it looks at headers, rewrites them and
//! forwards, datagram by datagram.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::*;
use crate::relay;
use crate::shard::tests::several::{node_of, several};
use crate::way::{Hop, Lease, Way, Ways};

/// A relay whose leases and relay addresses are the same small numbers.
struct Relay {
    place: SocketAddr,
    ports: Arc<Mutex<Vec<u16>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (place, ports, stop) = (socket.local_addr().unwrap(), Arc::default(), Arc::default());
        let (known, ending) = (Arc::clone(&ports), Arc::clone(&stop));
        let thread = std::thread::spawn(move || forward(&socket, &known, &ending));
        Self { place, ports, stop, thread: Some(thread) }
    }

    /// Gives a node a lease, of which both sides know when this returns.
    fn admit(&self, node: &Node) -> u32 {
        let mut ports = self.ports.lock().unwrap();
        let lease = u32::try_from(ports.len()).unwrap();
        ports.push(node.tunnel.port());
        let leases = vec![Lease { relay: self.place, lease, network: NET }];
        node.tunnel.send(Command::SetLeases(leases)).unwrap();
        node.tunnel.stats().unwrap();
        lease
    }

    fn way(&self, own: u32, other: u32) -> Way {
        Way::relayed(self.place, Hop { lease: own, address: other.into() })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the relay stopped by itself");
    }
}

fn forward(socket: &UdpSocket, ports: &Mutex<Vec<u16>>, stop: &AtomicBool) {
    let mut frame = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, _)) = socket.recv_from(&mut frame) else { continue };
        let (hop, _) = relay::parse(&frame[..length]).expect("what comes is framed");
        let to = u32::try_from(hop.address).unwrap();
        let port = ports.lock().unwrap()[to as usize];
        let header = relay::header(Hop { lease: to, address: hop.lease.into() });
        frame[..relay::HEADER].copy_from_slice(&header);
        socket.send_to(&frame[..length], ("127.0.0.1", port)).unwrap();
    }
}

/// Introduces two nodes that know no endpoint of each other, only the relay.
fn meet(relay: &Relay, (one, lease): (&Node, u32), (two, other): (&Node, u32)) {
    for (node, to, way) in [(one, two, relay.way(lease, other)), (two, one, relay.way(other, lease))] {
        let peer = PeerConfig {
            network: NET,
            key: public_key(&to.private),
            allowed: vec![to.overlay.into()],
            candidates: Vec::new(),
            keepalive: None,
            preshared_key: None,
            initiate: false,
        };
        node.tunnel.send(Command::SetPeer(Box::new(peer))).unwrap();
        let ways = Ways { greet: vec![way], ..Ways::default() };
        node.tunnel.send(Command::SetWays { network: NET, key: public_key(&to.private), ways }).unwrap();
    }
}

#[test]
fn every_shard_has_its_relayed_peers_steered_to_it() {
    const SHARDS: u8 = 3;
    let (relay, hub) = (Relay::start(), several(Port::Prefer(0), SHARDS));
    let own = relay.admit(&hub);
    let ends: Vec<_> = (0..SHARDS).map(|number| node_of(number, SHARDS, 10 + number)).collect();
    for end in &ends {
        let lease = relay.admit(end);
        meet(&relay, (&hub, own), (end, lease));
    }
    for round in 0..20_u8 {
        for end in &ends {
            hub.host.send(&hub.packet(end, &[round])).unwrap();
            end.expect(&hub.packet(end, &[round]));
            end.host.send(&end.packet(&hub, &[round])).unwrap();
            hub.expect(&end.packet(&hub, &[round]));
        }
    }
    let counters = hub.tunnel.stats().unwrap().counters;
    assert_eq!((counters.handshakes, counters.drop_relayed, counters.drop_unknown_index), (3, 0, 0));
}

#[test]
fn datagrams_of_the_control_side_cross_straight_and_through_the_relay() {
    let relay = Relay::start();
    let a = start(Port::Prefer(0), [1; 32], "10.0.0.1");
    let b = start(Port::Prefer(0), [2; 32], "10.0.0.2");
    let (lease_a, lease_b) = (relay.admit(&a), relay.admit(&b));
    let straight = |to: &Node| Way::straight(([127, 0, 0, 1], to.tunnel.port()).into());
    let payload = [&[0x0d, 1, 0, 0][..], &[7; 90]].concat();
    let expected = [straight(&a), relay.way(lease_b, lease_a)];
    for (way, came) in [straight(&b), relay.way(lease_a, lease_b)].into_iter().zip(expected) {
        for (ttl, whole) in [(None, false), (Some(4), true)] {
            a.tunnel.send(Command::SendTo { way, payload: payload.clone(), ttl, whole }).unwrap();
            let event = b.events.recv_timeout(PATIENCE).unwrap();
            let local = Some([127, 0, 0, 1].into());
            assert_eq!(event, Event::Datagram { way: came, local, payload: payload.clone() });
        }
    }
}
