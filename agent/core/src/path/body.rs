//! What path frames say, in bytes.
//!
//! ```text
//! type 1 | start 8 | number 8 | content
//!
//! 1 PING        transaction 12 | flags 1 (bit 0: the sender moved) | zeroes up to the length of a PONG, and of a packet
//! 2 PONG        transaction 12 | address from which the PING came: family 1, IP 16, port 2
//! 3 CANDIDATES  revision 4 | NAT 8 | count 1, each: kind 1, family 1, IP 4 or 16, port 2
//!                                  | count 1, each: relay 8, round trip in ms 2
//! 4 PUNCH       round 1 | revision of the sender's candidates 4 | revision that it has of the receiver's 4 | wait in ms 2
//! 5 PUNCH-ACK   the same
//! 6 BYE
//! 7 BIRTHDAY    attempt 1
//! 8 BIRTHDAY-ACK attempt 1
//! ```
//! Numbers are big-endian. Content after the last field is passed over, and so is a candidate of an unknown kind: later
//! versions may add some. A PING is as long as its PONG, so that a replayed one gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    candidate::{Candidate, CandidateKind, Mapping, NatSummary},
    limits::{MAX_OFFERED, MAX_OFFERED_RELAYS},
    unique::Transaction,
};

/// A relay as the two ends of a pair name it to each other: the first bytes of the hash of its id.
pub(super) type RelayTag = [u8; 8];

/// What a peer says of itself: where it may be, what its NAT is like, how far relays are from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    /// Grows with every change of what is offered.
    pub(super) revision: u32,
    pub(super) nat: Nature,
    pub(super) candidates: Vec<Candidate>,
    /// Relays with the round trip between them and the peer, in milliseconds.
    pub(super) relays: Vec<(RelayTag, u16)>,
}

impl Offer {
    /// Whether a peer that could not be reached may be reached by this offer: it has another address, or its NAT is
    /// another. Ports that a counting NAT is expected to choose change all the time and say nothing.
    pub(super) fn leads_elsewhere_than(&self, before: &Self) -> bool {
        let lasts = |candidate: &&Candidate| {
            !matches!(candidate.kind, CandidateKind::Predicted | CandidateKind::Guess)
        };
        let is_new = |candidate: &Candidate| !before.candidates.contains(candidate);
        self.nat.mapping != before.nat.mapping || self.candidates.iter().filter(lasts).any(is_new)
    }
}

/// What a peer must know of the other end's NAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Nature {
    pub(super) mapping: Mapping,
    pub(super) step: Option<i16>,
    pub(super) udp: bool,
    pub(super) mapped: bool,
    pub(super) v6: bool,
    /// Whether it takes part in birthday probing.
    pub(super) birthday: bool,
    /// Lowest and highest port that was seen of it.
    pub(super) ports: Option<(u16, u16)>,
}

impl From<&NatSummary> for Nature {
    fn from(nat: &NatSummary) -> Self {
        let NatSummary { mapping, seen: _, step, ports, udp, mapped, v6 } = *nat;
        Self { mapping, step, udp, mapped, v6, birthday: false, ports }
    }
}

/// The agreement on a moment at which both ends probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Punch {
    pub(super) round: u8,
    /// Revision of the sender's candidates.
    pub(super) revision: u32,
    /// Revision of the receiver's candidates that the sender has; 0 for none.
    pub(super) has: u32,
    /// The receiver waits for so long before it probes.
    pub(super) wait_ms: u16,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// `longer` is by how much it is longer than its PONG.
    Ping {
        transaction: Transaction,
        moved: bool,
        longer: u16,
    },
    Pong {
        transaction: Transaction,
        seen: SocketAddr,
    },
    Candidates(Offer),
    Punch(Punch),
    PunchAck(Punch),
    Bye,
    /// Calls the peer to an attempt of birthday probing.
    Birthday {
        attempt: u8,
    },
    /// Takes part in it.
    BirthdayAck {
        attempt: u8,
    },
}

/// Length of the content of a PING and of a PONG.
const PROBE_LEN: usize = 12 + ADDRESS_LEN;
const ADDRESS_LEN: usize = 19;

impl Body {
    pub(super) const fn number(&self) -> u8 {
        match self {
            Self::Ping { .. } => 1,
            Self::Pong { .. } => 2,
            Self::Candidates(_) => 3,
            Self::Punch(_) => 4,
            Self::PunchAck(_) => 5,
            Self::Bye => 6,
            Self::Birthday { .. } => 7,
            Self::BirthdayAck { .. } => 8,
        }
    }

    /// Appends the content.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ping { transaction, moved, longer } => {
                out.extend(transaction);
                out.push(u8::from(*moved));
                out.resize(out.len() + PROBE_LEN - 13 + usize::from(*longer), 0);
            }
            Self::Pong { transaction, seen } => {
                out.extend(transaction);
                write_padded_address(out, *seen);
            }
            Self::Candidates(offer) => write_offer(out, offer),
            Self::Punch(punch) | Self::PunchAck(punch) => {
                out.push(punch.round);
                out.extend(punch.revision.to_be_bytes());
                out.extend(punch.has.to_be_bytes());
                out.extend(punch.wait_ms.to_be_bytes());
            }
            Self::Bye => {}
            Self::Birthday { attempt } | Self::BirthdayAck { attempt } => out.push(*attempt),
        }
    }

    /// Reads the content of a message of this number; none if it is malformed or unknown.
    pub(super) fn read(number: u8, content: &[u8]) -> Option<Self> {
        let mut rest = Rest(content);
        Some(match number {
            1 => {
                let longer = u16::try_from(content.len().saturating_sub(PROBE_LEN)).ok()?;
                Self::Ping { transaction: rest.take()?, moved: rest.u8()? & 1 == 1, longer }
            }
            2 => Self::Pong { transaction: rest.take()?, seen: rest.padded_address()? },
            3 => Self::Candidates(rest.offer()?),
            4 => Self::Punch(rest.punch()?),
            5 => Self::PunchAck(rest.punch()?),
            6 => Self::Bye,
            7 => Self::Birthday { attempt: rest.u8()? },
            8 => Self::BirthdayAck { attempt: rest.u8()? },
            _ => return None,
        })
    }
}

