//! Routes of the main table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use ipnetwork::IpNetwork;
use rtnetlink::{
    RouteMessageBuilder,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope},
    },
};

use super::{EEXIST, ENODEV, ESRCH, Host, HostError, link::name_of, unless};

impl Host {
    /// Routes a prefix to an interface, with the source that packets get.
    pub(crate) async fn add_route(
        &self,
        index: u32,
        prefix: IpNetwork,
        source: IpAddr,
    ) -> Result<(), HostError> {
        let message = with_source(prefix, index, Some(source));
        let result = self.netlink.route().add(message).execute().await;
        unless(result, &[EEXIST], || format!("route {prefix} to interface {index}"))
    }

    /// Takes a route from an interface.
    pub(crate) async fn remove_route(&self, index: u32, prefix: IpNetwork) -> Result<(), HostError> {
        let message = with_source(prefix, index, None);
        let result = self.netlink.route().del(message).execute().await;
        unless(result, &[ESRCH, ENODEV], || format!("remove the route to {prefix}"))
    }

    /// Refuses ranges of a group to parts of which this host has a route already, other than through
    /// `own`, the group's own interface. A default route overlaps nothing.
    pub(crate) async fn check_overlap(&self, ranges: &[IpNetwork], own: &str) -> Result<(), HostError> {
        let links = self.links().await?;
        let name = |index: u32| {
            let link = links.iter().find(|link| link.header.index == index);
            link.and_then(name_of).unwrap_or("an interface").to_owned()
        };
        for route in self.routes().await? {
            let Some((prefix, index)) = prefix_and_interface(&route) else { continue };
            let via = name(index);
            if prefix.prefix() == 0 || via == own {
                continue;
            }
            if let Some(range) = ranges.iter().find(|range| overlap(**range, prefix)) {
                return Err(HostError::Overlap { range: *range, route: prefix, via });
            }
        }
        Ok(())
    }

    /// Prefixes that are routed to an interface.
    pub(crate) async fn routed_to(&self, index: u32) -> Result<Vec<IpNetwork>, HostError> {
        let routes = self.routes().await?;
        let to = routes.iter().filter_map(prefix_and_interface).filter(|(_, via)| *via == index);
        Ok(to.map(|(prefix, _)| prefix).collect())
    }

    /// The router by which packets of IPv4 leave this host for everywhere; none where there is none.
    pub(crate) async fn gateway(&self) -> Result<Option<Ipv4Addr>, HostError> {
        let routes = self.routes().await?;
        let defaults = routes.iter().filter(|route| route.header.destination_prefix_length == 0);
        Ok(defaults.filter_map(priority_and_gateway).min().map(|(_, gateway)| gateway))
    }

    /// The ways to everywhere, in an order of their own.
    pub(crate) async fn default_routes(&self) -> Result<Vec<DefaultRoute>, HostError> {
        let mut ways: Vec<DefaultRoute> = self.routes().await?.iter().filter_map(DefaultRoute::of).collect();
        ways.sort();
        Ok(ways)
    }

    async fn routes(&self) -> Result<Vec<RouteMessage>, HostError> {
        let _alone = self.listing.lock().await;
        let mut routes = Vec::new();
        for message in
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()]
        {
            let some: Result<Vec<RouteMessage>, _> =
                self.netlink.route().get(message).execute().try_collect().await;
            routes.extend(
                some.map_err(|source| HostError::Refused { what: "list routes".to_owned(), source })?,
            );
        }
        routes.retain(|route| route.header.table == RouteHeader::RT_TABLE_MAIN);
        Ok(routes)
    }
}

/// A route to everywhere: by which interface and router, and how it ranks among others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DefaultRoute {
    is_v4: bool,
    priority: u32,
    gateway: Option<IpAddr>,
    interface: Option<u32>,
}

impl DefaultRoute {
    fn of(route: &RouteMessage) -> Option<Self> {
        if route.header.destination_prefix_length != 0 {
            return None;
        }
        let is_v4 = route.header.address_family == AddressFamily::Inet;
        let mut found = Self { is_v4, priority: 0, gateway: None, interface: None };
        for attribute in &route.attributes {
            if let RouteAttribute::Gateway(RouteAddress::Inet(address)) = attribute {
                found.gateway = Some(IpAddr::V4(*address));
            } else if let RouteAttribute::Gateway(RouteAddress::Inet6(address)) = attribute {
                found.gateway = Some(IpAddr::V6(*address));
            } else if let RouteAttribute::Priority(number) = attribute {
                found.priority = *number;
            } else if let RouteAttribute::Oif(index) = attribute {
                found.interface = Some(*index);
            }
        }
        Some(found)
    }
}

