//! Ways as the tunnel says them, and as the path agent does: neither crate knows the other.

use std::num::NonZeroU32;

use lacis_agent_core::{Auxiliary, Hop, PeerWays, Way};

pub(crate) fn to_tunnel(way: Way) -> lacis_tunnel::Way {
    let relay = way.relay.map(|hop| lacis_tunnel::Hop { lease: hop.lease, address: hop.address });
    let auxiliary = way.auxiliary.and_then(socket_to_tunnel);
    lacis_tunnel::Way { remote: way.remote, relay, auxiliary }
}

pub(crate) fn from_tunnel(way: lacis_tunnel::Way) -> Way {
    let relay = way.relay.map(|hop| Hop { lease: hop.lease, address: hop.address });
    Way { remote: way.remote, relay, auxiliary: way.auxiliary.map(socket_from_tunnel) }
}

/// The tunnel counts its sockets from one.
pub(super) fn socket_to_tunnel(socket: Auxiliary) -> Option<lacis_tunnel::Auxiliary> {
    NonZeroU32::new(socket.0).map(lacis_tunnel::Auxiliary)
}

pub(super) const fn socket_from_tunnel(socket: lacis_tunnel::Auxiliary) -> Auxiliary {
    Auxiliary(socket.0.get())
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
