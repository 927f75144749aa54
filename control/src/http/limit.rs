//! Rate limits: a bucket of requests per API token and per address, filled at a steady rate.
//!
//! A bucket that is full again is as good as none, so the table holds callers of the last seconds only. Its
//! size has a limit; callers beyond it share one bucket.
//!
//! Our own, since it is these few lines: the crates for it bring several more for clocks and keyed tables.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lacis_proto::{Code, NodeId, Problem, TokenId};
use tokio::time::Instant;

/// Callers that have a bucket of their own at once.
const MAX_BUCKETS: usize = 20_000;

/// Whom a bucket is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// Whoever comes from an address; of IPv6 a /64, which is one customer's.
    Address(IpAddr),
    /// Whoever comes from an address with a credential that is none.
    Stranger(IpAddr),
    /// Whoever shows an API token.
    Token(TokenId),
    /// A node that signals to others.
    Node(NodeId),
    /// Everybody for whom the table has no room.
    Others,
}

/// How many requests a caller has.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// At once.
    burst: f64,
    /// And then each second.
    per_s: f64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// The buckets of one control.
#[derive(Debug)]
pub(crate) struct Limiter {
    is_on: bool,
    buckets: Mutex<BTreeMap<Caller, Bucket>>,
}

impl Caller {
    pub(crate) const fn address(ip: IpAddr) -> Self {
        Self::Address(customer(ip))
    }

    pub(crate) const fn stranger(ip: IpAddr) -> Self {
        Self::Stranger(customer(ip))
    }

    /// A person or a pipeline needs a fraction of this; whoever guesses tokens gets two a second.
    const fn rate(&self) -> Rate {
        match self {
            Self::Address(_) | Self::Others => Rate { burst: 1_000.0, per_s: 200.0 },
            // A hub that calls a hundred peers at once, thrice each.
            Self::Node(_) => Rate { burst: 300.0, per_s: 50.0 },
            Self::Token(_) => Rate { burst: 500.0, per_s: 100.0 },
            Self::Stranger(_) => Rate { burst: 100.0, per_s: 2.0 },
        }
    }
}

impl Limiter {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on, buckets: Mutex::default() }
    }

    /// Takes one request of a caller.
    ///
    /// # Errors
    /// When to come again.
    pub(crate) fn take(&self, caller: Caller, now: Instant) -> Result<(), Problem> {
        if !self.is_on {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let caller = place(&mut buckets, caller, now);
        let rate = caller.rate();
        let bucket = buckets.entry(caller).or_insert(Bucket { left: rate.burst, at: now });
        *bucket = bucket.filled(rate, now);
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - bucket.left) / rate.per_s);
        let message = "too many requests; wait as long as Retry-After says, and then send fewer at once";
        let mut problem = Problem::new(Code::RateLimited, message);
        problem.retry_after_s = Some(u16::try_from(wait.as_secs() + 1).unwrap_or(u16::MAX));
        Err(problem)
    }
}

impl Bucket {
    fn filled(self, rate: Rate, now: Instant) -> Self {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate.per_s;
        Self { left: (self.left + gained).min(rate.burst), at: now }
    }
}

/// The bucket that a caller uses: its own where there is room.
fn place(buckets: &mut BTreeMap<Caller, Bucket>, caller: Caller, now: Instant) -> Caller {
    if buckets.len() < MAX_BUCKETS || buckets.contains_key(&caller) {
        return caller;
    }
    buckets.retain(|caller, bucket| bucket.filled(caller.rate(), now).left < caller.rate().burst);
    if buckets.len() < MAX_BUCKETS { caller } else { Caller::Others }
}

const fn customer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_is_followed_by_a_steady_rate() {
        let (limiter, start) = (Limiter::new(true), Instant::now());
        let caller = || Caller::Token(TokenId::from_bytes([1; 8]));
        for _ in 0..500 {
            limiter.take(caller(), start).unwrap();
        }
        let problem = limiter.take(caller(), start).unwrap_err();
        assert_eq!((problem.status, problem.retry_after_s), (429, Some(1)));
        limiter.take(Caller::Token(TokenId::from_bytes([2; 8])), start).unwrap();
        let later = start + Duration::from_secs(1);
        assert_eq!((0..200).filter(|_| limiter.take(caller(), later).is_ok()).count(), 100);
        let off = Limiter::new(false);
        assert!((0..2_000).all(|_| off.take(caller(), start).is_ok()));
    }

    #[tokio::test]
    async fn the_table_has_a_limit_and_forgets_who_is_gone() {
        let (limiter, start) = (Limiter::new(true), Instant::now());
        let from = |n: u32| Caller::address(IpAddr::from(n.to_be_bytes()));
        for n in 0..30_000 {
            limiter.take(from(n), start).unwrap_or_default();
        }
        assert!(limiter.buckets.lock().unwrap().len() <= MAX_BUCKETS + 1);
        limiter.take(from(30_001), start + Duration::from_secs(10)).unwrap();
        assert_eq!(limiter.buckets.lock().unwrap().len(), 1, "full buckets are as good as none");
        let [a, b] = ["2001:db8::1", "2001:db8::2"].map(|ip| Caller::address(ip.parse().unwrap()));
        assert_eq!(a, b, "one customer");
    }
}
