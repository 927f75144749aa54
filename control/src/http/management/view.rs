//! Groups, members and peers in the shape that network-groups clients read, presence beside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lacis_control_core::{Found, GatewayRow, Group, MemberRow, PeerRow, Receipt};
use lacis_proto::{DialAddress, FIRST_PEER_HOST, Host, MemberKind, OverlayAddrs, PublicKey, overlay_addrs};
use serde::Serialize;
use utoipa::ToSchema;

use crate::live::{PresenceNow, Seen};

/// A network group with its members and peers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NetworkGroup)]
pub(super) struct GroupView<'a> {
    /// Its id: `ng_<uuid>`.
    id: &'a str,
    owner_id: &'a str,
    label: &'a str,
    /// The label as it stands in names; empty where nothing of it can.
    dns_sanitized_label: String,
    description: &'a str,
    tags: &'a [String],
    /// The IPv4 range of the overlay.
    network_ip: String,
    /// The IPv6 range of the overlay.
    #[serde(rename = "networkIp6")]
    network_ip6: String,
    /// The highest IPv4 address that was given so far; before the first peer, the last that is reserved.
    last_allocated_ip: String,
    members: Vec<MemberView<'a>>,
    peers: Vec<PeerView<'a>>,
    /// The group's revision: one more with each commit.
    version: u64,
    /// The key by which plain WireGuard clients know its gateways; absent before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    gateway_key: Option<PublicKey>,
    /// Always `CUSTOMER`.
    ownership: &'static str,
    created_ms: u64,
}

/// A resource that is linked to a group.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Member)]
pub(super) struct MemberView<'a> {
    /// The resource's own id.
    id: &'a str,
    kind: KindView,
    label: &'a str,
    /// Its name in the zone; one A and AAAA record per live peer.
    domain_name: &'a str,
}

/// What a member is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = MemberKind)]
pub(super) enum KindView {
    Application,
    Addon,
    External,
}

/// One running instance of a member.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Peer)]
pub(super) struct PeerView<'a> {
    r#type: PeerTypeView,
    /// A uuid, or `external_<uuid>`.
    id: &'a str,
    label: &'a str,
    /// Its WireGuard key; absent where none is known yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    public_key: Option<PublicKey>,
    hostname: &'a str,
    parent_member: &'a str,
    parent_event: Option<&'a str>,
    /// The hypervisor, which only the platform has: always null.
    hv: Option<&'a str>,
    /// The node whose agent runs it; absent for a peer without an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    endpoint: EndpointView,
    /// What it has to do with being a gateway; absent where it has nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<GatewayView<'a>>,
    presence: PresenceView<'a>,
}

/// A peer as a gateway for plain WireGuard clients. It sees in clear what it passes on.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Gateway)]
pub(super) struct GatewayView<'a> {
    /// Whether it is one: wanted, and in possession of the group's gateway key.
    serving: bool,
    /// The word of an owner; without one, the agent's offer counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen: Option<bool>,
    /// Whether its agent was started as a gateway.
    offered: bool,
    /// Where clients dial it, `HOST:PORT`, if that was said; else at its first endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
}

/// Whether a peer is one of the platform or of an agent, or any other WireGuard.
#[derive(Serialize, ToSchema)]
#[schema(as = PeerType)]
pub(super) enum PeerTypeView {
    #[serde(rename = "CleverPeer")]
    Clever,
    #[serde(rename = "ExternalPeer")]
    External,
}

/// Where a peer is: one that can be dialled has a public term.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type")]
#[schema(as = Endpoint)]
enum EndpointView {
    /// It can be dialled.
    #[serde(rename = "ServerEndpoint")]
    Server {
        #[serde(rename = "ngTerm")]
        ng_term: Term,
        #[serde(rename = "publicTerm")]
        public_term: Term,
        #[serde(rename = "ngIp6")]
        #[schema(value_type = Option<String>)]
        ng_ip6: Option<Ipv6Addr>,
    },
    /// It dials others.
    #[serde(rename = "ClientEndpoint")]
    Client {
        #[serde(rename = "ngIp")]
        #[schema(value_type = String)]
        ng_ip: Ipv4Addr,
        #[serde(rename = "ngIp6")]
        #[schema(value_type = Option<String>)]
        ng_ip6: Option<Ipv6Addr>,
    },
}

