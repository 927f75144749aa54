//! Packets for tests.

use std::net::IpAddr;

use crate::checksum;
use crate::packet;

/// What of a TCP segment a test wants to choose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp {
    pub(crate) port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) id: u16,
}

impl Default for Tcp {
    fn default() -> Self {
        Self { port: 4000, seq: 1, ack: 1, flags: 0x10, id: 1 }
    }
}

/// Builds a TCP packet with timestamps-like options and right checksums.
pub(crate) fn tcp(from: &str, to: &str, tcp: Tcp, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; 32];
    segment[0..2].copy_from_slice(&tcp.port.to_be_bytes());
    segment[2..4].copy_from_slice(&80_u16.to_be_bytes());
    segment[4..8].copy_from_slice(&tcp.seq.to_be_bytes());
    segment[8..12].copy_from_slice(&tcp.ack.to_be_bytes());
    segment[12..16].copy_from_slice(&[0x80, tcp.flags, 0x20, 0]);
    segment[20..32].copy_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    segment.extend_from_slice(payload);
    ip(from, to, packet::TCP, tcp.id, segment, 16)
}

/// Builds a UDP packet with right checksums.
pub(crate) fn udp(from: &str, to: &str, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 8];
    datagram[0..2].copy_from_slice(&port.to_be_bytes());
    datagram[2..4].copy_from_slice(&53_u16.to_be_bytes());
    datagram[4..6].copy_from_slice(&packet::len16(8 + payload.len()).to_be_bytes());
    datagram.extend_from_slice(payload);
    ip(from, to, packet::UDP, 1, datagram, 6)
}

/// Builds a TCP packet without payload with these options, a multiple of four bytes.
pub(crate) fn syn(from: &str, to: &str, flags: u8, options: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[0..4].copy_from_slice(&[0x10, 0, 0, 80]);
    segment[12..16].copy_from_slice(&[0x50 + u8::try_from(options.len() / 4 * 16).unwrap(), flags, 0x20, 0]);
    segment.extend_from_slice(options);
    ip(from, to, packet::TCP, 1, segment, 16)
}

/// Lets an IPv4 packet be cut on its way.
pub(crate) fn fragmentable(mut packet: Vec<u8>) -> Vec<u8> {
    packet[6] = 0;
    packet[10..12].fill(0);
    let sum = checksum::partial(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum::finish(sum));
    packet
}

/// Gives a packet a traffic class, with the checksum that belongs to it.
pub(crate) fn marked(mut packet: Vec<u8>, class: u8) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[1] = class;
        packet[10..12].fill(0);
        let sum = checksum::partial(&packet[..20]);
        packet[10..12].copy_from_slice(&checksum::finish(sum));
    } else {
        packet[0] = 0x60 | class >> 4;
        packet[1] = packet[1] & 0xf | class << 4;
    }
    packet
}

/// Turns an echo request into its reply. The checksum is left wrong: whoever takes replies out does not look at it.
pub(crate) fn echo_reply(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    let (protocol, at) = packet::transport(request).unwrap();
    let (source, destination, length) = if protocol == packet::ICMP { (12, 16, 4) } else { (8, 24, 16) };
    reply[source..source + length].copy_from_slice(&request[destination..destination + length]);
    reply[destination..destination + length].copy_from_slice(&request[source..source + length]);
    reply[at] = if protocol == packet::ICMP { 0 } else { 129 };
    reply
}

/// Whether all checksums of a TCP or UDP packet are right.
pub(crate) fn is_sound(packet: &[u8]) -> bool {
    let (protocol, at) = packet::transport(packet).unwrap();
    let v4 = packet[0] >> 4 == 4;
    let length = if v4 { packet::be16(packet, 2).unwrap() } else { packet::be16(packet, 4).unwrap() + 40 };
    let pseudo = packet::pseudo_sum(packet, protocol) + checksum::word(packet::len16(packet.len() - at));
    usize::from(length) == packet.len()
        && (!v4 || checksum::verifies(checksum::partial(&packet[..at])))
        && checksum::verifies(pseudo + checksum::partial(&packet[at..]))
}

fn ip(from: &str, to: &str, protocol: u8, id: u16, transport: Vec<u8>, check: usize) -> Vec<u8> {
    let length = transport.len();
    let mut bytes = match (from.parse().unwrap(), to.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            header[2..4].copy_from_slice(&packet::len16(20 + length).to_be_bytes());
            header[4..6].copy_from_slice(&id.to_be_bytes());
            header.extend(from.octets().into_iter().chain(to.octets()));
            let sum = checksum::partial(&header);
            header[10..12].copy_from_slice(&checksum::finish(sum));
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            header[4..6].copy_from_slice(&packet::len16(length).to_be_bytes());
            header.extend(from.octets().into_iter().chain(to.octets()));
            header
        }
        _ => panic!("{from} and {to} are of different families"),
    };
    let at = bytes.len();
    bytes.extend(transport);
    let sum = packet::pseudo_sum(&bytes, protocol)
        + checksum::word(packet::len16(length))
        + checksum::partial(&bytes[at..]);
    bytes[at + check..at + check + 2].copy_from_slice(&checksum::finish(sum));
    bytes
}
