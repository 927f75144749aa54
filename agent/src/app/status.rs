//! Puts together what the agent tells of itself.

use std::{collections::BTreeMap, time::Duration};

use lacis_agent_core::{AgentCore, Degradation, Hosted, Netmap, Notice, PathView, Peer, Way};
use lacis_proto::{GroupId, PeerId, PublicKey, Revision, in_suffix, member_name, overlay_addrs, sanitize};
use lacis_tunnel::{NetworkId, PeerStats, Stats};

use super::{enrol::AGENT, watching::Heard};
use crate::{
    overlay::Overlay,
    paths::{Finder, from_tunnel},
    status::{AlarmStatus, ControlStatus, GoneGroup, GroupStatus, NamesStatus, PeerStatus, Status},
};

type Views = BTreeMap<(GroupId, PublicKey), PathView>;
type Figures = BTreeMap<(NetworkId, [u8; 32]), PeerStats>;

/// The status at `now`.
pub(super) fn status(
    core: &AgentCore,
    (overlay, finder): (&Overlay, &Finder),
    heard: Heard,
    degraded: &[Degradation],
    gone: Vec<GoneGroup>,
    names: NamesStatus,
    now: Duration,
) -> Status {
    let stats = overlay.tunnel.stats().unwrap_or_default();
    let tunnel = stats.counters.named().into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    let figures = figures(stats);
    let control = core.control();
    let views = finder.views().into_iter().map(|view| ((view.group.clone(), view.key), view)).collect();
    Status {
        agent: AGENT.to_owned(),
        node: core.local().node.clone(),
        ready: is_ready(core, overlay),
        port: overlay.tunnel.port(),
        control: ControlStatus {
            url: heard.url,
            connected: control.in_sync,
            last_word_s: control.last_line.map(|last| seconds(now.saturating_sub(last))),
            trouble: if control.in_sync { None } else { heard.trouble },
        },
        groups: core
            .netmaps()
            .iter()
            .filter_map(|(group, netmap)| {
                group_status(group, netmap, core, (overlay, finder), (&figures, &views))
            })
            .collect(),
        alarms: alarms(core, now),
        gone,
        names,
        relays: finder.netcheck().relays,
        tunnel,
        degraded: degraded.iter().map(Into::into).collect(),
    }
}

fn alarms(core: &AgentCore, now: Duration) -> Vec<AlarmStatus> {
    let peers = core.alarms().map(|alarm| {
        let name = core.netmaps().get(&alarm.group).map(|netmap| peer_label(netmap, &alarm.peer));
        AlarmStatus {
            kind: "peer".to_owned(),
            subject: name.unwrap_or_else(|| alarm.peer.to_string()),
            text: alarm.doubt.to_string(),
            refused: alarm.refused,
        }
    });
    let copies = core.copy(now).map(|copy| AlarmStatus {
        kind: "copy".to_owned(),
        subject: copy.host.clone(),
        text: Notice::Copy(copy.clone()).to_string(),
        refused: true,
    });
    peers.chain(copies).collect()
}

/// Whether every group of this node has its interface, and everything on it.
pub(super) fn is_ready(core: &AgentCore, overlay: &Overlay) -> bool {
    let wanted = &core.desired().interfaces;
    let hosted = &core.local().hosted;
    !hosted.is_empty()
        && hosted.keys().all(|group| wanted.contains_key(group) && overlay.interface_of(group).is_some())
        && overlay.is_complete()
}

fn figures(stats: Stats) -> Figures {
    let networks = stats.networks.into_iter();
    networks
        .flat_map(|network| network.peers.into_iter().map(move |peer| ((network.id, peer.key), peer)))
        .collect()
}

fn group_status(
    group: &GroupId,
    netmap: &Netmap,
    core: &AgentCore,
    (overlay, finder): (&Overlay, &Finder),
    (figures, views): (&Figures, &Views),
) -> Option<GroupStatus> {
    let own: &Hosted = core.local().hosted.get(group)?;
    let addrs = overlay_addrs(netmap.pool, netmap.prefix6, own.host)?;
    let network = overlay.network_of(group);
    let mut peers: Vec<_> = netmap.peers.iter().filter(|(id, _)| **id != own.peer).collect();
    peers.sort_by_key(|(_, peer)| peer.host);
    Some(GroupStatus {
        id: group.clone(),
        label: netmap.label.clone(),
        interface: overlay.interface_of(group).map(str::to_owned),
        version: applied(core, group, netmap),
        member: own.member.clone(),
        peer: own.peer.clone(),
        name: peer_label(netmap, &own.peer),
        address4: addrs.v4,
        address6: addrs.v6,
        resolver4: netmap.resolver.v4,
        resolver6: netmap.resolver.v6,
        gateway: None,
        peers: peers
            .into_iter()
            .map(|(id, peer)| {
                let seen = network.and_then(|network| figures.get(&(network, *peer.key.as_bytes())));
                let way = seen.filter(|seen| seen.session).and_then(|seen| seen.way).map(from_tunnel);
                let view = views.get(&(group.clone(), peer.key));
                PeerStatus {
                    id: id.clone(),
                    member: peer.member.clone(),
                    name: peer_label(netmap, id),
                    instance: instance(netmap, id, peer),
                    address4: peer.addrs.v4,
                    address6: peer.addrs.v6,
                    path: way.map_or("none", path_word).to_owned(),
                    via: way.map(|way| finder.via(way, view)),
                    endpoint: seen
                        .and_then(|seen| seen.way)
                        .filter(|way| way.relay.is_none())
                        .map(|way| way.remote),
                    last_handshake_s: seen.and_then(|seen| seen.last_handshake).map(seconds),
                    rx_bytes: seen.map_or(0, |seen| seen.rx_bytes),
                    tx_bytes: seen.map_or(0, |seen| seen.tx_bytes),
                }
            })
            .collect(),
    })
}

fn applied(core: &AgentCore, group: &GroupId, netmap: &Netmap) -> Revision {
    core.desired().interfaces.get(group).map_or(netmap.revision, |interface| interface.revision)
}

/// What people call a peer: its member's label name where that is the member's alone, else the name by
/// the member's id.
pub(super) fn peer_label(netmap: &Netmap, peer: &PeerId) -> String {
    let Some(peer) = netmap.peers.get(peer) else { return peer.as_str().to_owned() };
    let suffix = netmap.suffixes.first().map_or("lacis.internal", String::as_str);
    let label_of = |label: &str| sanitize(label);
    let member = netmap.members.get(&peer.member);
    let label = member.and_then(|member| label_of(&member.label));
    let is_alone = netmap.members.values().filter(|other| label_of(&other.label) == label).count() == 1;
    match (label, label_of(&netmap.label)) {
        (Some(label), Some(group)) if is_alone => in_suffix(&in_suffix(&label, &group), suffix),
        _ => member_name(&peer.member, &netmap.group, suffix),
    }
}

/// What tells a peer from other instances of its member: what its machine calls itself, where no other does so, too.
fn instance(netmap: &Netmap, id: &PeerId, peer: &Peer) -> String {
    let is_like = |other: &Peer| other.member == peer.member && other.label == peer.label;
    let is_alone = netmap.peers.values().filter(|other| is_like(other)).count() == 1;
    if is_alone && !peer.label.is_empty() { peer.label.clone() } else { id.to_string() }
}

/// Whether a way is direct, in a word.
pub(super) const fn path_word(way: Way) -> &'static str {
    if way.is_direct() { "direct" } else { "relayed" }
}

pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
