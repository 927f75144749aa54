//! Two engines joined straight and over a modelled relay, which rewrites headers and does nothing else.

use super::*;
use crate::fuzz::SentTrain;
use crate::limits;
use crate::packet;
use crate::session;
use crate::tun::vnet::Gso;
use crate::way::{Lease, Way, Ways};
use crate::wire;

struct Own;

impl Cores for Own {
    const A: Core = Core::Own;
    const B: Core = Core::Own;
}

type Side = super::Side<Own>;

/// Two sides, a relay with a lease for each, and what is on its way.
struct Mesh {
    a: Side,
    b: Side,
    now: Instant,
    /// Trains that wait in the relay, and for which side.
    held: Vec<(char, SentTrain)>,
    /// Whether the relay keeps what it gets until [`Mesh::release`].
    hold: bool,
    /// Whether the straight way is cut.
    cut: bool,
}

fn relay_place() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 99], 3478))
}

fn lease(side: char) -> u32 {
    u32::from(side) << 8
}

fn relay_address(side: char) -> u64 {
    u64::from(side) << 40
}

/// The way from a side to the other, by relay.
fn by_relay(from: char) -> Way {
    let to = if from == 'a' { 'b' } else { 'a' };
    Way::relayed(relay_place(), Hop { lease: lease(from), address: relay_address(to) })
}

fn straight(to: char) -> Way {
    Way::straight(address(to, 0))
}

fn peer_key(side: char) -> [u8; 32] {
    tunnel::public_key(&key(side, NET))
}

impl Mesh {
    fn new() -> Self {
        let now = crate::clock::now();
        let side = |name| {
            let mut side = Side::new(now, name);
            let lease = Lease { relay: relay_place(), lease: lease(name), network: NET };
            side.engine.set_leases(&[lease]);
            let other = if name == 'a' { 'b' } else { 'a' };
            let config = PeerConfig { candidates: Vec::new(), ..peer_config(NET, other) };
            side.engine.set_peer(now, config, &mut side.out);
            side
        };
        Self { a: side('a'), b: side('b'), now, held: Vec::new(), hold: false, cut: false }
    }

    /// With a session over the relay and that as the primary way of both.
    fn connected() -> Self {
        let mut mesh = Self::new();
        mesh.steer('a', Ways { greet: vec![by_relay('a')], ..Ways::default() });
        mesh.say('a', b"first");
        mesh.carry();
        assert_eq!(mesh.b.packets(), [hello('a', 'b', b"first")]);
        for side in ['a', 'b'] {
            mesh.steer(side, Ways { primary: Some(by_relay(side)), ..Ways::default() });
        }
        mesh.say('b', b"back");
        mesh.carry();
        assert_eq!(mesh.a.packets(), [hello('b', 'a', b"back")]);
        (mesh.a.events, mesh.b.events) = (Vec::new(), Vec::new());
        mesh
    }

    fn side(&mut self, side: char) -> &mut Side {
        if side == 'a' { &mut self.a } else { &mut self.b }
    }

    fn steer(&mut self, side: char, ways: Ways) {
        let (now, other) = (self.now, if side == 'a' { 'b' } else { 'a' });
        let it = self.side(side);
        it.engine.set_ways(now, NET, &peer_key(other), ways, &mut it.out);
        it.drain();
    }

    fn say(&mut self, from: char, text: &[u8]) {
        let now = self.now;
        self.side(from).tun(now, &hello(from, if from == 'a' { 'b' } else { 'a' }, text));
    }

    /// Says a super-packet of segments of 1,372 bytes.
    fn say_train(&mut self, from: char, payload: &[u8]) {
        let packet = hello(from, if from == 'a' { 'b' } else { 'a' }, payload);
        let vnet = Vnet {
            needs_checksum: true,
            gso: Gso::Udp,
            header_len: 28,
            segment: 1372,
            checksum_start: 20,
            checksum_offset: 6,
        };
        let now = self.now;
        let it = self.side(from);
        let slot = it.slot();
        it.frame(now, slot, &vnet, &packet);
    }

    /// Says numbers, each in a packet of its own.
    fn count(&mut self, from: char, numbers: std::ops::Range<u32>) {
        numbers.for_each(|number| self.say(from, &number.to_be_bytes()));
    }

    fn heard(&mut self, side: char) -> Vec<u32> {
        let payload = self.side(side).payload();
        payload.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect()
    }

