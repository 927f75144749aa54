//! A node of two engines, and one that has a peer with each of them.

use super::*;
use crate::engine::respond::Arrived;
use crate::limits;
use crate::part::Part;
use crate::way::Lease;
use crate::wire;

const OF: u8 = 2;

/// One engine and what it put out.
struct Half {
    engine: Engine,
    out: Recorder,
}

/// Two engines that share the peers, and the far side: one engine with two networks, a peer of the node in each. Both
/// are at the same place, as two groups of one node are.
struct Star {
    halves: Vec<Half>,
    far: Half,
    now: Instant,
    /// Whether trains of the far side arrive merged as one message.
    merge: bool,
}

fn near_place() -> SocketAddr {
    address('a', 0)
}

fn far_place() -> SocketAddr {
    address('b', 0)
}

/// Datagrams that the far side sent.
fn from_far(stride: usize, bytes: &[u8]) -> Message<'_> {
    Message { from: far_place(), to: None, auxiliary: None, ecn: Ecn::NotCapable, stride, bytes }
}

fn near_key() -> [u8; 32] {
    [7; 32]
}

/// The private key of the peer that engine `owner` has.
fn far_key(owner: u8) -> [u8; 32] {
    let belongs = |private: &[u8; 32]| Part::new(owner, OF).has(&tunnel::public_key(private));
    (0..=u8::MAX).map(|n| [n; 32]).find(belongs).unwrap()
}

/// The overlay address of the peer that engine `owner` has.
fn far_overlay(owner: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, 20 + owner])
}

fn settings(id: NetworkId, private: [u8; 32], overlay: IpAddr) -> NetworkSettings {
    NetworkSettings {
        id,
        private_key: PrivateKey::from(private),
        addresses: vec![overlay],
        accepted: Vec::new(),
        pools: Vec::new(),
        mtu: MTU,
    }
}

fn peer(network: NetworkId, private: &[u8; 32], overlay: IpAddr, at: SocketAddr) -> PeerConfig {
    PeerConfig {
        network,
        key: tunnel::public_key(private),
        allowed: vec![overlay.into()],
        candidates: vec![at],
        keepalive: None,
        preshared_key: None,
        initiate: false,
    }
}

impl Star {
    fn new() -> Self {
        let now = crate::clock::now();
        let half = |engine| Half { engine, out: Recorder::default() };
        let halves = (0..OF).map(|n| {
            let mut half = half(Engine::new(now, 1, 64).with_part(Part::new(n, OF), n.into()));
            half.engine.add_network(now, settings(NET, near_key(), overlay('a')));
            for owner in 0..OF {
                let config = peer(NET, &far_key(owner), far_overlay(owner), far_place());
                half.engine.set_peer(now, config, &mut half.out);
            }
            half
        });
        let (halves, mut far) = (halves.collect(), half(Engine::new(now, 9, 64)));
        for owner in 0..OF {
            let network = NetworkId(owner.into());
            far.engine.add_network(now, settings(network, far_key(owner), far_overlay(owner)));
            far.engine.set_peer(now, peer(network, &near_key(), overlay('a'), near_place()), &mut far.out);
        }
        Self { halves, far, now, merge: false }
    }

    fn connected() -> Self {
        let mut star = Self::new();
        for owner in 0..OF {
            star.tun(0, owner, b"first");
            star.carry();
            assert_eq!(star.far_heard(), [packet(owner, b"first")]);
        }
        assert_eq!(star.sum().counters.handshakes, u64::from(OF));
        star
    }

    fn half(&mut self, number: u8) -> &mut Half {
        &mut self.halves[usize::from(number)]
    }

    /// Gives the device's frame for a peer to an engine, which may hand it on.
    fn tun(&mut self, reader: u8, owner: u8, text: &[u8]) {
        let now = self.now;
        let (mut frame, length) = framed(&packet(owner, text));
        let Half { engine, out } = self.half(reader);
        let slot = engine.slot(NET).unwrap();
        let elsewhere = engine.on_tun(now, slot, &mut frame, length, out);
        assert_eq!(elsewhere, (reader != owner).then_some(owner));
        if let Some(owner) = elsewhere {
            let Half { engine, out } = self.half(owner);
            engine.on_passed_frame(now, NET, &mut frame, length, out);
        }
        self.flush();
    }

