//! How the host's own resolver comes to ask this agent, decided without touching it.
//!
//! ```text
//! systemd-resolved runs ─▶ per interface: servers, and the domains that are asked there and nowhere else
//! /etc/resolv.conf does not lead there ─▶ the file names this agent; its former servers become upstream
//! ```
//! [`ways`] says which, [`LinkNames`] what an interface gets, [`resolv_conf`] what the file says.

pub mod resolv_conf;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lacis_proto::OverlayAddrs;

use crate::Zones;

/// Ways in which the host's resolver is made to ask this agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// systemd-resolved is told, interface by interface.
    pub resolved: bool,
    /// The file `/etc/resolv.conf` is managed.
    pub file: bool,
}

/// Which ways lead to this agent. The file is left alone where it leads to systemd-resolved.
#[must_use]
pub fn ways(resolved_runs: bool, resolv_conf: &str) -> Ways {
    let servers: Vec<&str> = resolv_conf::name_servers(resolv_conf).collect();
    let leads_to_resolved = !servers.is_empty() && servers.iter().all(|server| STUBS.contains(server));
    Ways { resolved: resolved_runs, file: !(resolved_runs && leads_to_resolved) }
}

/// Where systemd-resolved listens (systemd-resolved.service(8)).
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

/// What an overlay interface tells the host's resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkNames {
    /// Where names are answered.
    pub servers: Vec<IpAddr>,
    /// Domains, each with all names below it, that are asked there and nowhere else.
    pub domains: Vec<String>,
}

/// Most domains of one interface: systemd-resolved takes 256.
pub const MAX_LINK_DOMAINS: usize = 250;

/// What each interface tells, of the resolver addresses that are `answered`.
#[must_use]
pub fn link_names(
    zones: &Zones,
    answered: &BTreeMap<String, BTreeSet<IpAddr>>,
) -> BTreeMap<String, LinkNames> {
    let mut links = BTreeMap::new();
    for zone in zones.iter() {
        let resolver: OverlayAddrs = zone.resolver();
        let name = crate::interface_name(zone.group());
        let Some(answered) = answered.get(&name) else { continue };
        let servers: Vec<IpAddr> =
            resolver.both().into_iter().filter(|addr| answered.contains(addr)).collect();
        if !servers.is_empty() {
            let mut domains = zone.domains();
            domains.truncate(MAX_LINK_DOMAINS);
            links.insert(name, LinkNames { servers, domains });
        }
    }
    links
}

#[cfg(test)]
mod tests;
