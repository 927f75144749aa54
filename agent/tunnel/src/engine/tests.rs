//! Two engines joined in memory. Time is the real clock's plus what a test adds: boringtun reads its own.
#![expect(clippy::cast_possible_truncation, reason = "test numbers are small, or meant to wrap")]

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::ecn::Ecn;
use crate::fuzz::{Frame, Recorder, samples};
use crate::mailbox::PeerConfig;
use crate::relay;
use crate::tun::vnet;
use crate::tunnel::{self, PrivateKey};
use crate::udp::receive::Message;
use crate::way::Hop;

mod boringtun_to_own;
mod gateway;
mod on_boringtun;
mod on_own;
mod own_core;
mod own_to_boringtun;
mod raw;
mod relayed;
mod several;

const NET: NetworkId = NetworkId(1);
const MTU: u16 = 1420;

/// Which core each side runs; the cases in `handshakes` and `packets` hold for all of them.
trait Cores {
    const A: Core;
    const B: Core;
}

/// One side: an engine with one network, or more.
struct Side<C> {
    engine: Engine,
    out: Recorder,
    address: SocketAddr,
    delivered: Vec<Frame>,
    events: Vec<Event>,
    cores: PhantomData<C>,
}

/// Two sides and the way between them.
struct Lab<C> {
    a: Side<C>,
    b: Side<C>,
    now: Instant,
    /// Decides, by a running number, which datagrams are lost.
    lose: fn(u64) -> bool,
    /// Whether datagrams of one direction arrive in reverse order.
    reverse: bool,
    carried: u64,
}

fn key(side: char, network: NetworkId) -> [u8; 32] {
    let mut bytes = [side as u8; 32];
    bytes[7] = network.0 as u8;
    bytes
}

fn address(side: char, host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, if side == 'a' { 10 } else { 20 } + host], 51820))
}

fn overlay(side: char) -> IpAddr {
    IpAddr::from([10, 0, 0, if side == 'a' { 1 } else { 2 }])
}

fn overlay6(side: char) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, if side == 'a' { 1 } else { 2 }])
}

impl<C: Cores> Side<C> {
    fn new(now: Instant, side: char) -> Self {
        let core = if side == 'a' { C::A } else { C::B };
        let engine = Engine::new(now, side as u64 * 977, 64).with_core(core);
        let out = Recorder::default();
        let mut new = Self {
            engine,
            out,
            address: address(side, 0),
            delivered: Vec::new(),
            events: Vec::new(),
            cores: PhantomData,
        };
        new.join(now, side, NET);
        new
    }

    fn join(&mut self, now: Instant, side: char, network: NetworkId) -> u32 {
        self.engine.add_network(
            now,
            NetworkSettings {
                id: network,
                private_key: PrivateKey::from(key(side, network)),
                addresses: vec![overlay(side), overlay6(side)],
                accepted: Vec::new(),
                pools: vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()],
                mtu: MTU,
            },
        )
    }

    fn slot(&self) -> u32 {
        self.engine.slot(NET).unwrap()
    }

    fn tun(&mut self, now: Instant, packet: &[u8]) {
        self.frame(now, self.slot(), &Vnet::default(), packet);
    }

    fn frame(&mut self, now: Instant, slot: u32, vnet: &Vnet, packet: &[u8]) {
        let mut frame = [&vnet.encode()[..], packet, &[0; 16]].concat();
        let length = vnet::LEN + packet.len();
        let elsewhere = self.engine.on_tun(now, slot, &mut frame, length, &mut self.out);
        assert_eq!(elsewhere, None, "a single engine has all peers");
        self.engine.flush(&mut self.out);
        self.drain();
    }

    /// Moves what was put out to where tests look, but for what is to be sent.
    fn drain(&mut self) {
        self.delivered.append(&mut self.out.delivered);
        self.events.append(&mut self.out.events);
    }

    fn packets(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.delivered).into_iter().map(|frame| frame.packet).collect()
    }

    /// The UDP payload of all that was delivered, merged or not.
    fn payload(&mut self) -> Vec<u8> {
        self.packets().iter().flat_map(|packet| packet[28..].to_vec()).collect()
    }

    fn counters(&self) -> Counters {
        self.engine.stats(crate::clock::now()).counters
    }

    fn is_up(&self) -> bool {
        self.engine.stats(crate::clock::now()).networks[0].peers[0].session
    }

    fn event_count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }
}

