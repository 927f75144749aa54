//! One interface: its addresses and state.

use std::{collections::BTreeSet, net::IpAddr};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    AddressMessageBuilder, LinkUnspec,
    packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo},
    packet_route::link::{LinkAttribute, LinkMessage},
};

use super::{EADDRNOTAVAIL, EEXIST, ENODEV, Host, HostError, unless};

/// Preferred lifetime of an address that must not become a source (RFC 4862 §5.5.4).
const DEPRECATED: u32 = 0;
/// Lifetime without end (RFC 4861 §4.6.2).
const FOREVER: u32 = u32::MAX;

impl Host {
    /// Addresses on an interface, link-local ones left out, or `None` where there is none of that name.
    pub(crate) async fn addresses_on(&self, name: &str) -> Result<Option<BTreeSet<IpAddr>>, HostError> {
        let links =
            self.netlink.link().get().match_name(name.to_owned()).execute().try_collect::<Vec<_>>().await;
        let Some(link) = links.ok().and_then(|mut links| links.pop()) else { return Ok(None) };
        let messages = self.addresses(Some(link.header.index)).await?;
        let addresses = messages.iter().filter_map(address_of).filter(|address| !is_link_local(*address));
        Ok(Some(addresses.collect()))
    }

    /// Sets the MTU of an interface and brings it up.
    pub(crate) async fn bring_up(&self, index: u32, mtu: u16) -> Result<(), HostError> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu.into()).up().build();
        let result = self.netlink.link().set(message).execute().await;
        unless(result, &[], || format!("bring up interface {index}"))
    }

    /// Gives an interface an overlay address. A resolver's never becomes a source.
    pub(crate) async fn add_address(
        &self,
        index: u32,
        address: IpAddr,
        resolver: bool,
    ) -> Result<(), HostError> {
        let mut request = self.netlink.address().add(index, address, single(address));
        let message = request.message_mut();
        // No duplicate detection: control hands each address out once, and detection would delay its use.
        let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
        message.attributes.push(AddressAttribute::Flags(flags));
        if address.is_ipv6() {
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_preferred = if resolver { DEPRECATED } else { FOREVER };
            lifetime.ifa_valid = FOREVER;
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
        unless(request.execute().await, &[EEXIST], || format!("add address {address}"))
    }

    /// Takes an address from an interface.
    pub(crate) async fn remove_address(&self, index: u32, address: IpAddr) -> Result<(), HostError> {
        let message = match address {
            IpAddr::V4(v4) => {
                AddressMessageBuilder::<std::net::Ipv4Addr>::new().index(index).address(v4, 32).build()
            }
            IpAddr::V6(v6) => {
                AddressMessageBuilder::<std::net::Ipv6Addr>::new().index(index).address(v6, 128).build()
            }
        };
        let result = self.netlink.address().del(message).execute().await;
        unless(result, &[EADDRNOTAVAIL, ENODEV], || format!("remove address {address}"))
    }

    pub(super) async fn addresses(&self, index: Option<u32>) -> Result<Vec<AddressMessage>, HostError> {
        let _alone = self.listing.lock().await;
        let request = self.netlink.address().get();
        let request = match index {
            Some(index) => request.set_link_index_filter(index),
            None => request,
        };
        let messages = request.execute().try_collect().await;
        messages.map_err(|source| HostError::Refused { what: "list addresses".to_owned(), source })
    }

    pub(super) async fn links(&self) -> Result<Vec<LinkMessage>, HostError> {
        let _alone = self.listing.lock().await;
        let messages = self.netlink.link().get().execute().try_collect().await;
        messages.map_err(|source| HostError::Refused { what: "list interfaces".to_owned(), source })
    }
}

/// The address that a message is about: the local one of a point-to-point pair.
pub(super) fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let local = |attribute: &AddressAttribute| {
        if let AddressAttribute::Local(address) = attribute { Some(*address) } else { None }
    };
    let address = |attribute: &AddressAttribute| {
        if let AddressAttribute::Address(address) = attribute { Some(*address) } else { None }
    };
    let attributes = &message.attributes;
    attributes.iter().find_map(local).or_else(|| attributes.iter().find_map(address))
}

pub(super) fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::IfName(name) = attribute { Some(name.as_str()) } else { None }
    })
}

/// The prefix length of a single address.
const fn single(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
