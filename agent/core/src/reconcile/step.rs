//! One act of a plan, and how it reads.

use std::{fmt, net::IpAddr};

use lacis_proto::{GroupId, PublicKey};

use super::{Address, Role};
use crate::{Route, TunnelPeer};

/// One act of a plan. All but the first two concern an interface that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Removes an interface with all that is on it, its tunnels included.
    RemoveInterface {
        /// Name of the interface.
        interface: String,
    },
    /// Makes an interface, up, with its tunnel engine, without addresses, routes and peers.
    CreateInterface {
        /// Name of the interface.
        interface: String,
        /// The group that it is for.
        group: GroupId,
        /// Public half of the key that its tunnels use.
        key: PublicKey,
        /// MTU.
        mtu: u16,
    },
    /// Changes the key of the tunnels; sessions made with the former one end.
    SetKey {
        /// Name of the interface.
        interface: String,
        /// Public half of the key.
        key: PublicKey,
    },
    /// Changes the MTU.
    SetMtu {
        /// Name of the interface.
        interface: String,
        /// MTU.
        mtu: u16,
    },
    /// Puts an address on the interface.
    AddAddress {
        /// Name of the interface.
        interface: String,
        /// The address.
        address: Address,
    },
    /// Takes an address off the interface.
    RemoveAddress {
        /// Name of the interface.
        interface: String,
        /// The address.
        address: Address,
    },
    /// Adds a route into the interface.
    AddRoute {
        /// Name of the interface.
        interface: String,
        /// The route.
        route: Route,
    },
    /// Removes a route into the interface.
    RemoveRoute {
        /// Name of the interface.
        interface: String,
        /// The route.
        route: Route,
    },
    /// Makes the node a gateway of the group, or no longer one.
    SetGateway {
        /// Name of the interface.
        interface: String,
        /// The group.
        group: GroupId,
        /// Public half of the key by which plain clients know it.
        key: Option<PublicKey>,
    },
    /// Adds a tunnel peer, or changes it and keeps its session.
    SetPeer {
        /// Name of the interface.
        interface: String,
        /// The peer's key.
        key: PublicKey,
        /// All that is said of it.
        peer: TunnelPeer,
    },
    /// Removes a tunnel peer and ends its session at once.
    RemovePeer {
        /// Name of the interface.
        interface: String,
        /// The peer's key.
        key: PublicKey,
    },
    /// Answers names on an address of the interface.
    StartResolver {
        /// Name of the interface.
        interface: String,
        /// The address; the port is 53, over UDP and TCP.
        addr: IpAddr,
    },
    /// Answers names there no more.
    StopResolver {
        /// Name of the interface.
        interface: String,
        /// The address.
        addr: IpAddr,
    },
}

impl Step {
    /// Name of the interface that the step concerns.
    #[must_use]
    pub fn interface(&self) -> &str {
        match self {
            Self::RemoveInterface { interface }
            | Self::CreateInterface { interface, .. }
            | Self::SetKey { interface, .. }
            | Self::SetMtu { interface, .. }
            | Self::AddAddress { interface, .. }
            | Self::RemoveAddress { interface, .. }
            | Self::AddRoute { interface, .. }
            | Self::RemoveRoute { interface, .. }
            | Self::SetGateway { interface, .. }
            | Self::SetPeer { interface, .. }
            | Self::RemovePeer { interface, .. }
            | Self::StartResolver { interface, .. }
            | Self::StopResolver { interface, .. } => interface,
        }
    }

    /// Whether the step sets up something in IPv6, which a host may lack.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        match self {
            Self::AddAddress { address, .. } => address.net.is_ipv6(),
            Self::AddRoute { route, .. } => route.to.is_ipv6(),
            Self::StartResolver { addr, .. } => addr.is_ipv6(),
            Self::RemoveInterface { .. }
            | Self::CreateInterface { .. }
            | Self::SetKey { .. }
            | Self::SetMtu { .. }
            | Self::RemoveAddress { .. }
            | Self::RemoveRoute { .. }
            | Self::SetGateway { .. }
            | Self::SetPeer { .. }
            | Self::RemovePeer { .. }
            | Self::StopResolver { .. } => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.interface())?;
        match self {
            Self::RemoveInterface { .. } => write!(f, "remove interface"),
            Self::CreateInterface { group, mtu, .. } => write!(f, "create interface for {group} mtu {mtu}"),
            Self::SetKey { key, .. } => write!(f, "set key {key}"),
            Self::SetMtu { mtu, .. } => write!(f, "set mtu {mtu}"),
            Self::AddAddress { address, .. } => write!(f, "add address {address}"),
            Self::RemoveAddress { address, .. } => write!(f, "remove address {address}"),
            Self::AddRoute { route, .. } => write!(f, "add route {route}"),
            Self::RemoveRoute { route, .. } => write!(f, "remove route {route}"),
            Self::SetGateway { key: Some(key), .. } => write!(f, "be a gateway with key {key}"),
            Self::SetGateway { key: None, .. } => write!(f, "be no gateway"),
            Self::SetPeer { peer, .. } => write!(f, "set peer {peer}"),
            Self::RemovePeer { key, .. } => write!(f, "remove peer with key {key}"),
            Self::StartResolver { addr, .. } => write!(f, "start resolver on {addr}"),
            Self::StopResolver { addr, .. } => write!(f, "stop resolver on {addr}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            Role::Own => write!(f, "{}", self.net),
            Role::Resolver => write!(f, "{} (resolver)", self.net),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.to, self.from)
    }
}

impl fmt::Display for TunnelPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} allowed", self.peer)?;
        self.allowed.iter().try_for_each(|net| write!(f, " {net}"))?;
        if self.client {
            write!(f, " as a client")?;
        }
        if !self.shared.is_empty() {
            write!(f, " shared")?;
            self.shared.iter().try_for_each(|net| write!(f, " {net}"))?;
        }
        write!(f, " at")?;
        if self.endpoints.is_empty() {
            return write!(f, " nowhere yet");
        }
        self.endpoints.iter().try_for_each(|endpoint| write!(f, " {}", endpoint.addr))
    }
}
