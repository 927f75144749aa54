#![expect(clippy::cast_possible_truncation, reason = "test numbers are small, or meant to wrap")]

use super::*;
use crate::fuzz::samples::{self, Tcp};
use crate::tun::split::Splitter;
use proptest::prelude::{prop_assert, prop_assert_eq};

/// Network, header and packet of a frame.
type Written = (u32, Vnet, Vec<u8>);

/// What is odd about packets, the packets, and how many end up in each frame.
type Case = (&'static str, Vec<Vec<u8>>, &'static [usize]);

/// Feeds packets to a coalescer; returns the frames it writes.
fn coalesce(packets: &[Vec<u8>]) -> Vec<Written> {
    let mut coalescer = Coalescer::new();
    let mut arena: Vec<u8> = Vec::new();
    let mut places = Vec::new();
    for packet in packets {
        places.push((arena.len(), packet.len()));
        arena.extend_from_slice(packet);
    }
    for (offset, length) in places {
        coalescer.push(7, &arena, offset, length);
    }
    let mut frames = Vec::new();
    coalescer.flush(&mut arena, |network, vnet, pieces| {
        frames.push((network, vnet, pieces.flatten().copied().collect()));
    });
    frames
}

/// Undoes merging with the splitter, its exact inverse.
fn split_all(frames: Vec<Written>) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for (_, vnet, mut packet) in frames {
        let mut splitter = Splitter::new(&vnet, &mut packet).unwrap();
        while let Some(range) = splitter.next(&mut packet) {
            packets.push(packet[range].to_vec());
        }
    }
    packets
}

fn segment(n: u32, length: usize) -> Vec<u8> {
    let tcp = Tcp { seq: 1000 + n * 100, id: 10 + u16::try_from(n).unwrap(), ..Tcp::default() };
    samples::tcp("10.0.0.1", "10.0.0.2", tcp, &vec![n as u8; length])
}

fn counts(packets: &[Vec<u8>]) -> Vec<usize> {
    coalesce(packets).into_iter().map(|frame| split_all(vec![frame]).len()).collect()
}

#[test]
fn consecutive_segments_of_a_flow_become_one_frame() {
    let packets: Vec<_> = (0..10).map(|n| segment(n, if n == 9 { 40 } else { 100 })).collect();
    let frames = coalesce(&packets);
    assert_eq!(frames.len(), 1);
    let (network, vnet, packet) = &frames[0];
    assert_eq!(*network, 7);
    assert_eq!((vnet.gso, vnet.segment, vnet.header_len), (Gso::Tcp4, 100, 52));
    assert_eq!(packet.len(), 52 + 940);
    assert_eq!(packet::be16(packet, 2).unwrap(), 992);
    assert_eq!(split_all(frames), packets);
}

#[test]
fn udp_and_ipv6_merge_too() {
    let udp: Vec<_> = (0..4).map(|n| samples::udp("fd00::1", "fd00::2", 9, &[n; 64])).collect();
    assert_eq!(counts(&udp), [4]);
    let tcp: Vec<_> = (0..4)
        .map(|n| samples::tcp("fd00::1", "fd00::2", Tcp { seq: n * 64, ..Tcp::default() }, &[n as u8; 64]))
        .collect();
    assert_eq!(counts(&tcp), [4]);
    assert_eq!(split_all(coalesce(&tcp)), tcp);
}

#[test]
fn what_breaks_a_run() {
    let next = |change: fn(&mut Tcp)| {
        let mut tcp = Tcp { seq: 1100, id: 11, ..Tcp::default() };
        change(&mut tcp);
        vec![segment(0, 100), samples::tcp("10.0.0.1", "10.0.0.2", tcp, &[1; 100])]
    };
    let table: [Case; 8] = [
        ("nothing", next(|_| {}), &[2]),
        ("a gap", next(|tcp| tcp.seq = 1101), &[1, 1]),
        ("another acknowledgement", next(|tcp| tcp.ack = 2), &[1, 1]),
        ("another flow", next(|tcp| tcp.port = 4001), &[1, 1]),
        ("a finish", next(|tcp| tcp.flags = 0x11), &[1, 1]),
        ("a push ends it but belongs to it", next(|tcp| tcp.flags = 0x18), &[2]),
        ("a longer segment", vec![segment(0, 50), segment(0, 100)], &[1, 1]),
        ("a shorter one ends it", vec![segment(0, 100), segment(1, 50), segment(2, 50)], &[2, 1]),
    ];
    for (what, packets, expected) in table {
        assert_eq!(counts(&packets), expected, "{what}");
    }
}

#[test]
fn a_wrong_checksum_is_neither_merged_nor_mended() {
    let mut packets: Vec<_> = (0..3).map(|n| segment(n, 100)).collect();
    packets[1][60] ^= 1;
    let frames = coalesce(&packets);
    assert_eq!(frames.iter().map(|frame| &frame.2).collect::<Vec<_>>(), packets.iter().collect::<Vec<_>>());
}