fn write_padded_address(out: &mut Vec<u8>, address: SocketAddr) {
    let from = out.len();
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend(ip.octets());
        }
    }
    out.resize(from + ADDRESS_LEN - 2, 0);
    out.extend(address.port().to_be_bytes());
}

fn write_offer(out: &mut Vec<u8>, offer: &Offer) {
    out.extend(offer.revision.to_be_bytes());
    let nat = offer.nat;
    out.push(match nat.mapping {
        Mapping::Unknown => 0,
        Mapping::EndpointIndependent => 1,
        Mapping::AddressDependent => 2,
        Mapping::AddressAndPortDependent => 3,
    });
    out.push(
        u8::from(nat.udp) | u8::from(nat.mapped) << 1 | u8::from(nat.v6) << 2 | u8::from(nat.birthday) << 3,
    );
    out.extend(nat.step.unwrap_or(0).to_be_bytes());
    let (low, high) = nat.ports.unwrap_or_default();
    out.extend(low.to_be_bytes());
    out.extend(high.to_be_bytes());
    let candidates = &offer.candidates[..offer.candidates.len().min(MAX_OFFERED)];
    out.push(count(candidates.len()));
    for candidate in candidates {
        out.push(kind_number(candidate.kind));
        match candidate.addr.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend(ip.octets());
            }
        }
        out.extend(candidate.addr.port().to_be_bytes());
    }
    let relays = &offer.relays[..offer.relays.len().min(MAX_OFFERED_RELAYS)];
    out.push(count(relays.len()));
    for (relay, rtt_ms) in relays {
        out.extend(relay);
        out.extend(rtt_ms.to_be_bytes());
    }
}

fn count(len: usize) -> u8 {
    u8::try_from(len).unwrap_or(u8::MAX)
}

const fn kind_number(kind: CandidateKind) -> u8 {
    match kind {
        CandidateKind::Static => 1,
        CandidateKind::Portmap => 2,
        CandidateKind::Host => 3,
        CandidateKind::Reflexive => 4,
        CandidateKind::Guess => 5,
        CandidateKind::Predicted => 6,
        CandidateKind::LastGood => 7,
        CandidateKind::PeerReflexive => 8,
    }
}

/// Kinds that a peer may offer: what this node learned by itself is not its to tell.
const fn offered_kind(number: u8) -> Option<CandidateKind> {
    Some(match number {
        1 => CandidateKind::Static,
        2 => CandidateKind::Portmap,
        3 => CandidateKind::Host,
        4 => CandidateKind::Reflexive,
        5 => CandidateKind::Guess,
        6 => CandidateKind::Predicted,
        _ => return None,
    })
}

/// Bytes that are still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn ip(&mut self) -> Option<IpAddr> {
        match self.u8()? {
            4 => self.take::<4>().map(|ip| Ipv4Addr::from(ip).into()),
            6 => self.take::<16>().map(|ip| Ipv6Addr::from(ip).into()),
            _ => None,
        }
    }

    fn padded_address(&mut self) -> Option<SocketAddr> {
        let (mut address, rest) =
            self.0.split_at_checked(ADDRESS_LEN - 2).map(|(ip, rest)| (Rest(ip), rest))?;
        self.0 = rest;
        Some(SocketAddr::new(address.ip()?, self.u16()?))
    }

    fn punch(&mut self) -> Option<Punch> {
        Some(Punch {
            round: self.u8()?,
            revision: u32::from_be_bytes(self.take()?),
            has: u32::from_be_bytes(self.take()?),
            wait_ms: self.u16()?,
        })
    }

    fn offer(&mut self) -> Option<Offer> {
        let revision = u32::from_be_bytes(self.take()?);
        let nat = self.nature()?;
        let count = usize::from(self.u8()?);
        if count > MAX_OFFERED {
            return None;
        }
        let mut candidates = Vec::with_capacity(count);
        for _ in 0..count {
            let kind = offered_kind(self.u8()?);
            let addr = SocketAddr::new(self.ip()?, self.u16()?);
            candidates.extend(kind.map(|kind| Candidate { kind, addr }));
        }
        let count = usize::from(self.u8()?);
        if count > MAX_OFFERED_RELAYS {
            return None;
        }
        let mut relays = Vec::with_capacity(count);
        for _ in 0..count {
            relays.push((self.take()?, self.u16()?));
        }
        Some(Offer { revision, nat, candidates, relays })
    }

    fn nature(&mut self) -> Option<Nature> {
        let mapping = match self.u8()? {
            1 => Mapping::EndpointIndependent,
            2 => Mapping::AddressDependent,
            3 => Mapping::AddressAndPortDependent,
            _ => Mapping::Unknown,
        };
        let flags = self.u8()?;
        let step = i16::from_be_bytes(self.take()?);
        let (low, high) = (self.u16()?, self.u16()?);
        Some(Nature {
            mapping,
            step: Some(step).filter(|step| *step != 0),
            udp: flags & 1 != 0,
            mapped: flags & 2 != 0,
            v6: flags & 4 != 0,
            birthday: flags & 8 != 0,
            ports: Some((low, high)).filter(|(_, high)| *high != 0),
        })
    }
}
