//! Packets by hand.

use std::net::{IpAddr, SocketAddr};

const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A UDP packet.
pub(crate) fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(from.port().to_be_bytes());
    datagram.extend(to.port().to_be_bytes());
    datagram.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    ip(from.ip(), to.ip(), UDP, datagram, 6)
}

/// An ICMP or ICMPv6 echo request.
pub(crate) fn echo(from: IpAddr, to: IpAddr, payload: &[u8]) -> Vec<u8> {
    let (protocol, kind) = if from.is_ipv4() { (ICMP, 8) } else { (ICMPV6, 128) };
    let mut message = vec![kind, 0, 0, 0, 0, 7, 0, 1];
    message.extend(payload);
    ip(from, to, protocol, message, 2)
}

/// The answer to an echo request; `None` for any other packet.
pub(crate) fn echo_reply(packet: &[u8]) -> Option<Vec<u8>> {
    let address = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap();
    let (protocol, kind, from, to, message): (_, _, IpAddr, IpAddr, _) = if packet[0] >> 4 == 4 {
        let v4 = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap();
        (packet[9], 0, v4(16).into(), v4(12).into(), &packet[20..])
    } else {
        (packet[6], 129, address(24).into(), address(8).into(), &packet[40..])
    };
    let is_request = matches!((protocol, message[0]), (ICMP, 8) | (ICMPV6, 128));
    let mut reply = message.to_vec();
    reply[..4].copy_from_slice(&[kind, 0, 0, 0]);
    is_request.then(|| ip(from, to, protocol, reply, 2))
}

/// The bytes after the headers, of UDP and echo packets.
pub(crate) fn payload(packet: &[u8]) -> &[u8] {
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    packet.get(header + 8..).unwrap_or_default()
}

fn ip(from: IpAddr, to: IpAddr, protocol: u8, mut transport: Vec<u8>, checksum_at: usize) -> Vec<u8> {
    let length = u16::try_from(transport.len()).unwrap();
    let mut pseudo = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => panic!("{from} and {to} are of different families"),
    };
    let addresses = pseudo.clone();
    pseudo.extend([0, protocol]);
    pseudo.extend(length.to_be_bytes());
    if protocol == ICMP {
        pseudo.clear();
    }
    pseudo.extend(&transport);
    transport[checksum_at..checksum_at + 2].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let mut packet = if from.is_ipv4() {
        let mut header = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0];
        header[2..4].copy_from_slice(&(20 + length).to_be_bytes());
        header.extend(&addresses);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    } else {
        let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
        header[4..6].copy_from_slice(&length.to_be_bytes());
        header.extend(&addresses);
        header
    };
    packet.extend(transport);
    packet
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
