//! Any packets of anybody to a gateway: what it sends on, and to whom.
//!
//! ```text
//!  8, 9 clients ─┐               ┌─ 3 peer
//!                ├─ 1, gateway ──┤                   another network of 1: client 10 and peer 11, at addresses of 8 and 3
//!  2 gateway ────┘               └─ 2 gateway
//! ```
//! Whoever is not the gateway lets every packet out and in, so that the gateway alone decides.

use std::net::IpAddr;
use std::time::Instant;

use ipnetwork::IpNetwork;

use super::{
    Recorder, SentTrain, clock,
    nodes::{Node, config, overlays, place, prefixes, private},
};
use crate::checksum;
use crate::ecn::Ecn;
use crate::engine::{Engine, NetworkSettings, SLACK};
use crate::mailbox::NetworkId;
use crate::packet;
use crate::tun::vnet::{self, Vnet};
use crate::tunnel::{self, PrivateKey};
use crate::udp::receive::Message;

const GATE: Node = 1;
const FELLOW: Node = 2;
const MEMBER: Node = 3;
const CLIENTS: [Node; 2] = [8, 9];
const SENDERS: [Node; 4] = [8, 9, MEMBER, FELLOW];

/// Those of the gateway's other network, and whose addresses they have there.
const STRANGERS: [(Node, Node); 2] = [(10, 8), (11, MEMBER)];

const NET: NetworkId = NetworkId(1);
const OTHER_NET: NetworkId = NetworkId(2);

/// The keys by which clients know the gateways of both networks.
const FRONTS: [[u8; 32]; 2] = [[77; 32], [78; 32]];

/// Most packets of one input.
const PACKETS: usize = 8;

/// Longest packet: one that its sender need not cut.
const LONGEST: usize = 1_200;

/// Most turns of everybody until all is said: handshakes on both sides of the gateway, and then some.
const TURNS: usize = 60;

/// Sends packets through a gateway. The first byte says how things are; then, for each packet: who sends it, its length in
/// two bytes, itself.
pub fn forward(bytes: &[u8]) {
    let Some((options, mut rest)) = bytes.split_first() else { return };
    let mut mesh = Mesh::new(*options);
    for _ in 0..PACKETS {
        let Some(([who, high, low], tail)) = rest.split_first_chunk() else { return };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (packet, tail) = tail.split_at(length);
        rest = tail;
        mesh.send(SENDERS[usize::from(*who) % SENDERS.len()], &packet[..length.min(LONGEST)]);
    }
}

/// Everybody, joined by their addresses.
struct Mesh {
    nodes: Vec<(Node, Engine, Recorder)>,
    now: Instant,
}

impl Mesh {
    /// `options`: 1 lets only short packets through the gateway, 2 leaves the second client away, 4 has the first client
    /// with the other gateway as far as this one knows.
    fn new(options: u8) -> Self {
        let now = clock::now();
        let mut mesh = Self { nodes: Vec::new(), now };
        for node in [GATE, FELLOW, MEMBER, CLIENTS[0], CLIENTS[1]] {
            mesh.add(node, if node == GATE && options & 1 == 1 { 700 } else { 1_420 });
        }
        mesh.make_gateway();
        for node in [FELLOW, MEMBER] {
            mesh.know(node, private(GATE), everything(), Some(GATE));
        }
        for client in CLIENTS {
            mesh.know(client, FRONTS[0], everything(), Some(GATE));
        }
        for client in &CLIENTS[..if options & 2 == 2 { 1 } else { 2 }] {
            mesh.send(*client, &greeting(*client));
        }
        if options & 4 == 4 {
            let (key, first) = (tunnel::public_key(&private(FELLOW)), prefixes(&CLIENTS[..1]));
            mesh.engine(GATE).prefer(NET, &key, &first);
        }
        mesh
    }

    fn add(&mut self, node: Node, mtu: u16) {
        let mut engine = Engine::new(self.now, u64::from(node), 64);
        engine.add_network(self.now, settings(NET, private(node), node, mtu));
        self.nodes.push((node, engine, Recorder::default()));
    }

    fn make_gateway(&mut self) {
        let (clients, now) = (prefixes(&CLIENTS), self.now);
        self.engine(GATE).set_gateway(NET, Some(&PrivateKey::from(FRONTS[0])));
        for node in [FELLOW, MEMBER] {
            self.know(GATE, private(node), prefixes(&[node]), Some(node));
        }
        let fellow = tunnel::public_key(&private(FELLOW));
        self.engine(GATE).set_shared(NET, &fellow, clients, false);
        for client in CLIENTS {
            self.know(GATE, private(client), Vec::new(), None);
            let key = tunnel::public_key(&private(client));
            self.engine(GATE).set_shared(NET, &key, prefixes(&[client]), true);
        }
        let gate = self.engine(GATE);
        gate.add_network(now, settings(OTHER_NET, [99; 32], GATE, 1_420));
        gate.set_gateway(OTHER_NET, Some(&PrivateKey::from(FRONTS[1])));
        let mut out = Recorder::default();
        for (stranger, twin) in STRANGERS {
            let known = config(OTHER_NET, private(stranger), prefixes(&[twin]), Some(stranger));
            self.engine(GATE).set_peer(now, known, &mut out);
        }
    }

    fn know(&mut self, node: Node, key: [u8; 32], allowed: Vec<IpNetwork>, at: Option<Node>) {
        let now = self.now;
        if let Some((_, engine, out)) = self.nodes.iter_mut().find(|(known, ..)| *known == node) {
            engine.set_peer(now, config(NET, key, allowed, at), out);
        }
    }

    fn engine(&mut self, node: Node) -> &mut Engine {
        let found = self.nodes.iter_mut().find(|(known, ..)| *known == node);
        &mut found.expect("every node was added").1
    }

