//! Ways as the tunnel says them, and as the path agent does: neither crate knows the other.

use lacis_agent_core::{Hop, PeerWays, Way};

pub(crate) fn to_tunnel(way: Way) -> lacis_tunnel::Way {
    let relay = way.relay.map(|hop| lacis_tunnel::Hop { lease: hop.lease, address: hop.address });
    lacis_tunnel::Way { remote: way.remote, relay }
}

pub(crate) fn from_tunnel(way: lacis_tunnel::Way) -> Way {
    Way { remote: way.remote, relay: way.relay.map(|hop| Hop { lease: hop.lease, address: hop.address }) }
}

pub(super) fn ways(ways: &PeerWays) -> lacis_tunnel::Ways {
    lacis_tunnel::Ways {
        primary: ways.primary.map(to_tunnel),
        also: ways.also.map(to_tunnel),
        also_for: ways.also_for,
        packet: ways.packet,
        greet: ways.greet.iter().copied().map(to_tunnel).collect(),
    }
}
