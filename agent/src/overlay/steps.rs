//! One step at a time.

use std::net::{IpAddr, SocketAddr};

use ipnetwork::IpNetwork;
use lacis_agent_core::{Address, Role, Route, Step, TunnelPeer};
use lacis_proto::{GroupId, PublicKey};
use lacis_tunnel::{Command, NetworkConfig, NetworkId, PeerConfig, PrivateKey};

use super::{ApplyError, Devices, Overlay, Up};

/// DNS, UDP and TCP (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

impl Overlay {
    pub(super) async fn apply(&mut self, step: &Step) -> Result<(), ApplyError> {
        match step {
            Step::CreateInterface { interface, group, key, mtu } => {
                self.create(interface, group, key, *mtu).await
            }
            Step::RemoveInterface { interface } => self.remove(interface),
            Step::SetKey { interface, key } => {
                let (network, group) = self.up(interface).map(|up| (up.network, up.group.clone()))?;
                let key = self.private_key(&group, key)?;
                self.deliver(Command::SetPrivateKey { network, key })
            }
            Step::SetMtu { interface, mtu } => self.set_mtu(interface, *mtu).await,
            Step::AddAddress { interface, address } => self.add_address(interface, address).await,
            Step::RemoveAddress { interface, address } => self.remove_address(interface, address).await,
            Step::AddRoute { interface, route } => self.add_route(interface, *route).await,
            Step::RemoveRoute { interface, route } => {
                let index = self.up(interface)?.index;
                if let Devices::Kernel(host) = &self.devices {
                    host.remove_route(index, route.to).await?;
                }
                Ok(())
            }
            Step::SetPeer { interface, key, peer } => {
                let network = self.up(interface)?.network;
                let known = self.observed.interfaces.get(interface).and_then(|seen| seen.peers.get(key));
                let shared_before = known.is_some_and(|known| known.client || !known.shared.is_empty());
                self.deliver(Command::SetPeer(Box::new(peer_config(network, *key, peer))))?;
                if shared_before || peer.client || !peer.shared.is_empty() {
                    let (shared, client) = (peer.shared.iter().copied().collect(), peer.client);
                    self.deliver(Command::SetShared { network, key: *key.as_bytes(), shared, client })?;
                }
                Ok(())
            }
            Step::SetGateway { interface, group, key } => self.set_gateway(interface, group, key.as_ref()),
            Step::RemovePeer { interface, key } => {
                let network = self.up(interface)?.network;
                self.deliver(Command::RemovePeer { network, key: *key.as_bytes() })
            }
            Step::StartResolver { addr, .. } => self.start_resolver(SocketAddr::new(*addr, DNS_PORT)).await,
            Step::StopResolver { addr, .. } => {
                self.dns.unbind(SocketAddr::new(*addr, DNS_PORT)).await;
                Ok(())
            }
        }
    }

    async fn create(
        &mut self,
        interface: &str,
        group: &GroupId,
        key: &PublicKey,
        mtu: u16,
    ) -> Result<(), ApplyError> {
        let private_key = self.private_key(group, key)?;
        let device = self.make_device(interface, group, mtu)?;
        let index = device.index();
        if let Devices::Kernel(host) = &self.devices {
            host.bring_up(index, mtu).await?;
        }
        let network = NetworkId(self.next_network);
        self.next_network += 1;
        let config = NetworkConfig {
            id: network,
            device,
            private_key,
            addresses: Vec::new(),
            accepted: Vec::new(),
            // Whatever the host sends here and nobody owns is answered at once, not left to time out.
            pools: everything(),
            mtu,
        };
        self.deliver(Command::AddNetwork(Box::new(config)))?;
        self.up.insert(interface.to_owned(), Up { network, group: group.clone(), index });
        Ok(())
    }

    /// This node's key in a group, by its public half.
    fn private_key(&self, group: &GroupId, key: &PublicKey) -> Result<PrivateKey, ApplyError> {
        let private_key = self.keys.get(group).map(|key| PrivateKey::from(key.to_bytes()));
        let private_key = private_key.filter(|private| private.public() == *key.as_bytes());
        private_key.ok_or_else(|| ApplyError::Key { group: group.clone() })
    }

