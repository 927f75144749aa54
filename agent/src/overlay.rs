//! Makes this machine what the rules say it should be: interfaces, addresses, routes, tunnel peers and
//! resolvers.
//!
//! ```text
//! Desired ─ plan(Observed) ─▶ steps ─▶ host (netlink) · tunnel (mailbox) · names (sockets)
//! ```
//! What was applied is kept as `Observed`; addresses and routes are read from the kernel before each
//! plan, so that what somebody else took away comes back. A step that fails is reported, the others go
//! on, and the next plan tries it again.

mod steps;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lacis_agent_core::{Degradation, Desired, Observed, ObservedInterface, Step, plan};
use lacis_proto::{GroupId, PublicKey};
use lacis_tunnel::{Command, Device, DeviceError, MemoryTun, NetworkId, PrivateKey, SendError, Tunnel};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::{
    dns::{BindError, DnsServer},
    host::{self, Host, HostError},
};

/// A step that could not be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Names(#[from] BindError),
    #[error("the tunnel has stopped")]
    Tunnel(#[source] SendError),
    #[error("the key of group {group} is not the one that its peer was registered with")]
    Key { group: GroupId },
    #[error("there is no interface {interface}")]
    NoInterface { interface: String },
    #[error("cannot make a device in memory")]
    Memory(#[source] std::io::Error),
}

impl ApplyError {
    fn degradation(&self) -> Degradation {
        match self {
            Self::Names(error) => Degradation::NamesUnanswered {
                addr: error.addr,
                reason: format!("{} over {}", error.source, error.transport),
                remedy: error.remedy,
            },
            Self::Device(_)
            | Self::Host(_)
            | Self::Tunnel(_)
            | Self::Key { .. }
            | Self::NoInterface { .. }
            | Self::Memory(_) => Degradation::NotApplied { reason: report(self) },
        }
    }
}

/// Where interfaces come from.
#[derive(Debug)]
pub(crate) enum Devices {
    /// TUN interfaces of this machine.
    Kernel(Host),
    /// Devices in memory; whoever started the agent plays the host.
    Memory(mpsc::UnboundedSender<(GroupId, MemoryTun)>),
}

/// One interface that is there.
#[derive(Debug)]
struct Up {
    network: NetworkId,
    group: GroupId,
    /// The kernel's number, 0 in memory.
    index: u32,
}

/// Everything that steps act on.
#[derive(Debug)]
pub(crate) struct Overlay {
    pub(crate) tunnel: Tunnel,
    devices: Devices,
    dns: DnsServer,
    keys: BTreeMap<GroupId, PrivateKey>,
    /// Keys by which plain clients know this node, where it is a gateway.
    gateway_keys: BTreeMap<GroupId, PrivateKey>,
    up: BTreeMap<String, Up>,
    observed: Observed,
    next_network: u32,
    /// Steps that failed at the last attempt, with what that means.
    failures: BTreeMap<String, Degradation>,
    /// Whether the host had IPv6 at the last attempt.
    has_ipv6: bool,
}

impl Overlay {
    pub(crate) fn new(tunnel: Tunnel, devices: Devices, dns: DnsServer) -> Self {
        Self {
            tunnel,
            devices,
            dns,
            keys: BTreeMap::new(),
            gateway_keys: BTreeMap::new(),
            up: BTreeMap::new(),
            observed: Observed::default(),
            next_network: 0,
            failures: BTreeMap::new(),
            has_ipv6: true,
        }
    }

    /// Makes a group's private key known, before its interface is wanted.
    pub(crate) fn add_key(&mut self, group: GroupId, key: PrivateKey) {
        self.keys.insert(group, key);
    }

    /// Makes a group's gateway key known, before this node is wanted as a gateway.
    pub(crate) fn add_gateway_key(&mut self, group: GroupId, key: PrivateKey) {
        self.gateway_keys.insert(group, key);
    }

    /// Leads from what is there to what is wanted.
    pub(crate) async fn reconcile(&mut self, want: &Desired) {
        self.observe().await;
        self.has_ipv6 = true;
        let plan = plan(want, &self.observed);
        let before = std::mem::take(&mut self.failures);
        for step in &plan.steps {
            if step.is_ipv6() && !self.can_have_ipv6(step.interface()) {
                // Left out, and found wanting by the next plan: it comes once the host allows it.
                self.has_ipv6 = false;
                continue;
            }
            match self.apply(step).await {
                Ok(()) => {
                    tracing::debug!(%step, "applied");
                    self.observed.apply(step);
                }
                Err(error) => {
                    let (step, what) = (step.to_string(), error.degradation());
                    if before.get(&step) != Some(&what) {
                        tracing::warn!(step, error = report(&error), "not applied");
                    }
                    self.failures.insert(step, what);
                }
            }
        }
    }

    /// What could not be set up at the last attempt.
    pub(crate) fn degradations(&self) -> impl Iterator<Item = Degradation> {
        let has_ipv6 = self.has_ipv6 && self.tunnel.reaches(Ipv6Addr::UNSPECIFIED.into());
        let no_ipv6 = (!has_ipv6).then_some(Degradation::NoIpv6);
        let has_ipv4 = self.tunnel.reaches(Ipv4Addr::UNSPECIFIED.into());
        let no_ipv4 = (!has_ipv4).then_some(Degradation::NoIpv4);
        self.failures.values().cloned().chain(no_ipv6).chain(no_ipv4)
    }

    /// Whether something could not be set up and is to be tried again.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Whether packets pass: names that go unanswered hold nobody up.
    pub(crate) fn is_complete(&self) -> bool {
        self.failures.values().all(|failure| matches!(failure, Degradation::NamesUnanswered { .. }))
    }

    /// The interface of a group, where it is up.
    pub(crate) fn interface_of(&self, group: &GroupId) -> Option<&str> {
        self.up.iter().find(|(_, up)| up.group == *group).map(|(name, _)| name.as_str())
    }

    /// The tunnel's name for a group.
    pub(crate) fn network_of(&self, group: &GroupId) -> Option<NetworkId> {
        self.up.values().find(|up| up.group == *group).map(|up| up.network)
    }

    /// The group behind the tunnel's name.
    pub(crate) fn group_of(&self, network: NetworkId) -> Option<&GroupId> {
        self.up.values().find(|up| up.network == network).map(|up| &up.group)
    }

    /// The device of a network went away, or is let go: its interface is made again by the next plan that wants it.
    pub(crate) fn device_gone(&mut self, network: NetworkId) {
        let name = self.up.iter().find(|(_, up)| up.network == network).map(|(name, _)| name.clone());
        if let Some(interface) = name {
            self.up.remove(&interface);
            // Left in the tunnel, it would take the handshakes that are meant for the one that is made anew.
            let _ = self.tunnel.deliver(Command::RemoveNetwork(network));
            self.observed.apply(&Step::RemoveInterface { interface });
        }
    }

    /// Where names are answered: interfaces, their numbers in the kernel, and the addresses.
    pub(crate) fn answered(&self) -> impl Iterator<Item = (String, u32, BTreeSet<IpAddr>)> {
        self.up.iter().filter(|(_, up)| up.index != 0).filter_map(|(name, up)| {
            let addresses = &self.observed.interfaces.get(name)?.resolvers;
            (!addresses.is_empty()).then(|| (name.clone(), up.index, addresses.clone()))
        })
    }

    /// Calls on peers, first where they were last heard from.
    pub(crate) fn initiate(&self, group: &GroupId, peers: &BTreeMap<PublicKey, Option<SocketAddr>>) {
        let Some((network, seen)) = self.seen(group) else { return };
        for (key, endpoint) in peers {
            if let Some(peer) = seen.peers.get(key) {
                let mut config = steps::peer_config(network, *key, peer);
                if let Some(endpoint) = endpoint {
                    config.candidates.retain(|candidate| candidate != endpoint);
                    config.candidates.insert(0, *endpoint);
                }
                config.initiate = true;
                // A full mailbox means traffic enough: the peer is called by its first packet.
                let _ = self.tunnel.send(Command::SetPeer(Box::new(config)));
            }
        }
    }

    /// The secret of this node's peer in a group with the owner of another key: a peer, or a relay. `None` for a key that
    /// is none.
    pub(crate) fn agree(&self, group: &GroupId, other: &PublicKey) -> Option<Zeroizing<[u8; 32]>> {
        self.keys.get(group)?.agree(other.as_bytes())
    }

    /// Says something to the tunnel that must not be lost. A tunnel that has stopped says so itself.
    pub(crate) fn command(&self, command: Command) {
        let _ = self.tunnel.deliver(command);
    }

    /// A client may be at an endpoint; it is called there where its gateway is gone.
    pub(crate) fn expect(&self, group: &GroupId, client: &PublicKey, at: SocketAddr, call: bool) {
        let Some((network, seen)) = self.seen(group) else { return };
        let Some(peer) = seen.peers.get(client).filter(|peer| peer.client) else { return };
        let mut config = steps::peer_config(network, *client, peer);
        config.candidates.retain(|candidate| *candidate != at);
        config.candidates.insert(0, at);
        config.initiate = call;
        // A full mailbox means traffic enough: what was said is said again.
        let _ = self.tunnel.send(Command::SetPeer(Box::new(config)));
    }

    /// Sends what is for a client through another gateway.
    pub(crate) fn prefer(&self, group: &GroupId, client: &PublicKey, via: &PublicKey) {
        let Some((network, seen)) = self.seen(group) else { return };
        let Some(peer) = seen.peers.get(client).filter(|peer| peer.client) else { return };
        let shared = peer.shared.iter().copied().collect();
        let _ = self.tunnel.send(Command::Prefer { network, key: *via.as_bytes(), shared });
    }

    fn seen(&self, group: &GroupId) -> Option<(NetworkId, &ObservedInterface)> {
        let (network, interface) = self.network_of(group).zip(self.interface_of(group))?;
        Some((network, self.observed.interfaces.get(interface)?))
    }

    /// Whether an interface is the kernel's, with addresses that programs of this host can use.
    pub(crate) fn is_in_kernel(&self, interface: &str) -> bool {
        self.up.get(interface).is_some_and(|up| up.index != 0)
    }

    /// Reads addresses and routes of our interfaces from the kernel.
    async fn observe(&mut self) {
        let Devices::Kernel(host) = &self.devices else { return };
        for (name, up) in &self.up {
            let (Some(seen), Ok(Some(addresses))) =
                (self.observed.interfaces.get_mut(name), host.addresses_on(name).await)
            else {
                continue;
            };
            seen.addresses.retain(|address| addresses.contains(&address.net.ip()));
            if let Ok(routed) = host.routed_to(up.index).await {
                seen.routes.retain(|route| routed.contains(&route.to));
            }
        }
    }

    fn can_have_ipv6(&self, interface: &str) -> bool {
        match self.devices {
            Devices::Kernel(_) => host::has_ipv6(interface),
            Devices::Memory(_) => true,
        }
    }

    fn make_device(&self, name: &str, group: &GroupId, mtu: u16) -> Result<Device, ApplyError> {
        match &self.devices {
            Devices::Kernel(_) => Ok(self.tunnel.open_tun(name, mtu)?),
            Devices::Memory(hosts) => {
                let (device, host) = Device::memory().map_err(ApplyError::Memory)?;
                // Nobody plays the host: packets for it are dropped, as they should be.
                let _ = hosts.send((group.clone(), host));
                Ok(device)
            }
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
