//! Addresses of this machine at which other nodes may reach it.

use std::net::{IpAddr, SocketAddr};

use lacis_proto::{Endpoint, EndpointKind, MAX_ENDPOINTS};
use lacis_tunnel::Tunnel;
use rtnetlink::packet_route::{
    address::{AddressFlags, AddressHeaderFlags},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use super::{
    Host, HostError,
    link::{address_of, is_link_local, name_of},
};

/// Whether an interface is one of ours: its addresses are overlay addresses.
pub(crate) fn is_overlay_interface(name: &str) -> bool {
    name.strip_prefix("lcs")
        .is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Host {
    /// Endpoints at this host's addresses where the tunnel hears: overlay interfaces, bridges, loopback and
    /// link-local addresses left out, global ones first.
    pub(crate) async fn endpoints(&self, tunnel: &Tunnel) -> Result<Vec<Endpoint>, HostError> {
        let links = self.links().await?;
        let usable: Vec<u32> =
            links.iter().filter(|link| is_underlay(link)).map(|link| link.header.index).collect();
        let mut addresses: Vec<IpAddr> = self
            .addresses(None)
            .await?
            .iter()
            .filter(|message| usable.contains(&message.header.index))
            .filter(|message| is_lasting(message.header.flags))
            .filter_map(address_of)
            .filter(|address| tunnel.reaches(*address) && !is_link_local(*address) && !address.is_loopback())
            .collect();
        addresses.sort_by_key(|address| (is_private(*address), *address));
        addresses.dedup();
        let endpoint =
            |address| Endpoint { kind: EndpointKind::Host, addr: SocketAddr::new(address, tunnel.port()) };
        Ok(addresses.into_iter().take(MAX_ENDPOINTS).map(endpoint).collect())
    }
}

fn is_underlay(link: &LinkMessage) -> bool {
    let bridge = link.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(infos) if infos.contains(&LinkInfo::Kind(InfoKind::Bridge)))
    });
    let flags = link.header.flags;
    flags.contains(LinkFlags::Up)
        && !flags.contains(LinkFlags::Loopback)
        && !bridge
        && name_of(link).is_some_and(|name| !is_overlay_interface(name))
}

fn is_lasting(flags: AddressHeaderFlags) -> bool {
    let passing = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    u32::from(flags.bits()) & passing.bits() == 0
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}
