//! The header of relay frames, as far as packets need it.
//!
//! ```text
//!   0     1      2-3    4..7            8..15
//!  0x0E | type | zero | lease (u32 BE) | relay address (u64 BE)     then the datagram
//!  to the relay:        ours             whom it is for
//!  from the relay:      ours             whom it is from
//! ```
//!
//! All frames but those that carry data are the control side's and pass through as they are.

use crate::way::Hop;

/// Length of the header in front of a relayed datagram.
pub(crate) const HEADER: usize = 16;

/// First byte of every relay frame.
pub(crate) const MAGIC: u8 = 0x0e;
/// Type of a frame that carries a datagram.
pub(crate) const DATA: u8 = 1;

/// Returns the header of a frame that carries data.
#[inline]
pub(crate) fn header(hop: Hop) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    (header[0], header[1]) = (MAGIC, DATA);
    header[4..8].copy_from_slice(&hop.lease.to_be_bytes());
    header[8..].copy_from_slice(&hop.address.to_be_bytes());
    header
}

/// Tells a frame that carries data apart: how it came, and what it carries.
#[inline]
pub(crate) fn parse(datagram: &[u8]) -> Option<(Hop, &[u8])> {
    let (header, payload) = datagram.split_first_chunk::<HEADER>()?;
    let [MAGIC, DATA, 0, 0, lease @ .., _, _, _, _, _, _, _, _] = header else { return None };
    let (_, address) = header.split_last_chunk::<8>()?;
    Some((Hop { lease: u32::from_be_bytes(*lease), address: u64::from_be_bytes(*address) }, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let hop = Hop { lease: 0x0102_0304, address: 0x1112_1314_1516_1718 };
        let frame = [&header(hop)[..], b"inside"].concat();
        assert_eq!(frame[..8], [0x0e, 1, 0, 0, 1, 2, 3, 4]);
        assert_eq!(parse(&frame), Some((hop, &b"inside"[..])));
        assert_eq!(parse(&frame[..HEADER]), Some((hop, &b""[..])));
    }

    #[test]
    fn other_frames_are_not_taken_for_data() {
        let frame = header(Hop { lease: 1, address: 2 });
        assert_eq!(parse(&frame[..HEADER - 1]), None);
        for at in 0..4 {
            let mut other = frame;
            other[at] ^= 1;
            assert_eq!(parse(&other), None, "byte {at}");
        }
    }
}
