//! ICMP and ICMPv6 errors that tell the host at once what would otherwise be silence (RFC 792, RFC 4443).
//!
//! Towards our own host the unreachable address itself is the source of the error: Linux drops packets that arrive with
//! one of its own. A gateway speaks to others in its own name.

use std::net::IpAddr;

use crate::checksum;
use crate::packet::{self, Addresses};

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Nobody has the address.
    HostUnreachable,
    /// The packet does not fit; this is what does.
    TooBig(u16),
    /// The packet has been forwarded too often.
    Expired,
}

/// Room an error takes at most: RFC 4443 caps IPv6 errors at the minimum MTU, far less is enough for every stack.
pub(crate) const LONGEST: usize = 40 + 8 + QUOTE;

/// Bytes of the offending packet that are quoted.
const QUOTE: usize = 128;

/// Writes the error about `packet` into `out`, which needs [`LONGEST`] bytes, and returns its length.
///
/// `None` for packets that must not be answered: errors themselves, fragments but the first, multicast.
pub(crate) fn error(problem: Problem, packet: &[u8], out: &mut [u8]) -> Option<usize> {
    error_from(packet::addresses(packet)?.destination, problem, packet, out)
}

/// Does what [`error`] does in the name of `from`, which is of the packet's family.
pub(crate) fn error_from(from: IpAddr, problem: Problem, packet: &[u8], out: &mut [u8]) -> Option<usize> {
    let addresses = packet::addresses(packet)?;
    if unanswerable(&addresses, packet) || out.len() < LONGEST {
        return None;
    }
    let quote = &packet[..packet.len().min(QUOTE)];
    match (addresses.source, from) {
        (IpAddr::V4(to), IpAddr::V4(from)) => {
            let (kind, value) = match problem {
                Problem::HostUnreachable => ((3, 1), 0),
                Problem::TooBig(mtu) => ((3, 4), u32::from(mtu)),
                Problem::Expired => ((11, 0), 0),
            };
            let length = 28 + quote.len();
            let header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, packet::ICMP, 0, 0];
            out[..12].copy_from_slice(&header);
            out[2..4].copy_from_slice(&packet::len16(length).to_be_bytes());
            out[12..16].copy_from_slice(&from.octets());
            out[16..20].copy_from_slice(&to.octets());
            let sum = checksum::partial(&out[..20]);
            out[10..12].copy_from_slice(&checksum::finish(sum));
            message(&mut out[20..length], kind, value, quote, 0);
            Some(length)
        }
        (IpAddr::V6(to), IpAddr::V6(from)) => {
            let (kind, value) = match problem {
                Problem::HostUnreachable => ((1, 3), 0),
                Problem::TooBig(mtu) => ((2, 0), u32::from(mtu)),
                Problem::Expired => ((3, 0), 0),
            };
            let length = 48 + quote.len();
            out[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, packet::ICMPV6, 64]);
            out[4..6].copy_from_slice(&packet::len16(length - 40).to_be_bytes());
            out[8..24].copy_from_slice(&from.octets());
            out[24..40].copy_from_slice(&to.octets());
            let pseudo = packet::pseudo_sum(out, packet::ICMPV6) + checksum::word(packet::len16(length - 40));
            message(&mut out[40..length], kind, value, quote, pseudo);
            Some(length)
        }
        _ => None,
    }
}

/// Writes type, code, a 32-bit value and a body, and sums them up with `pseudo`.
pub(crate) fn message(out: &mut [u8], (kind, code): (u8, u8), value: u32, body: &[u8], pseudo: u64) {
    out[..4].copy_from_slice(&[kind, code, 0, 0]);
    out[4..8].copy_from_slice(&value.to_be_bytes());
    out[8..8 + body.len()].copy_from_slice(body);
    let sum = checksum::partial(&out[..8 + body.len()]) + pseudo;
    out[2..4].copy_from_slice(&checksum::finish(sum));
}

fn unanswerable(addresses: &Addresses, packet: &[u8]) -> bool {
    let group = |address: IpAddr| match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unspecified(),
    };
    let Some((protocol, at)) = packet::transport(packet) else { return true };
    let kind = packet.get(at).copied();
    let is_error = match protocol {
        packet::ICMP => !matches!(kind, Some(0 | 8)),
        packet::ICMPV6 => !matches!(kind, Some(128..)),
        _ => false,
    };
    let later_fragment =
        packet[0] >> 4 == 4 && packet::be16(packet, 6).is_some_and(|field| field & 0x1fff != 0);
    group(addresses.source) || group(addresses.destination) || is_error || later_fragment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::samples;

    #[test]
    fn an_unreachable_address_is_answered_in_its_own_name() {
        for (from, to) in [("10.0.0.1", "10.0.0.9"), ("fd00::1", "fd00::9")] {
            let packet = samples::udp(from, to, 5000, b"hello");
            let mut out = [0; LONGEST];
            let length = error(Problem::HostUnreachable, &packet, &mut out).unwrap();
            let answer = &out[..length];
            let addresses = packet::addresses(answer).unwrap();
            assert_eq!(addresses.source, to.parse::<IpAddr>().unwrap());
            assert_eq!(addresses.destination, from.parse::<IpAddr>().unwrap());
            let (protocol, at) = packet::transport(answer).unwrap();
            let pseudo = match protocol {
                packet::ICMPV6 => {
                    packet::pseudo_sum(answer, protocol) + checksum::word(packet::len16(length - at))
                }
                _ => 0,
            };
            assert!(checksum::verifies(checksum::partial(&answer[at..]) + pseudo));
            assert!(answer.ends_with(&packet));
        }
    }

    #[test]
    fn errors_and_multicast_are_not_answered() {
        let mut out = [0; LONGEST];
        let packet = samples::udp("10.0.0.1", "224.0.0.1", 5000, b"hello");
        assert_eq!(error(Problem::HostUnreachable, &packet, &mut out), None);
        let packet = samples::udp("10.0.0.1", "10.0.0.2", 5000, b"hello");
        let length = error(Problem::TooBig(1280), &packet, &mut out).unwrap();
        let answer = out[..length].to_vec();
        assert_eq!(error(Problem::TooBig(1280), &answer, &mut out), None);
    }
}