/// An address and a port.
#[derive(Serialize, ToSchema)]
struct Term {
    #[schema(value_type = String)]
    host: IpAddr,
    port: u16,
}

/// Whether the agent of a peer is connected to control.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Presence)]
pub(super) struct PresenceView<'a> {
    connected: bool,
    /// Since when, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    since_ms: Option<u64>,
    /// The agent's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    /// Where its connection comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    underlay: Option<SocketAddr>,
    /// The version of the group that it has applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<u64>,
}

/// What a search finds.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = SearchResult)]
pub(super) enum FoundView<'a> {
    /// A group, whole.
    Group(FoundGroup<'a>),
    /// A member, with its group.
    Member(FoundMember<'a>),
    /// A peer, with its group.
    Peer(FoundPeer<'a>),
}

/// A group that was found.
#[derive(Serialize, ToSchema)]
pub(super) struct FoundGroup<'a> {
    /// Always `NetworkGroup`.
    r#type: &'static str,
    #[serde(flatten)]
    group: GroupView<'a>,
}

/// A member that was found.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundMember<'a> {
    /// Always `Member`.
    r#type: &'static str,
    network_group_id: &'a str,
    owner_id: &'a str,
    #[serde(flatten)]
    member: MemberView<'a>,
}

/// A peer that was found.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundPeer<'a> {
    network_group_id: &'a str,
    owner_id: &'a str,
    #[serde(flatten)]
    peer: PeerView<'a>,
}

/// An object that was written, with the version that includes it.
#[derive(Serialize, ToSchema)]
pub(super) struct Written<T> {
    #[serde(flatten)]
    pub(super) object: T,
    /// The group's version that includes it.
    pub(super) version: u64,
    /// Where `wait` was asked: who has applied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) receipt: Option<ReceiptView>,
}

/// Something that was removed, where `wait` was asked.
#[derive(Serialize, ToSchema)]
pub(super) struct Removed {
    /// The group's version that includes it.
    pub(super) version: u64,
    /// Who has applied it.
    pub(super) receipt: ReceiptView,
}

/// A group that was written.
#[derive(Serialize, ToSchema)]
pub(super) struct WrittenGroup<'a> {
    #[serde(flatten)]
    pub(super) group: GroupView<'a>,
    /// Where `wait` was asked: who has applied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) receipt: Option<ReceiptView>,
}

/// A peer that was registered.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RegisteredPeer)]
pub(super) struct RegisteredView<'a> {
    pub(super) peer_id: &'a str,
    #[serde(flatten)]
    pub(super) peer: PeerView<'a>,
}

/// Who of the connected agents has applied a version.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Receipt)]
pub(super) struct ReceiptView {
    version: u64,
    /// Whether every connected agent has applied it.
    complete: bool,
    /// How many connected agents have.
    applied: usize,
    /// How many agents of the group are connected.
    concerned: usize,
    /// The nodes of those that have not applied it.
    missing: Vec<String>,
    /// How many agents are not connected; they apply it when they come.
    away: usize,
}

impl GroupView<'_> {
    /// The group alone, where members and peers stand apart.
    pub(super) fn without_contents(self) -> Self {
        Self { members: Vec::new(), peers: Vec::new(), ..self }
    }
}

pub(super) fn group<'a>(group: &'a Group, presence: &'a PresenceNow<'_>) -> GroupView<'a> {
    let row = &group.row;
    let last = Host(row.next_host.max(FIRST_PEER_HOST).0 - 1);
    GroupView {
        id: row.id.as_str(),
        owner_id: row.owner.as_str(),
        label: &row.label,
        dns_sanitized_label: lacis_proto::sanitize(&row.label).unwrap_or_default(),
        description: &row.description,
        tags: &row.tags,
        network_ip: row.pool.to_string(),
        network_ip6: row.prefix6.to_string(),
        last_allocated_ip: addrs(group, last).map(|addrs| addrs.v4.to_string()).unwrap_or_default(),
        members: group.members.values().map(member).collect(),
        peers: group.peers.values().map(|row| peer(group, row, presence)).collect(),
        version: row.revision.0,
        gateway_key: row.gateway_key,
        ownership: "CUSTOMER",
        created_ms: row.created_ms,
    }
}

