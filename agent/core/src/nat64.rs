//! IPv4 out of a network that has IPv6 alone and a NAT64 (RFC 6146): its prefix, and addresses made with it (RFC 6052).
//!
//! ```text
//! this host has no IPv4 ─▶ which IPv6 addresses has ipv4only.arpa? ─▶ 192.0.0.170 and .171 in them ─▶ prefix (RFC 7050)
//!         ▲ the network changed      └ none, or no answer: again, ever more rarely
//! an address of IPv4 ─▶ prefix ─▶ an address of IPv6 that the NAT64 leads there
//! ```
//! Pure: the shell asks the host's resolver. Whoever has an address of IPv4 never asks.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use crate::limits::{NAT64_AGAIN, NAT64_AGAIN_MAX};

/// The name whose addresses tell the prefix: it has addresses of IPv4 only, so that one of IPv6 was made by a NAT64's
/// resolver (RFC 7050 §2.2).
pub const NAT64_NAME: &str = "ipv4only.arpa";

/// Its addresses.
const KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];

/// Lengths that a prefix may have (RFC 6052 §2.2), the usual one first.
const LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];

/// The byte that is zero in every such address and is passed over (RFC 6052 §2.2).
const ZERO: usize = 8;

/// The prefix of a NAT64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nat64Prefix {
    /// Zero behind the prefix, and in byte 8.
    octets: [u8; 16],
    /// In bits; one of [`LENGTHS`].
    length: u8,
}

impl Nat64Prefix {
    /// The prefix that this address would have if its prefix were so long; none where no such prefix is of use.
    fn of(address: Ipv6Addr, length: u8) -> Option<Self> {
        let mut octets = address.octets();
        if octets[ZERO] != 0 {
            return None;
        }
        octets[usize::from(length / 8)..].fill(0);
        let prefix = Ipv6Addr::from(octets);
        let is_elsewhere = prefix.is_multicast() || prefix.is_unicast_link_local();
        (!is_elsewhere && !prefix.is_unspecified()).then_some(Self { octets, length })
    }

    /// The prefix that the addresses of [`NAT64_NAME`] were made with. An address may bear one of the known ones in more
    /// than one place; the right place is the one where the addresses differ as the known ones do (RFC 7050 §3).
    #[must_use]
    pub fn found_in(answer: &[Ipv6Addr]) -> Option<Self> {
        let prefixes =
            answer.iter().flat_map(|address| LENGTHS.map(|length| Self::of(*address, length))).flatten();
        let borne = |prefix: &Self| {
            KNOWN
                .iter()
                .filter(|known| answer.iter().any(|address| prefix.embedded(*address) == Some(**known)))
                .count()
        };
        let mut best: Option<(usize, Self)> = None;
        for prefix in prefixes {
            let count = borne(&prefix);
            if count > best.map_or(0, |(most, _)| most) {
                best = Some((count, prefix));
            }
        }
        best.map(|(_, prefix)| prefix)
    }

    /// The address of IPv6 that leads to one of IPv4 (RFC 6052 §2.2).
    #[must_use]
    pub fn synthesize(&self, ip: Ipv4Addr) -> Ipv6Addr {
        let mut octets = self.octets;
        self.places().zip(ip.octets()).for_each(|(at, byte)| octets[at] = byte);
        octets.into()
    }

    /// The address of IPv4 that one of IPv6 leads to, if it has this prefix.
    #[must_use]
    pub fn embedded(&self, ip: Ipv6Addr) -> Option<Ipv4Addr> {
        let octets = ip.octets();
        let mut embedded = [0; 4];
        self.places().zip(&mut embedded).for_each(|(at, byte)| *byte = octets[at]);
        (Self::of(ip, self.length) == Some(*self)).then(|| embedded.into())
    }

    /// The same for an address with its port; those of IPv6 stay.
    #[must_use]
    pub fn lead_to(&self, addr: SocketAddr) -> SocketAddr {
        match addr.ip() {
            IpAddr::V4(ip) => SocketAddr::new(self.synthesize(ip).into(), addr.port()),
            IpAddr::V6(_) => addr,
        }
    }

    /// Where the four bytes stand.
    fn places(self) -> impl Iterator<Item = usize> {
        (usize::from(self.length / 8)..16).filter(|at| *at != ZERO).take(4)
    }
}

impl fmt::Display for Nat64Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv6Addr::from(self.octets), self.length)
    }
}

/// Looks for the prefix where one is needed: at most one question at a time, and none where there is IPv4.
#[derive(Debug, Default)]
pub struct Nat64 {
    prefix: Option<Nat64Prefix>,
    /// When the resolver is asked.
    ask_at: Option<Duration>,
    is_asking: bool,
    /// The pause before the last question that found nothing.
    pause: Duration,
}

impl Nat64 {
    /// The network is another: this host has no address of IPv4 there, or has one. Returns whether a prefix is gone.
    pub fn network(&mut self, now: Duration, lacks_v4: bool) -> bool {
        (self.pause, self.ask_at) = (Duration::ZERO, lacks_v4.then_some(now));
        !lacks_v4 && self.prefix.take().is_some()
    }

    /// When a question is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.ask_at.filter(|_| !self.is_asking)
    }

    /// Whether the resolver is to be asked now; the answer is then told by [`Nat64::answered`].
    pub fn asks(&mut self, now: Duration) -> bool {
        let is_due = self.deadline().is_some_and(|at| at <= now);
        if is_due {
            (self.is_asking, self.ask_at) = (true, None);
        }
        is_due
    }

    /// The resolver knew of a prefix, or of none, or did not answer. Returns whether that is news.
    pub fn answered(&mut self, now: Duration, found: Option<Nat64Prefix>) -> bool {
        self.is_asking = false;
        if self.ask_at.is_some() {
            // The network has changed since: another answer is needed.
            return false;
        }
        if found.is_none() {
            self.pause = (self.pause * 2).clamp(NAT64_AGAIN, NAT64_AGAIN_MAX);
            self.ask_at = Some(now + self.pause);
        }
        std::mem::replace(&mut self.prefix, found) != found
    }

    /// The prefix, where there is one and it is needed.
    #[must_use]
    pub const fn prefix(&self) -> Option<Nat64Prefix> {
        self.prefix
    }
}

#[cfg(test)]
mod tests;