    /// Carries datagrams until nothing moves, but for what the relay holds.
    fn carry(&mut self) {
        for _ in 0..64 {
            let moving = ['a', 'b'].map(|side| (side, std::mem::take(&mut self.side(side).out.sent)));
            if moving.iter().all(|(_, trains)| trains.is_empty()) {
                return;
            }
            for (side, trains) in moving {
                trains.into_iter().for_each(|train| self.pass(side, train));
            }
        }
        panic!("the two sides never fall silent");
    }

    fn pass(&mut self, from: char, mut train: SentTrain) {
        if train.to == relay_place() {
            let to = if from == 'a' { 'b' } else { 'a' };
            for frame in train.bytes.chunks_mut(train.stride) {
                let (hop, _) = relay::parse(frame).expect("what goes to the relay is framed");
                assert_eq!(hop, by_relay(from).relay.unwrap());
                let rewritten = relay::header(Hop { lease: lease(to), address: relay_address(from) });
                frame[..relay::HEADER].copy_from_slice(&rewritten);
            }
            if self.hold {
                return self.held.push((to, train));
            }
            return self.arrive(to, relay_place(), &train);
        }
        if self.cut {
            return;
        }
        let to = if train.to == self.a.address { 'a' } else { 'b' };
        self.arrive(to, address(from, 0), &train);
    }

    fn arrive(&mut self, to: char, from: SocketAddr, train: &SentTrain) {
        let now = self.now;
        let message = Message {
            from,
            to: None,
            auxiliary: None,
            ecn: train.ecn,
            stride: train.stride,
            bytes: &train.bytes,
        };
        let it = self.side(to);
        it.engine.on_wire(now, &message, &mut it.out);
        it.engine.flush(&mut it.out);
        it.drain();
    }

    /// Lets go of what the relay holds.
    fn release(&mut self) {
        self.hold = false;
        for (to, train) in std::mem::take(&mut self.held) {
            self.arrive(to, relay_place(), &train);
        }
        self.carry();
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        for side in ['a', 'b'] {
            let it = self.side(side);
            it.engine.on_tick(now, &mut it.out);
            it.engine.flush(&mut it.out);
            it.drain();
        }
        self.carry();
    }

    fn told(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.a.event_count(wanted)
    }
}

#[test]
fn a_session_is_made_and_used_over_a_relay_alone() {
    let mut mesh = Mesh::new();
    mesh.say('a', b"waits");
    assert!(mesh.a.out.sent.is_empty(), "nobody knows a way");
    assert_eq!(mesh.told(|event| matches!(event, Event::Wanted { .. })), 1);
    // The way is sought as soon as it is known, and not a second time for being told again.
    for _ in 0..2 {
        mesh.steer('a', Ways { greet: vec![by_relay('a')], ..Ways::default() });
    }
    assert_eq!(mesh.a.out.sent.len(), 1);
    mesh.carry();
    assert_eq!(mesh.b.packets(), [hello('a', 'b', b"waits")]);
    let done =
        |way| move |event: &Event| matches!(event, Event::HandshakeDone { way: found, .. } if *found == way);
    assert_eq!((mesh.a.event_count(done(by_relay('a'))), mesh.b.event_count(done(by_relay('b')))), (1, 1));
    assert_eq!(mesh.b.event_count(|event| matches!(event, Event::Wanted { .. })), 1);
    // The side that was told nothing answers the way it was spoken to.
    mesh.say('b', b"answer");
    mesh.carry();
    assert_eq!(mesh.a.packets(), [hello('b', 'a', b"answer")]);
    let stats = mesh.a.engine.stats(mesh.now);
    assert_eq!(stats.networks[0].peers[0].way, Some(by_relay('a')));
}

#[test]
fn a_way_that_is_chosen_beside_a_first_initiation_carries_the_same_one() {
    let mut mesh = Mesh::new();
    mesh.steer('a', Ways { greet: vec![by_relay('a')], ..Ways::default() });
    mesh.say('a', b"waits");
    mesh.steer('a', Ways { greet: vec![by_relay('a'), straight('b')], ..Ways::default() });
    assert_eq!(mesh.a.out.sent.len(), 2);
    // At one moment: the peer answers one initiation within 20 ms, and of two we would know the last.
    mesh.carry();
    assert_eq!(mesh.b.packets(), [hello('a', 'b', b"waits")]);
}

