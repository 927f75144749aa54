//! Two real shards over 127.0.0.1, with devices in memory.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::fuzz::samples;
use crate::mailbox::PeerConfig;
use crate::start::{Config, Port, Shards, StartError, Tunnel};
use crate::tun::device::{Device, MemoryTun};
use crate::tunnel::{PrivateKey, public_key};

mod auxiliary;
mod relayed;
mod several;

const NET: NetworkId = NetworkId(3);
const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    tunnel: Tunnel,
    host: MemoryTun,
    events: mpsc::Receiver<Event>,
    private: [u8; 32],
    overlay: IpAddr,
}

fn start(port: Port, private: [u8; 32], overlay: &str) -> Node {
    start_with(port, private, overlay, Offloads::default())
}

fn start_with(port: Port, private: [u8; 32], overlay: &str, offloads: Offloads) -> Node {
    start_on(Shards::Automatic, port, private, overlay, offloads)
}

fn start_on(shards: Shards, port: Port, private: [u8; 32], overlay: &str, offloads: Offloads) -> Node {
    let (sender, events) = mpsc::channel();
    let config = Config { shards, ..Config::new(port, Box::new(move |event| drop(sender.send(event)))) };
    let tunnel = Tunnel::start(Config { offloads, ..config }).unwrap();
    let (device, host) = Device::memory().unwrap();
    let overlay = overlay.parse().unwrap();
    let network = NetworkConfig {
        id: NET,
        device,
        private_key: PrivateKey::from(private),
        addresses: vec![overlay],
        accepted: Vec::new(),
        pools: Vec::new(),
        mtu: 1420,
    };
    tunnel.send(Command::AddNetwork(Box::new(network))).unwrap();
    Node { tunnel, host, events, private, overlay }
}

impl Node {
    fn knows(&self, other: &Node, at: &str) {
        let peer = PeerConfig {
            network: NET,
            key: public_key(&other.private),
            allowed: vec![other.overlay.into()],
            candidates: vec![SocketAddr::new(at.parse().unwrap(), other.tunnel.port())],
            keepalive: None,
            preshared_key: None,
            initiate: false,
        };
        self.tunnel.send(Command::SetPeer(Box::new(peer))).unwrap();
    }

    fn packet(&self, to: &Node, text: &[u8]) -> Vec<u8> {
        samples::udp(&self.overlay.to_string(), &to.overlay.to_string(), 5000, text)
    }

    #[track_caller]
    fn expect(&self, packet: &[u8]) {
        let found = self.host.receive(PATIENCE).unwrap();
        assert_eq!(found.as_deref(), Some(packet));
    }

    /// Sends again and again, as programs do, until something arrives.
    #[track_caller]
    fn reaches_within_two_seconds(&self, other: &Node) {
        let begin = clock::now();
        loop {
            self.host.send(&self.packet(other, b"after")).unwrap();
            if other.host.receive(Duration::from_millis(50)).unwrap().is_some() {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(2), "no packet within two seconds");
        }
    }

    /// Sends 50 times so many packets at once, all of which arrive, in their order.
    #[track_caller]
    fn sends_in_order(&self, other: &Node, at_once: u32) {
        for round in 0..50 {
            let numbers: Vec<u32> = (round * at_once..(round + 1) * at_once).collect();
            for number in &numbers {
                self.host.send(&self.packet(other, &number.to_be_bytes())).unwrap();
            }
            let mut seen = Vec::new();
            while seen.len() < numbers.len() {
                let packet = other.host.receive(PATIENCE).unwrap().expect("packets keep coming");
                seen.extend(packet[28..].chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())));
            }
            assert_eq!(seen, numbers);
        }
    }
}

fn pair(at: &str) -> (Node, Node) {
    let a = start(Port::Prefer(0), [1; 32], "10.0.0.1");
    let b = start(Port::Prefer(0), [2; 32], "10.0.0.2");
    a.knows(&b, at);
    b.knows(&a, at);
    (a, b)
}

#[test]
fn packets_cross_two_shards_over_both_families() {
    for at in ["127.0.0.1", "::1"] {
        let (a, b) = pair(at);
        let ip = at.parse().unwrap();
        if !(a.tunnel.reaches(ip) && b.tunnel.reaches(ip)) {
            continue;
        }
        a.host.send(&a.packet(&b, b"ping")).unwrap();
        b.expect(&a.packet(&b, b"ping"));
        b.host.send(&b.packet(&a, b"pong")).unwrap();
        a.expect(&b.packet(&a, b"pong"));
        let events = [(); 2].map(|()| a.events.recv_timeout(PATIENCE).unwrap());
        assert!(
            matches!(
                events,
                [Event::Wanted { .. }, Event::EndpointChanged { .. } | Event::HandshakeDone { .. }]
            ),
            "{events:?}"
        );
        let stats = a.tunnel.stats().unwrap();
        let peer = &stats.networks[0].peers[0];
        assert!(peer.session && peer.rx_bytes == 32 && peer.tx_bytes == 32 && peer.last_handshake.is_some());
        assert_eq!(stats.counters.handshakes, 1);
    }
}

