//! Nodes by number, for whoever has several engines talk: their keys, their places below, their overlay addresses.

use std::net::{IpAddr, SocketAddr};

use ipnetwork::IpNetwork;

use crate::mailbox::{NetworkId, PeerConfig};
use crate::tunnel;

/// A node, by its number.
pub(crate) type Node = u8;

/// Its private key.
pub(crate) const fn private(node: Node) -> [u8; 32] {
    [node; 32]
}

/// Where it receives datagrams.
pub(crate) fn place(node: Node) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, node], 51_820))
}

/// Its overlay addresses, of IPv4 and of IPv6.
pub(crate) fn overlays(node: Node) -> [IpAddr; 2] {
    [IpAddr::from([10, 0, 0, node]), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(node)])]
}

/// The prefixes of these nodes and of nobody else.
pub(crate) fn prefixes(nodes: &[Node]) -> Vec<IpNetwork> {
    nodes.iter().flat_map(|node| overlays(*node)).map(IpNetwork::from).collect()
}

/// The peer with this private key, which may use these prefixes and is to be found at a node's place.
pub(crate) fn config(
    network: NetworkId,
    private: [u8; 32],
    allowed: Vec<IpNetwork>,
    at: Option<Node>,
) -> PeerConfig {
    PeerConfig {
        network,
        key: tunnel::public_key(&private),
        allowed,
        candidates: at.map(place).into_iter().collect(),
        keepalive: None,
        preshared_key: None,
        initiate: false,
    }
}
