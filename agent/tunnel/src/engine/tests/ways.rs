//! What the way does to packets: congestion marks, narrow paths, refused trains.

use super::*;
use crate::fuzz::samples::Tcp;
use crate::limits;
use crate::packet;
use crate::tun::vnet::Gso;
use crate::udp::train::Datagrams;

fn super_tcp(segments: usize, segment: u16, v4: bool) -> (Vnet, Vec<u8>) {
    let payload: Vec<u8> = (0..segments * usize::from(segment)).map(|n| (n % 251) as u8).collect();
    let (from, to) = if v4 { ("10.0.0.1", "10.0.0.2") } else { ("fd00::1", "fd00::2") };
    let transport = if v4 { 20 } else { 40 };
    let vnet = Vnet {
        needs_checksum: true,
        gso: if v4 { Gso::Tcp4 } else { Gso::Tcp6 },
        header_len: transport + 32,
        segment,
        checksum_start: transport,
        checksum_offset: 16,
    };
    (vnet, samples::tcp(from, to, Tcp::default(), &payload))
}

impl Lab {
    fn super_from_a(&mut self, vnet: &Vnet, packet: &[u8]) {
        let slot = self.a.slot();
        self.a.frame(self.now, slot, vnet, packet);
    }

    /// Makes the way from a to b carry payloads of at most `room` bytes, known once a train has met it.
    fn narrow(&mut self, room: usize) {
        self.a.out.room = Some(room);
        let (vnet, packet) = super_tcp(3, 1368, true);
        self.super_from_a(&vnet, &packet);
        assert_eq!(self.a.counters().trains_too_wide, 1);
        self.carry();
        assert_eq!(self.b.packets().len(), 1, "what met the limit first still arrives");
    }
}

#[test]
fn marks_are_copied_out_and_classes_stay_inside() {
    let mut lab = Lab::connected();
    for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        for mark in [Ecn::NotCapable, Ecn::One, Ecn::Zero, Ecn::Congested] {
            let packet = samples::marked(samples::udp(from, to, 5000, b"marked"), 0xb8 | mark.bits());
            lab.a.tun(lab.now, &packet);
            assert_eq!(lab.a.out.sent[0].ecn, mark);
            lab.carry();
            assert_eq!(lab.b.packets(), [packet]);
        }
    }
}

#[test]
fn packets_of_different_marks_do_not_share_a_train_and_stay_in_order() {
    let mut lab = Lab::connected();
    let marks = [Ecn::Zero, Ecn::Zero, Ecn::Congested, Ecn::NotCapable];
    let packets = marks.map(|mark| samples::marked(hello('a', 'b', &[mark.bits(); 9]), mark.bits()));
    let slot = lab.a.slot();
    for packet in &packets {
        let mut frame = [&Vnet::default().encode()[..], packet, &[0; 16]].concat();
        let length = vnet::LEN + packet.len();
        assert!(lab.a.engine.on_tun(lab.now, slot, &mut frame, length, &mut lab.a.out).is_none());
    }
    lab.a.engine.flush(&mut lab.a.out);
    let trains: Vec<_> =
        lab.a.out.sent.iter().map(|train| (train.ecn, train.bytes.len() / train.stride)).collect();
    assert_eq!(trains, [(Ecn::Zero, 2), (Ecn::Congested, 1), (Ecn::NotCapable, 1)]);
    lab.carry();
    let seen: Vec<u8> = lab.b.packets().iter().flat_map(|packet| packet[28..].to_vec()).collect();
    assert_eq!(seen, marks.map(|mark| [mark.bits(); 9]).concat());
}

#[test]
fn congestion_on_the_way_marks_those_who_understand_and_drops_the_others() {
    let mut lab = Lab::connected();
    let (capable, other) = (samples::marked(hello('a', 'b', b"capable"), 2), hello('a', 'b', b"other"));
    lab.a.tun(lab.now, &capable);
    lab.a.tun(lab.now, &other);
    for train in &mut lab.a.out.sent {
        train.ecn = Ecn::Congested;
    }
    lab.carry();
    assert_eq!(lab.b.packets(), [samples::marked(capable, 3)]);
    assert_eq!(lab.b.counters().drop_congestion, 1);
}