    /// Has the far side send to the node in the network of each owner, in one turn.
    fn far_sends(&mut self, owners: &[u8], text: &[u8]) {
        owners.iter().for_each(|owner| self.far_device(*owner, overlay('a'), text));
        self.flush();
    }

    fn far_device(&mut self, owner: u8, to: IpAddr, text: &[u8]) {
        let slot = self.far.engine.slot(NetworkId(owner.into())).unwrap();
        let packet = samples::udp(&far_overlay(owner).to_string(), &to.to_string(), 5000, text);
        let (mut frame, length) = framed(&packet);
        let Half { engine, out } = &mut self.far;
        assert!(engine.on_tun(self.now, slot, &mut frame, length, out).is_none());
    }

    fn flush(&mut self) {
        for Half { engine, out } in self.halves.iter_mut().chain([&mut self.far]) {
            engine.flush(out);
        }
    }

    /// Carries datagrams as the kernel steers them, and what the engines have for one another.
    fn carry(&mut self) {
        for _ in 0..64 {
            let mut moved = false;
            for number in 0..OF {
                for train in std::mem::take(&mut self.half(number).out.sent) {
                    moved = true;
                    let (stride, bytes) = (train.stride, &train.bytes[..]);
                    let message = Message {
                        from: near_place(),
                        to: None,
                        auxiliary: None,
                        ecn: train.ecn,
                        stride,
                        bytes,
                    };
                    self.far.engine.on_wire(self.now, &message, &mut self.far.out);
                }
            }
            let sent = std::mem::take(&mut self.far.out.sent);
            moved |= !sent.is_empty();
            if self.merge && sent.iter().all(|train| train.stride == sent[0].stride) && !sent.is_empty() {
                let bytes = sent.iter().flat_map(|train| train.bytes.clone()).collect::<Vec<_>>();
                self.arrive(sent[0].stride, &bytes);
            } else {
                sent.iter().for_each(|train| self.arrive(train.stride, &train.bytes));
            }
            moved |= self.pass_on();
            self.flush();
            if !moved {
                return;
            }
        }
        panic!("the two sides never fall silent");
    }

    /// A message from the far side reaches the engine that its first datagram names.
    fn arrive(&mut self, stride: usize, bytes: &[u8]) {
        let first = &bytes[..stride.min(bytes.len())];
        let receiver = wire::classify(first).and_then(wire::Message::receiver);
        let named = receiver.map_or(0, Part::named_by);
        let now = self.now;
        let Half { engine, out } = self.half(if named < OF { named } else { 0 });
        engine.on_wire(now, &from_far(stride, bytes), out);
    }

    fn pass_on(&mut self) -> bool {
        let (now, mut moved) = (self.now, false);
        for number in 0..OF {
            let out = &mut self.half(number).out;
            let (errands, messages) = (std::mem::take(&mut out.errands), std::mem::take(&mut out.messages));
            moved |= !errands.is_empty() || !messages.is_empty();
            for (to, errand) in errands {
                let Half { engine, out } = self.half(to);
                engine.on_errand(now, errand, out);
            }
            for (to, stride, bytes) in messages {
                let Half { engine, out } = self.half(to);
                engine.on_passed_message(now, &from_far(stride, &bytes), out);
            }
        }
        moved
    }

    fn far_heard(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.far.out.delivered).into_iter().map(|frame| frame.packet).collect()
    }

    /// The payload of what an engine delivered.
    fn heard(&mut self, number: u8) -> Vec<u8> {
        let delivered = std::mem::take(&mut self.half(number).out.delivered);
        delivered.into_iter().flat_map(|frame| frame.packet[28..].to_vec()).collect()
    }

    fn sum(&self) -> crate::stats::Stats {
        let mut sum = crate::stats::Stats::default();
        self.halves.iter().for_each(|half| sum.add(half.engine.stats(self.now)));
        sum
    }
}

fn packet(owner: u8, text: &[u8]) -> Vec<u8> {
    samples::udp("10.0.0.1", &far_overlay(owner).to_string(), 5000, text)
}

