//! The way from what the machine shows to what it should be: [`plan`], in ordered steps.
//!
//! Life-cycle: the shell observes, plans, applies the steps one by one, each to the end or not at all,
//! and plans again when something went wrong. A failed step leaves the observation as it was, so the
//! next plan contains it again; the others need not wait for it.
//!
//! Invariants: planning after applying gives an empty plan; removals come first, so that a prefix or an
//! address is free before somebody else takes it; an interface exists before anything is put on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use ipnetwork::IpNetwork;
use lacis_proto::{GroupId, OverlayAddrs, PublicKey};

use crate::{Desired, Interface, Route, TunnelPeer};

mod step;

pub use self::step::Step;

/// What an address on an interface is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The own peer's: packets of the host may have it as their source.
    Own,
    /// The group's resolver: never a source (preferred lifetime 0, DESIGN ruling 10).
    Resolver,
}

/// An address on an overlay interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The address with its full prefix length.
    pub net: IpNetwork,
    /// What it is for.
    pub role: Role,
}

/// What the machine shows of the agent's work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Overlay interfaces by name.
    pub interfaces: BTreeMap<String, ObservedInterface>,
}

/// An overlay interface as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedInterface {
    /// The group that it was made for.
    pub group: GroupId,
    /// Public half of the key that its tunnels use.
    pub key: PublicKey,
    /// MTU.
    pub mtu: u16,
    /// Addresses on it.
    pub addresses: BTreeSet<Address>,
    /// Routes into it.
    pub routes: BTreeSet<Route>,
    /// Public half of the key by which plain clients know the node.
    pub gateway: Option<PublicKey>,
    /// Tunnel peers.
    pub peers: BTreeMap<PublicKey, TunnelPeer>,
    /// Addresses on it where the resolver answers.
    pub resolvers: BTreeSet<IpAddr>,
}

/// Steps in the order in which they must be applied; prints one per line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Revision of the [`Desired`] that it leads to.
    pub revision: u64,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// Steps that lead from `seen` to `want`, in the order in which they must be applied. Empty when both agree.
#[must_use]
pub fn plan(want: &Desired, seen: &Observed) -> Plan {
    let by_name: BTreeMap<&str, (&GroupId, &Interface)> =
        want.interfaces.iter().map(|(group, wanted)| (wanted.name.as_str(), (group, wanted))).collect();
    let mut steps = Vec::new();
    for (name, found) in &seen.interfaces {
        match by_name.get(name.as_str()) {
            Some((group, wanted)) if found.group == **group => removals(&mut steps, wanted, found),
            Some(_) | None => {
                for addr in &found.resolvers {
                    steps.push(Step::StopResolver { interface: name.clone(), addr: *addr });
                }
                steps.push(Step::RemoveInterface { interface: name.clone() });
            }
        }
    }
    for (name, (group, wanted)) in by_name {
        let found = seen.interfaces.get(name).filter(|found| found.group == *group);
        additions(&mut steps, group, wanted, found);
    }
    Plan { revision: want.revision, steps }
}

fn removals(steps: &mut Vec<Step>, wanted: &Interface, found: &ObservedInterface) {
    let interface = || wanted.name.clone();
    let resolvers = BTreeSet::from(wanted.resolver.both());
    for addr in found.resolvers.difference(&resolvers) {
        steps.push(Step::StopResolver { interface: interface(), addr: *addr });
    }
    let owner_of: BTreeMap<IpNetwork, PublicKey> =
        wanted.peers.iter().flat_map(|(key, peer)| peer.allowed.iter().map(|net| (*net, *key))).collect();
    for (key, peer) in &found.peers {
        let moves_away =
            || peer.allowed.iter().any(|net| owner_of.get(net).is_some_and(|owner| owner != key));
        if !wanted.peers.contains_key(key) || moves_away() {
            steps.push(Step::RemovePeer { interface: interface(), key: *key });
        }
    }
    for route in found.routes.difference(&wanted.routes) {
        steps.push(Step::RemoveRoute { interface: interface(), route: *route });
    }
    for address in found.addresses.difference(&addresses(wanted)) {
        steps.push(Step::RemoveAddress { interface: interface(), address: *address });
    }
}