#[test]
fn a_relayed_train_is_one_send_with_a_header_before_every_datagram() {
    let mut mesh = Mesh::connected();
    let payload = vec![7; 10 * 1372];
    mesh.say_train('a', &payload);
    let [train] = &mesh.a.out.sent[..] else { panic!("one train: {:?}", mesh.a.out.sent.len()) };
    let length = 1400_usize.next_multiple_of(16) + limits::SEAL_OVERHEAD + relay::HEADER;
    assert_eq!((train.stride, train.bytes.len(), train.to), (length, 10 * length, relay_place()));
    mesh.carry();
    assert_eq!(mesh.b.payload(), payload);
    assert_eq!(mesh.b.counters().drop_relayed, 0);
}

#[test]
fn a_relayed_way_that_is_narrow_leaves_room_for_the_header() {
    let mut mesh = Mesh::connected();
    mesh.a.out.room = Some(1372);
    let payload = vec![7; 4 * 1372];
    mesh.say_train('a', &payload);
    assert_eq!(mesh.a.counters().trains_too_wide, 1);
    mesh.carry();
    // From now on the host hears what fits: 16 less than over the same way without a relay.
    mesh.say('a', &[1; 1372]);
    let told = mesh.a.packets().pop().unwrap();
    assert_eq!(packet::be16(&told, 26), Some(1372 - 32 - 16));
}

#[test]
fn frames_of_others_and_forged_ones_are_dropped_and_counted() {
    let mut mesh = Mesh::connected();
    mesh.say('a', b"real");
    let real = mesh.a.out.sent.remove(0);
    let rewritten = relay::header(Hop { lease: lease('b'), address: relay_address('a') });
    let frame = [&rewritten[..], &real.bytes[relay::HEADER..]].concat();
    let as_train = |bytes: Vec<u8>| SentTrain { stride: bytes.len(), bytes, ..real.clone() };
    let (other_lease, mut forged) = (relay::header(Hop { lease: lease('a'), address: 0 }), frame.clone());
    mesh.arrive('b', address('a', 0), &as_train(frame.clone()));
    mesh.arrive('b', relay_place(), &as_train([&other_lease[..], &frame[relay::HEADER..]].concat()));
    *forged.last_mut().unwrap() ^= 1;
    mesh.arrive('b', relay_place(), &as_train(forged));
    let counters = mesh.b.counters();
    assert_eq!((counters.drop_relayed, counters.drop_authentication), (2, 1));
    assert_eq!(mesh.b.packets(), Vec::<Vec<u8>>::new());
    mesh.arrive('b', relay_place(), &as_train(frame));
    assert_eq!(mesh.b.packets(), [hello('a', 'b', b"real")]);
}

#[test]
fn a_lease_of_one_network_carries_nothing_of_another() {
    let mut mesh = Mesh::connected();
    let other = NetworkId(2);
    mesh.b.join(mesh.now, 'b', other);
    mesh.b.engine.set_leases(&[Lease { relay: relay_place(), lease: lease('b'), network: other }]);
    mesh.say('a', b"stray");
    mesh.carry();
    assert_eq!((mesh.b.packets().len(), mesh.b.counters().drop_unknown_index), (0, 1));
}

#[test]
fn a_switch_from_the_relay_to_the_straight_way_loses_and_refuses_nothing() {
    let mut mesh = Mesh::connected();
    // The relay is 50 ms further away than the peer: at 90,000 packets a second 4,500 newer ones arrive first.
    mesh.hold = true;
    mesh.count('a', 0..2000);
    mesh.steer(
        'a',
        Ways { primary: Some(straight('b')), also: Some(by_relay('a')), also_for: 10, ..Ways::default() },
    );
    mesh.count('a', 2000..6500);
    mesh.carry();
    assert_eq!(mesh.heard('b'), (2000..6500).collect::<Vec<_>>());
    mesh.release();
    assert_eq!(mesh.heard('b'), (0..2000).collect::<Vec<_>>());
    let (sent, counters) = (mesh.a.counters(), mesh.b.counters());
    assert_eq!(sent.copies_out, 10);
    // Each copy that came second was refused as one, and nothing else was.
    assert_eq!((counters.drop_replay, counters.drop_too_old), (10, 0));
}

