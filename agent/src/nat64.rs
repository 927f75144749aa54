//! Asks this host's resolver for the prefix of a NAT64.

use std::{net::IpAddr, time::Duration};

use lacis_agent_core::{NAT64_NAME, Nat64Prefix};
use tokio::{net::lookup_host, time::timeout};

/// An answer is waited for so long: two tries of a resolver on the next hop.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most addresses of an answer that are looked at: a resolver may know of several NAT64s, two addresses each.
const MAX_ADDRESSES: usize = 16;

/// The prefix that the resolver tells of; none where it tells of none, or nothing.
pub(crate) async fn discover() -> Option<Nat64Prefix> {
    let found = timeout(PATIENCE, lookup_host((NAT64_NAME, 0))).await.ok()?.ok()?;
    let v6 = found.filter_map(|address| match address.ip() {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    });
    Nat64Prefix::found_in(&v6.take(MAX_ADDRESSES).collect::<Vec<_>>())
}
