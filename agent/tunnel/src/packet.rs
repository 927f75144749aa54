//! Reading IP headers: only what routing, splitting and coalescing ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum;

/// IP protocol numbers.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

/// Source and destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
}

/// Reads the addresses of a packet; `None` when it is no IP packet.
#[inline]
pub(crate) fn addresses(packet: &[u8]) -> Option<Addresses> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => Some(Addresses { source: v4(packet, 12)?, destination: v4(packet, 16)? }),
        6 if packet.len() >= 40 => Some(Addresses { source: v6(packet, 8)?, destination: v6(packet, 24)? }),
        _ => None,
    }
}

/// Reads the protocol and where its header begins. IPv6 extension headers are not followed: such a packet has the
/// first extension as its protocol.
#[inline]
pub(crate) fn transport(packet: &[u8]) -> Option<(u8, usize)> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            (header >= 20 && header <= packet.len()).then_some((packet[9], header))
        }
        6 if packet.len() >= 40 => Some((packet[6], 40)),
        _ => None,
    }
}

/// Sum of the pseudo-header but for the length of the transport part. The packet must have passed [`addresses`].
#[inline]
pub(crate) fn pseudo_sum(packet: &[u8], protocol: u8) -> u64 {
    let addresses = if packet[0] >> 4 == 4 { &packet[12..20] } else { &packet[8..40] };
    checksum::partial(addresses) + checksum::word(u16::from(protocol))
}

/// Reads a big-endian 16-bit field; `None` past the end.
#[inline]
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

/// Reads a big-endian 32-bit field; `None` past the end.
#[inline]
pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// Length as a 16-bit field; lengths here never pass 65,535, larger ones saturate.
#[inline]
pub(crate) fn len16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Brings the checksum at `at` in line with a change of some 16-bit words elsewhere in what it covers (RFC 1624 §3).
#[inline]
pub(crate) fn patch_checksum(packet: &mut [u8], at: usize, before: &[u8], after: &[u8]) {
    let Some(Ok(check)) = packet.get(at..at + 2).map(<[u8; 2]>::try_from) else { return };
    let removed = u64::from(!checksum::fold(checksum::partial(before)));
    let sum = u64::from(!u16::from_ne_bytes(check)) + removed + checksum::partial(after);
    packet[at..at + 2].copy_from_slice(&checksum::finish(sum));
}

#[inline]
fn v4(packet: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = *packet.get(at..)?.first_chunk()?;
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

#[inline]
fn v6(packet: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = *packet.get(at..)?.first_chunk()?;
    Some(IpAddr::V6(Ipv6Addr::from(octets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_or_foreign_bytes_have_no_addresses() {
        assert_eq!(addresses(&[]), None);
        assert_eq!(addresses(&[0x45; 19]), None);
        assert_eq!(addresses(&[0x60; 39]), None);
        assert_eq!(addresses(&[0x55; 60]), None);
    }

    #[test]
    fn a_header_longer_than_the_packet_has_no_transport() {
        let mut packet = [0; 20];
        packet[0] = 0x46;
        assert_eq!(transport(&packet), None);
        packet[0] = 0x44;
        assert_eq!(transport(&packet), None);
        packet[0] = 0x45;
        packet[9] = TCP;
        assert_eq!(transport(&packet), Some((TCP, 20)));
    }
}
