//! What this node should be: one interface per group, with addresses, routes and tunnel peers.
//!
//! [`desired`] is computed from the netmaps and from what the node itself knows ([`Local`]) whenever
//! either changes, and is handed to the shell, which plans and applies it ([`crate::plan`]).
//!
//! A group is desired once its netmap holds the node's own peer. Of two groups whose pools overlap, the
//! one joined first keeps its interface; the other is named in [`Desired::conflicts`].
//!
//! Invariants: no two interfaces share a name or overlap in IPv4; the own peer and other peers of this
//! node are no tunnel peers; every allowed prefix belongs to one tunnel peer of its interface.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnetwork::{IpNetwork, Ipv4Network};
use lacis_proto::{
    Endpoint, EndpointKind, GatewayReport, GroupId, Host, MAX_ENDPOINTS, MemberId, NodeId, OverlayAddrs,
    PeerId, PublicKey, Revision, SignedStatement,
};
use sha2::{Digest as _, Sha256};

use crate::{Netmap, Peer};

/// What the node itself knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The node.
    pub node: NodeId,
    /// MTU of its overlay interfaces.
    pub mtu: u16,
    /// The peer that it hosts in each group.
    pub hosted: BTreeMap<GroupId, Hosted>,
    /// What it says of itself as a gateway in every group, where it was started as one.
    pub offer: Option<GatewayReport>,
}

/// The peer that this node hosts in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosted {
    /// The peer.
    pub peer: PeerId,
    /// The member that it is an instance of.
    pub member: MemberId,
    /// Its number in the group.
    pub host: Host,
    /// Public half of its key.
    pub key: PublicKey,
    /// The node's word on that key, for control to pass on.
    pub statement: Option<SignedStatement>,
    /// Public half of the group's gateway key, where this node holds one.
    pub gateway_key: Option<PublicKey>,
    /// How often the group's gateway key had been retired when this process came by the one it holds; 0 for one from disk.
    pub gateway_rotations: u32,
    /// When the node joined the group, in Unix milliseconds: the older group wins where two conflict.
    pub joined_ms: u64,
}

/// What this node should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Grows with every change; an older one is not applied.
    pub revision: u64,
    /// Interfaces by group.
    pub interfaces: BTreeMap<GroupId, Interface>,
    /// Groups that cannot have their interface.
    pub conflicts: Vec<Conflict>,
}

/// A group that cannot have its interface beside another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The group without an interface.
    pub group: GroupId,
    /// The group that was joined before.
    pub with: GroupId,
}

/// The overlay interface of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name in the operating system.
    pub name: String,
    /// Revision of the netmap that it follows.
    pub revision: Revision,
    /// Public half of the own peer's key.
    pub key: PublicKey,
    /// MTU.
    pub mtu: u16,
    /// Addresses of the own peer.
    pub own: OverlayAddrs,
    /// Addresses of the group's resolver, answered on this node and never a source.
    pub resolver: OverlayAddrs,
    /// Routes into the interface.
    pub routes: BTreeSet<Route>,
    /// Public half of the key by which plain clients know this node, where it is a gateway.
    pub gateway: Option<PublicKey>,
    /// Tunnel peers by current key.
    pub peers: BTreeMap<PublicKey, TunnelPeer>,
}

/// A route into an overlay interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Destination.
    pub to: IpNetwork,
    /// Source address of packets that the host itself sends there.
    pub from: IpAddr,
}

/// A peer as the tunnel sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPeer {
    /// The peer.
    pub peer: PeerId,
    /// Prefixes that it may send from, hence routed to it.
    pub allowed: BTreeSet<IpNetwork>,
    /// Prefixes that it may send from beside other gateways: those of plain clients. They are sent to through whichever
    /// was heard last.
    pub shared: BTreeSet<IpNetwork>,
    /// Whether it is a plain client of this gateway.
    pub client: bool,
    /// Where to try it, best first.
    pub endpoints: Vec<Endpoint>,
}

