//! A super-packet becomes segments, in place.
//!
//! ```text
//!  [ header | payload 0 | payload 1 | payload 2 ]      as read from the device
//!  [ header | payload 0 ]                              segment 0
//!         [ header' | payload 1 ]                      segment 1: its header over the end of payload 0, already sealed
//!                     [ header'' | payload 2 ]
//! ```
//!
//! So no payload moves. The caller must be done with a segment before it asks for the next. Flags follow the kernel's
//! own segmentation: FIN and PSH on the last segment, CWR on the first, the IPv4 id counts up.

use std::ops::Range;

use crate::checksum;
use crate::packet;
use crate::tun::vnet::{Gso, Vnet};

/// Longest headers that can be stamped: IPv4 and TCP with all options; IPv6 leaves room for small extensions.
const HEADERS: usize = 120;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Hands out the segments of one frame.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// How to make segments; `None` when the packet goes as it is.
    template: Option<Template>,
    /// Length of the whole packet.
    length: usize,
    /// Payload bytes handed out so far.
    offset: usize,
    count: u16,
}

/// What is the same in all headers of a super-packet.
#[derive(Debug)]
struct Template {
    header: [u8; HEADERS],
    header_len: usize,
    transport: usize,
    segment: usize,
    tcp: bool,
    v4: bool,
    id: u16,
    seq: u32,
    flags: u8,
    /// Sum of the IPv4 header without length, id and checksum.
    ip_sum: u64,
    /// Sum of pseudo-header and transport header without lengths, sequence number, flags and checksum.
    transport_sum: u64,
}

impl Splitter {
    /// Checks a frame's packet and prepares its segments; `None` when its shape is none that a kernel makes.
    ///
    /// A single packet whose checksum is to be finished gets it now.
    pub(crate) fn new(vnet: &Vnet, packet: &mut [u8]) -> Option<Self> {
        packet::addresses(packet)?;
        let template = match vnet.gso {
            Gso::None => {
                if vnet.needs_checksum {
                    finish_checksum(vnet, packet)?;
                }
                None
            }
            Gso::Tcp4 | Gso::Tcp6 | Gso::Udp => Some(Template::new(vnet, packet)?),
        };
        Some(Self { template, length: packet.len(), offset: 0, count: 0 })
    }

    /// Stamps the next segment and returns where it lies in `packet`, the same bytes as given to [`Splitter::new`].
    #[inline]
    pub(crate) fn next(&mut self, packet: &mut [u8]) -> Option<Range<usize>> {
        let Some(template) = &self.template else {
            let fresh = self.count == 0;
            self.count = 1;
            return fresh.then_some(0..self.length);
        };
        let rest = (self.length - template.header_len).checked_sub(self.offset).filter(|rest| *rest > 0)?;
        let payload = rest.min(template.segment);
        let range = self.offset..self.offset + template.header_len + payload;
        template.stamp(packet.get_mut(range.clone())?, self.count, self.offset, payload == rest);
        self.offset += payload;
        self.count = self.count.wrapping_add(1);
        Some(range)
    }
}

impl Template {
    fn new(vnet: &Vnet, packet: &[u8]) -> Option<Self> {
        let v4 = packet[0] >> 4 == 4;
        let transport = usize::from(vnet.checksum_start);
        let tcp = match (vnet.gso, v4) {
            (Gso::Tcp4, true) | (Gso::Tcp6, false) => true,
            (Gso::Udp, _) => false,
            (Gso::Tcp4, false) | (Gso::Tcp6, true) | (Gso::None, _) => return None,
        };
        let ip_fits = if v4 { packet::transport(packet)?.1 == transport } else { transport >= 40 };
        let header_len = transport + if tcp { usize::from(packet.get(transport + 12)? >> 4) * 4 } else { 8 };
        let transport_fits = header_len >= transport + if tcp { 20 } else { 8 };
        let segment = usize::from(vnet.segment);
        if !ip_fits || !transport_fits || header_len > HEADERS || header_len >= packet.len() || segment == 0 {
            return None;
        }
        let mut header = [0; HEADERS];
        header[..header_len].copy_from_slice(&packet[..header_len]);
        let (id, seq) = (packet::be16(packet, 4)?, packet::be32(packet, transport + 4)?);
        let flags = if tcp { header[transport + 13] } else { 0 };
        clear_varying(&mut header, transport, v4, tcp);
        let protocol = if tcp { packet::TCP } else { packet::UDP };
        let ip_sum = checksum::partial(&header[..transport]);
        let transport_sum =
            packet::pseudo_sum(&header, protocol) + checksum::partial(&header[transport..header_len]);
        Some(Self { header, header_len, transport, segment, tcp, v4, id, seq, flags, ip_sum, transport_sum })
    }

