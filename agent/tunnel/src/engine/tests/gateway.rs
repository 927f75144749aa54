//! Gateways, their clients and the peers behind them: every node one engine, joined by their addresses.

use std::collections::BTreeMap;

use super::*;
use crate::fuzz::SentTrain;
use crate::fuzz::nodes::{Node, config, overlays, place, prefixes, private};
use crate::packet;
use crate::part::Part;

/// Of the nodes of a mesh 1 and 2 are gateways, 3 and 4 peers, 8 and 9 clients.
const GATEWAYS: [Node; 2] = [1, 2];
const PEERS: [Node; 2] = [3, 4];
const CLIENTS: [Node; 2] = [8, 9];

/// The key that all gateways have.
const FRONT: [u8; 32] = [77; 32];

struct Mesh {
    nodes: BTreeMap<Node, (Engine, Recorder)>,
    /// Gateways that are gone.
    dead: Vec<Node>,
    now: Instant,
}

fn udp(from: Node, to: Node, text: &[u8]) -> Vec<u8> {
    samples::udp(&overlays(from)[0].to_string(), &overlays(to)[0].to_string(), 5000, text)
}

fn udp6(from: Node, to: Node, text: &[u8]) -> Vec<u8> {
    samples::udp(&overlays(from)[1].to_string(), &overlays(to)[1].to_string(), 5000, text)
}

/// What arrives of a packet that was forwarded so often.
fn after(hops: u8, mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 6 {
        packet[7] -= hops;
        return packet;
    }
    packet[8] -= hops;
    packet[10..12].fill(0);
    let sum = crate::checksum::finish(crate::checksum::partial(&packet[..20]));
    packet[10..12].copy_from_slice(&sum);
    packet
}

impl Mesh {
    /// Two gateways and two peers that know one another, and two clients of the first gateway.
    fn new() -> Self {
        let now = crate::clock::now();
        let mut mesh = Self { nodes: BTreeMap::new(), dead: Vec::new(), now };
        for node in [&GATEWAYS[..], &PEERS, &CLIENTS].concat() {
            let mut engine = Engine::new(now, u64::from(node), 64);
            engine.add_network(
                now,
                NetworkSettings {
                    id: NET,
                    private_key: PrivateKey::from(private(node)),
                    addresses: overlays(node).to_vec(),
                    accepted: Vec::new(),
                    pools: Vec::new(),
                    mtu: MTU,
                },
            );
            mesh.nodes.insert(node, (engine, Recorder::default()));
        }
        for node in [GATEWAYS, PEERS].concat() {
            for other in [GATEWAYS, PEERS].concat().into_iter().filter(|other| *other != node) {
                let config = config(NET, private(other), prefixes(&[other]), Some(other));
                mesh.set_peer(node, config);
                let shared = if GATEWAYS.contains(&other) { prefixes(&CLIENTS) } else { Vec::new() };
                mesh.engine(node).set_shared(NET, &tunnel::public_key(&private(other)), shared, false);
            }
        }
        for gateway in GATEWAYS {
            mesh.engine(gateway).set_gateway(NET, Some(&PrivateKey::from(FRONT)));
            for client in CLIENTS {
                mesh.set_peer(gateway, config(NET, private(client), Vec::new(), None));
                let shared = prefixes(&[client]);
                mesh.engine(gateway).set_shared(NET, &tunnel::public_key(&private(client)), shared, true);
            }
        }
        for client in CLIENTS {
            let pool = vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
            mesh.set_peer(client, config(NET, FRONT, pool, Some(1)));
        }
        mesh
    }

    fn engine(&mut self, node: Node) -> &mut Engine {
        &mut self.nodes.get_mut(&node).unwrap().0
    }

    fn set_peer(&mut self, node: Node, config: PeerConfig) {
        let (engine, out) = self.nodes.get_mut(&node).unwrap();
        engine.set_peer(self.now, config, out);
    }

    fn counters(&mut self, node: Node) -> Counters {
        let now = self.now;
        self.engine(node).stats(now).counters
    }

    /// Sends a packet of a node and returns what each of the others got to read.
    fn send(&mut self, node: Node, packet: &[u8]) -> Vec<(Node, Vec<u8>)> {
        let now = self.now;
        let (engine, out) = self.nodes.get_mut(&node).unwrap();
        let mut frame = [&Vnet::default().encode()[..], packet, &[0; 16]].concat();
        let slot = engine.slot(NET).unwrap();
        assert_eq!(engine.on_tun(now, slot, &mut frame, vnet::LEN + packet.len(), out), None);
        engine.flush(out);
        self.carry()
    }

