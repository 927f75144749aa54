//! An IPv4 packet becomes fragments (RFC 791 §3.2), for hosts that did not forbid it.

use crate::checksum;
use crate::packet;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// Length of the header. Packets with options are not cut.
const HEADER: usize = 20;

/// Hands out the fragments of one packet.
#[derive(Debug)]
pub(crate) struct Fragments<'a> {
    packet: &'a [u8],
    /// Payload bytes in each fragment but the last, a multiple of eight.
    each: usize,
    sent: usize,
}

impl<'a> Fragments<'a> {
    /// Prepares a packet for fragments of at most `limit` bytes; `None` when it must not or cannot be cut.
    pub(crate) fn new(packet: &'a [u8], limit: usize) -> Option<Self> {
        let (_, transport) = packet::transport(packet).filter(|_| packet[0] >> 4 == 4)?;
        let field = packet::be16(packet, 6)?;
        let each = limit.checked_sub(HEADER)? & !7;
        let whole = usize::from(packet::be16(packet, 2)?) == packet.len();
        let fits = transport == HEADER && whole && each > 0 && field & DONT_FRAGMENT == 0;
        fits.then_some(Self { packet, each, sent: 0 })
    }

    /// Writes the next fragment at the start of `out`, which holds `limit` bytes; returns its length.
    pub(crate) fn next(&mut self, out: &mut [u8]) -> Option<usize> {
        let rest = self.packet.get(HEADER + self.sent..).filter(|rest| !rest.is_empty())?;
        let payload = &rest[..rest.len().min(self.each)];
        let length = HEADER + payload.len();
        let fragment = out.get_mut(..length)?;
        fragment[..HEADER].copy_from_slice(&self.packet[..HEADER]);
        fragment[HEADER..].copy_from_slice(payload);
        let before = packet::be16(self.packet, 6)?;
        let offset = (before & OFFSET) + packet::len16(self.sent / 8);
        let more = if payload.len() < rest.len() { MORE } else { before & MORE };
        fragment[2..4].copy_from_slice(&packet::len16(length).to_be_bytes());
        fragment[6..8].copy_from_slice(&(more | offset & OFFSET).to_be_bytes());
        fragment[10..12].fill(0);
        let sum = checksum::partial(&fragment[..HEADER]);
        fragment[10..12].copy_from_slice(&checksum::finish(sum));
        self.sent += payload.len();
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::samples;

    fn cut(packet: &[u8], limit: usize) -> Option<Vec<Vec<u8>>> {
        let mut fragments = Fragments::new(packet, limit)?;
        let mut out = vec![0; limit];
        Some(std::iter::from_fn(|| fragments.next(&mut out).map(|length| out[..length].to_vec())).collect())
    }

    fn willing(payload: &[u8]) -> Vec<u8> {
        samples::fragmentable(samples::udp("10.0.0.1", "10.0.0.2", 5000, payload))
    }

    /// Puts fragments together, as RFC 791 has it.
    fn join(fragments: &[Vec<u8>]) -> Vec<u8> {
        let mut whole = Vec::new();
        for fragment in fragments {
            assert!(checksum::verifies(checksum::partial(&fragment[..HEADER])));
            let at = usize::from(packet::be16(fragment, 6).unwrap() & OFFSET) * 8;
            whole.resize(whole.len().max(at + fragment.len() - HEADER), 0);
            whole[at..at + fragment.len() - HEADER].copy_from_slice(&fragment[HEADER..]);
        }
        whole
    }

    #[test]
    fn fragments_add_up_also_when_cut_again() {
        let packet = willing(&(0..2000_u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>());
        let once = cut(&packet, 1400).unwrap();
        let twice: Vec<_> = once.iter().flat_map(|fragment| cut(fragment, 577).unwrap()).collect();
        for fragments in [once, twice] {
            assert_eq!(join(&fragments), packet[HEADER..]);
            let more = |fragment: &Vec<u8>| packet::be16(fragment, 6).unwrap() & MORE != 0;
            let (last, others) = fragments.split_last().unwrap();
            assert!(!more(last) && others.iter().all(more));
        }
    }

    #[test]
    fn what_forbids_it_is_not_cut() {
        let forbidding = samples::udp("10.0.0.1", "10.0.0.2", 5000, &[0; 2000]);
        let six = samples::udp("fd00::1", "fd00::2", 5000, &[0; 2000]);
        let mut short = willing(&[0; 2000]);
        short.truncate(1999);
        for packet in [forbidding, six, short] {
            assert_eq!(cut(&packet, 1400), None);
        }
        assert_eq!(cut(&willing(&[0; 2000]), 27), None);
    }
}
