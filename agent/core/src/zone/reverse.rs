//! Names of addresses: `in-addr.arpa` (RFC 1035 §3.5) and `ip6.arpa` (RFC 3596 §2.5).
//!
//! An IPv4 pool that does not end at a whole octet has several apexes, one per value of the octet that
//! it ends in: 10.0.0.0/12 has `0.10.in-addr.arpa` to `15.10.in-addr.arpa`.

use std::net::Ipv4Addr;

use ipnetwork::{Ipv4Network, Ipv6Network};
use lacis_proto::{Host, RESOLVER_HOST, overlay4};

use super::{Target, Zone};

const V4: &str = ".in-addr.arpa";
const V6: &str = ".ip6.arpa";

/// Nibbles of a /64.
const PREFIX_NIBBLES: usize = 16;

/// The reverse apex that a name is at or below.
pub(super) fn apex(pool: Ipv4Network, prefix6: Ipv6Network, name: &str) -> Option<&str> {
    if let Some(labels) = name.strip_suffix(V4) {
        let octets = usize::from(pool.prefix().div_ceil(8));
        let start = start_of_last(labels, octets)?;
        let base = known_octets(&labels[start..])?;
        return pool.contains(Ipv4Addr::from(base)).then_some(&name[start..]);
    }
    let labels = name.strip_suffix(V6)?;
    let start = start_of_last(labels, PREFIX_NIBBLES)?;
    let (bits, _) = nibbles(&labels[start..])?;
    let prefix = u128::from(prefix6.network()) >> 64;
    (bits == prefix).then_some(&name[start..])
}

/// All reverse apexes of a group: at most 128 of its pool, and one of its /64.
pub(super) fn apexes(pool: Ipv4Network, prefix6: Ipv6Network) -> Vec<String> {
    let octets = usize::from(pool.prefix().div_ceil(8));
    let step = 1u32.checked_shl(32 - 8 * u32::from(pool.prefix().div_ceil(8))).unwrap_or(0);
    let values = 1u32 << (8 * u32::from(pool.prefix().div_ceil(8)) - u32::from(pool.prefix()));
    let v4 = (0..values).map(|value| {
        let base = Ipv4Addr::from(u32::from(pool.network()).wrapping_add(value.wrapping_mul(step)));
        let labels: Vec<String> = base.octets()[..octets].iter().rev().map(ToString::to_string).collect();
        labels.join(".") + V4
    });
    let bits = u128::from(prefix6.network());
    let nibble = |place: usize| format!("{:x}", bits >> (124 - 4 * place) & 0xf);
    let v6: Vec<String> = (0..PREFIX_NIBBLES).rev().map(nibble).collect();
    v4.chain([v6.join(".") + V6]).collect()
}

/// What a name below a reverse apex stands for.
pub(super) fn target<'a>(zone: &'a Zone, name: &str) -> Option<Target<'a>> {
    let (first, last) = match (name.strip_suffix(V4), name.strip_suffix(V6)) {
        (Some(labels), _) => hosts4(zone.pool, labels)?,
        (None, Some(labels)) => hosts6(labels)?,
        (None, None) => return None,
    };
    if first == last {
        let resolver = || (first == RESOLVER_HOST).then_some(Target::ResolverAddress);
        return zone.by_host.get(&first).map(|peer| Target::Peer(peer)).or_else(resolver);
    }
    let inhabited =
        (first..=last).contains(&RESOLVER_HOST) || zone.by_host.range(first..=last).next().is_some();
    inhabited.then_some(Target::Nothing)
}

/// First and last host number whose address begins with these octets.
fn hosts4(pool: Ipv4Network, labels: &str) -> Option<(Host, Host)> {
    let known = labels.split('.').count();
    let base = u32::from_be_bytes(known_octets(labels)?);
    let free = 32 - 8 * u32::try_from(known).ok()?;
    let top = base | u32::try_from((1u64 << free) - 1).ok()?;
    let first = base.checked_sub(u32::from(pool.network()))?;
    let last = top.checked_sub(u32::from(pool.network()))?;
    // An address of no host, such as the broadcast address, is a name that does not exist.
    (first != last || overlay4(pool, Host(first)).is_some()).then_some((Host(first), Host(last)))
}

/// First and last host number whose address begins with these nibbles.
fn hosts6(labels: &str) -> Option<(Host, Host)> {
    let (bits, known) = nibbles(labels)?;
    let free = 128 - 4 * u32::try_from(known).ok()?;
    let base = bits.checked_shl(free)?;
    let low = |value: u128| value & u128::from(u64::MAX);
    let first = u32::try_from(low(base)).ok()?;
    let top = low(base | ((1u128 << free) - 1));
    Some((Host(first), Host(u32::try_from(top).unwrap_or(u32::MAX))))
}

/// Where the last `count` labels of `labels` begin; `None` where there are fewer.
fn start_of_last(labels: &str, count: usize) -> Option<usize> {
    if labels.split('.').count() < count {
        return None;
    }
    let dots = labels.rmatch_indices('.').nth(count - 1);
    Some(dots.map_or(0, |(dot, _)| dot + 1))
}

/// The octets that up to four backward labels spell; those not spelled are zero.
fn known_octets(labels: &str) -> Option<[u8; 4]> {
    let mut octets = [0; 4];
    let mut spelled = labels.rsplit('.');
    for octet in &mut octets {
        let Some(label) = spelled.next() else { break };
        *octet = label.parse().ok()?;
        if octet.to_string() != label {
            return None;
        }
    }
    spelled.next().is_none().then_some(octets)
}

/// The nibbles that up to 32 backward labels spell, as one number, and how many they are.
fn nibbles(labels: &str) -> Option<(u128, usize)> {
    let mut bits = 0;
    let mut count = 0;
    for label in labels.rsplit('.') {
        let mut digits = label.chars();
        let (Some(digit), None) = (digits.next(), digits.next()) else { return None };
        bits = bits << 4 | u128::from(digit.to_digit(16)?);
        count += 1;
        if count > 32 {
            return None;
        }
    }
    Some((bits, count))
}
