//! One packet as the coalescer sees it.

use std::net::IpAddr;

use crate::checksum;
use crate::packet;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const CWR: u8 = 0x80;

/// Longest TCP options.
const OPTIONS: usize = 40;

/// A TCP or UDP packet that could be part of a run.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) tcp: bool,
    pub(crate) v4: bool,
    source: IpAddr,
    destination: IpAddr,
    ports: [u8; 4],
    pub(crate) transport: usize,
    pub(crate) header_len: usize,
    pub(crate) payload: usize,
    pub(crate) seq: u32,
    pub(crate) id: u16,
    /// IPv4 without "don't fragment": ids must count up.
    pub(crate) counts_ids: bool,
    /// Flags other than PSH; a run needs plain ACK, with or without ECE.
    flags: u8,
    pub(crate) push: bool,
    /// First IP word without length, the fragment field, TTL: what the kernel compares.
    network: [u8; 6],
    /// Acknowledgement number, window and urgent pointer.
    control: [u8; 8],
    options: [u8; OPTIONS],
    has_checksum: bool,
}

impl Segment {
    /// Reads a packet; `None` when it is not TCP or UDP, is a fragment, has IP options or extensions, or a length that
    /// differs from the one in its header.
    #[inline]
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let addresses = packet::addresses(packet)?;
        let (protocol, transport) = packet::transport(packet)?;
        let tcp = match protocol {
            packet::TCP => true,
            packet::UDP => false,
            _ => return None,
        };
        let v4 = packet[0] >> 4 == 4;
        let (network, id, counts_ids) = if v4 {
            let (length, field) = (packet::be16(packet, 2)?, packet::be16(packet, 6)?);
            if transport != 20 || usize::from(length) != packet.len() || field & 0xbfff != 0 {
                return None;
            }
            (
                [packet[0], packet[1], 0, 0, packet[6], packet[8]],
                packet::be16(packet, 4)?,
                field & 0x4000 == 0,
            )
        } else {
            if usize::from(packet::be16(packet, 4)?) + 40 != packet.len() {
                return None;
            }
            ([packet[0], packet[1], packet[2], packet[3], 0, packet[7]], 0, false)
        };
        let mut segment = Self {
            tcp,
            v4,
            source: addresses.source,
            destination: addresses.destination,
            ports: *packet.get(transport..)?.first_chunk()?,
            transport,
            header_len: transport + 8,
            payload: 0,
            seq: 0,
            id,
            counts_ids,
            flags: 0,
            push: false,
            network,
            control: [0; 8],
            options: [0; OPTIONS],
            has_checksum: true,
        };
        if tcp {
            segment.read_tcp(packet)?
        } else {
            segment.read_udp(packet)?
        }
        Some(segment)
    }

    fn read_tcp(&mut self, packet: &[u8]) -> Option<()> {
        let at = self.transport;
        let header = packet.get(at..at + 20)?;
        let length = usize::from(header[12] >> 4) * 4;
        self.header_len = at + length;
        let options = packet.get(at + 20..self.header_len)?;
        self.options[..options.len()].copy_from_slice(options);
        self.payload = packet.len() - self.header_len;
        self.seq = packet::be32(header, 4)?;
        self.flags = header[13] & !PSH;
        self.push = header[13] & PSH != 0;
        self.control[..4].copy_from_slice(&header[8..12]);
        self.control[4..6].copy_from_slice(&header[14..16]);
        self.control[6..8].copy_from_slice(&header[18..20]);
        Some(())
    }

    fn read_udp(&mut self, packet: &[u8]) -> Option<()> {
        let at = self.transport;
        if usize::from(packet::be16(packet, at + 4)?) != packet.len() - at {
            return None;
        }
        self.payload = packet.len() - at - 8;
        self.has_checksum = packet::be16(packet, at + 6)? != 0;
        Some(())
    }

    /// The sequence number that follows.
    pub(crate) fn next_seq(&self) -> u32 {
        self.seq.wrapping_add(u32::from(packet::len16(self.payload)))
    }

    /// Whether another packet may be appended to a run that begins, and so far ends, with this one.
    pub(crate) fn can_grow(&self) -> bool {
        let plain = self.flags & (FIN | SYN | RST | URG | CWR) == 0 && self.flags & ACK != 0;
        self.payload > 0 && self.has_checksum && (!self.tcp || plain && !self.push)
    }

    #[inline]
    pub(crate) fn same_flow(&self, other: &Self) -> bool {
        self.ports == other.ports
            && self.tcp == other.tcp
            && self.source == other.source
            && self.destination == other.destination
    }

    /// Whether all that may not differ within a run is the same.
    #[inline]
    pub(crate) fn same_headers(&self, other: &Self) -> bool {
        self.network == other.network
            && self.flags == other.flags
            && self.header_len == other.header_len
            && self.control == other.control
            && self.options == other.options
            && other.has_checksum
    }

    /// Whether the transport checksum of `packet`, from which this was read, is right.
    #[inline]
    pub(crate) fn checksum_is_right(&self, packet: &[u8]) -> bool {
        let protocol = if self.tcp { packet::TCP } else { packet::UDP };
        let transport = &packet[self.transport..];
        let pseudo = packet::pseudo_sum(packet, protocol) + checksum::word(packet::len16(transport.len()));
        let ip_right = !self.v4 || checksum::verifies(checksum::partial(&packet[..self.transport]));
        ip_right && checksum::verifies(pseudo + checksum::partial(transport))
    }
}
