//! Congestion marks across the tunnel (RFC 6040).
//!
//! On the way out the mark of the inner packet is copied to the outer one; on the way in the two are combined, so that
//! a router of the underlay can tell the overlay's sender to slow down. The rest of the byte, the traffic class, stays
//! inside: the outer packet has zero there.

use crate::packet;

/// The two bits of RFC 3168 §5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ecn {
    /// The sender does not understand marks.
    #[default]
    NotCapable = 0,
    /// ECT(1).
    One = 1,
    /// ECT(0).
    Zero = 2,
    /// A router was congested.
    Congested = 3,
}

impl Ecn {
    /// Reads the mark from a traffic class byte.
    #[inline]
    pub(crate) fn of_class(class: u8) -> Self {
        match class & 3 {
            1 => Self::One,
            2 => Self::Zero,
            3 => Self::Congested,
            _ => Self::NotCapable,
        }
    }

    /// Reads the mark of an IP packet, which has passed [`packet::addresses`].
    #[inline]
    pub(crate) fn of_packet(packet: &[u8]) -> Self {
        if packet[0] >> 4 == 4 { Self::of_class(packet[1]) } else { Self::of_class(packet[1] >> 4) }
    }

    /// Returns the bits.
    #[inline]
    pub(crate) fn bits(self) -> u8 {
        self as u8
    }
}

/// Combines the marks of a packet that leaves the tunnel; `None` when it must be dropped (RFC 6040 §4.2, figure 4).
#[inline]
fn combine(inner: Ecn, outer: Ecn) -> Option<Ecn> {
    match (inner, outer) {
        // Only a drop tells a sender that ignores marks.
        (Ecn::NotCapable, Ecn::Congested) => None,
        (Ecn::NotCapable, Ecn::NotCapable | Ecn::One | Ecn::Zero) => Some(Ecn::NotCapable),
        (Ecn::Congested, _) | (Ecn::One | Ecn::Zero, Ecn::Congested) => Some(Ecn::Congested),
        (Ecn::Zero, Ecn::One) => Some(Ecn::One),
        (Ecn::Zero | Ecn::One, Ecn::NotCapable | Ecn::Zero | Ecn::One) => Some(inner),
    }
}

/// Brings the mark of a packet that came out of the tunnel in line with that of the datagram it came in.
///
/// The packet must have passed [`packet::addresses`]. Returns whether it may go on.
#[inline]
pub(crate) fn decapsulate(packet: &mut [u8], outer: Ecn) -> bool {
    if outer == Ecn::NotCapable {
        return true;
    }
    let inner = Ecn::of_packet(packet);
    match combine(inner, outer) {
        None => false,
        Some(mark) if mark == inner => true,
        Some(mark) => {
            remark(packet, mark);
            true
        }
    }
}

/// Writes a mark into a packet; the IPv4 checksum follows (RFC 1624).
fn remark(packet: &mut [u8], mark: Ecn) {
    if packet[0] >> 4 == 4 {
        let before = [packet[0], packet[1]];
        packet[1] = packet[1] & !3 | mark.bits();
        let after = [packet[0], packet[1]];
        packet::patch_checksum(packet, 10, &before, &after);
    } else {
        packet[1] = packet[1] & !0x30 | mark.bits() << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::samples;

    const ALL: [Ecn; 4] = [Ecn::NotCapable, Ecn::One, Ecn::Zero, Ecn::Congested];

    #[test]
    fn marks_combine_as_figure_4_of_rfc_6040_says() {
        let (not, one, zero, ce) = (Ecn::NotCapable, Ecn::One, Ecn::Zero, Ecn::Congested);
        let table = [
            (not, [(not, Some(not)), (zero, Some(not)), (one, Some(not)), (ce, None)]),
            (zero, [(not, Some(zero)), (zero, Some(zero)), (one, Some(one)), (ce, Some(ce))]),
            (one, [(not, Some(one)), (zero, Some(one)), (one, Some(one)), (ce, Some(ce))]),
            (ce, [(not, Some(ce)), (zero, Some(ce)), (one, Some(ce)), (ce, Some(ce))]),
        ];
        for (inner, row) in table {
            for (outer, expected) in row {
                assert_eq!(combine(inner, outer), expected, "{inner:?} in {outer:?}");
            }
        }
    }

    #[test]
    fn a_new_mark_leaves_class_and_checksums_right() {
        for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            for (inner, outer) in ALL.iter().flat_map(|inner| ALL.map(|outer| (*inner, outer))) {
                let mut packet = samples::marked(samples::udp(from, to, 7, b"mark"), 0xb8 | inner.bits());
                let before = packet.clone();
                let expected = combine(inner, outer);
                assert_eq!(decapsulate(&mut packet, outer), expected.is_some());
                assert!(samples::is_sound(&packet), "{from}: {inner:?} in {outer:?}");
                assert_eq!(Ecn::of_packet(&packet), expected.unwrap_or(inner));
                let expected = samples::marked(before, 0xb8 | expected.unwrap_or(inner).bits());
                assert_eq!(packet, expected, "nothing else changes");
            }
        }
    }
}