    fn set_gateway(
        &self,
        interface: &str,
        group: &GroupId,
        key: Option<&PublicKey>,
    ) -> Result<(), ApplyError> {
        let network = self.up(interface)?.network;
        let held = self.gateway_keys.get(group);
        let private = key.map(|key| held.filter(|held| held.public() == *key.as_bytes()));
        if private.is_some_and(|private| private.is_none()) {
            return Err(ApplyError::Key { group: group.clone() });
        }
        self.deliver(Command::SetGateway { network, key: private.flatten().cloned() })
    }

    fn remove(&mut self, interface: &str) -> Result<(), ApplyError> {
        let network = self.up(interface)?.network;
        self.deliver(Command::RemoveNetwork(network))?;
        // The figures come after the removal: once they are here, the interface's name is free again.
        drop(self.tunnel.stats());
        self.up.remove(interface);
        Ok(())
    }

    async fn set_mtu(&self, interface: &str, mtu: u16) -> Result<(), ApplyError> {
        let up = self.up(interface)?;
        if let Devices::Kernel(host) = &self.devices {
            host.bring_up(up.index, mtu).await?;
        }
        self.deliver(Command::SetMtu { network: up.network, mtu })
    }

    async fn add_address(&self, interface: &str, address: &Address) -> Result<(), ApplyError> {
        let index = self.up(interface)?.index;
        if let Devices::Kernel(host) = &self.devices {
            host.add_address(index, address.net.ip(), address.role == Role::Resolver).await?;
        }
        self.announce(interface, |addresses| addresses.push(*address))
    }

    async fn remove_address(&self, interface: &str, address: &Address) -> Result<(), ApplyError> {
        let index = self.up(interface)?.index;
        if let Devices::Kernel(host) = &self.devices {
            host.remove_address(index, address.net.ip()).await?;
        }
        self.announce(interface, |addresses| addresses.retain(|there| there != address))
    }

    async fn add_route(&self, interface: &str, route: Route) -> Result<(), ApplyError> {
        let index = self.up(interface)?.index;
        if let Devices::Kernel(host) = &self.devices {
            host.check_overlap(&[route.to], interface).await?;
            host.add_route(index, route.to, route.from).await?;
        }
        Ok(())
    }

    async fn start_resolver(&mut self, addr: SocketAddr) -> Result<(), ApplyError> {
        match &self.devices {
            Devices::Kernel(_) => Ok(self.dns.bind(addr).await.map(drop)?),
            // There is no such address where the interface is in memory.
            Devices::Memory(_) => Ok(()),
        }
    }

    /// Tells the tunnel which addresses are this node's own in a group.
    fn announce(&self, interface: &str, change: impl FnOnce(&mut Vec<Address>)) -> Result<(), ApplyError> {
        let network = self.up(interface)?.network;
        let seen = self.observed.interfaces.get(interface);
        let mut all: Vec<Address> =
            seen.map(|seen| seen.addresses.iter().copied().collect()).unwrap_or_default();
        change(&mut all);
        let (own, resolver): (Vec<Address>, Vec<Address>) =
            all.into_iter().partition(|address| address.role == Role::Own);
        self.deliver(Command::SetAddresses {
            network,
            addresses: own.iter().map(|address| address.net.ip()).collect(),
            accepted: resolver.iter().map(|address| IpNetwork::from(address.net.ip())).collect(),
        })
    }

    fn deliver(&self, command: Command) -> Result<(), ApplyError> {
        self.tunnel.deliver(command).map_err(ApplyError::Tunnel)
    }

    fn up(&self, interface: &str) -> Result<&Up, ApplyError> {
        self.up.get(interface).ok_or_else(|| ApplyError::NoInterface { interface: interface.to_owned() })
    }
}

/// A peer as the tunnel takes it.
pub(super) fn peer_config(network: NetworkId, key: PublicKey, peer: &TunnelPeer) -> PeerConfig {
    PeerConfig {
        network,
        key: *key.as_bytes(),
        allowed: peer.allowed.iter().copied().collect(),
        candidates: peer.endpoints.iter().map(|endpoint| endpoint.addr).collect(),
        keepalive: None,
        preshared_key: None,
        initiate: false,
    }
}

fn everything() -> Vec<IpNetwork> {
    let any = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
    any.into_iter().filter_map(|base| IpNetwork::new(base, 0).ok()).collect()
}
