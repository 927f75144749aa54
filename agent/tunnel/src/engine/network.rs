//! One network: its key, its own addresses, its peers' routes. Nothing here is shared with another network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnetwork::IpNetwork;

use crate::limits;
use crate::mailbox::NetworkId;
use crate::part::Part;
use crate::probe::Probes;
use crate::route::Routes;
use crate::timers::Bucket;
use crate::tunnel::{Core, Gate, PrivateKey};

/// What the engine is told of a network; its device stays with the shard.
#[derive(Clone, Debug)]
pub(crate) struct NetworkSettings {
    pub(crate) id: NetworkId,
    pub(crate) private_key: PrivateKey,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) accepted: Vec<IpNetwork>,
    pub(crate) pools: Vec<IpNetwork>,
    pub(crate) mtu: u16,
}

/// One network's state.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) id: NetworkId,
    pub(crate) gate: Gate,
    /// Of the key that clients know, where this node is a gateway of the network.
    pub(crate) front: Option<Gate>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) accepted: Vec<IpNetwork>,
    pub(crate) pools: Vec<IpNetwork>,
    pub(crate) mtu: usize,
    pub(crate) routes: Routes,
    pub(crate) by_key: HashMap<[u8; 32], u32>,
    pub(crate) probes: Probes,
    /// Limits ICMP errors.
    pub(crate) errors: Bucket,
    /// The last route answer: destination, peer, and the generation it holds for.
    last_route: Option<(IpAddr, u32, u64)>,
}

impl Network {
    pub(crate) fn new(now: Instant, settings: NetworkSettings, core: Core, part: Part) -> Self {
        Self {
            id: settings.id,
            gate: Gate::new(&settings.private_key, core),
            front: None,
            addresses: settings.addresses,
            accepted: settings.accepted,
            pools: settings.pools,
            mtu: usize::from(settings.mtu),
            routes: Routes::default(),
            by_key: HashMap::new(),
            probes: Probes::default(),
            errors: Bucket::new(now, part.share(limits::ICMP_PER_SECOND), part.share(limits::ICMP_BURST)),
            last_route: None,
        }
    }

    /// Returns the gate by which clients, or all other peers, come in.
    pub(crate) fn gate(&self, client: bool) -> Option<&Gate> {
        if client { self.front.as_ref() } else { Some(&self.gate) }
    }

    /// Whether this node answers for `address`: its own, its resolver's, or within a prefix it serves.
    #[inline]
    pub(crate) fn is_ours(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || self.accepted.iter().any(|prefix| prefix.contains(address))
    }

    /// Returns the peer that owns `destination`, remembering the last answer.
    #[inline]
    pub(crate) fn route(&mut self, destination: IpAddr, generation: u64) -> Option<u32> {
        if let Some((address, peer, under)) = self.last_route
            && address == destination
            && under == generation
        {
            return Some(peer);
        }
        let peer = self.routes.peer_for(destination)?;
        self.last_route = Some((destination, peer, generation));
        Some(peer)
    }

    /// Returns this node's first address of the family of `target`.
    pub(crate) fn address_towards(&self, target: IpAddr) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == target.is_ipv4())
    }
}