fn peer_config(network: NetworkId, of: char) -> PeerConfig {
    PeerConfig {
        network,
        key: tunnel::public_key(&key(of, network)),
        allowed: vec![overlay(of).into(), overlay6(of).into()],
        candidates: vec![address(of, 0)],
        keepalive: None,
        preshared_key: None,
        initiate: false,
    }
}

impl<C: Cores> Lab<C> {
    fn new() -> Self {
        let now = crate::clock::now();
        let mut lab = Self {
            a: Side::new(now, 'a'),
            b: Side::new(now, 'b'),
            now,
            lose: |_| false,
            reverse: false,
            carried: 0,
        };
        lab.introduce(NET);
        lab
    }

    fn introduce(&mut self, network: NetworkId) {
        self.a.engine.set_peer(self.now, peer_config(network, 'b'), &mut self.a.out);
        self.b.engine.set_peer(self.now, peer_config(network, 'a'), &mut self.b.out);
    }

    /// Carries datagrams to and fro until nothing moves.
    fn carry(&mut self) {
        for _ in 0..64 {
            let (from_a, from_b) =
                (std::mem::take(&mut self.a.out.sent), std::mem::take(&mut self.b.out.sent));
            if from_a.is_empty() && from_b.is_empty() {
                return;
            }
            let (a_at, b_at) = (self.a.address, self.b.address);
            let rules = (self.lose, self.reverse, self.now);
            pass(&mut self.b, from_a, a_at, rules, &mut self.carried);
            pass(&mut self.a, from_b, b_at, rules, &mut self.carried);
        }
        panic!("the two sides never fall silent");
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
        self.a.engine.on_tick(self.now, &mut self.a.out);
        self.b.engine.on_tick(self.now, &mut self.b.out);
        self.a.engine.flush(&mut self.a.out);
        self.b.engine.flush(&mut self.b.out);
        self.a.drain();
        self.b.drain();
        self.carry();
    }

    /// Establishes a session by a first packet.
    fn connected() -> Self {
        let mut lab = Self::new();
        lab.a.tun(lab.now, &hello('a', 'b', b"first"));
        lab.carry();
        assert!(lab.a.is_up() && lab.b.is_up());
        assert_eq!(lab.b.packets(), [hello('a', 'b', b"first")]);
        lab
    }
}

fn pass<C: Cores>(
    to: &mut Side<C>,
    trains: Vec<crate::fuzz::SentTrain>,
    from: SocketAddr,
    (lose, reverse, now): (fn(u64) -> bool, bool, Instant),
    carried: &mut u64,
) {
    for train in trains.into_iter().filter(|train| train.to == to.address) {
        let mut kept: Vec<&[u8]> = Vec::new();
        for datagram in train.bytes.chunks(train.stride) {
            *carried += 1;
            if !lose(*carried) {
                kept.push(datagram);
            }
        }
        if reverse {
            kept.reverse();
        }
        for bytes in kept {
            let message =
                Message { from, to: None, auxiliary: None, ecn: train.ecn, stride: bytes.len(), bytes };
            to.engine.on_wire(now, &message, &mut to.out);
        }
    }
    to.engine.flush(&mut to.out);
    to.drain();
}

fn hello(from: char, to: char, text: &[u8]) -> Vec<u8> {
    samples::udp(&overlay(from).to_string(), &overlay(to).to_string(), 5000, text)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_from_wire_or_device_are_survived(bytes: Vec<u8>, kind in 0_u8..6, length in 0_usize..200) {
        crate::fuzz::receive(&bytes);
        let mut message = vec![9; length];
        if length > 4 {
            message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        }
        crate::fuzz::receive(&message);
        crate::fuzz::wire(&message);
        let frame = relay::header(Hop { lease: 1, address: 7 });
        crate::fuzz::receive(&[&frame[..], &message].concat());
        crate::fuzz::receive(&[&frame[..], &bytes].concat());
    }
}