    fn carry(&mut self) -> Vec<(Node, Vec<u8>)> {
        for _ in 0..300 {
            let sent: Vec<_> = self
                .nodes
                .iter_mut()
                .flat_map(|(node, (_, out))| {
                    std::mem::take(&mut out.sent).into_iter().map(|train| (*node, train))
                })
                .collect();
            if sent.is_empty() {
                return self.delivered();
            }
            for (from, train) in sent {
                let SocketAddr::V4(to) = train.to else { panic!("there is no IPv6 below") };
                let to = to.ip().octets()[3];
                let Some((engine, out)) = self
                    .nodes
                    .get_mut(&to)
                    .filter(|_| !self.dead.contains(&to) && !self.dead.contains(&from))
                else {
                    continue;
                };
                let SentTrain { stride, ecn, bytes, .. } = &train;
                let message = Message {
                    from: place(from),
                    to: None,
                    auxiliary: None,
                    ecn: *ecn,
                    stride: *stride,
                    bytes,
                };
                engine.on_wire(self.now, &message, out);
                engine.flush(out);
            }
        }
        panic!("the nodes never fall silent");
    }

    fn delivered(&mut self) -> Vec<(Node, Vec<u8>)> {
        let each = self.nodes.iter_mut().flat_map(|(node, (_, out))| {
            std::mem::take(&mut out.delivered).into_iter().map(|frame| (*node, frame.packet))
        });
        each.collect()
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
        for (engine, out) in self.nodes.values_mut() {
            engine.on_tick(self.now, out);
            engine.flush(out);
        }
        self.carry();
    }
}

#[test]
fn clients_reach_peers_and_one_another_and_are_reached() {
    let mut mesh = Mesh::new();
    for packet in [udp, udp6] {
        for (from, to) in [(8, 3), (3, 8), (8, 1), (1, 8), (9, 8), (8, 9), (4, 9)] {
            let hops = u8::from(from != 1 && to != 1);
            let expected = [(to, after(hops, packet(from, to, b"hello")))];
            assert_eq!(mesh.send(from, &packet(from, to, b"hello")), expected, "{from} → {to}");
        }
    }
    assert!(mesh.counters(1).packets_forwarded >= 10);
    assert_eq!(mesh.counters(1).drop_destination, 0);
}

#[test]
fn a_client_that_no_gateway_has_heard_of_is_unreachable() {
    let mut mesh = Mesh::new();
    let answers = mesh.send(8, &udp(8, 9, b"anybody?"));
    let [(8, answer)] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((answer[20], answer[21]), (3, 1));
}

#[test]
fn a_gateway_sends_on_through_the_one_that_has_the_client() {
    let mut mesh = Mesh::new();
    mesh.send(8, &udp(8, 9, b"here I am"));
    let [first, second] = GATEWAYS.map(|gateway| tunnel::public_key(&private(gateway)));
    mesh.engine(2).prefer(NET, &first, &prefixes(&[8]));
    mesh.engine(3).prefer(NET, &second, &prefixes(&[8]));
    assert_eq!(mesh.send(3, &udp(3, 8, b"around")), [(8, after(2, udp(3, 8, b"around")))]);
    assert_eq!(mesh.send(8, &udp(8, 3, b"straight")), [(3, after(1, udp(8, 3, b"straight")))]);
    assert_eq!(mesh.send(3, &udp(3, 8, b"straight")), [(8, after(1, udp(3, 8, b"straight")))]);
}

#[test]
fn a_client_has_no_address_but_its_own() {
    let mut mesh = Mesh::new();
    mesh.send(8, &udp(8, 3, b"own"));
    mesh.send(9, &udp(9, 3, b"own"));
    for stolen in [9, 3, 4, 1] {
        // The client's own engine would not let it: it takes the other's address for its own.
        let mut addresses = overlays(8).to_vec();
        addresses.push(overlays(stolen)[0]);
        mesh.engine(8).set_addresses(NET, addresses, Vec::new());
        let before = mesh.counters(1).drop_source;
        assert_eq!(mesh.send(8, &udp(stolen, 3, b"stolen")), [], "as {stolen}");
        assert_eq!(mesh.counters(1).drop_source, before + 1);
    }
    assert_eq!(mesh.send(3, &udp(3, 9, b"to its owner")), [(9, after(1, udp(3, 9, b"to its owner")))]);
}