    /// Writes the header of one segment, whose payload is in place already.
    #[inline]
    fn stamp(&self, segment: &mut [u8], count: u16, offset: usize, last: bool) {
        let (header, payload) = segment.split_at_mut(self.header_len);
        header.copy_from_slice(&self.header[..self.header_len]);
        let length = self.header_len + payload.len();
        if self.v4 {
            let (length, id) = (packet::len16(length), self.id.wrapping_add(count));
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[4..6].copy_from_slice(&id.to_be_bytes());
            let sum = self.ip_sum + checksum::word(length) + checksum::word(id);
            header[10..12].copy_from_slice(&checksum::finish(sum));
        } else {
            header[4..6].copy_from_slice(&packet::len16(length - 40).to_be_bytes());
        }
        let transport_len = packet::len16(length - self.transport);
        let sum = self.transport_sum + checksum::word(transport_len) + checksum::partial(payload);
        let at = self.transport;
        if self.tcp {
            // Super-packets are under 64 KiB, so the offset is exact.
            let seq = self.seq.wrapping_add(u32::from(packet::len16(offset)));
            let mut flags = self.flags;
            if !last {
                flags &= !(FIN | PSH);
            }
            if count > 0 {
                flags &= !CWR;
            }
            header[at + 4..at + 8].copy_from_slice(&seq.to_be_bytes());
            header[at + 13] = flags;
            let varying = checksum::partial(&seq.to_be_bytes()) + checksum::word(u16::from(flags));
            header[at + 16..at + 18].copy_from_slice(&checksum::finish(sum + varying));
        } else {
            header[at + 4..at + 6].copy_from_slice(&transport_len.to_be_bytes());
            let check = checksum::finish(sum + checksum::word(transport_len));
            // A UDP checksum of zero means "none"; its other form means zero (RFC 768).
            header[at + 6..at + 8].copy_from_slice(if check == [0, 0] { &[0xff, 0xff] } else { &check });
        }
    }
}

/// Zeroes the fields that differ from segment to segment, so that the rest can be summed once.
fn clear_varying(header: &mut [u8; HEADERS], transport: usize, v4: bool, tcp: bool) {
    if v4 {
        header[2..6].fill(0);
        header[10..12].fill(0);
    } else {
        header[4..6].fill(0);
    }
    if tcp {
        header[transport + 4..transport + 8].fill(0);
        header[transport + 13] = 0;
        header[transport + 16..transport + 18].fill(0);
    } else {
        header[transport + 4..transport + 8].fill(0);
    }
}

/// Finishes a checksum that holds the pseudo-header's sum.
fn finish_checksum(vnet: &Vnet, packet: &mut [u8]) -> Option<()> {
    let start = usize::from(vnet.checksum_start);
    let at = start + usize::from(vnet.checksum_offset);
    if at + 2 > packet.len() {
        return None;
    }
    let check = checksum::finish(checksum::partial(&packet[start..]));
    let udp = vnet.checksum_offset == 6;
    packet[at..at + 2].copy_from_slice(if udp && check == [0, 0] { &[0xff, 0xff] } else { &check });
    Some(())
}

#[cfg(test)]
mod tests;