fn framed(packet: &[u8]) -> (Vec<u8>, usize) {
    ([&Vnet::default().encode()[..], packet, &[0; 16]].concat(), vnet::LEN + packet.len())
}

#[test]
fn either_side_begins_and_either_engine_reads_the_device() {
    for far_begins in [false, true] {
        let mut star = Star::new();
        for owner in 0..OF {
            if far_begins {
                star.far_sends(&[owner], b"hello");
                star.carry();
                assert_eq!(star.heard(owner), b"hello");
            }
            for reader in 0..OF {
                star.tun(reader, owner, &[reader]);
                star.carry();
                assert_eq!(star.far_heard(), [packet(owner, &[reader])]);
            }
        }
        let stats = star.sum();
        assert_eq!(stats.networks[0].peers.len(), usize::from(OF));
        assert!(stats.networks[0].peers.iter().all(|peer| peer.session));
        assert_eq!((stats.counters.handshakes, stats.counters.tunnels), (2, 2));
        assert_eq!(stats.counters.device_frames_in, 4, "a frame counts where it was read");
    }
}

#[test]
fn of_relayed_datagrams_that_arrive_merged_each_engine_has_its_own() {
    let mut star = Star::connected();
    let lease = Lease { relay: far_place(), lease: 7, network: NET };
    star.halves.iter_mut().for_each(|half| half.engine.set_leases(&[lease]));
    for owner in [0, 1, 1, 0] {
        star.far_device(owner, overlay('a'), &[b'0' + owner; 4]);
        star.far.engine.flush(&mut star.far.out);
    }
    let sent = std::mem::take(&mut star.far.out.sent);
    let frames: Vec<Vec<u8>> = sent
        .iter()
        .flat_map(|train| train.bytes.chunks(train.stride))
        .map(|datagram| [&relay::header(Hop { lease: 7, address: 9 })[..], datagram].concat())
        .collect();
    let (now, stride) = (star.now, frames[0].len());
    let Half { engine, out } = star.half(1);
    engine.on_wire(now, &from_far(stride, &frames.concat()), out);
    star.pass_on();
    star.flush();
    assert_eq!((star.heard(0), star.heard(1)), (b"00000000".to_vec(), b"11111111".to_vec()));
    assert_eq!(star.sum().counters.drop_relayed, 0);
}

#[test]
fn of_datagrams_that_arrive_merged_each_engine_has_its_own_in_order() {
    let mut star = Star::connected();
    star.merge = true;
    for n in [b"one.", b"two.", b"end."] {
        star.far_sends(&[1, 0], n);
    }
    // Six datagrams of one size, of both engines by turns, as one message.
    assert_eq!(star.far.out.sent.len(), 6);
    star.carry();
    for owner in 0..OF {
        assert_eq!(star.heard(owner), b"one.two.end.");
    }
    let counters = star.sum().counters;
    assert_eq!(counters.drop_unknown_index + counters.drop_replay, 0);
    assert_eq!(counters.datagrams_in, 6 + 2, "each counts once, with the two answers of the beginning");
}

#[test]
fn both_directions_of_a_flow_between_peers_go_through_one_queue() {
    let mut star = Star::connected();
    let pool: ipnetwork::IpNetwork = "10.0.0.0/24".parse().unwrap();
    for half in &mut star.halves {
        half.engine.set_addresses(NET, vec![overlay('a')], vec![pool]);
    }
    for owner in 0..OF {
        let config = peer(NetworkId(owner.into()), &near_key(), overlay('a'), near_place());
        let config = PeerConfig { allowed: vec![pool], ..config };
        star.far.engine.set_peer(star.now, config, &mut star.far.out);
    }
    for (from, to, queue) in [
        (0, far_overlay(1), 0),
        (1, far_overlay(0), 0),
        // What is for the node itself is answered to the engine that wrote it.
        (0, overlay('a'), 0),
        (1, overlay('a'), 1),
    ] {
        star.far_device(from, to, b"through");
        star.flush();
        star.carry();
        let delivered = std::mem::take(&mut star.half(from).out.delivered);
        let queues: Vec<u8> = delivered.iter().map(|frame| frame.queue).collect();
        assert_eq!(queues, [queue], "from {from} to {to}");
    }
}