#[test]
fn only_what_is_later_than_the_whole_window_is_lost() {
    let mut mesh = Mesh::connected();
    mesh.hold = true;
    mesh.count('a', 0..100);
    mesh.steer('a', Ways { primary: Some(straight('b')), ..Ways::default() });
    mesh.count('a', 100..100 + session::WIDTH as u32 - 50);
    mesh.carry();
    mesh.heard('b');
    mesh.release();
    assert_eq!(mesh.heard('b'), (50..100).collect::<Vec<_>>());
    assert_eq!((mesh.b.counters().drop_replay, mesh.b.counters().drop_too_old), (0, 50));
}

#[test]
fn copies_go_both_ways_in_order_until_they_are_counted_out() {
    let mut mesh = Mesh::connected();
    let both =
        Ways { primary: Some(straight('b')), also: Some(by_relay('a')), also_for: 30, ..Ways::default() };
    mesh.steer('a', both.clone());
    mesh.count('a', 0..50);
    let (framed, plain): (Vec<_>, Vec<_>) =
        mesh.a.out.sent.drain(..).partition(|train| train.to == relay_place());
    assert_eq!((framed.len(), plain.len()), (30, 50));
    // By whichever way they come, they are the same packets in the same order.
    framed.into_iter().for_each(|train| mesh.pass('a', train));
    assert_eq!(mesh.heard('b'), (0..30).collect::<Vec<_>>());
    plain.into_iter().for_each(|train| mesh.pass('a', train));
    assert_eq!(mesh.heard('b'), (30..50).collect::<Vec<_>>());
    mesh.steer('a', Ways { also_for: u32::MAX, ..both });
    mesh.cut = true;
    mesh.count('a', 0..200);
    mesh.carry();
    assert_eq!(mesh.heard('b'), (0..200).collect::<Vec<_>>(), "the second way alone carries all");
}

#[test]
fn trains_that_go_both_ways_stay_trains() {
    let mut mesh = Mesh::connected();
    let both = Ways {
        primary: Some(straight('b')),
        also: Some(by_relay('a')),
        also_for: u32::MAX,
        ..Ways::default()
    };
    mesh.steer('a', both);
    let payload: Vec<u8> = (0..40 * 1372_u32).map(|n| (n % 251) as u8).collect();
    mesh.say_train('a', &payload);
    assert_eq!(mesh.a.out.sent.len(), 2);
    assert_eq!(mesh.a.counters().copies_out, 40);
    mesh.carry();
    assert_eq!(mesh.b.payload(), payload);
    assert_eq!(mesh.b.counters().drop_replay, 40);
}

#[test]
fn every_copy_of_an_initiation_is_answered_the_way_it_came() {
    let mut mesh = Mesh::new();
    mesh.steer('a', Ways { greet: vec![by_relay('a'), straight('b')], ..Ways::default() });
    mesh.say('a', b"cold");
    assert_eq!(mesh.a.out.sent.len(), 2);
    let sent = std::mem::take(&mut mesh.a.out.sent);
    sent.into_iter().for_each(|train| mesh.pass('a', train));
    let answers: Vec<_> = mesh.b.out.sent.iter().map(|train| (train.to, train.bytes.len())).collect();
    assert_eq!(answers, [(relay_place(), wire::RESPONSE + relay::HEADER), (address('a', 0), wire::RESPONSE)]);
    let [framed, plain] = &mesh.b.out.sent[..] else { unreachable!() };
    assert_eq!(framed.bytes[relay::HEADER..], plain.bytes, "and byte for byte the same");
    mesh.carry();
    assert_eq!(mesh.b.packets(), [hello('a', 'b', b"cold")]);
    assert_eq!(
        mesh.a.engine.stats(mesh.now).networks[0].peers[0].way,
        Some(by_relay('a')),
        "the first to answer"
    );
}

#[test]
fn a_peer_that_speaks_from_elsewhere_is_told_of_and_not_followed() {
    let mut mesh = Mesh::connected();
    mesh.steer('b', Ways { primary: Some(straight('a')), ..Ways::default() });
    mesh.later(limits::HEARD_INTERVAL);
    mesh.say('b', b"moved");
    mesh.carry();
    assert_eq!(mesh.a.packets(), [hello('b', 'a', b"moved")]);
    let heard = |event: &Event| matches!(event, Event::Heard { way, .. } if *way == straight('b'));
    assert_eq!((mesh.told(heard), mesh.told(|event| matches!(event, Event::EndpointChanged { .. }))), (1, 0));
    mesh.say('a', b"unmoved");
    assert_eq!(mesh.a.out.sent[0].to, relay_place());
}

