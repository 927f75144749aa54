//! Overlay addresses: one host number per peer, two families, nothing transmitted that follows from it.
//!
//! ```text
//! IPv4 = base of the group's pool + host
//! IPv6 = fd + first 56 bits of SHA-256(group id), a /64 (RFC 4193 §3.1), + host in the low 32 bits
//! ```
//! Hosts 1 to 4 are reserved: 1 is the resolver of the group, answered locally by each agent.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnetwork::{Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::GroupId;

/// The group's resolver, answered locally by each agent.
pub const RESOLVER_HOST: Host = Host(1);

/// The first host number that a peer may have; those below are reserved.
pub const FIRST_PEER_HOST: Host = Host(5);

/// The largest pool: a whole private /8 (RFC 1918 §3).
pub const MIN_POOL_PREFIX: u8 = 8;

/// The smallest pool with room for a peer after the reserved hosts: hosts 5 and 6 of a /29.
pub const MAX_POOL_PREFIX: u8 = 29;

/// A peer's number in its group; both of its overlay addresses follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Host(pub u32);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The overlay addresses of one host of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OverlayAddrs {
    /// Pool base + host.
    pub v4: Ipv4Addr,
    /// Group prefix + host.
    pub v6: Ipv6Addr,
}

impl OverlayAddrs {
    /// Both addresses, IPv4 first.
    #[must_use]
    pub const fn both(self) -> [IpAddr; 2] {
        [IpAddr::V4(self.v4), IpAddr::V6(self.v6)]
    }
}

/// A range that cannot be the IPv4 pool of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Bits are set below the prefix.
    #[error("{pool} has bits set after its prefix; the range is {base}/{prefix}", prefix = pool.prefix())]
    NotABase {
        /// The range as given.
        pool: Ipv4Network,
        /// The first address of the range that contains it.
        base: Ipv4Addr,
    },
    /// Too large or too small.
    #[error("{pool} must have a prefix from /{MIN_POOL_PREFIX} to /{MAX_POOL_PREFIX}")]
    Size {
        /// The range as given.
        pool: Ipv4Network,
    },
    /// Outside the private and shared ranges.
    #[error("{pool} is not private (10/8, 172.16/12, 192.168/16 of RFC 1918, or 100.64/10 of RFC 6598)")]
    Public {
        /// The range as given.
        pool: Ipv4Network,
    },
}

/// Checks that a range may be the IPv4 pool of a group.
///
/// # Errors
/// What is wrong with the range.
pub fn check_pool(pool: Ipv4Network) -> Result<(), PoolError> {
    let base = pool.network();
    if pool.ip() != base {
        return Err(PoolError::NotABase { pool, base });
    }
    if !(MIN_POOL_PREFIX..=MAX_POOL_PREFIX).contains(&pool.prefix()) {
        return Err(PoolError::Size { pool });
    }
    let private = [("10.0.0.0", 8), ("172.16.0.0", 12), ("192.168.0.0", 16), ("100.64.0.0", 10)];
    let inside = private.iter().any(|(range, prefix)| {
        let range: Ipv4Addr = range.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
        pool.prefix() >= *prefix && Ipv4Network::new(range, *prefix).is_ok_and(|range| range.contains(base))
    });
    if inside { Ok(()) } else { Err(PoolError::Public { pool }) }
}

/// How many peers a pool has room for: without hosts 0 to 4 and the broadcast address.
#[must_use]
pub fn capacity(pool: Ipv4Network) -> u32 {
    let size = 1u64 << (32 - u32::from(pool.prefix()));
    u32::try_from(size.saturating_sub(u64::from(FIRST_PEER_HOST.0) + 1)).unwrap_or(u32::MAX)
}

/// The IPv6 prefix of a group: a unique local /64 that follows from its id.
#[must_use]
pub fn prefix6_of(group: &GroupId) -> Ipv6Network {
    let hash = Sha256::digest(group.as_str());
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..8].copy_from_slice(&hash[..7]);
    Ipv6Network::new(Ipv6Addr::from(octets), 64).expect("64 is a prefix length of IPv6")
}

/// The IPv4 overlay address of a host, or `None` where the pool ends before it or it is the
/// network or broadcast address.
#[must_use]
pub fn overlay4(pool: Ipv4Network, host: Host) -> Option<Ipv4Addr> {
    let last = (1u64 << (32 - u32::from(pool.prefix()))) - 1;
    if host.0 == 0 || u64::from(host.0) >= last {
        return None;
    }
    u32::from(pool.network()).checked_add(host.0).map(Ipv4Addr::from)
}

/// The IPv6 overlay address of a host.
#[must_use]
pub fn overlay6(prefix: Ipv6Network, host: Host) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(prefix.network()) | u128::from(host.0))
}

/// Both overlay addresses of a host, or `None` where the pool has no such host.
#[must_use]
pub fn overlay_addrs(pool: Ipv4Network, prefix6: Ipv6Network, host: Host) -> Option<OverlayAddrs> {
    overlay4(pool, host).map(|v4| OverlayAddrs { v4, v6: overlay6(prefix6, host) })
}

#[cfg(test)]
mod tests;
