//! The virtio network header in front of every frame of a TUN device.
//!
//! ```text
//!  0      1         2        4         6           8             10
//!  flags  gso_type  hdr_len  gso_size  csum_start  csum_offset
//! ```
//!
//! All fields are in the byte order of the host.

/// Length of the header: the oldest form, without a buffer count.
pub(crate) const LEN: usize = 10;

/// Flag: the transport checksum holds the pseudo-header's sum and is to be finished.
pub(crate) const NEEDS_CSUM: u8 = 1;

const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// Bit beside the type: the flow uses ECN.
const GSO_ECN: u8 = 0x80;

/// What the device says of the frame's segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Gso {
    /// One packet.
    #[default]
    None,
    /// A TCP super-packet over IPv4.
    Tcp4,
    /// A TCP super-packet over IPv6.
    Tcp6,
    /// A UDP super-packet over either.
    Udp,
}

/// The header, checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vnet {
    pub(crate) needs_checksum: bool,
    pub(crate) gso: Gso,
    /// Length of all headers; a hint only.
    pub(crate) header_len: u16,
    /// Payload bytes per segment.
    pub(crate) segment: u16,
    /// Where the checksummed part begins.
    pub(crate) checksum_start: u16,
    /// Where the checksum is, from `checksum_start`.
    pub(crate) checksum_offset: u16,
}

impl Vnet {
    /// Reads the header of a frame; `None` when it is too short or names a kind of segmentation we never asked for.
    pub(crate) fn parse(frame: &[u8]) -> Option<Self> {
        let bytes: &[u8; LEN] = frame.first_chunk()?;
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let gso = match bytes[1] & !GSO_ECN {
            GSO_NONE => Gso::None,
            GSO_TCP4 => Gso::Tcp4,
            GSO_TCP6 => Gso::Tcp6,
            GSO_UDP => Gso::Udp,
            _ => return None,
        };
        Some(Self {
            needs_checksum: bytes[0] & NEEDS_CSUM != 0,
            gso,
            header_len: word(2),
            segment: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        })
    }

    /// Prints the header as the device expects it.
    pub(crate) fn encode(&self) -> [u8; LEN] {
        let kind = match self.gso {
            Gso::None => GSO_NONE,
            Gso::Tcp4 => GSO_TCP4,
            Gso::Tcp6 => GSO_TCP6,
            Gso::Udp => GSO_UDP,
        };
        let mut bytes = [0; LEN];
        bytes[0] = if self.needs_checksum { NEEDS_CSUM } else { 0 };
        bytes[1] = kind;
        bytes[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.segment.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.checksum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.checksum_offset.to_ne_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_header_reads_back_the_same() {
        for gso in [Gso::None, Gso::Tcp4, Gso::Tcp6, Gso::Udp] {
            let header = Vnet {
                needs_checksum: gso != Gso::None,
                gso,
                header_len: 52,
                segment: 1368,
                checksum_start: 20,
                checksum_offset: 16,
            };
            assert_eq!(Vnet::parse(&header.encode()), Some(header));
        }
    }

    #[test]
    fn unknown_kinds_and_short_frames_are_refused() {
        assert_eq!(Vnet::parse(&[0; LEN - 1]), None);
        let mut bytes = [0; LEN];
        bytes[1] = 3;
        assert_eq!(Vnet::parse(&bytes), None);
        bytes[1] = GSO_TCP4 | GSO_ECN;
        assert_eq!(Vnet::parse(&bytes).map(|header| header.gso), Some(Gso::Tcp4));
    }
}