#[test]
fn a_peer_takes_from_a_gateway_what_is_its_own_or_a_clients_and_nothing_else() {
    let mut mesh = Mesh::new();
    mesh.send(1, &udp(1, 3, b"own"));
    let [other_peer, nobody] = [4, 77];
    for claimed in [other_peer, nobody, 3] {
        let addresses = [overlays(1), overlays(claimed)].concat();
        mesh.engine(1).set_addresses(NET, addresses, Vec::new());
        for packet in [udp, udp6] {
            let before = mesh.counters(3).drop_source;
            assert_eq!(mesh.send(1, &packet(claimed, 3, b"claimed")), [], "as {claimed}");
            assert_eq!(mesh.counters(3).drop_source, before + 1);
        }
    }
    let addresses = [overlays(1), overlays(8)].concat();
    mesh.engine(1).set_addresses(NET, addresses, Vec::new());
    assert_eq!(mesh.send(1, &udp(8, 3, b"a client's")), [(3, udp(8, 3, b"a client's"))]);
}

#[test]
fn peers_are_not_sent_on_to_peers_nor_through_a_node_that_is_no_gateway() {
    let mut mesh = Mesh::new();
    // A peer that sends what is for another through the gateway: allowed on its side alone.
    let through = [prefixes(&[1]), prefixes(&[4])].concat();
    mesh.set_peer(3, config(NET, private(1), through, Some(1)));
    assert_eq!(mesh.send(3, &udp(3, 4, b"around")), []);
    assert_eq!(mesh.counters(1).drop_destination, 1);
    let through = [prefixes(&[4]), prefixes(&CLIENTS)].concat();
    mesh.set_peer(3, config(NET, private(4), through, Some(4)));
    assert_eq!(mesh.send(3, &udp(3, 8, b"around")), []);
    assert_eq!(mesh.counters(4).drop_destination, 1);
}

#[test]
fn two_networks_of_a_gateway_never_mix() {
    let mut mesh = Mesh::new();
    let (other, now) = (NetworkId(2), mesh.now);
    // The second network has the first one's addresses, another key, and a peer at a client's address.
    mesh.engine(1).add_network(
        now,
        NetworkSettings {
            id: other,
            private_key: PrivateKey::from([55; 32]),
            addresses: overlays(1).to_vec(),
            accepted: Vec::new(),
            pools: Vec::new(),
            mtu: MTU,
        },
    );
    mesh.engine(1).set_gateway(other, Some(&PrivateKey::from([66; 32])));
    mesh.set_peer(1, config(other, private(4), prefixes(&[3, 9]), Some(4)));
    assert_eq!(mesh.send(8, &udp(8, 3, b"hello")), [(3, after(1, udp(8, 3, b"hello")))]);
    // A client of the first network is nobody in the second one, whose gateway has another key.
    let pool = vec!["10.0.0.0/24".parse().unwrap()];
    mesh.set_peer(9, config(NET, [66; 32], pool, Some(1)));
    assert_eq!(mesh.send(9, &udp(9, 3, b"hello")), []);
    assert!(mesh.counters(1).drop_handshake > 0);
}

#[test]
fn a_packet_that_has_no_hops_left_dies_and_its_sender_is_told() {
    let mut mesh = Mesh::new();
    mesh.send(8, &udp(8, 3, b"first"));
    for packet in [udp, udp6] {
        let mut last = packet(8, 3, b"last hop");
        last = after(last[if last[0] >> 4 == 4 { 8 } else { 7 }] - 1, last);
        let answers = mesh.send(8, &last);
        let [(8, answer)] = answers.as_slice() else { panic!("{answers:?}") };
        let addresses = packet::addresses(answer).unwrap();
        assert!(overlays(1).contains(&addresses.source) && overlays(8).contains(&addresses.destination));
        let (_, at) = packet::transport(answer).unwrap();
        assert_eq!(answer[at], if answer[0] >> 4 == 4 { 11 } else { 3 });
    }
    assert_eq!(mesh.counters(1).drop_expired, 2);
}

#[test]
fn a_packet_that_two_gateways_send_each_other_dies_at_once() {
    let mut mesh = Mesh::new();
    mesh.send(1, &udp(1, 2, b"hello"));
    let [first, second] = GATEWAYS.map(|gateway| tunnel::public_key(&private(gateway)));
    mesh.engine(1).prefer(NET, &second, &prefixes(&[8]));
    mesh.engine(2).prefer(NET, &first, &prefixes(&[8]));
    assert!(mesh.send(3, &udp(3, 8, b"round")).iter().all(|(node, _)| *node == 3));
    assert!(mesh.counters(1).packets_forwarded + mesh.counters(2).packets_forwarded <= 2);
}