#[test]
fn silence_is_noticed_in_little_more_than_a_second_and_greets_all_ways() {
    let mut mesh = Mesh::connected();
    let ways = Ways { primary: Some(straight('b')), greet: vec![by_relay('a')], ..Ways::default() };
    mesh.steer('a', ways);
    mesh.steer('b', Ways { primary: Some(straight('a')), ..Ways::default() });
    for _ in 0..30 {
        mesh.say('a', b"talk");
        mesh.say('b', b"talk");
        mesh.later(Duration::from_millis(100));
    }
    let silent = |event: &Event| matches!(event, Event::Silent { .. });
    let sending = |event: &Event| matches!(event, Event::Sending { .. });
    assert_eq!((mesh.told(silent), mesh.told(sending)), (0, 1));
    mesh.cut = true;
    mesh.count('a', 0..5);
    let mut waited = Duration::ZERO;
    while mesh.told(silent) == 0 && waited < Duration::from_secs(10) {
        mesh.later(Duration::from_millis(50));
        waited += Duration::from_millis(50);
    }
    let second = Duration::from_secs(1);
    assert!(waited >= second && waited <= second + limits::TICK_HANDSHAKE, "{waited:?}");
    // The session stands, and its renewal goes wherever the peer may be.
    mesh.a.engine.on_resume(mesh.now, Duration::from_secs(30), &mut mesh.a.out);
    let greeted: Vec<SocketAddr> = mesh.a.out.sent.iter().map(|train| train.to).collect();
    assert_eq!(greeted, [address('b', 0), relay_place()]);
    mesh.carry();
    assert_eq!(mesh.a.counters().handshakes, 2);
}

#[test]
fn a_restarted_peer_is_called_by_the_way_its_unknown_data_came() {
    let mut mesh = Mesh::connected();
    let before = mesh.b.counters().handshakes;
    mesh.b.engine.remove_peer(NET, &peer_key('a'));
    let config = PeerConfig { candidates: Vec::new(), ..peer_config(NET, 'a') };
    mesh.b.engine.set_peer(mesh.now, config, &mut mesh.b.out);
    mesh.steer('b', Ways { primary: Some(by_relay('b')), ..Ways::default() });
    mesh.say('a', b"lost");
    mesh.carry();
    assert_eq!(mesh.b.counters().handshakes, before + 1);
    mesh.say('a', b"heard");
    mesh.carry();
    assert_eq!(mesh.b.packets(), [hello('a', 'b', b"heard")]);
}

/// What may happen to a stream of packets on its way.
#[derive(Clone, Debug)]
enum Turn {
    Count(u32),
    Steer { relay: bool, also_for: u32 },
    Hold,
    Release,
}

fn turns() -> impl proptest::strategy::Strategy<Value = Vec<Turn>> {
    use proptest::prelude::*;
    let steer = (any::<bool>(), prop_oneof![Just(0), 1_u32..20, Just(u32::MAX)])
        .prop_map(|(relay, also_for)| Turn::Steer { relay, also_for });
    let turn = prop_oneof![4 => (1_u32..60).prop_map(Turn::Count), 3 => steer, 1 => Just(Turn::Hold), 1 => Just(Turn::Release)];
    proptest::collection::vec(turn, 1..40)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn however_ways_change_every_packet_arrives_once(turns in turns()) {
        let (mut mesh, mut said, mut heard) = (Mesh::connected(), 0, Vec::new());
        for turn in turns {
            match turn {
                Turn::Count(packets) => {
                    mesh.count('a', said..said + packets);
                    said += packets;
                }
                Turn::Steer { relay, also_for } => {
                    let [primary, also] = if relay { [by_relay('a'), straight('b')] } else { [straight('b'), by_relay('a')] };
                    let ways = Ways { primary: Some(primary), also: Some(also), also_for, ..Ways::default() };
                    mesh.steer('a', ways);
                }
                Turn::Hold => mesh.hold = true,
                Turn::Release => mesh.release(),
            }
            mesh.carry();
            heard.append(&mut mesh.heard('b'));
        }
        mesh.release();
        heard.append(&mut mesh.heard('b'));
        heard.sort_unstable();
        proptest::prop_assert_eq!(heard, (0..said).collect::<Vec<_>>());
        let (sent, counters) = (mesh.a.counters(), mesh.b.counters());
        // Each packet that went both ways was refused once, as a copy.
        proptest::prop_assert_eq!((counters.drop_replay, counters.drop_too_old), (sent.copies_out, 0));
    }
}