/// Name of a group's interface: `lcs` and the first 8 hex digits of SHA-256 of the group's id.
#[must_use]
pub fn interface_name(group: &GroupId) -> String {
    let hash = Sha256::digest(group.as_str());
    format!("lcs{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3])
}

/// What this node should be, as of `revision`.
#[must_use]
pub fn desired(revision: u64, netmaps: &BTreeMap<GroupId, Arc<Netmap>>, local: &Local) -> Desired {
    let mut want = Desired { revision, ..Desired::default() };
    let mut taken: Vec<(Ipv4Network, GroupId)> = Vec::new();
    for (group, hosted) in local.by_age() {
        let Some(netmap) = netmaps.get(group) else { continue };
        let Some(own) = netmap.peers.get(&hosted.peer) else { continue };
        let name = interface_name(group);
        let rival = taken.iter().find(|(pool, other)| {
            pool.overlaps(netmap.pool) || want.interfaces.get(other).is_some_and(|i| i.name == name)
        });
        if let Some((_, with)) = rival {
            want.conflicts.push(Conflict { group: group.clone(), with: with.clone() });
            continue;
        }
        taken.push((netmap.pool, group.clone()));
        want.interfaces.insert(group.clone(), interface(name, netmap, own, hosted, local));
    }
    want
}

impl Local {
    /// Hosted peers, those of the groups joined first in front.
    pub(crate) fn by_age(&self) -> Vec<(&GroupId, &Hosted)> {
        let mut hosted: Vec<_> = self.hosted.iter().collect();
        hosted.sort_by_key(|(_, hosted)| hosted.joined_ms);
        hosted
    }
}

fn interface(name: String, netmap: &Netmap, own: &Peer, hosted: &Hosted, local: &Local) -> Interface {
    let others = netmap.peers.iter().filter(|(id, peer)| {
        **id != hosted.peer && peer.node.as_ref() != Some(&local.node) && peer.key != hosted.key
    });
    let gateways = netmap.peers.iter().filter(|(_, peer)| peer.is_gateway).map(|(id, _)| id);
    let serves = own.is_gateway && hosted.gateway_key == netmap.gateway_key;
    let behind = serves || gateways.into_iter().any(|id| *id != hosted.peer);
    let clients: BTreeSet<IpNetwork> = match behind {
        true => netmap.peers.values().filter(|peer| peer.is_plain()).flat_map(own_prefixes).collect(),
        false => BTreeSet::new(),
    };
    // Behind gateways, a client is theirs alone.
    let others = others.filter(|(_, peer)| serves || !behind || !peer.is_plain());
    Interface {
        name,
        revision: netmap.revision,
        key: hosted.key,
        mtu: local.mtu,
        own: own.addrs,
        resolver: netmap.resolver,
        routes: BTreeSet::from([
            Route { to: netmap.pool.into(), from: own.addrs.v4.into() },
            Route { to: netmap.prefix6.into(), from: own.addrs.v6.into() },
        ]),
        gateway: hosted.gateway_key.filter(|_| serves),
        peers: others.map(|(id, peer)| (peer.key, tunnel_peer(id, peer, serves, &clients))).collect(),
    }
}

fn own_prefixes(peer: &Peer) -> [IpNetwork; 2] {
    peer.addrs.both().map(IpNetwork::from)
}

/// A peer as the tunnel sees it. `serves`: this node is a gateway, whose plain peers are its clients.
fn tunnel_peer(id: &PeerId, peer: &Peer, serves: bool, clients: &BTreeSet<IpNetwork>) -> TunnelPeer {
    let (own, client) = (BTreeSet::from(own_prefixes(peer)), serves && peer.is_plain());
    let shared = if client {
        own.clone()
    } else if peer.is_gateway {
        clients.clone()
    } else {
        BTreeSet::new()
    };
    let allowed = if client { BTreeSet::new() } else { own };
    TunnelPeer {
        peer: id.clone(),
        allowed: allowed.into_iter().chain(peer.routes.iter().copied()).collect(),
        shared,
        client,
        endpoints: best_first(&peer.endpoints),
    }
}

/// The endpoints worth trying, best first. Within a kind the published order stands.
fn best_first(published: &[Endpoint]) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for endpoint in published {
        if is_reachable(endpoint) && endpoints.iter().all(|known| known.addr != endpoint.addr) {
            endpoints.push(*endpoint);
        }
    }
    endpoints.sort_by_key(|endpoint| rank(endpoint.kind));
    endpoints.truncate(MAX_ENDPOINTS);
    endpoints
}

fn is_reachable(endpoint: &Endpoint) -> bool {
    let ip = endpoint.addr.ip();
    endpoint.addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

const fn rank(kind: EndpointKind) -> u8 {
    match kind {
        EndpointKind::Static => 0,
        EndpointKind::Portmap => 1,
        EndpointKind::Reflexive => 2,
        EndpointKind::Host => 3,
        EndpointKind::Unknown => 4,
    }
}

#[cfg(test)]
mod tests;