#[test]
fn segment_sizes_are_lowered_in_both_directions() {
    let mut lab = Lab::connected();
    let wanted = [2, 4, 0x23, 0x00];
    lab.a.tun(lab.now, &samples::syn("10.0.0.1", "10.0.0.2", 2, &wanted));
    assert_eq!(lab.a.counters().segment_sizes_lowered, 1);
    lab.carry();
    assert_eq!(lab.b.packets(), [samples::syn("10.0.0.1", "10.0.0.2", 2, &[2, 4, 5, 0x64])]);
    // The other side carries larger packets and lets them pass; this side does not.
    lab.b.engine.set_mtu(NET, 9000);
    lab.b.tun(lab.now, &samples::syn("fd00::2", "fd00::1", 0x12, &wanted));
    assert_eq!(lab.b.counters().segment_sizes_lowered, 1);
    lab.carry();
    assert_eq!(lab.a.packets(), [samples::syn("fd00::2", "fd00::1", 0x12, &[2, 4, 5, 0x50])]);
}

#[test]
fn a_super_packet_for_a_narrow_way_is_cut_smaller_and_loses_nothing() {
    for v4 in [true, false] {
        let mut lab = Lab::connected();
        lab.narrow(1372);
        let (vnet, packet) = super_tcp(30, 1348, v4);
        lab.super_from_a(&vnet, &packet);
        assert!(
            lab.a.out.sent.iter().all(|train| train.stride <= 1372),
            "no datagram is larger than the way"
        );
        assert!(lab.a.out.sent[0].bytes.len() > 1372, "and trains stay trains");
        // The host hears of the limit, so that its next super-packets fit.
        let told = lab.a.packets().pop().unwrap();
        let value = if v4 { packet::be16(&told, 26) } else { packet::be16(&told, 46) };
        assert_eq!(value, Some(1372 - 32));
        lab.carry();
        let skip = usize::from(vnet.header_len);
        let seen: Vec<u8> = lab.b.packets().iter().flat_map(|packet| packet[skip..].to_vec()).collect();
        assert_eq!(seen, packet[skip..]);
    }
}

#[test]
fn a_freshly_lowered_mtu_cuts_super_packets_made_for_the_old_one() {
    let mut lab = Lab::connected();
    lab.a.engine.set_mtu(NET, 1300);
    let (vnet, packet) = super_tcp(10, 1368, true);
    lab.super_from_a(&vnet, &packet);
    assert_eq!(lab.a.out.sent[0].stride, 1300 + limits::SEAL_OVERHEAD);
    assert_eq!(lab.a.counters().packets_cut, 1);
    lab.carry();
    let seen: Vec<u8> = lab.b.packets().iter().flat_map(|packet| packet[52..].to_vec()).collect();
    assert_eq!(seen, packet[52..]);
    // UDP boundaries are the sender's; such a packet is answered instead.
    let udp = samples::udp("10.0.0.1", "10.0.0.2", 5000, &[7; 2784]);
    let vnet = Vnet { gso: Gso::Udp, segment: 1392, header_len: 28, checksum_offset: 6, ..vnet };
    lab.a.packets();
    lab.super_from_a(&vnet, &udp);
    assert!(lab.a.out.sent.is_empty());
    assert_eq!(packet::be16(&lab.a.packets()[0], 26), Some(1300));
    assert_eq!(lab.a.counters().drop_too_big, 1);
}

#[test]
fn single_packets_meet_a_narrow_way_as_their_sender_allows() {
    let mut lab = Lab::connected();
    lab.narrow(1372);
    let forbidding = samples::udp("10.0.0.1", "10.0.0.2", 5000, &[1; 1380]);
    lab.a.tun(lab.now, &forbidding);
    assert!(lab.a.out.sent.is_empty());
    let told = lab.a.packets().pop().unwrap();
    assert_eq!((told[20], told[21], packet::be16(&told, 26)), (3, 4, Some(1340)));
    let willing = samples::fragmentable(forbidding);
    lab.a.tun(lab.now, &willing);
    lab.carry();
    let fragments = lab.b.packets();
    assert_eq!(fragments.len(), 2);
    assert!(fragments.iter().all(|fragment| fragment.len() <= 1340));
    let payload: Vec<u8> = fragments.iter().flat_map(|fragment| fragment[20..].to_vec()).collect();
    assert_eq!(payload, willing[20..]);
}

