//! TCP segments that fit: the MSS option of a SYN is lowered to what the tunnel carries (RFC 4459 §3.2).
//!
//! Both directions are clamped, so that either end of a connection learns the limit, also where ICMP errors are lost.

use crate::packet;

const SYN: u8 = 0x02;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

/// Lowers the MSS option of a SYN to what fits into packets of `mtu` bytes; returns whether it did.
///
/// The checksum must be complete and follows the change. Anything but a SYN is left alone.
#[inline]
pub(crate) fn clamp(packet: &mut [u8], mtu: usize) -> bool {
    let Some((packet::TCP, at)) = packet::transport(packet) else { return false };
    if packet.get(at + 13).is_none_or(|flags| flags & SYN == 0) {
        return false;
    }
    lower(packet, at, mtu).is_some()
}

/// Does it for a packet whose TCP header begins at `at` and has the SYN flag, or has it by chance.
fn lower(packet: &mut [u8], at: usize, mtu: usize) -> Option<()> {
    let v4 = packet[0] >> 4 == 4;
    if v4 && packet::be16(packet, 6)? & 0x1fff != 0 {
        return None;
    }
    let most = packet::len16(mtu.checked_sub(if v4 { 40 } else { 60 })?);
    let end = (at + usize::from(packet[at + 12] >> 4) * 4).min(packet.len());
    let value = find_mss(packet, at + 20, end)?;
    if packet::be16(packet, value)? <= most {
        return None;
    }
    // The option may begin at an odd offset; the checksum counts in words from the header's start.
    let first = at + ((value - at) & !1);
    let words = first..first + (value + 2 - first).next_multiple_of(2);
    let (mut before, mut after) = ([0; 4], [0; 4]);
    before[..words.len()].copy_from_slice(packet.get(words.clone())?);
    packet[value..value + 2].copy_from_slice(&most.to_be_bytes());
    after[..words.len()].copy_from_slice(&packet[words]);
    packet::patch_checksum(packet, at + 16, &before, &after);
    Some(())
}

/// Returns where the value of the MSS option lies.
fn find_mss(packet: &[u8], mut at: usize, end: usize) -> Option<usize> {
    while at < end {
        match *packet.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let length = usize::from(*packet.get(at + 1)?);
                if length < 2 || at + length > end {
                    return None;
                }
                if kind == OPTION_MSS {
                    return (length == 4).then_some(at + 2);
                }
                at += length;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::samples;

    const FAMILIES: [(&str, &str, u16); 2] = [("10.0.0.1", "10.0.0.2", 1380), ("fd00::1", "fd00::2", 1360)];

    #[test]
    fn a_large_mss_is_lowered_wherever_the_option_stands() {
        for (from, to, expected) in FAMILIES {
            for options in [
                &[2, 4, 0x23, 0x00][..],
                &[1, 2, 4, 0x23, 0x00, 1, 1, 0],
                &[1, 1, 2, 4, 0x23, 0x00, 1, 0],
                &[4, 2, 1, 2, 4, 0x23, 0x00, 0],
            ] {
                let mut packet = samples::syn(from, to, SYN, options);
                assert!(clamp(&mut packet, 1420), "{options:?}");
                assert!(samples::is_sound(&packet), "{options:?}");
                let (_, at) = packet::transport(&packet).unwrap();
                let found = find_mss(&packet, at + 20, packet.len()).unwrap();
                assert_eq!(packet::be16(&packet, found), Some(expected));
                assert!(!clamp(&mut packet, 1420), "once is enough");
            }
        }
    }

    #[test]
    fn what_fits_and_what_is_no_syn_stays_as_it_is() {
        for (from, to, _) in FAMILIES {
            for (flags, options) in [
                (SYN, &[2, 4, 0x02, 0x18][..]),
                (0x10, &[2, 4, 0x23, 0x00]),
                (SYN, &[0, 0, 0, 0]),
                (SYN, &[2, 9, 0x23, 0x00]),
                (SYN, &[2, 0, 0x23, 0x00]),
                (SYN, &[8, 3, 2, 4]),
                (SYN, &[]),
            ] {
                let packet = samples::syn(from, to, flags, options);
                let mut after = packet.clone();
                assert!(!clamp(&mut after, 1420), "{options:?}");
                assert_eq!(after, packet);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_options_are_survived_and_the_checksum_stays_right(words in proptest::collection::vec(0_u32.., 0..10), cut in 0_usize..80) {
            let options: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            for (from, to, _) in FAMILIES {
                let mut packet = samples::syn(from, to, SYN, &options);
                clamp(&mut packet, 1420);
                proptest::prop_assert!(samples::is_sound(&packet));
                packet.truncate(cut);
                clamp(&mut packet, 1420);
            }
        }
    }
}
