//! How often a source may ask: a bucket for each hash of its address, in a table of fixed size.

use std::{
    hash::{BuildHasher, RandomState},
    net::Ipv6Addr,
    time::Duration,
};

use crate::limits;

/// Buckets for one kind of request. Sources of IPv6 are taken by their /64, which is one customer's (RFC 6177).
#[derive(Debug)]
pub(crate) struct Limiter {
    every: u64,
    burst: u64,
    /// When each bucket would be empty again, in nanoseconds.
    full_until: Box<[u64]>,
    hash: RandomState,
}

impl Limiter {
    /// So many per second, and twice as many at once.
    pub(crate) fn new(per_second: u32) -> Self {
        Self::with_buckets(per_second, limits::SOURCES)
    }

    /// The same for one source alone.
    pub(crate) fn for_one(per_second: u32) -> Self {
        Self::with_buckets(per_second, 1)
    }

    fn with_buckets(per_second: u32, buckets: usize) -> Self {
        let every = 1_000_000_000 / u64::from(per_second.max(1));
        let burst = every * u64::from(per_second.max(1)) * 2;
        Self { every, burst, full_until: vec![0; buckets].into_boxed_slice(), hash: RandomState::new() }
    }

    /// Whether a source may ask once more, now.
    pub(crate) fn admit(&mut self, since: Duration, ip: Ipv6Addr) -> bool {
        let source = if ip.to_ipv4_mapped().is_some() { ip.to_bits() } else { ip.to_bits() >> 64 };
        let at = self.hash.hash_one(source) % (self.full_until.len() as u64);
        let Some(bucket) = usize::try_from(at).ok().and_then(|at| self.full_until.get_mut(at)) else {
            return false;
        };
        let now = nanoseconds(since);
        let next = (*bucket).max(now) + self.every;
        if next - now > self.burst {
            return false;
        }
        *bucket = next;
        true
    }
}

/// A time since the start in nanoseconds: enough for 584 years.
pub(crate) fn nanoseconds(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_floods_leaves_others_alone() {
        let mut limiter = Limiter::new(10);
        let ip = |n: u8| std::net::Ipv4Addr::new(192, 0, 2, n).to_ipv6_mapped();
        let at = Duration::from_secs(7);
        assert_eq!((0..1000).filter(|_| limiter.admit(at, ip(1))).count(), 20);
        let others = (2..=201).filter(|n| limiter.admit(at, ip(*n))).count();
        assert!(others >= 195, "{others} of 200 other sources were admitted");
        assert_eq!((0..1000).filter(|_| limiter.admit(at + Duration::from_secs(1), ip(1))).count(), 10);
    }

    #[test]
    fn addresses_of_one_prefix_are_one_source() {
        let mut limiter = Limiter::new(1);
        let at = Duration::ZERO;
        let ip = |n: u128| Ipv6Addr::from_bits((0x2001_0db8 << 96) + n);
        assert_eq!((0..100).filter(|n| limiter.admit(at, ip(*n))).count(), 2);
    }
}
