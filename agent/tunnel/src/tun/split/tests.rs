#![expect(clippy::cast_possible_truncation, reason = "test numbers are small, or meant to wrap")]

use super::*;
use crate::fuzz::samples::{self, Tcp};

/// Makes a super-packet as the kernel would: payload longer than a segment, checksum left to finish.
fn super_packet(v6: bool, tcp: bool, payload: &[u8], segment: u16, flags: u8) -> (Vnet, Vec<u8>) {
    let (from, to) = if v6 { ("fd00::1", "fd00::2") } else { ("10.0.0.1", "10.0.0.2") };
    let packet = if tcp {
        samples::tcp(from, to, Tcp { flags, id: 65_534, seq: u32::MAX - 100, ..Tcp::default() }, payload)
    } else {
        samples::udp(from, to, 5000, payload)
    };
    let start = if v6 { 40 } else { 20 };
    let gso = match (tcp, v6) {
        (true, false) => Gso::Tcp4,
        (true, true) => Gso::Tcp6,
        (false, _) => Gso::Udp,
    };
    let vnet = Vnet {
        needs_checksum: true,
        gso,
        header_len: start + if tcp { 32 } else { 8 },
        segment,
        checksum_start: start,
        checksum_offset: if tcp { 16 } else { 6 },
    };
    (vnet, packet)
}

fn split(vnet: &Vnet, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut packet = packet.to_vec();
    let mut splitter = Splitter::new(vnet, &mut packet).unwrap();
    let mut segments = Vec::new();
    while let Some(range) = splitter.next(&mut packet) {
        segments.push(packet[range].to_vec());
    }
    segments
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 253) as u8).collect()
}

#[test]
fn every_kind_becomes_sound_segments_that_carry_all_bytes() {
    for (v6, tcp) in [(false, true), (true, true), (false, false), (true, false)] {
        for length in [1, 99, 100, 101, 1000, 4999] {
            let payload = bytes(length);
            let (vnet, packet) = super_packet(v6, tcp, &payload, 100, 0x18);
            let segments = split(&vnet, &packet);
            assert_eq!(segments.len(), length.div_ceil(100));
            assert!(
                segments.iter().all(|segment| samples::is_sound(segment)),
                "v6 {v6} tcp {tcp} length {length}"
            );
            let headers = usize::from(vnet.header_len);
            let carried: Vec<u8> = segments.iter().flat_map(|segment| segment[headers..].to_vec()).collect();
            assert_eq!(carried, payload);
        }
    }
}

#[test]
fn numbers_count_up_and_flags_stay_where_they_belong() {
    let (vnet, packet) = super_packet(false, true, &bytes(250), 100, FIN | PSH | CWR | 0x10);
    let segments = split(&vnet, &packet);
    let ids: Vec<_> = segments.iter().map(|segment| packet::be16(segment, 4).unwrap()).collect();
    assert_eq!(ids, [65_534, 65_535, 0]);
    let seqs: Vec<_> = segments.iter().map(|segment| packet::be32(segment, 24).unwrap()).collect();
    assert_eq!(seqs, [u32::MAX - 100, u32::MAX, 99]);
    let flags: Vec<_> = segments.iter().map(|segment| segment[33]).collect();
    assert_eq!(flags, [CWR | 0x10, 0x10, FIN | PSH | 0x10]);
}

#[test]
fn a_single_packet_gets_its_checksum_finished() {
    for (from, to, start) in [("10.0.0.1", "10.0.0.2", 20_usize), ("fd00::1", "fd00::2", 40)] {
        let sound = samples::udp(from, to, 5000, b"hello world");
        let mut packet = sound.clone();
        let pseudo =
            packet::pseudo_sum(&packet, packet::UDP) + checksum::word(packet::len16(packet.len() - start));
        packet[start + 6..start + 8].copy_from_slice(&checksum::fold(pseudo).to_ne_bytes());
        let vnet = Vnet {
            needs_checksum: true,
            checksum_start: packet::len16(start),
            checksum_offset: 6,
            ..Vnet::default()
        };
        assert_eq!(split(&vnet, &packet), [sound]);
    }
}

#[test]
fn a_whole_packet_is_left_alone() {
    let packet = samples::tcp("10.0.0.1", "10.0.0.2", Tcp::default(), b"x");
    assert_eq!(split(&Vnet::default(), &packet), [packet]);
}

#[test]
fn shapes_that_no_kernel_makes_are_refused() {
    let (vnet, packet) = super_packet(false, true, &bytes(300), 100, 0x10);
    let wrong = [
        Vnet { segment: 0, ..vnet },
        Vnet { checksum_start: 24, ..vnet },
        Vnet { checksum_start: 4000, ..vnet },
        Vnet { gso: Gso::Tcp6, ..vnet },
        Vnet { gso: Gso::None, checksum_offset: 4000, ..vnet },
    ];
    for vnet in wrong {
        assert!(Splitter::new(&vnet, &mut packet.clone()).is_none(), "{vnet:?}");
    }
    assert!(Splitter::new(&vnet, &mut packet[..52].to_vec()).is_none(), "no payload");
    assert!(Splitter::new(&vnet, &mut [0x45]).is_none());
}

proptest::proptest! {
    #[test]
    fn any_bytes_split_without_panic(mut frame: Vec<u8>, kind in 0_u8..6, start in 0_u16..64) {
        if frame.len() > 12 {
            frame[1] = kind;
            frame[6..8].copy_from_slice(&start.to_ne_bytes());
            frame[10] = if kind == 4 { 0x60 } else { 0x45 };
        }
        crate::fuzz::split(&frame);
    }
}