#[test]
fn what_is_too_big_for_the_next_way_is_cut_or_its_sender_told() {
    let mut mesh = Mesh::new();
    mesh.send(8, &udp(8, 3, b"first"));
    mesh.engine(1).set_mtu(NET, 1300);
    let big = [7; 1350];
    let answers = mesh.send(8, &udp(8, 3, &big));
    let [(8, answer)] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((answer[20], answer[21], packet::be16(answer, 26)), (3, 4, Some(1300)));
    let pieces = mesh.send(8, &samples::fragmentable(udp(8, 3, &big)));
    assert_eq!(pieces.len(), 2);
    assert!(pieces.iter().all(|(node, piece)| *node == 3 && piece.len() <= 1300));
}

#[test]
fn peers_follow_a_client_to_the_gateway_that_it_is_heard_through() {
    let mut mesh = Mesh::new();
    mesh.send(8, &udp(8, 3, b"first"));
    // Its address moves to the second gateway: the same key is there.
    let pool = vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
    mesh.dead = vec![1];
    let moved = PeerConfig { initiate: true, ..config(NET, FRONT, pool, Some(2)) };
    mesh.engine(8).remove_peer(NET, &tunnel::public_key(&FRONT));
    mesh.set_peer(8, moved);
    mesh.later(Duration::from_millis(50));
    assert_eq!(mesh.send(8, &udp(8, 3, b"moved")), [(3, after(1, udp(8, 3, b"moved")))]);
    assert_eq!(mesh.send(3, &udp(3, 8, b"answer")), [(8, after(1, udp(3, 8, b"answer")))]);
    // Nothing of it was heard here yet: the dead gateway is found silent, and the other one asked.
    mesh.send(4, &udp(4, 8, b"anybody?"));
    for _ in 0..60 {
        mesh.later(Duration::from_secs(1));
    }
    assert_eq!(mesh.send(4, &udp(4, 8, b"there")), [(8, after(1, udp(4, 8, b"there")))]);
}

#[test]
fn a_gateway_that_gets_a_clients_data_calls_it_where_it_was_told_that_it_is() {
    let mut mesh = Mesh::new();
    mesh.send(8, &udp(8, 3, b"first"));
    let client = config(NET, private(8), Vec::new(), Some(8));
    mesh.set_peer(2, client);
    // The address that the client knows is the second gateway's from now on.
    let data = {
        let (engine, out) = mesh.nodes.get_mut(&8).unwrap();
        let mut frame = [&Vnet::default().encode()[..], &udp(8, 3, b"lost"), &[0; 16]].concat();
        let slot = engine.slot(NET).unwrap();
        let length = frame.len() - 16;
        let _ = engine.on_tun(mesh.now, slot, &mut frame, length, out);
        engine.flush(out);
        out.sent.pop().unwrap().bytes
    };
    mesh.dead = vec![1];
    let (engine, out) = mesh.nodes.get_mut(&2).unwrap();
    let local = Some(IpAddr::from([192, 0, 2, 100]));
    let message = Message {
        from: place(8),
        to: local,
        auxiliary: None,
        ecn: Ecn::NotCapable,
        stride: data.len(),
        bytes: &data,
    };
    engine.on_wire(mesh.now, &message, out);
    mesh.carry();
    assert_eq!(mesh.send(3, &udp(3, 8, b"not yet heard")).len(), 0);
    assert_eq!(mesh.send(8, &udp(8, 3, b"again")), [(3, after(1, udp(8, 3, b"again")))]);
    assert_eq!(mesh.send(3, &udp(3, 8, b"back")), [(8, after(1, udp(3, 8, b"back")))]);
}

#[test]
fn a_client_that_is_removed_is_cut_at_once() {
    let mut mesh = Mesh::new();
    mesh.send(8, &udp(8, 3, b"first"));
    mesh.engine(1).remove_peer(NET, &tunnel::public_key(&private(8)));
    assert_eq!(mesh.send(8, &udp(8, 3, b"more")), []);
    mesh.later(Duration::from_secs(6));
    assert_eq!(mesh.send(8, &udp(8, 3, b"more")), []);
    assert!(mesh.engine(1).networks.get(0).unwrap().routes.peer_for(overlays(8)[0]).is_some());
}

/// The private key of a peer that engine `owner` of two has.
fn key_of(owner: u8) -> [u8; 32] {
    let belongs = |private: &[u8; 32]| Part::new(0, 2).owner(&tunnel::public_key(private)) == owner;
    (100..=u8::MAX).map(|n| [n; 32]).find(belongs).unwrap()
}

