//! Which relay a pair uses: the one with the smallest sum of legs. Both ends compute the same.

use lacis_proto::{RecordId, RelayHome};

use super::{body::RelayTag, event::RelayWay, keys::short_hash, limits::MAX_OFFERED_RELAYS};

/// How a pair names a relay: the first bytes of the hash of its id.
pub(super) fn relay_tag(relay: &RecordId) -> RelayTag {
    short_hash(&[b"lacis path v1 relay", relay.as_str().as_bytes()])
}

/// The relays that this node tells a peer of: first those where the peer is at home, then the nearest.
pub(super) fn distances<'a>(
    ours: impl Iterator<Item = &'a RelayWay>,
    homes: &[RelayHome],
) -> Vec<(RelayTag, u16)> {
    let is_home = |way: &RelayWay| homes.iter().any(|home| home.relay == way.relay);
    let mut relays: Vec<(bool, u16, RelayTag)> =
        ours.filter_map(|way| Some((!is_home(way), leg_ms(way)?, relay_tag(&way.relay)))).collect();
    relays.sort_unstable();
    relays.dedup_by_key(|(_, _, tag)| *tag);
    relays.truncate(MAX_OFFERED_RELAYS);
    relays.into_iter().map(|(_, ms, tag)| (tag, ms)).collect()
}

/// Leases of this node in the order in which a pair uses them.
///
/// First those to which both legs are known, by their sum; then the homes of the peer by rank; then, where the peer
/// names no home or this node has no lease at any, the nearest: it may come to one of ours to look for us. A tie is
/// broken by the name of the relay, so that both ends break it alike.
pub(super) fn order<'a>(
    ours: impl Iterator<Item = &'a RelayWay>,
    theirs: &[(RelayTag, u16)],
    homes: &[RelayHome],
) -> Vec<&'a RelayWay> {
    let mut ranked: Vec<_> = ours
        .map(|way| {
            let tag = relay_tag(&way.relay);
            let leg = theirs.iter().find(|(relay, _)| *relay == tag).map(|(_, ms)| *ms);
            let home = homes.iter().find(|home| home.relay == way.relay).map(|home| home.rank);
            let sum = leg.zip(leg_ms(way)).map(|(one, other)| u32::from(one) + u32::from(other));
            let is_guess = !homes.is_empty() && home.is_none() && leg.is_none();
            let near = if sum.is_none() { leg_ms(way).unwrap_or(u16::MAX) } else { 0 };
            let rank = (is_guess, way.tls, sum.unwrap_or(u32::MAX), home.unwrap_or(u8::MAX), near, tag);
            (rank, way)
        })
        .collect();
    ranked.sort_unstable_by_key(|(rank, _)| *rank);
    let known = ranked.partition_point(|((is_guess, ..), _)| !is_guess);
    ranked.truncate(if known > 0 { known } else { ranked.len() });
    ranked.into_iter().map(|(_, way)| way).collect()
}

fn leg_ms(way: &RelayWay) -> Option<u16> {
    way.rtt.map(|rtt| u16::try_from(rtt.as_millis()).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests;