fn additions(steps: &mut Vec<Step>, group: &GroupId, wanted: &Interface, found: Option<&ObservedInterface>) {
    let interface = || wanted.name.clone();
    let removed: BTreeSet<PublicKey> = steps
        .iter()
        .filter_map(|step| {
            let Step::RemovePeer { interface, key } = step else { return None };
            (*interface == wanted.name).then_some(*key)
        })
        .collect();
    match found {
        None => steps.push(Step::CreateInterface {
            interface: interface(),
            group: group.clone(),
            key: wanted.key,
            mtu: wanted.mtu,
        }),
        Some(found) => {
            if found.key != wanted.key {
                steps.push(Step::SetKey { interface: interface(), key: wanted.key });
            }
            if found.mtu != wanted.mtu {
                steps.push(Step::SetMtu { interface: interface(), mtu: wanted.mtu });
            }
        }
    }
    for address in addresses(wanted) {
        if !found.is_some_and(|found| found.addresses.contains(&address)) {
            steps.push(Step::AddAddress { interface: interface(), address });
        }
    }
    for route in &wanted.routes {
        if !found.is_some_and(|found| found.routes.contains(route)) {
            steps.push(Step::AddRoute { interface: interface(), route: *route });
        }
    }
    if found.and_then(|found| found.gateway) != wanted.gateway {
        let (group, key) = (group.clone(), wanted.gateway);
        steps.push(Step::SetGateway { interface: interface(), group, key });
    }
    for (key, peer) in &wanted.peers {
        let known = found.and_then(|found| found.peers.get(key)).filter(|_| !removed.contains(key));
        if known != Some(peer) {
            steps.push(Step::SetPeer { interface: interface(), key: *key, peer: peer.clone() });
        }
    }
    for addr in wanted.resolver.both() {
        if !found.is_some_and(|found| found.resolvers.contains(&addr)) {
            steps.push(Step::StartResolver { interface: interface(), addr });
        }
    }
}

/// The addresses of an interface: the own peer's and the resolver's, each alone in its prefix.
fn addresses(wanted: &Interface) -> BTreeSet<Address> {
    let of = |addrs: OverlayAddrs, role| addrs.both().map(|addr| Address { net: addr.into(), role });
    of(wanted.own, Role::Own).into_iter().chain(of(wanted.resolver, Role::Resolver)).collect()
}

impl Observed {
    /// What the machine shows after a step succeeded.
    pub fn apply(&mut self, step: &Step) {
        if let Step::CreateInterface { interface, group, key, mtu } = step {
            let made = ObservedInterface::new(group.clone(), *key, *mtu);
            self.interfaces.insert(interface.clone(), made);
            return;
        }
        if let Step::RemoveInterface { interface } = step {
            self.interfaces.remove(interface);
            return;
        }
        if let Some(found) = self.interfaces.get_mut(step.interface()) {
            found.apply(step);
        }
    }
}

impl ObservedInterface {
    /// An interface that has just been made.
    #[must_use]
    pub const fn new(group: GroupId, key: PublicKey, mtu: u16) -> Self {
        Self {
            group,
            key,
            mtu,
            addresses: BTreeSet::new(),
            routes: BTreeSet::new(),
            gateway: None,
            peers: BTreeMap::new(),
            resolvers: BTreeSet::new(),
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::StopResolver { addr, .. } => drop(self.resolvers.remove(addr)),
            Step::RemovePeer { key, .. } => drop(self.peers.remove(key)),
            Step::RemoveRoute { route, .. } => drop(self.routes.remove(route)),
            Step::RemoveAddress { address, .. } => drop(self.addresses.remove(address)),
            Step::SetKey { key, .. } => self.key = *key,
            Step::SetMtu { mtu, .. } => self.mtu = *mtu,
            Step::AddAddress { address, .. } => drop(self.addresses.insert(*address)),
            Step::AddRoute { route, .. } => drop(self.routes.insert(*route)),
            Step::SetGateway { key, .. } => self.gateway = *key,
            Step::SetPeer { key, peer, .. } => drop(self.peers.insert(*key, peer.clone())),
            Step::StartResolver { addr, .. } => drop(self.resolvers.insert(*addr)),
            Step::CreateInterface { .. } | Step::RemoveInterface { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
