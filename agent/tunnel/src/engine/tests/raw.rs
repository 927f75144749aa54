//! What is not WireGuard's: whom it reaches, and who may send it.

use super::*;
use crate::limits;
use crate::udp::raw::Manner;
use crate::way::{Lease, Way, Ways};

struct Own;

impl Cores for Own {
    const A: Core = Core::Own;
    const B: Core = Core::Own;
}

type Side = super::Side<Own>;

const LEASE: u32 = 7;
const HOP: Hop = Hop { lease: LEASE, address: 0xabcd };
const PATH: &[u8] = &[0x0d, 1, 0, 0, 9, 9];

fn relay_place() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 99], 3478))
}

fn leased() -> Side {
    let mut side = Side::new(crate::clock::now(), 'a');
    side.engine.set_leases(&[Lease { relay: relay_place(), lease: LEASE, network: NET }]);
    side
}

fn relayed(hop: Hop, inside: &[u8]) -> Vec<u8> {
    [&relay::header(hop)[..], inside].concat()
}

impl Side {
    fn wire(&mut self, from: SocketAddr, bytes: &[u8]) {
        let (now, to) = (self.engine.now, Some([192, 0, 2, 10].into()));
        let message = Message { from, to, auxiliary: None, ecn: Ecn::NotCapable, stride: bytes.len(), bytes };
        self.engine.on_wire(now, &message, &mut self.out);
        self.engine.flush(&mut self.out);
        self.drain();
    }

    /// Ways and payloads the control side was told of.
    fn told(&mut self) -> Vec<(Way, Vec<u8>)> {
        let events = std::mem::take(&mut self.events).into_iter();
        let datagrams = events.filter_map(|event| {
            let Event::Datagram { way, local, payload } = event else { return None };
            assert_eq!(local, Some([192, 0, 2, 10].into()));
            Some((way, payload))
        });
        datagrams.collect()
    }
}

#[test]
fn frames_of_paths_relays_and_stun_servers_reach_the_control_side() {
    let mut side = leased();
    let stranger = address('b', 0);
    let stun = [&[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[5; 12]].concat();
    let acknowledged = [&[0x0e, 3, 0, 0][..], &[0; 12]].concat();
    for datagram in [PATH, &stun, &acknowledged] {
        side.wire(stranger, datagram);
        assert_eq!(side.told(), [(Way::straight(stranger), datagram.to_vec())]);
    }
    for nothing in [&[5; 40][..], &[0x0d], &[0x0e; 9], &[]] {
        side.wire(stranger, nothing);
        assert_eq!(side.told(), []);
    }
    // An empty message holds no datagram at all.
    assert_eq!((side.counters().raw_in, side.counters().drop_malformed_datagram), (3, 3));
}

#[test]
fn a_relayed_path_frame_is_taken_under_its_lease_from_its_relay_alone() {
    let mut side = leased();
    side.wire(relay_place(), &relayed(HOP, PATH));
    assert_eq!(side.told(), [(Way::relayed(relay_place(), HOP), PATH.to_vec())]);
    let elsewhere = SocketAddr::from(([192, 0, 2, 99], 3479));
    side.wire(elsewhere, &relayed(HOP, PATH));
    side.wire(address('b', 0), &relayed(HOP, PATH));
    side.wire(relay_place(), &relayed(Hop { lease: 8, ..HOP }, PATH));
    assert_eq!((side.told(), side.counters().drop_relayed), (Vec::new(), 3));
    // What a relay carries is a peer's: no frame of another relay, no answer of a server.
    side.wire(relay_place(), &relayed(HOP, &relayed(HOP, PATH)));
    side.wire(
        relay_place(),
        &relayed(HOP, &[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    );
    assert_eq!((side.told(), side.counters().drop_malformed_datagram), (Vec::new(), 2));
    side.engine.set_leases(&[]);
    side.wire(relay_place(), &relayed(HOP, PATH));
    assert_eq!((side.told(), side.counters().drop_relayed), (Vec::new(), 4));
}

#[test]
fn a_flood_of_one_kind_is_cut_and_leaves_room_for_the_others() {
    let mut side = leased();
    let (burst, control) = (limits::RAW_BURST as usize, [&[0x0e, 6, 0, 0][..], &[0; 12]].concat());
    for _ in 0..burst + 50 {
        side.wire(address('b', 0), PATH);
        side.wire(address('b', 0), &control);
    }
    assert_eq!((side.told().len(), side.counters().drop_raw), (2 * burst, 100));
    side.wire(relay_place(), &control);
    assert_eq!(side.told().len(), 1, "strangers do not come between us and a relay of ours");
    side.wire(relay_place(), &[&control[..], &vec![0; limits::RAW_DATAGRAM]].concat());
    assert_eq!((side.told().len(), side.counters().drop_raw), (0, 101));
}

#[test]
fn datagrams_of_the_control_side_leave_as_they_are_or_framed() {
    let mut side = leased();
    let manner = Manner { ttl: Some(4), whole: true };
    let (straight, by_relay) = (Way::straight(address('b', 0)), Way::relayed(relay_place(), HOP));
    for way in [straight, by_relay] {
        side.engine.send_to(way, PATH, manner, &mut side.out);
    }
    side.engine.send_to(straight, &vec![0; limits::RAW_DATAGRAM + 1], manner, &mut side.out);
    let expected = [(straight.remote, PATH.to_vec(), manner), (relay_place(), relayed(HOP, PATH), manner)];
    assert_eq!(side.out.raw, expected);
    assert_eq!((side.counters().raw_out, side.counters().drop_raw), (2, 1));
}

#[test]
fn a_lease_stays_with_its_network_when_that_is_made_again_in_another_place() {
    let mut side = leased();
    let now = side.engine.now;
    let former = side.slot();
    side.engine.remove_network(NET);
    side.wire(relay_place(), &relayed(HOP, PATH));
    assert_eq!((side.told(), side.counters().drop_relayed), (Vec::new(), 1));
    assert_eq!(side.join(now, 'a', NetworkId(2)), former, "another network has its place");
    assert_ne!(side.join(now, 'a', NET), former);
    side.wire(relay_place(), &relayed(HOP, PATH));
    assert_eq!(side.told().len(), 1);
}

#[test]
fn so_many_leases_and_ways_to_greet_are_kept() {
    let mut side = leased();
    let most = u32::try_from(limits::LEASES).unwrap();
    let lease = |lease| Lease { relay: relay_place(), lease, network: NET };
    side.engine.set_leases(&(0..=most).map(lease).collect::<Vec<_>>());
    for (number, told) in [(most - 1, 1), (most, 0)] {
        side.wire(relay_place(), &relayed(Hop { lease: number, ..HOP }, PATH));
        assert_eq!(side.told().len(), told, "lease {number}");
    }
    let greet = (1..100).map(|host| Way::straight(address('b', host))).collect();
    assert_eq!(Ways { greet, ..Ways::default() }.limited().greet.len(), limits::GREETED);
}

#[test]
fn after_a_flood_so_many_a_second_reach_the_control_side() {
    let mut side = leased();
    let all = limits::RAW_BURST + limits::RAW_PER_SECOND;
    let count = |side: &mut Side| {
        for _ in 0..all {
            side.wire(address('b', 0), PATH);
        }
        side.told().len()
    };
    assert_eq!(count(&mut side), limits::RAW_BURST as usize);
    side.engine.now += Duration::from_millis(100);
    assert_eq!(count(&mut side), limits::RAW_PER_SECOND as usize / 10);
}