#[test]
fn answers_leave_from_the_address_that_was_spoken_to() {
    let (a, b) = pair("127.0.0.5");
    a.host.send(&a.packet(&b, b"ping")).unwrap();
    b.expect(&a.packet(&b, b"ping"));
    b.host.send(&b.packet(&a, b"pong")).unwrap();
    a.expect(&b.packet(&a, b"pong"));
    let endpoint = a.tunnel.stats().unwrap().networks[0].peers[0].way.map(|way| way.remote);
    assert_eq!(endpoint, Some(SocketAddr::from(([127, 0, 0, 5], b.tunnel.port()))));
}

#[test]
fn many_packets_arrive_complete_and_in_order() {
    let (a, b) = pair("127.0.0.1");
    a.host.send(&a.packet(&b, b"open")).unwrap();
    b.expect(&a.packet(&b, b"open"));
    a.sends_in_order(&b, 20);
}

#[test]
fn a_restarted_shard_is_reached_again_within_two_seconds() {
    let (a, b) = pair("127.0.0.1");
    a.host.send(&a.packet(&b, b"before")).unwrap();
    b.expect(&a.packet(&b, b"before"));
    let port = b.tunnel.port();
    drop(b);
    let b = start(Port::Exactly(port), [2; 32], "10.0.0.2");
    b.knows(&a, "127.0.0.1");
    a.reaches_within_two_seconds(&b);
}

#[test]
fn a_probe_measures_the_way() {
    let (a, b) = pair("127.0.0.1");
    a.tunnel.send(Command::Probe { network: NET, target: b.overlay, ident: 9, seq: 1 }).unwrap();
    let request = b.host.receive(PATIENCE).unwrap().unwrap();
    b.host.send(&samples::echo_reply(&request)).unwrap();
    loop {
        if let Event::ProbeReply { ident, seq, target, way, .. } = a.events.recv_timeout(PATIENCE).unwrap() {
            assert_eq!((ident, seq, target), (9, 1, b.overlay));
            assert_eq!(way.map(|way| way.remote.port()), Some(b.tunnel.port()));
            return;
        }
    }
}

#[test]
fn a_port_in_use_is_an_error_or_another_port() {
    let first = start(Port::Prefer(0), [1; 32], "10.0.0.1");
    let port = first.tunnel.port();
    let again = |port| Tunnel::start(Config::new(port, Box::new(|_| {})));
    assert!(
        matches!(again(Port::Exactly(port)), Err(StartError::PortInUse { port: taken }) if taken == port)
    );
    assert_ne!(again(Port::Prefer(port)).unwrap().port(), port);
}

#[test]
fn a_device_that_goes_away_is_reported() {
    let node = start(Port::Prefer(0), [1; 32], "10.0.0.1");
    drop(node.host);
    assert_eq!(node.events.recv_timeout(PATIENCE).unwrap(), Event::DeviceGone { network: NET });
}

#[test]
fn a_name_that_cannot_be_is_refused_before_the_kernel_is_asked() {
    for name in ["", "a/b", "sixteen-bytes-xx", "a b", "lcs%d"] {
        let error = Device::open_tun(name, 1420).unwrap_err();
        assert!(matches!(error, crate::tun::device::DeviceError::Name { .. }), "{name}: {error}");
    }
}

#[test]
fn bytes_from_anywhere_do_not_stop_the_shard() {
    let (a, b) = pair("127.0.0.1");
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [0, 1, 31, 32, 64, 92, 148, 1452, 9000] {
        for kind in 0..=5 {
            let mut datagram = vec![0x5a; length];
            if length >= 4 {
                datagram[..4].copy_from_slice(&[kind, 0, 0, 0]);
            }
            stranger.send_to(&datagram, ("127.0.0.1", b.tunnel.port())).unwrap();
        }
    }
    b.host.send(&[]).unwrap();
    b.host.send(&[0xff; 100]).unwrap();
    a.host.send(&a.packet(&b, b"alive")).unwrap();
    b.expect(&a.packet(&b, b"alive"));
}

