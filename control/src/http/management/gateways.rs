//! Gateways of a group: who they are, where plain clients dial them, how many are there; and another key for them.
//!
//! A peer is chosen as a gateway, or no longer, by a change of the peer ([`super::peers::edit`]).

use std::net::{Ipv4Addr, Ipv6Addr};

use ::http::StatusCode;
use axum::response::Response;
use lacis_control_core::{Command, Group, PeerRow, by_host, clients, dialled_at, front};
use lacis_proto::{OverlayAddrs, PublicKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    auth::OfGroup,
    body::{Asked, Body, needed, parsed},
    groups,
    problem::Refused,
    view::{self, Written},
    wait::Wait,
};
use crate::{
    http::{self, Refusal},
    live::PresenceNow,
};

/// The gateways of a group, by which its plain WireGuard clients come in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Gateways)]
pub(super) struct GatewaysView<'a> {
    network_group_id: &'a str,
    /// The key by which clients know them; absent before the first gateway, and until a retired one is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    key: Option<PublicKey>,
    /// How often the key was retired.
    rotations: u32,
    /// Where the files of clients say that they dial, `HOST:PORT`; absent where no gateway can be dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    /// How many plain clients the group has, here or not.
    clients: usize,
    gateways: Vec<GatewayPeerView<'a>>,
}

/// A peer that is a gateway, or is to be one.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GatewayPeer)]
pub(super) struct GatewayPeerView<'a> {
    peer_id: &'a str,
    label: &'a str,
    /// Its overlay addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    ng_ip: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    ng_ip6: Option<Ipv6Addr>,
    /// Whether it is one: wanted, and in possession of the group's gateway key.
    serving: bool,
    /// The word of an owner; without one, the agent's offer counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen: Option<bool>,
    /// Whether its agent was started as a gateway.
    offered: bool,
    /// Where clients can dial it, `HOST:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    /// Whether its agent is connected to control.
    connected: bool,
    /// How many plain clients it has heard last, before any other gateway; absent where it did not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<u32>,
}

/// Which key is to be retired.
#[derive(Deserialize, ToSchema)]
#[schema(as = GatewayKeyRetired)]
pub(super) struct Retired {
    /// The group's gateway key; any other is retired already, and nothing happens.
    #[schema(required = true, nullable = false, pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]
    key: Option<String>,
}

/// Lists the gateways of a group, and where its plain clients dial them.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/gateways", tag = "gateways", params(OfGroup),
    responses((status = 200, body = GatewaysView<'static>), Refused)
)]
pub(super) async fn list(of: OfGroup) -> Result<Response, Refusal> {
    let live = &of.caller.control.live;
    let (published, presence) = (live.read(), live.presence.now());
    Ok(http::json(StatusCode::OK, &gateways(of.read(&published)?, &presence)))
}

/// Retires the gateway key, for good and at once: the gateways make another one, and every plain client needs a file that
/// names it. For a key that somebody else may have, or that no gateway has any more.
#[utoipa::path(
    post, path = "/{ownerId}/networkgroups/{networkGroupId}/gateways/rotate-key", tag = "gateways",
    params(OfGroup, Wait), request_body = Retired,
    responses((status = 202, body = Written<GatewaysView<'static>>), Refused)
)]
pub(super) async fn rotate(
    of: OfGroup,
    Asked(wait): Asked<Wait>,
    Body(retired): Body<Retired>,
) -> Result<Response, Refusal> {
    let key = parsed(&needed(retired.key, "key")?, "key")?;
    let control = &of.caller.control;
    let waiting = wait.begin(control, &of.group);
    of.caller.ask(Command::RotateGatewayKey { group: of.group.clone(), key }).await?;
    let version = groups::revision_of(control, &of.group)?;
    let receipt = waiting.end(version).await;
    let (published, presence) = (control.live.read(), control.live.presence.now());
    let object = gateways(of.read(&published)?, &presence);
    Ok(http::json(StatusCode::ACCEPTED, &Written { object, version: version.0, receipt }))
}

fn gateways<'a>(group: &'a Group, presence: &'a PresenceNow<'_>) -> GatewaysView<'a> {
    let wanted = by_host(group).filter(|peer| peer.gateway.is_wanted());
    GatewaysView {
        network_group_id: group.row.id.as_str(),
        key: group.row.gateway_key,
        rotations: group.row.gateway_rotations,
        endpoint: front(group).map(|front| front.endpoint),
        clients: clients(group),
        gateways: wanted.map(|peer| gateway(group, peer, presence)).collect(),
    }
}

fn gateway<'a>(group: &'a Group, peer: &'a PeerRow, presence: &'a PresenceNow<'_>) -> GatewayPeerView<'a> {
    let addrs: Option<OverlayAddrs> = view::addrs(group, peer.host);
    let seen = peer.node.as_ref().and_then(|node| presence.seen(node));
    GatewayPeerView {
        peer_id: peer.id.as_str(),
        label: &peer.label,
        ng_ip: addrs.map(|addrs| addrs.v4),
        ng_ip6: addrs.map(|addrs| addrs.v6),
        serving: peer.gateway.serves().is_some(),
        chosen: peer.gateway.chosen,
        offered: peer.gateway.offered,
        endpoint: dialled_at(peer),
        connected: seen.is_some(),
        clients: seen.and_then(|seen| seen.clients.get(&peer.id).copied()),
    }
}
