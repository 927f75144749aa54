//! A group scope, read: everything one node must know of a group.
//!
//! Life-cycle: a scope reaches a revision, [`Netmap::read`] makes a netmap of it, the netmap is kept
//! until the next revision. Peers are taken in the order of their records' revisions, then ids; where
//! two contradict each other, the one taken first stays and the other is named in [`Netmap::odd`].
//!
//! Invariants: no two peers share a key, a host or a route; every peer has both addresses, inside the
//! group's prefixes; no route covers the group's own addresses; every suffix is a valid one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use lacis_proto::{
    Body, Endpoint, FIRST_PEER_HOST, GroupId, GroupRecord, Host, MemberId, MemberKind, NodeId, OverlayAddrs,
    PeerId, PeerRecord, PublicKey, RESOLVER_HOST, RecordId, RelayHome, Revision, Scope, check_pool,
    check_suffix, overlay_addrs,
};

use crate::limits::MAX_ODD;

/// A group as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netmap {
    /// The group.
    pub group: GroupId,
    /// Revision of the scope that it was read from.
    pub revision: Revision,
    /// What people call the group.
    pub label: String,
    /// IPv4 pool.
    pub pool: Ipv4Network,
    /// IPv6 prefix, a /64.
    pub prefix6: Ipv6Network,
    /// Addresses of the group's resolver.
    pub resolver: OverlayAddrs,
    /// Zone suffixes, the first is the default.
    pub suffixes: Vec<String>,
    /// The key by which plain clients know the gateways, once there is one.
    pub gateway_key: Option<PublicKey>,
    /// How often that key was retired.
    pub gateway_rotations: u32,
    /// Members by id.
    pub members: BTreeMap<MemberId, Member>,
    /// Peers by id.
    pub peers: BTreeMap<PeerId, Peer>,
    /// Records, or parts of them, that were left out, and why.
    pub odd: Vec<(RecordId, &'static str)>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it is.
    pub kind: MemberKind,
    /// What people call it.
    pub label: String,
    /// Its own name in the zone.
    pub domain: String,
    /// Revision at which its record last changed.
    pub revision: Revision,
}

/// A peer of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The member that it is an instance of. Its record may be of a kind this build cannot read.
    pub member: MemberId,
    /// The node that hosts it; absent for a peer without an agent.
    pub node: Option<NodeId>,
    /// Its number in the group.
    pub host: Host,
    /// What people call it.
    pub label: String,
    /// Its current key.
    pub key: PublicKey,
    /// Its overlay addresses.
    pub addrs: OverlayAddrs,
    /// Where it may be reached, as published.
    pub endpoints: Vec<Endpoint>,
    /// Relays where it can be found; none means any.
    pub relays: Vec<RelayHome>,
    /// Prefixes that it serves beside its own addresses.
    pub routes: BTreeSet<IpNetwork>,
    /// Whether it is to be a gateway, and may have the group's gateway key.
    pub may_gateway: bool,
    /// Whether it is a gateway, which holds that key.
    pub is_gateway: bool,
}

impl Peer {
    /// Whether it is a plain WireGuard program, without an agent.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.node.is_none()
    }
}

impl Netmap {
    /// Reads a group scope. `None` while it has no usable group record.
    #[must_use]
    pub fn read(group: &GroupId, scope: &Scope) -> Option<Self> {
        let Body::Group(record) = &scope.live(&RecordId::from(group))?.body else { return None };
        let mut netmap = Self::of_group(group, scope.revision(), record)?;
        let mut peers = Vec::new();
        for record in scope.records() {
            match &record.body {
                Body::Peer(peer) => peers.push((record.rev, &record.id, peer)),
                Body::Member(member) => match MemberId::parse(record.id.as_str()) {
                    Ok(id) => {
                        let (label, domain) = (member.label.clone(), member.domain.to_ascii_lowercase());
                        let kind = member.member_kind;
                        netmap.members.insert(id, Member { kind, label, domain, revision: record.rev });
                    }
                    Err(_) => netmap.odd(&record.id, "its id is no member id"),
                },
                Body::Group(_) if record.id.as_str() != group.as_str() => {
                    netmap.odd(&record.id, "it describes another group");
                }
                Body::Assignment(_) | Body::Node(_) => {
                    netmap.odd(&record.id, "its kind belongs in a node scope");
                }
                Body::Unknown(_) => netmap.odd(&record.id, "this build cannot read it"),
                Body::Group(_) => {}
            }
        }
        peers.sort_unstable_by_key(|(rev, id, _)| (*rev, *id));
        netmap.take_peers(&peers);
        Some(netmap)
    }