    /// Sends a packet of a node, and checks everything that comes of it anywhere.
    fn send(&mut self, from: Node, sent: &[u8]) {
        let (frame_length, now) = (vnet::LEN + sent.len(), self.now);
        let mut frame = [&Vnet::default().encode()[..], sent, &[0; SLACK]].concat();
        if let Some((_, engine, out)) = self.nodes.iter_mut().find(|(node, ..)| *node == from) {
            let elsewhere =
                engine.slot(NET).and_then(|net| engine.on_tun(now, net, &mut frame, frame_length, out));
            assert!(elsewhere.is_none(), "a single engine has all peers");
            engine.flush(out);
        }
        for _ in 0..TURNS {
            let sent: Vec<(Node, SentTrain)> = self
                .nodes
                .iter_mut()
                .flat_map(|(node, _, out)| {
                    std::mem::take(&mut out.sent).into_iter().map(|train| (*node, train))
                })
                .collect();
            if sent.is_empty() {
                break;
            }
            sent.iter().for_each(|(from, train)| self.carry(*from, train));
        }
        for (node, _, out) in &mut self.nodes {
            for frame in std::mem::take(&mut out.delivered) {
                assert_eq!(frame.network, 0, "nothing gets into another network");
                check(from, sent, *node, &frame.packet);
            }
        }
    }

    fn carry(&mut self, from: Node, train: &SentTrain) {
        let to = CLIENTS.into_iter().chain([GATE, FELLOW, MEMBER]).find(|node| place(*node) == train.to);
        let to = to.unwrap_or_else(|| panic!("{from} sends to {}, where nobody of its network is", train.to));
        let now = self.now;
        let Some((_, engine, out)) = self.nodes.iter_mut().find(|(node, ..)| *node == to) else { return };
        let SentTrain { stride, bytes, .. } = train;
        let message = Message {
            from: place(from),
            to: None,
            auxiliary: None,
            ecn: Ecn::NotCapable,
            stride: *stride,
            bytes,
        };
        engine.on_wire(now, &message, out);
        engine.flush(out);
    }
}

/// Checks what `to` got of a packet that `from` sent to the gateway.
fn check(from: Node, sent: &[u8], to: Node, got: &[u8]) {
    let (Some(asked), Some(given)) = (packet::addresses(sent), packet::addresses(got)) else {
        panic!("{to} got what is no packet, or got it out of what is none");
    };
    let is_own = owned(from).contains(&asked.source);
    // A client may be with the other gateway, as far as this one knows.
    let is_holder = |address: &IpAddr| {
        overlays(to).contains(address) || (to == FELLOW && owned(FELLOW).contains(address))
    };
    if to == GATE {
        assert!(is_own && overlays(GATE).contains(&given.destination), "the gateway itself takes {given:?}");
        return;
    }
    let is_answer = (given.source, given.destination) != (asked.source, asked.destination);
    if is_answer && overlays(GATE).contains(&given.source) && is_error(got) {
        assert!(
            given.destination == asked.source && is_holder(&asked.source),
            "an error goes to whom it concerns"
        );
        assert!(is_own || from == FELLOW, "and to nobody whose address was forged");
        return;
    }
    assert_eq!((given.source, given.destination), (asked.source, asked.destination), "addresses stay");
    assert!(to != from && is_holder(&given.destination), "{to} is not where {given:?} leads");
    if from == FELLOW {
        assert!(CLIENTS.contains(&to), "what a gateway may send as anybody is for clients alone");
    } else {
        assert!(is_own, "{from} sends as {}", asked.source);
        let to_client = CLIENTS.iter().any(|client| overlays(*client).contains(&given.destination));
        assert!(CLIENTS.contains(&from) || to_client, "one end is a client");
    }
    assert_eq!(hops(got).checked_add(1), Some(hops(sent)), "a hop is spent");
    assert!(hops(got) > 0, "nothing is sent on that has no hop left");
    if is_summed(sent) {
        assert!(is_summed(got), "the header's checksum stays right");
    }
}

/// Addresses that a node may send from; a gateway also as any client, which may be with it.
fn owned(node: Node) -> Vec<IpAddr> {
    let with: &[Node] = if node == FELLOW { &CLIENTS } else { &[] };
    [node].iter().chain(with).flat_map(|node| overlays(*node)).collect()
}

fn hops(packet: &[u8]) -> u8 {
    packet[if packet[0] >> 4 == 4 { 8 } else { 7 }]
}

fn is_error(packet: &[u8]) -> bool {
    matches!(packet::transport(packet), Some((packet::ICMP | packet::ICMPV6, _)))
}

/// Whether the header of an IPv4 packet without options has the right checksum; there is none in IPv6.
fn is_summed(packet: &[u8]) -> bool {
    packet[0] != 0x45 || checksum::verifies(checksum::partial(&packet[..20]))
}

/// A packet of a client to the peer, by which the gateway learns where the client is.
fn greeting(client: Node) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, client, 10, 0, 0, MEMBER];
    let sum = checksum::finish(checksum::partial(&packet));
    packet[10..12].copy_from_slice(&sum);
    packet
}

fn everything() -> Vec<IpNetwork> {
    ["0.0.0.0/0", "::/0"].iter().filter_map(|prefix| prefix.parse().ok()).collect()
}

fn settings(id: NetworkId, key: [u8; 32], node: Node, mtu: u16) -> NetworkSettings {
    NetworkSettings {
        id,
        private_key: PrivateKey::from(key),
        addresses: overlays(node).to_vec(),
        accepted: if node == GATE { Vec::new() } else { everything() },
        pools: Vec::new(),
        mtu,
    }
}
