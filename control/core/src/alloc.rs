//! Addresses: which host number a new peer gets, and which pool a new group.
//!
//! Numbers are given in order, so they are used again late; where many rest, or the pool has ended, the
//! one that rested longest. It must have rested for the DNS TTL, and every connected agent must know
//! that its former peer is gone (DESIGN ruling 5).

use std::fmt;

use ipnetwork::Ipv4Network;
use lacis_proto::{Code, FIRST_PEER_HOST, GroupId, Host, Problem, Revision, capacity, overlay4};

use crate::{
    State,
    limits::{HOST_REST_MS, MAX_RESTING, POOL_PREFIX, SUPER_NET},
    row::ReleasedHost,
    state::Group,
};

/// A pool without a free address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolExhausted {
    /// The group.
    pub group: GroupId,
    /// The group's label.
    pub label: String,
    /// Its pool.
    pub pool: Ipv4Network,
    /// Addresses that rest and become free by themselves.
    pub resting: usize,
}

/// The host number that the next peer of a group gets.
///
/// # Errors
/// [`PoolExhausted`] where all are in use or rest.
pub fn allocate(group: &Group, now_ms: u64, applied: Option<Revision>) -> Result<Host, PoolExhausted> {
    let next = group.row.next_host.max(FIRST_PEER_HOST);
    let unused = overlay4(group.row.pool, next).map(|_| next);
    if let Some(next) = unused.filter(|_| group.released.len() < MAX_RESTING) {
        return Ok(next);
    }
    let known_gone = || {
        let released = group.released.values();
        released.filter(|released| applied.is_none_or(|applied| applied >= released.revision))
    };
    let rested = known_gone().filter(|released| now_ms >= released.released_ms.saturating_add(HOST_REST_MS));
    let longest = rested.min_by_key(|released| (released.released_ms, released.revision, released.host));
    // A release in the future: the clock has gone back, and nobody can say for how long the number has rested.
    let unknown = || {
        let future = known_gone().filter(|released| released.released_ms > now_ms);
        future.min_by_key(|released| (released.revision, released.host))
    };
    let again = |released: &ReleasedHost| released.host;
    let host = longest.map(again).or(unused).or_else(|| unknown().map(again));
    host.ok_or_else(|| PoolExhausted {
        group: group.row.id.clone(),
        label: group.row.label.clone(),
        pool: group.row.pool,
        resting: group.released.len(),
    })
}

/// The pool of a new group: of the super-net's ranges the one that overlaps the fewest groups.
pub(crate) fn choose_pool(state: &State) -> Ipv4Network {
    let (base, prefix) = SUPER_NET;
    let count = 1u32 << (POOL_PREFIX - prefix);
    let nth = |n: u32| {
        let base = u32::from(base) + (n << (32 - POOL_PREFIX));
        Ipv4Network::new(base.into(), POOL_PREFIX).expect("POOL_PREFIX is a prefix length of IPv4")
    };
    let overlaps = |pool: &Ipv4Network| state.groups().filter(|group| group.row.pool.overlaps(*pool)).count();
    (0..count).map(nth).min_by_key(overlaps).unwrap_or_else(|| nth(0))
}

impl fmt::Display for PoolExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, label, pool, resting } = self;
        let room = capacity(*pool);
        write!(
            f,
            "group {label:?} ({group}) has no free address: its pool {pool} has room for {room} peers; "
        )?;
        if *resting == 0 {
            f.write_str("remove a peer, or create a group with a larger pool")
        } else {
            write!(f, "{resting} of them rest for a few seconds after their peers went, so try again then")
        }
    }
}

impl std::error::Error for PoolExhausted {}

impl From<PoolExhausted> for Problem {
    fn from(full: PoolExhausted) -> Self {
        Self::new(Code::PoolExhausted, full.to_string()).in_field("group")
    }
}