#[test]
fn no_host_is_asked_for_less_than_its_family_promises() {
    let mut lab = Lab::connected();
    lab.narrow(600);
    let six = samples::udp("fd00::1", "fd00::2", 5000, &[6; 1280 - 48]);
    lab.a.tun(lab.now, &six);
    lab.carry();
    assert_eq!(lab.b.packets(), [six]);
    let (vnet, packet) = super_tcp(4, 1220, false);
    lab.super_from_a(&vnet, &packet);
    // Such datagrams need the underlay's fragments, which a train cannot have.
    assert!(lab.a.out.sent.iter().all(|train| train.bytes.len() == train.stride));
}

#[test]
fn a_way_is_tried_anew_after_a_while_and_after_a_move() {
    let mut lab = Lab::connected();
    lab.narrow(1372);
    let large = samples::udp("10.0.0.1", "10.0.0.2", 5000, &[1; 1380]);
    lab.a.out.room = None;
    lab.b.address = address('b', 1);
    lab.b.tun(lab.now, &hello('b', 'a', b"moved"));
    lab.carry();
    lab.a.packets();
    lab.a.tun(lab.now, &large);
    lab.carry();
    assert_eq!(lab.b.packets(), [large]);
}

#[test]
fn refused_trains_leave_one_by_one_until_they_are_tried_again() {
    let mut lab = Lab::connected();
    lab.a.out.no_segmentation = true;
    let (vnet, packet) = super_tcp(5, 1000, true);
    let shapes = |lab: &mut Lab| {
        lab.super_from_a(&vnet, &packet);
        let shapes: Vec<_> = lab.a.out.sent.iter().map(|train| train.bytes.len() / train.stride).collect();
        lab.carry();
        assert_eq!(lab.b.packets().iter().map(|packet| packet.len() - 52).sum::<usize>(), 5000);
        shapes
    };
    assert_eq!(shapes(&mut lab), [5]);
    assert_eq!(shapes(&mut lab), [1; 5]);
    assert_eq!(lab.a.counters().segmentation_fallbacks, 1);
    lab.a.out.no_segmentation = false;
    for _ in 0..60 {
        lab.b.tun(lab.now, &hello('b', 'a', b"still here"));
        lab.later(Duration::from_secs(1));
    }
    assert_eq!(shapes(&mut lab), [5]);
}

#[test]
fn fragments_pass() {
    let mut lab = Lab::connected();
    let whole = samples::fragmentable(samples::udp("10.0.0.1", "10.0.0.2", 5000, &[3; 2000]));
    let mut fragments = crate::tun::fragment::Fragments::new(&whole, 1400).unwrap();
    let mut out = [0; 1400];
    while let Some(length) = fragments.next(&mut out) {
        lab.a.tun(lab.now, &out[..length]);
        lab.carry();
        assert_eq!(lab.b.packets(), [&out[..length]]);
    }
}

#[test]
fn jumbo_packets_pass_where_both_sides_agree() {
    let mut lab = Lab::connected();
    lab.a.engine.set_mtu(NET, 8920);
    lab.b.engine.set_mtu(NET, 8920);
    let large = samples::udp("10.0.0.1", "10.0.0.2", 5000, &[1; 8892]);
    lab.a.tun(lab.now, &large);
    lab.carry();
    assert_eq!(lab.b.packets(), [large]);
    let (vnet, packet) = super_tcp(7, 8868, true);
    lab.super_from_a(&vnet, &packet);
    assert_eq!((lab.a.out.sent.len(), lab.a.out.sent[0].stride), (1, 8952));
    lab.carry();
    assert_eq!(lab.b.delivered.len(), 1);
    assert_eq!(lab.b.packets()[0][52..], packet[52..]);
}

#[test]
fn a_message_of_ours_is_one_unmarked_datagram() {
    let datagrams = Datagrams::single(b"message");
    assert_eq!((datagrams.stride, datagrams.ecn), (7, Ecn::NotCapable));
}