#[test]
fn what_was_passed_on_once_goes_no_further() {
    let mut star = Star::connected();
    // The second engine has not heard yet that the peer of this address is the first one's.
    let moved = PeerConfig {
        allowed: vec![far_overlay(1).into()],
        ..peer(NET, &far_key(0), far_overlay(0), far_place())
    };
    let now = star.now;
    let Half { engine, out } = star.half(1);
    engine.set_peer(now, moved, out);
    let (mut frame, length) = framed(&packet(1, b"lost"));
    engine.on_passed_frame(now, NET, &mut frame, length, out);
    engine.on_passed_frame(now, NetworkId(99), &mut frame, length, out);
    engine.probe_own(now, NET, (far_overlay(0), 1, 1), out);
    engine.flush(out);
    assert!(out.errands.is_empty() && out.sent.is_empty());
    assert!(matches!(out.events.last(), Some(Event::ProbeFailed { .. })), "{:?}", out.events);
    assert_eq!(engine.stats(now).counters.drop_no_route, 2);
}

#[test]
fn data_that_nobody_knows_draws_one_initiation_from_whichever_engine_has_the_peer() {
    let mut star = Star::new();
    let data = [&[4, 0, 0, 0, 1, 0, 2, 3][..], &[0; 40]].concat();
    for _ in 0..20 {
        star.arrive(data.len(), &data);
        star.pass_on();
    }
    star.flush();
    for number in 0..OF {
        let sent = &star.half(number).out.sent;
        assert_eq!(sent.len(), 1, "one initiation to the peer of engine {number}");
        assert_eq!((sent[0].bytes[0], sent[0].to), (1, far_place()));
    }
}

#[test]
fn strangers_cannot_keep_other_engines_busy() {
    let mut star = Star::new();
    let data = [&[4, 0, 0, 0, 1, 0, 2, 3][..], &[0; 40]].concat();
    for _ in 0..10_000 {
        star.arrive(data.len(), &data);
    }
    assert_eq!(star.half(0).out.errands.len(), limits::NUDGES_PASSED_BURST as usize);
    star.now += Duration::from_millis(100);
    for _ in 0..10_000 {
        star.arrive(data.len(), &data);
    }
    let more = limits::NUDGES_PASSED_BURST + limits::NUDGES_PASSED_PER_SECOND / 10;
    assert_eq!(star.half(0).out.errands.len(), more as usize);
    // An index of an engine that there is not is nobody's.
    let data = [&[4, 0, 0, 0, 1, 15, 2, 3][..], &[0; 40]].concat();
    star.arrive(data.len(), &data);
    assert!(star.half(0).out.messages.is_empty());
}

#[test]
fn initiations_of_another_engine_wait_for_their_turn_and_are_bounded() {
    let mut star = Star::new();
    let now = star.now;
    let from = Endpoint { remote: far_place(), local: None, relay: None, auxiliary: None };
    let Half { engine, out } = star.half(1);
    let waiting = limits::HANDSHAKES_WAITING + limits::HANDSHAKES_PER_TURN as usize;
    for _ in 0..waiting + 3 {
        let arrived = Box::new(Arrived::new((NET, false), [0; wire::INITIATION], from));
        engine.on_errand(now, Errand::Initiation(arrived), out);
    }
    let counters = engine.stats(now).counters;
    assert_eq!(counters.drop_handshakes_full, 3);
    assert_eq!(counters.drop_handshake, u64::from(limits::HANDSHAKES_PER_TURN), "those had their turn");
}

#[test]
fn what_is_limited_for_the_node_is_shared() {
    let mut star = Star::new();
    let now = star.now;
    for host in 0..=u8::MAX {
        let overlay = IpAddr::from([10, 1, 0, host]);
        let private = [[host; 16], [1; 16]].concat().try_into().unwrap();
        let config = PeerConfig { initiate: true, ..peer(NET, &private, overlay, far_place()) };
        for half in &mut star.halves {
            half.engine.set_peer(now, config.clone(), &mut half.out);
        }
    }
    assert_eq!(star.sum().counters.initiations_out, u64::from(limits::INITIATION_BURST));
}