#[test]
fn flows_merge_side_by_side_and_networks_stay_apart() {
    let other = |n: u32| {
        let tcp = Tcp { port: 5000, seq: 1000 + n * 100, id: 10 + n as u16, ..Tcp::default() };
        samples::tcp("10.0.0.1", "10.0.0.2", tcp, &[0; 100])
    };
    let packets: Vec<_> = (0..4).flat_map(|n| [segment(n, 100), other(n)]).collect();
    assert_eq!(counts(&packets), [4, 4]);
    let (mut coalescer, mut arena) = (Coalescer::new(), [segment(0, 100), segment(1, 100)].concat());
    coalescer.push(1, &arena, 0, 152);
    coalescer.push(2, &arena, 152, 152);
    let mut networks = Vec::new();
    coalescer.flush(&mut arena, |network, _, pieces| networks.push((network, pieces.count)));
    assert_eq!(networks, [(1, 1), (2, 1)]);
}

#[test]
fn a_run_has_so_many_segments_at_most() {
    let packets: Vec<_> = (0..100).map(|n| segment(n, 100)).collect();
    assert_eq!(counts(&packets), [limits::RUN_SEGMENTS, 100 - limits::RUN_SEGMENTS]);
    assert_eq!(split_all(coalesce(&packets)), packets);
}

#[test]
fn of_too_many_flows_the_least_recently_opened_gives_way() {
    let of = |flow: usize, n: u32| {
        let tcp = Tcp { port: 4000 + flow as u16, seq: 1000 + n * 100, id: 10 + n as u16, ..Tcp::default() };
        samples::tcp("10.0.0.1", "10.0.0.2", tcp, &[0; 100])
    };
    let mut packets: Vec<_> = (0..=limits::OPEN_FLOWS).map(|flow| of(flow, 0)).collect();
    packets.extend([of(1, 1), of(0, 1)]);
    let mut expected = vec![1; limits::OPEN_FLOWS + 2];
    expected[1] = 2;
    assert_eq!(counts(&packets), expected);
}

#[test]
fn a_flush_is_asked_for_when_the_runs_are_used_up() {
    let mut coalescer = Coalescer::new();
    let packet = samples::udp("10.0.0.1", "10.0.0.2", 9, b"one of its own");
    coalescer.set(false, false);
    for _ in 0..limits::RUNS {
        assert!(!coalescer.is_full());
        coalescer.push(1, &packet, 0, packet.len());
    }
    assert!(coalescer.is_full());
}

#[test]
fn merging_can_be_turned_off() {
    let (mut coalescer, mut arena) = (Coalescer::new(), [segment(0, 100), segment(1, 100)].concat());
    coalescer.set(false, false);
    coalescer.push(1, &arena, 0, 152);
    coalescer.push(1, &arena, 152, 152);
    let mut frames = 0;
    coalescer.flush(&mut arena, |_, vnet, _| {
        assert_eq!(vnet, Vnet::default());
        frames += 1;
    });
    assert_eq!(frames, 2);
}

/// One step of a random packet sequence: flow, payload length, and what is odd about it.
fn step() -> impl proptest::strategy::Strategy<Value = (u8, usize, u8)> {
    (0_u8..4, 0_usize..3, 0_u8..12)
}

proptest::proptest! {
    #[test]
    fn splitting_what_was_merged_gives_the_packets_back(steps in proptest::collection::vec(step(), 1..120)) {
        let mut seqs = [0_u32; 4];
        let mut packets = Vec::new();
        for (n, (flow, size, odd)) in steps.iter().enumerate() {
            let flow = usize::from(*flow);
            let payload = vec![n as u8; [0, 60, 100][*size]];
            let mut tcp = Tcp { port: 4000 + flow as u16, seq: seqs[flow], id: n as u16, ..Tcp::default() };
            match odd {
                0 => tcp.flags = 0x18,
                1 => tcp.flags = 0x11,
                2 => tcp.ack = 9,
                3 => tcp.seq = tcp.seq.wrapping_add(5),
                _ => {}
            }
            seqs[flow] = tcp.seq.wrapping_add(payload.len() as u32);
            packets.push(match (flow, odd) {
                (3, _) => samples::udp("10.0.0.1", "10.0.0.2", 77, &payload),
                (_, 4) => vec![0x45; 24],
                _ => samples::tcp("10.0.0.1", "10.0.0.2", tcp, &payload),
            });
        }
        let mut found = split_all(coalesce(&packets));
        prop_assert_eq!(found.len(), packets.len());
        // Within a flow the order is the same; ids may be renumbered, as the kernel does with "don't fragment".
        let normal = |packet: &Vec<u8>| {
            let mut packet = packet.clone();
            packet[4..6].fill(0);
            packet[10..12].fill(0);
            packet
        };
        let flow_of = |packet: &Vec<u8>| (packet.len() > 24).then(|| (packet[9], packet[20], packet[21]));
        for flow in packets.iter().map(flow_of).collect::<std::collections::BTreeSet<_>>() {
            let of = |all: &[Vec<u8>]| -> Vec<Vec<u8>> {
                all.iter().filter(|packet| flow_of(packet) == flow).map(normal).collect()
            };
            prop_assert_eq!(of(&packets), of(&found));
        }
        found.retain(|packet| packet.len() > 24);
        prop_assert!(found.iter().all(|packet| samples::is_sound(packet)));
    }

    #[test]
    fn any_bytes_coalesce_without_panic(bytes: Vec<u8>, cuts in proptest::collection::vec(0_u8..80, 0..20)) {
        let mut soup = Vec::new();
        for cut in cuts {
            soup.extend_from_slice(&[0, cut]);
            soup.extend(bytes.iter().cycle().take(if bytes.is_empty() { 0 } else { usize::from(cut) }));
        }
        crate::fuzz::coalesce(&soup);
        crate::fuzz::coalesce(&bytes);
    }
}