pub(super) fn member(row: &MemberRow) -> MemberView<'_> {
    let kind = match row.kind {
        MemberKind::Application => KindView::Application,
        MemberKind::Addon => KindView::Addon,
        MemberKind::External => KindView::External,
    };
    MemberView { id: row.id.as_str(), kind, label: &row.label, domain_name: &row.domain }
}

pub(super) fn peer<'a>(group: &'a Group, row: &'a PeerRow, presence: &'a PresenceNow<'_>) -> PeerView<'a> {
    let addrs = addrs(group, row.host);
    let (v4, ng_ip6) = (addrs.map_or(Ipv4Addr::UNSPECIFIED, |addrs| addrs.v4), addrs.map(|addrs| addrs.v6));
    let endpoint = match row.endpoints.first() {
        Some(first) => EndpointView::Server {
            ng_term: Term { host: v4.into(), port: first.addr.port() },
            public_term: Term { host: first.addr.ip(), port: first.addr.port() },
            ng_ip6,
        },
        None => EndpointView::Client { ng_ip: v4, ng_ip6 },
    };
    PeerView {
        r#type: if row.id.is_external() { PeerTypeView::External } else { PeerTypeView::Clever },
        id: row.id.as_str(),
        label: &row.label,
        public_key: row.key,
        hostname: hostname(row),
        parent_member: row.member.as_str(),
        parent_event: row.parent_event.as_deref(),
        hv: None,
        node: row.node.as_ref().map(|node| node.as_str()),
        endpoint,
        gateway: gateway(&row.gateway),
        presence: presence_of(Some(group), row.node.as_ref().and_then(|node| presence.seen(node))),
    }
}

fn gateway(row: &GatewayRow) -> Option<GatewayView<'_>> {
    let endpoint = row.dialled().map(DialAddress::as_str);
    let view =
        GatewayView { serving: row.serves().is_some(), chosen: row.chosen, offered: row.offered, endpoint };
    (*row != GatewayRow::default()).then_some(view)
}

pub(super) fn found<'a>(found: &Found<'a>, presence: &'a PresenceNow<'_>) -> FoundView<'a> {
    let of = |group: &'a Group| (group.row.id.as_str(), group.row.owner.as_str());
    match *found {
        Found::Group(held) => {
            FoundView::Group(FoundGroup { r#type: "NetworkGroup", group: group(held, presence) })
        }
        Found::Member(held, row) => {
            let ((network_group_id, owner_id), member) = (of(held), member(row));
            FoundView::Member(FoundMember { r#type: "Member", network_group_id, owner_id, member })
        }
        Found::Peer(held, row) => {
            let ((network_group_id, owner_id), peer) = (of(held), peer(held, row, presence));
            FoundView::Peer(FoundPeer { network_group_id, owner_id, peer })
        }
    }
}

pub(super) fn receipt(receipt: &Receipt) -> ReceiptView {
    ReceiptView {
        version: receipt.revision.0,
        complete: receipt.is_complete(),
        applied: receipt.applied,
        concerned: receipt.applied + receipt.missing.len(),
        missing: receipt.missing.iter().map(ToString::to_string).collect(),
        away: receipt.away,
    }
}

/// The host name of a peer, for people.
pub(super) fn hostname(row: &PeerRow) -> &str {
    row.hostname.as_deref().unwrap_or(&row.label)
}

/// Whether a node is connected, and what it has applied of a group.
pub(super) fn presence_of<'a>(group: Option<&Group>, seen: Option<&'a Seen>) -> PresenceView<'a> {
    let applied = group.zip(seen).and_then(|(group, seen)| seen.applied.get(&(&group.row.id).into()));
    PresenceView {
        connected: seen.is_some(),
        since_ms: seen.map(|seen| seen.since_ms),
        agent: seen.map(|seen| seen.agent.as_str()),
        underlay: seen.map(|seen| seen.underlay),
        applied: applied.map(|revision| revision.0),
    }
}

/// The overlay addresses of a host of a group.
pub(super) fn addrs(group: &Group, host: Host) -> Option<OverlayAddrs> {
    overlay_addrs(group.row.pool, group.row.prefix6, host)
}
