//! Groups, members and peers in the shape that network-groups clients read, presence beside.

use lacis_control_core::{Group, MemberRow, PeerRow};
use lacis_proto::{Host, MemberKind, OverlayAddrs, overlay_addrs};
use serde::Serialize;

use crate::live::{Presence, Seen};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupView {
    id: String,
    owner_id: String,
    label: String,
    dns_sanitized_label: Option<String>,
    description: String,
    tags: Vec<String>,
    network_ip: String,
    #[serde(rename = "networkIp6")]
    network_ip6: String,
    last_allocated_ip: Option<String>,
    members: Vec<MemberView>,
    peers: Vec<PeerView>,
    version: u64,
    ownership: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberView {
    id: String,
    kind: MemberKind,
    label: String,
    domain_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PeerView {
    r#type: &'static str,
    id: String,
    label: String,
    public_key: Option<String>,
    hostname: String,
    parent_member: String,
    parent_event: Option<String>,
    node: Option<String>,
    endpoint: EndpointView,
    presence: PresenceView,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum EndpointView {
    ServerEndpoint { ng_term: Term, public_term: Term, ng_ip6: Option<String> },
    ClientEndpoint { ng_ip: Option<String>, ng_ip6: Option<String> },
}

#[derive(Serialize)]
struct Term {
    host: String,
    port: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PresenceView {
    connected: bool,
    since_ms: Option<u64>,
    agent: Option<String>,
    underlay: Option<String>,
    applied: Option<u64>,
}

pub(super) fn group(group: &Group, presence: &Presence) -> GroupView {
    let row = &group.row;
    let last = row.next_host.0.checked_sub(1).map(Host);
    GroupView {
        id: row.id.to_string(),
        owner_id: row.owner.to_string(),
        label: row.label.clone(),
        dns_sanitized_label: lacis_proto::sanitize(&row.label),
        description: row.description.clone(),
        tags: row.tags.clone(),
        network_ip: row.pool.to_string(),
        network_ip6: row.prefix6.to_string(),
        last_allocated_ip: last
            .filter(|host| *host >= lacis_proto::FIRST_PEER_HOST)
            .and_then(|host| addrs(group, host))
            .map(|addrs| addrs.v4.to_string()),
        members: group.members.values().map(member).collect(),
        peers: group
            .peers
            .values()
            .map(|row| peer(group, row, row.node.as_ref().and_then(|node| presence.seen(node))))
            .collect(),
        version: row.revision.0,
        ownership: "CUSTOMER",
    }
}

fn member(row: &MemberRow) -> MemberView {
    MemberView {
        id: row.id.to_string(),
        kind: row.kind,
        label: row.label.clone(),
        domain_name: row.domain.clone(),
    }
}

fn peer(group: &Group, row: &PeerRow, seen: Option<Seen>) -> PeerView {
    let addrs = addrs(group, row.host);
    let (v4, ng_ip6) = (addrs.map(|addrs| addrs.v4.to_string()), addrs.map(|addrs| addrs.v6.to_string()));
    let endpoint = match row.endpoints.first() {
        Some(first) => EndpointView::ServerEndpoint {
            ng_term: Term { host: v4.unwrap_or_default(), port: first.addr.port() },
            public_term: Term { host: first.addr.ip().to_string(), port: first.addr.port() },
            ng_ip6,
        },
        None => EndpointView::ClientEndpoint { ng_ip: v4, ng_ip6 },
    };
    let applied = seen.as_ref().and_then(|seen| seen.applied.get(&(&group.row.id).into()));
    PeerView {
        r#type: if row.id.is_external() { "ExternalPeer" } else { "CleverPeer" },
        id: row.id.to_string(),
        label: row.label.clone(),
        public_key: row.key.map(|key| key.to_string()),
        hostname: row.hostname.clone().unwrap_or_else(|| row.label.clone()),
        parent_member: row.member.to_string(),
        parent_event: row.parent_event.clone(),
        node: row.node.as_ref().map(ToString::to_string),
        endpoint,
        presence: PresenceView {
            connected: seen.is_some(),
            since_ms: seen.as_ref().map(|seen| seen.since_ms),
            agent: seen.as_ref().map(|seen| seen.agent.clone()),
            underlay: seen.as_ref().map(|seen| seen.underlay.to_string()),
            applied: applied.map(|revision| revision.0),
        },
    }
}

fn addrs(group: &Group, host: Host) -> Option<OverlayAddrs> {
    overlay_addrs(group.row.pool, group.row.prefix6, host)
}