#[test]
fn what_another_engine_is_to_send_on_is_handed_to_it_with_who_was_heard() {
    let now = crate::clock::now();
    let (client, member) = (key_of(0), key_of(1));
    let settings = |private, node| NetworkSettings {
        id: NET,
        private_key: PrivateKey::from(private),
        addresses: overlays(node).to_vec(),
        accepted: Vec::new(),
        pools: Vec::new(),
        mtu: MTU,
    };
    let mut outs: [Recorder; 4] = Default::default();
    // Two engines of the gateway, then the client and the member.
    let half = |n: u8| Engine::new(now, 1, 64).with_part(Part::new(n, 2), n.into());
    let mut engines = VecDeque::from([half(0), half(1)]);
    for (engine, out) in engines.iter_mut().zip(&mut outs) {
        engine.add_network(now, settings(private(1), 1));
        engine.set_gateway(NET, Some(&PrivateKey::from(FRONT)));
        engine.set_peer(now, config(NET, client, Vec::new(), Some(8)), out);
        engine.set_shared(NET, &tunnel::public_key(&client), prefixes(&[8]), true);
        engine.set_peer(now, config(NET, member, prefixes(&[3]), Some(3)), out);
        // Another gateway has the client, as far as both engines know.
        engine.set_peer(now, config(NET, private(2), prefixes(&[2]), Some(2)), out);
        engine.set_shared(NET, &tunnel::public_key(&private(2)), prefixes(&[8]), false);
        engine.prefer(NET, &tunnel::public_key(&private(2)), &prefixes(&[8]));
    }
    for (key, knows, node) in [(client, FRONT, 8), (member, private(1), 3)] {
        let (mut engine, mut out) = (Engine::new(now, key[0].into(), 64), Recorder::default());
        engine.add_network(now, settings(key, node));
        let pool = vec!["10.0.0.0/24".parse().unwrap()];
        engine.set_peer(now, config(NET, knows, pool, Some(1)), &mut out);
        engines.push_back(engine);
    }
    let slot = engines[2].slot(NET).unwrap();
    let mut frame = [&Vnet::default().encode()[..], &udp(8, 3, b"across"), &[0; 16]].concat();
    let length = frame.len() - 16;
    assert_eq!(engines[2].on_tun(now, slot, &mut frame, length, &mut outs[2]), None);
    engines[2].flush(&mut outs[2]);
    let handed = carry_between(now, &mut engines, &mut outs);
    let got: Vec<_> = outs[3].delivered.iter().map(|frame| frame.packet.clone()).collect();
    assert_eq!(got, [after(1, udp(8, 3, b"across"))]);
    assert!(handed.contains(&"Prefer".to_owned()) && handed.contains(&"Forward".to_owned()), "{handed:?}");
    for engine in engines.iter_mut().take(2) {
        let owner = engine.owner_of(0, overlays(8)[0]);
        assert!(owner.is_none_or(|owner| owner == 0), "both send to the client itself now");
    }
}

/// Carries what two engines of a gateway, a client and a member put out; returns what one engine handed to the other.
fn carry_between(now: Instant, engines: &mut VecDeque<Engine>, outs: &mut [Recorder; 4]) -> Vec<String> {
    let mut handed = Vec::new();
    for _ in 0..20 {
        for from in 0..4 {
            for train in std::mem::take(&mut outs[from].sent) {
                // Everything that comes to the gateway comes to the engine that the index names, handshakes to the first.
                let SentTrain { to, stride, ecn, bytes } = train;
                let receivers = if to == place(8) {
                    vec![2]
                } else if to == place(3) {
                    vec![3]
                } else {
                    vec![0, 1]
                };
                let at = if from < 2 {
                    place(1)
                } else if from == 2 {
                    place(8)
                } else {
                    place(3)
                };
                let message = Message { from: at, to: None, auxiliary: None, ecn, stride, bytes: &bytes };
                let index = crate::wire::classify(&bytes).and_then(crate::wire::Message::receiver);
                let owner = index.map_or(0, |index| usize::from(Part::named_by(index)));
                let receiver = if receivers.len() == 2 { owner } else { receivers[0] };
                engines[receiver].on_wire(now, &message, &mut outs[receiver]);
                engines[receiver].flush(&mut outs[receiver]);
            }
            for (to, errand) in std::mem::take(&mut outs[from].errands) {
                handed.push(format!("{errand:?}").split([' ', '(']).next().unwrap().to_owned());
                engines[usize::from(to)].on_errand(now, errand, &mut outs[usize::from(to)]);
                engines[usize::from(to)].flush(&mut outs[usize::from(to)]);
            }
        }
    }
    handed
}