#[test]
fn every_offload_can_be_turned_off() {
    let all = Offloads::default();
    for offloads in [
        Offloads { segmented_sends: false, ..all },
        Offloads { merged_receives: false, ..all },
        Offloads { coalesced_writes: false, ..all },
        Offloads::NONE,
    ] {
        let a = start_with(Port::Prefer(0), [1; 32], "10.0.0.1", offloads);
        let b = start_with(Port::Prefer(0), [2; 32], "10.0.0.2", offloads);
        a.knows(&b, "127.0.0.1");
        let payload: Vec<u8> = (0..20 * 1000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut header = [1, 5, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, value) in [(2, 28_u16), (4, 1000), (6, 20), (8, 6)] {
            header[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        }
        b.knows(&a, "127.0.0.1");
        a.host.send_frame(&header, &a.packet(&b, &payload)).unwrap();
        let mut seen = Vec::new();
        while seen.len() < payload.len() {
            seen.extend_from_slice(&b.host.receive(PATIENCE).unwrap().expect("all of it arrives")[28..]);
        }
        assert_eq!(seen, payload, "{offloads:?}");
        let (sent, received) = (a.tunnel.stats().unwrap().counters, b.tunnel.stats().unwrap().counters);
        assert!(offloads.segmented_sends || sent.trains_out == sent.datagrams_out, "{sent:?}");
        assert!(offloads.merged_receives || received.trains_in == received.datagrams_in, "{received:?}");
        assert!(
            offloads.coalesced_writes || received.device_frames_out == received.device_packets_out,
            "{received:?}"
        );
    }
}

#[test]
fn a_session_goes_on_over_another_port() {
    let (a, b) = pair("127.0.0.1");
    a.host.send(&a.packet(&b, b"before")).unwrap();
    b.expect(&a.packet(&b, b"before"));
    let former = a.tunnel.port();
    a.tunnel.send(Command::SetMark(0)).unwrap();
    a.tunnel.rebind(0).unwrap();
    assert_ne!(a.tunnel.port(), former);
    a.host.send(&a.packet(&b, b"after")).unwrap();
    b.expect(&a.packet(&b, b"after"));
    b.host.send(&b.packet(&a, b"back")).unwrap();
    a.expect(&b.packet(&a, b"back"));
    let stats = b.tunnel.stats().unwrap();
    assert_eq!(stats.networks[0].peers[0].way.map(|way| way.remote.port()), Some(a.tunnel.port()));
    assert_eq!(stats.counters.handshakes, 1);
}

#[test]
fn a_taken_port_leaves_the_tunnel_where_it_was() {
    let (a, b) = pair("127.0.0.1");
    let before = a.tunnel.port();
    assert!(matches!(a.tunnel.rebind(b.tunnel.port()), Err(StartError::PortInUse { .. })));
    assert_eq!(a.tunnel.port(), before);
    a.host.send(&a.packet(&b, b"still")).unwrap();
    b.expect(&a.packet(&b, b"still"));
}

#[test]
fn another_private_key_ends_sessions_and_a_peer_that_knows_it_is_reached() {
    let (mut a, b) = pair("127.0.0.1");
    a.host.send(&a.packet(&b, b"old")).unwrap();
    b.expect(&a.packet(&b, b"old"));
    a.private = [9; 32];
    a.tunnel.send(Command::SetPrivateKey { network: NET, key: PrivateKey::from(a.private) }).unwrap();
    let former = public_key(&[1; 32]);
    b.tunnel.send(Command::RemovePeer { network: NET, key: former }).unwrap();
    b.knows(&a, "127.0.0.1");
    a.host.send(&a.packet(&b, b"new")).unwrap();
    b.expect(&a.packet(&b, b"new"));
    assert_eq!(a.tunnel.stats().unwrap().counters.tunnels, 1);
}

#[test]
fn a_peer_is_sought_where_it_was_set() {
    let (a, b) = pair("127.0.0.9");
    let key = public_key(&b.private);
    let endpoint = SocketAddr::from(([127, 0, 0, 8], b.tunnel.port()));
    a.tunnel.send(Command::SetEndpoint { network: NET, key, endpoint }).unwrap();
    a.host.send(&a.packet(&b, b"there")).unwrap();
    b.expect(&a.packet(&b, b"there"));
    assert_eq!(a.tunnel.stats().unwrap().networks[0].peers[0].way, Some(endpoint.into()));
    let moved = SocketAddr::from(([127, 0, 0, 7], b.tunnel.port()));
    a.tunnel.send(Command::SetEndpoint { network: NET, key, endpoint: moved }).unwrap();
    a.host.send(&a.packet(&b, b"moved")).unwrap();
    b.expect(&a.packet(&b, b"moved"));
    assert_eq!(a.tunnel.stats().unwrap().networks[0].peers[0].way, Some(moved.into()));
}
