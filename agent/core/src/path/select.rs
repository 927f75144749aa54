//! Which of two paths is better. Each side chooses its own sending path; nothing is agreed.

use std::time::Duration;

use super::{
    limits::{DETOUR_BY, HYSTERESIS, V6_BONUS},
    measure::Path,
};

/// Whether data should move from `primary` to `other`, both of which answer.
///
/// A nearer tier wins at once. Within a tier the other one must be clearly faster, so that noise moves nothing.
pub(super) fn promotes(other: &Path, primary: &Path) -> bool {
    if is_detour(other, primary) {
        return false;
    }
    match other.tier().cmp(&primary.tier()) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Equal if other.is_relay() && primary.is_relay() => false,
        std::cmp::Ordering::Equal => is_clearly_faster(cost(other), cost(primary)),
        std::cmp::Ordering::Greater => false,
    }
}

/// Whether `path` goes directly and yet so far around that the relay is the better way.
pub(super) fn is_detour(path: &Path, relay: &Path) -> bool {
    let (Some(direct), Some(relayed)) = (path.rtt, relay.rtt) else { return false };
    !path.is_relay() && relay.is_relay() && direct > relayed * 3 && direct > relayed + DETOUR_BY
}

/// The best of several paths, the first among equals: by tier, then by round trip.
pub(super) fn best<'a>(paths: impl Iterator<Item = &'a Path>) -> Option<&'a Path> {
    paths.min_by_key(|path| (path.tier(), cost(path)))
}

/// Round trip, with the bonus of IPv6; a path without a measurement is the last of its tier.
fn cost(path: &Path) -> Duration {
    let rtt = path.rtt.unwrap_or(Duration::MAX);
    if path.way.remote.is_ipv6() { rtt.saturating_sub(V6_BONUS) } else { rtt }
}

fn is_clearly_faster(other: Duration, primary: Duration) -> bool {
    let margin = HYSTERESIS.max(primary / 5);
    other.checked_add(margin).is_some_and(|worst| worst < primary)
}

#[cfg(test)]
mod tests;