    fn of_group(group: &GroupId, revision: Revision, record: &GroupRecord) -> Option<Self> {
        if check_pool(record.pool).is_err() || record.prefix6.prefix() != 64 {
            return None;
        }
        let resolver = overlay_addrs(record.pool, record.prefix6, RESOLVER_HOST)?;
        let mut suffixes: Vec<String> = Vec::new();
        for suffix in &record.suffixes {
            if check_suffix(suffix).is_ok() && !suffixes.contains(suffix) {
                suffixes.push(suffix.clone());
            }
        }
        Some(Self {
            group: group.clone(),
            revision,
            label: record.label.clone(),
            pool: record.pool,
            prefix6: record.prefix6,
            resolver,
            suffixes,
            gateway_key: record.gateway_key,
            gateway_rotations: record.gateway_rotations,
            members: BTreeMap::new(),
            peers: BTreeMap::new(),
            odd: Vec::new(),
        })
    }

    fn take_peers(&mut self, records: &[(Revision, &RecordId, &PeerRecord)]) {
        let (mut keys, mut hosts, mut routes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (_, id, record) in records {
            let (peer_id, mut peer) = match self.peer(id, record) {
                Ok(peer) => peer,
                Err(why) => {
                    self.odd(id, why);
                    continue;
                }
            };
            if hosts.contains(&peer.host) {
                self.odd(id, "its host number belongs to an older peer");
                continue;
            }
            if !keys.insert(peer.key) {
                self.odd(id, "its key belongs to an older peer");
                continue;
            }
            hosts.insert(peer.host);
            for route in &record.routes {
                if self.covers_own(*route) {
                    self.odd(id, "a route of it covers the group's own addresses");
                } else if routes.insert(*route) {
                    peer.routes.insert(*route);
                } else {
                    self.odd(id, "a route of it belongs to an older peer");
                }
            }
            self.peers.insert(peer_id, peer);
        }
    }

    fn peer(&self, id: &RecordId, record: &PeerRecord) -> Result<(PeerId, Peer), &'static str> {
        let peer_id = PeerId::parse(id.as_str()).map_err(|_| "its id is no peer id")?;
        let key = record.current_key().ok_or("it has no current key")?;
        if record.host < FIRST_PEER_HOST {
            return Err("its host number is reserved");
        }
        let addrs = overlay_addrs(self.pool, self.prefix6, record.host)
            .ok_or("its host number is outside the group's pool")?;
        let peer = Peer {
            member: record.member.clone(),
            node: record.node.clone(),
            host: record.host,
            label: record.label.clone(),
            key,
            addrs,
            endpoints: record.endpoints.clone(),
            relays: record.relays.clone(),
            routes: BTreeSet::new(),
            may_gateway: record.gateway && record.node.is_some(),
            is_gateway: record.node.is_some()
                && self.gateway_key.is_some()
                && record.gateway_key() == self.gateway_key,
        };
        Ok((peer_id, peer))
    }

    fn covers_own(&self, route: IpNetwork) -> bool {
        match route {
            IpNetwork::V4(route) => route.overlaps(self.pool),
            IpNetwork::V6(route) => route.overlaps(self.prefix6),
        }
    }

    fn odd(&mut self, id: &RecordId, why: &'static str) {
        if self.odd.len() < MAX_ODD {
            self.odd.push((id.clone(), why));
        }
    }

    /// The peer with this key.
    #[must_use]
    pub fn peer_with_key(&self, key: &PublicKey) -> Option<(&PeerId, &Peer)> {
        self.peers.iter().find(|(_, peer)| peer.key == *key)
    }

    /// The peer with this overlay address.
    #[must_use]
    pub fn peer_with_addr(&self, addr: IpAddr) -> Option<(&PeerId, &Peer)> {
        self.peers.iter().find(|(_, peer)| peer.addrs.both().contains(&addr))
    }
}

#[cfg(test)]
mod tests;
