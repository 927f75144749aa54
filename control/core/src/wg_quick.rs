//! The file that a plain WireGuard client works from, in the form of `wg-quick`.
//!
//! Where the group has a gateway, it names that alone: the text stays as it is while members come and go. Without one,
//! it lists the peers that its own can dial, each with its addresses alone; one that is dialled itself has
//! all others as well, since they come to it. The first agent that can be dialled also answers for the group's
//! resolver. What cannot be reached stands in a comment with the reason. Peers stand in the order of their
//! host numbers, so that the same group gives the same text.

use std::{fmt::Write as _, net::IpAddr};

use lacis_proto::{Endpoint, EndpointKind, Host, OverlayAddrs, RESOLVER_HOST, overlay_addrs};

use crate::{
    gateway::{Front, front},
    row::PeerRow,
    state::Group,
};

/// Stands where the client writes its private key, which control never sees.
pub const PRIVATE_KEY: &str = "<%PrivateKey%>";

/// MTU of a plain client: relayed over IPv6 it still fits 1500 (DESIGN ruling 14).
const MTU: u16 = 1_400;

/// Seconds between keepalives: under the 30 s after which hasty home routers forget a mapping.
const KEEPALIVE_S: u16 = 25;

/// Most peers that the comment names; a longer list helps nobody.
const MAX_NAMED: usize = 20;

/// The text for a peer of a group.
#[must_use]
pub fn wg_quick(group: &Group, own: &PeerRow) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = interface(&mut text, group, own);
    if let Some(front) = front(group).filter(|_| own.node.is_none()) {
        let _ = gateway(&mut text, group, &front);
        return text;
    }
    let is_dialled = best_endpoint(own).is_some();
    let (mut has_resolver, mut unreached) = (false, Vec::new());
    for peer in by_host(group).filter(|peer| peer.id != own.id) {
        if peer.key.is_none() || (best_endpoint(peer).is_none() && !is_dialled) {
            unreached.push(peer);
            continue;
        }
        let answers = !has_resolver && peer.node.is_some();
        has_resolver |= answers;
        let _ = section(&mut text, group, peer, answers);
    }
    let _ = comment(&mut text, &unreached, has_resolver);
    text
}

/// The peers of a group by host number.
pub fn by_host(group: &Group) -> impl Iterator<Item = &PeerRow> {
    let mut peers: Vec<&PeerRow> = group.peers.values().collect();
    peers.sort_unstable_by_key(|peer| peer.host);
    peers.into_iter()
}

fn interface(text: &mut String, group: &Group, own: &PeerRow) -> std::fmt::Result {
    let row = &group.row;
    writeln!(
        text,
        "# {} ({}) in network group {} ({})",
        one_line(&own.label),
        own.id,
        one_line(&row.label),
        row.id
    )?;
    writeln!(text, "\n[Interface]")?;
    match own.key {
        Some(key) => writeln!(text, "# The private key of {key}, which only its owner has")?,
        None => writeln!(text, "# The private key of this peer; tell control the public one first")?,
    }
    writeln!(text, "PrivateKey = {PRIVATE_KEY}")?;
    if let Some(addrs) = addrs(group, own.host) {
        let (pool, prefix6) = (row.pool.prefix(), row.prefix6.prefix());
        writeln!(text, "Address = {}/{pool}, {}/{prefix6}", addrs.v4, addrs.v6)?;
    }
    if let Some(listen) = best_endpoint(own) {
        writeln!(text, "ListenPort = {}", listen.addr.port())?;
    }
    if let Some(resolver) = addrs(group, RESOLVER_HOST) {
        writeln!(text, "DNS = {}, {}", resolver.v4, resolver.v6)?;
    }
    writeln!(text, "MTU = {MTU}")
}

fn gateway(text: &mut String, group: &Group, front: &Front) -> std::fmt::Result {
    writeln!(text, "\n[Peer]\n# The gateway of the group. It passes everything on, and so sees it in clear")?;
    writeln!(text, "PublicKey = {}", front.key)?;
    writeln!(text, "Endpoint = {}", front.endpoint)?;
    writeln!(text, "AllowedIPs = {}, {}", group.row.pool, group.row.prefix6)?;
    writeln!(text, "PersistentKeepalive = {KEEPALIVE_S}")
}

fn section(text: &mut String, group: &Group, peer: &PeerRow, answers: bool) -> std::fmt::Result {
    let Some((key, own)) = peer.key.zip(addrs(group, peer.host)) else { return Ok(()) };
    writeln!(text, "\n[Peer]\n# {} ({})", one_line(&peer.label), peer.member)?;
    writeln!(text, "PublicKey = {key}")?;
    let endpoint = best_endpoint(peer);
    if let Some(endpoint) = endpoint {
        writeln!(text, "Endpoint = {}", endpoint.addr)?;
    }
    write!(text, "AllowedIPs = {}/32, {}/128", own.v4, own.v6)?;
    if let Some(resolver) = addrs(group, RESOLVER_HOST).filter(|_| answers) {
        write!(text, ", {}/32, {}/128", resolver.v4, resolver.v6)?;
    }
    writeln!(text)?;
    if endpoint.is_some() {
        writeln!(text, "PersistentKeepalive = {KEEPALIVE_S}")?;
    }
    Ok(())
}

fn comment(text: &mut String, unreached: &[&PeerRow], has_resolver: bool) -> std::fmt::Result {
    if !has_resolver {
        writeln!(
            text,
            "\n# No agent can be reached from here, so nothing answers for the names of the group."
        )?;
    }
    if unreached.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n# Not reachable from here, since the group has no gateway:")?;
    for peer in unreached.iter().take(MAX_NAMED) {
        let why = if peer.key.is_none() { "it has no public key yet" } else { "it has no endpoint to dial" };
        writeln!(text, "#   {} ({}): {why}", one_line(&peer.label), peer.member)?;
    }
    if let Some(more) = unreached.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
        writeln!(text, "#   and {more} more")?;
    }
    Ok(())
}

/// The endpoint to dial: what a person configured or a router mapped before what an interface has, IPv4
/// before IPv6, which more networks carry.
pub(crate) fn best_endpoint(peer: &PeerRow) -> Option<&Endpoint> {
    let rank = |kind: EndpointKind| match kind {
        EndpointKind::Static => 0,
        EndpointKind::Portmap => 1,
        EndpointKind::Reflexive => 2,
        EndpointKind::Host => 3,
        EndpointKind::Unknown => 4,
    };
    let is_usable = |endpoint: &&Endpoint| match endpoint.addr.ip() {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    let usable = peer.endpoints.iter().filter(is_usable);
    usable.min_by_key(|endpoint| (rank(endpoint.kind), endpoint.addr.is_ipv6()))
}

fn addrs(group: &Group, host: Host) -> Option<OverlayAddrs> {
    overlay_addrs(group.row.pool, group.row.prefix6, host)
}

/// A label in a comment: one line, whatever it holds.
fn one_line(label: &str) -> String {
    label.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