/// Whether a note of the kernel is about a route that is none of ours: of routes only those to everywhere count, for a
/// host that speaks a routing protocol hears of thousands.
pub(super) fn is_of_no_concern(message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    let NetlinkPayload::InnerMessage(
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
    ) = &message.payload
    else {
        return false;
    };
    route.header.destination_prefix_length != 0 || route.header.table != RouteHeader::RT_TABLE_MAIN
}

fn with_source(prefix: IpNetwork, index: u32, source: Option<IpAddr>) -> RouteMessage {
    match prefix {
        IpNetwork::V4(prefix) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .scope(RouteScope::Link)
                .destination_prefix(prefix.network(), prefix.prefix())
                .output_interface(index);
            match source {
                Some(IpAddr::V4(source)) => route.pref_source(source).build(),
                Some(IpAddr::V6(_)) | None => route.build(),
            }
        }
        IpNetwork::V6(prefix) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(prefix.network(), prefix.prefix())
                .output_interface(index);
            match source {
                Some(IpAddr::V6(source)) => route.pref_source(source).build(),
                Some(IpAddr::V4(_)) | None => route.build(),
            }
        }
    }
}

fn prefix_and_interface(route: &RouteMessage) -> Option<(IpNetwork, u32)> {
    let destination = route.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Destination(RouteAddress::Inet(v4)) = attribute {
            return Some(IpAddr::V4(*v4));
        }
        if let RouteAttribute::Destination(RouteAddress::Inet6(v6)) = attribute {
            Some(IpAddr::V6(*v6))
        } else {
            None
        }
    });
    let index = route
        .attributes
        .iter()
        .find_map(|attribute| if let RouteAttribute::Oif(index) = attribute { Some(*index) } else { None });
    let prefix = IpNetwork::new(destination?, route.header.destination_prefix_length).ok()?;
    Some((prefix, index?))
}

fn priority_and_gateway(route: &RouteMessage) -> Option<(u32, Ipv4Addr)> {
    let (mut priority, mut gateway) = (0, None);
    for attribute in &route.attributes {
        if let RouteAttribute::Gateway(RouteAddress::Inet(address)) = attribute {
            gateway = Some(*address);
        } else if let RouteAttribute::Priority(number) = attribute {
            priority = *number;
        }
    }
    Some((priority, gateway?))
}

/// Whether two ranges share an address.
pub(crate) fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a.contains(b.network()) || b.contains(a.network()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, expected: bool) {
        assert_eq!(overlap(a.parse().unwrap(), b.parse().unwrap()), expected, "{a} {b}");
        assert_eq!(overlap(b.parse().unwrap(), a.parse().unwrap()), expected, "{b} {a}");
    }

    fn default_via(gateway: [u8; 4], priority: u32) -> RouteMessage {
        RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway.into()).priority(priority).build()
    }

    #[test]
    fn another_router_or_rank_is_another_way_to_everywhere() {
        let of = |gateway, priority| DefaultRoute::of(&default_via(gateway, priority));
        assert!(of([10, 0, 0, 1], 0).is_some());
        assert_eq!(of([10, 0, 0, 1], 0), of([10, 0, 0, 1], 0));
        assert_ne!(of([10, 0, 0, 1], 0), of([10, 0, 0, 2], 0));
        assert_ne!(of([10, 0, 0, 1], 0), of([10, 0, 0, 1], 100));
        let narrow =
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix([10, 0, 0, 0].into(), 8).build();
        assert_eq!(DefaultRoute::of(&narrow), None);
    }

    #[test]
    fn of_routes_only_those_to_everywhere_are_heard_of() {
        let note = |route| NetlinkMessage::from(RouteNetlinkMessage::NewRoute(route));
        let narrow =
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix([10, 0, 0, 0].into(), 8).build();
        assert!(is_of_no_concern(&note(narrow)));
        assert!(!is_of_no_concern(&note(default_via([10, 0, 0, 1], 0))));
        assert!(!is_of_no_concern(&NetlinkMessage::from(RouteNetlinkMessage::NewLink(Default::default()))));
    }

    #[test]
    fn ranges_overlap_when_one_holds_the_other() {
        check("10.128.0.0/16", "10.128.5.0/24", true);
        check("10.128.0.0/16", "10.0.0.0/8", true);
        check("10.128.0.0/16", "10.129.0.0/16", false);
        check("10.128.0.0/16", "fd00::/8", false);
        check("fd00::/64", "fd00::/64", true);
    }
}
