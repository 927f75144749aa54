//! Echo requests of our own, for measuring the way to a peer without a raw socket.
//!
//! A probe travels like any packet of the host. Its answer is recognised among the packets from the wire by target,
//! identifier and sequence number, and taken out; all other echo replies go to the host.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use crate::checksum;
use crate::icmp;
use crate::limits;
use crate::packet;

/// One probe on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) target: IpAddr,
    pub(crate) ident: u16,
    pub(crate) seq: u16,
    pub(crate) sent: Instant,
}

/// The probes of one network that wait for their answers, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Probes(VecDeque<Probe>);

impl Probes {
    pub(crate) fn add(&mut self, probe: Probe) {
        if self.0.len() >= limits::PROBES {
            self.0.pop_front();
        }
        self.0.push_back(probe);
    }

    /// Takes out the probe that `packet`, sent by `source`, answers.
    #[inline]
    pub(crate) fn answered(&mut self, source: IpAddr, packet: &[u8]) -> Option<Probe> {
        if self.0.is_empty() {
            return None;
        }
        let (protocol, at) = packet::transport(packet)?;
        let reply = match protocol {
            packet::ICMP => 0,
            packet::ICMPV6 => 129,
            _ => return None,
        };
        if packet.get(at..at + 2)? != [reply, 0] {
            return None;
        }
        let (ident, seq) = (packet::be16(packet, at + 4)?, packet::be16(packet, at + 6)?);
        let waits = |probe: &Probe| (probe.target, probe.ident, probe.seq) == (source, ident, seq);
        let position = self.0.iter().position(waits)?;
        self.0.remove(position)
    }
}

/// Length of the longest echo request.
pub(crate) const LONGEST: usize = 40 + 8 + PAYLOAD.len();

const PAYLOAD: [u8; 16] = *b"lacis probe data";

/// Writes an echo request into `out`, which needs [`LONGEST`] bytes; `None` when the families differ.
pub(crate) fn echo_request(from: IpAddr, to: IpAddr, ident: u16, seq: u16, out: &mut [u8]) -> Option<usize> {
    let value = u32::from(ident) << 16 | u32::from(seq);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = 28 + PAYLOAD.len();
            out[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, packet::ICMP, 0, 0]);
            out[2..4].copy_from_slice(&packet::len16(length).to_be_bytes());
            out[12..16].copy_from_slice(&from.octets());
            out[16..20].copy_from_slice(&to.octets());
            let sum = checksum::partial(&out[..20]);
            out[10..12].copy_from_slice(&checksum::finish(sum));
            icmp::message(&mut out[20..length], (8, 0), value, &PAYLOAD, 0);
            Some(length)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = 48 + PAYLOAD.len();
            out[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, packet::ICMPV6, 64]);
            out[4..6].copy_from_slice(&packet::len16(length - 40).to_be_bytes());
            out[8..24].copy_from_slice(&from.octets());
            out[24..40].copy_from_slice(&to.octets());
            let pseudo = packet::pseudo_sum(out, packet::ICMPV6) + checksum::word(packet::len16(length - 40));
            icmp::message(&mut out[40..length], (128, 0), value, &PAYLOAD, pseudo);
            Some(length)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::samples;

    #[test]
    fn a_reply_is_taken_out_once_and_only_from_its_target() {
        for (us, them, other) in [("10.0.0.1", "10.0.0.2", "10.0.0.3"), ("fd00::1", "fd00::2", "fd00::3")] {
            let [us, them, other]: [IpAddr; 3] = [us, them, other].map(|text| text.parse().unwrap());
            let mut probes = Probes::default();
            let probe = Probe { target: them, ident: 7, seq: 1, sent: crate::clock::now() };
            probes.add(probe);
            let mut request = [0; LONGEST];
            let length = echo_request(us, them, 7, 1, &mut request).unwrap();
            let reply = samples::echo_reply(&request[..length]);
            assert_eq!(probes.answered(them, &request[..length]), None);
            assert_eq!(probes.answered(other, &reply), None);
            assert_eq!(probes.answered(them, &reply), Some(probe));
            assert_eq!(probes.answered(them, &reply), None);
        }
    }

    #[test]
    fn the_oldest_probe_gives_way() {
        let mut probes = Probes::default();
        let (target, sent) = ("10.0.0.2".parse().unwrap(), crate::clock::now());
        for seq in 0..=u16::try_from(limits::PROBES).unwrap() {
            probes.add(Probe { target, ident: 7, seq, sent });
        }
        assert_eq!(probes.0.len(), limits::PROBES);
        assert_eq!(probes.0[0].seq, 1);
    }
}
