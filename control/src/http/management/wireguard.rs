//! The file for a plain WireGuard client: as text, in JSON, by an address that needs no login, as a stream.

use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts};
use axum::{
    extract::{FromRequestParts, State},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lacis_control_core::{Group, PeerRow, by_host, wg_quick};
use lacis_proto::{Code, GroupId, PeerId, Problem};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    auth::{self, OfGroup},
    body::{Asked, Named},
    missing,
    peers::PeerPath,
    problem::Refused,
    stream::{self, Beat, Event},
    view,
};
use crate::{
    app::Control,
    clock,
    http::{self, Refusal, limit},
};

/// How long a presigned address works: an hour.
const PRESIGNED_S: u64 = 60 * 60;

/// A file with what it was made from.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Configuration {
    ng_id: String,
    peer_id: String,
    /// The version of the group that it was made from.
    version: u64,
    /// The file, in base64.
    configuration: String,
    /// The peers of the group.
    peers: Vec<ListedPeer>,
}

/// A peer beside a file.
#[derive(Serialize, ToSchema)]
pub(super) struct ListedPeer {
    peer_id: String,
    peer_ip: String,
    peer_hostname: String,
}

/// An address that works without login for an hour.
#[derive(Serialize, ToSchema)]
pub(super) struct Presigned {
    url: String,
}

/// What makes a presigned address one.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Signature {
    /// Unix seconds.
    expires: u64,
    signature: String,
}

/// A group and a peer in a presigned address.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct PresignedPath {
    network_group_id: String,
    peer_id: String,
}

/// A caller that is limited by its address alone.
pub(super) struct Anybody;

impl FromRequestParts<Arc<Control>> for Anybody {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, Refusal> {
        control.limits.take(limit::Caller::address(auth::from(parts)), clock::now())?;
        Ok(Self)
    }
}

/// Gives the `wg-quick` file of a peer: as text, or in base64 in JSON where that is asked for. The private
/// key is a placeholder.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/peers/{peerId}/wireguard/configuration",
    tag = "wireguard", params(OfGroup, PeerPath),
    responses(
        (status = 200, description = "The file.",
            content((String = "text/plain"), (Configuration = "application/json"))),
        Refused
    )
)]
pub(super) async fn show(
    of: OfGroup,
    Named(named): Named<PeerPath>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let published = of.caller.control.live.read();
    let (held, peer) = find(of.read(&published)?, &named.peer_id)?;
    if wants_json(&headers) {
        return Ok(http::json(StatusCode::OK, &configuration(held, peer)));
    }
    Ok(text(held, peer))
}

/// Gives an address of the file that works without login for an hour.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/peers/{peerId}/wireguard/configuration/presigned-url",
    tag = "wireguard", params(OfGroup, PeerPath),
    responses((status = 200, body = Presigned), Refused)
)]
pub(super) async fn presign(
    of: OfGroup,
    Named(named): Named<PeerPath>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let control = &of.caller.control;
    let peer = find(of.read(&control.live.read())?, &named.peer_id)?.1.id.clone();
    let path = format!("/v4/networkgroups/wireguard/{}/{peer}", of.group);
    let expires = clock::unix_ms() / 1_000 + PRESIGNED_S;
    let signature = control.keys.presign(&path, expires);
    // The address by which this caller has come works for it.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let base = host
        .map_or_else(|| control.urls.first().cloned().unwrap_or_default(), |host| format!("https://{host}"));
    let url = format!("{base}{path}?expires={expires}&signature={signature}");
    Ok(http::json(StatusCode::OK, &Presigned { url }))
}

/// Gives the `wg-quick` file of a presigned address.
#[utoipa::path(
    get, path = "/v4/networkgroups/wireguard/{networkGroupId}/{peerId}",
    tag = "wireguard", params(PresignedPath, Signature), security(()),
    responses((status = 200, description = "The file.", body = String, content_type = "text/plain"), Refused)
)]
pub(super) async fn presigned(
    _: Anybody,
    State(control): State<Arc<Control>>,
    Named(named): Named<PresignedPath>,
    Asked(shown): Asked<Signature>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let is_over = clock::unix_ms() / 1_000 > shown.expires;
    if is_over || !control.keys.is_presigned(uri.path(), shown.expires, &shown.signature) {
        let message = "this address is not one of ours, or its hour is over; ask for another";
        return Err(Problem::new(Code::Forbidden, message).into());
    }
    let published = control.live.read();
    let group = GroupId::parse(&named.network_group_id).ok().and_then(|id| published.state.group(&id));
    let held = group.ok_or_else(|| auth::no_group(&named.network_group_id))?;
    let (held, peer) = find(held, &named.peer_id)?;
    Ok(text(held, peer))
}

/// Streams the file as it changes: an event of JSON at once and after each change, and heartbeats.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/peers/{peerId}/wireguard/configuration/stream",
    tag = "wireguard", params(OfGroup, PeerPath),
    responses(
        (status = 200, description = "Events of `Configuration`.", body = String, content_type = "text/event-stream"),
        Refused
    )
)]
pub(super) async fn follow(of: OfGroup, Named(named): Named<PeerPath>) -> Result<Response, Refusal> {
    let control = Arc::clone(&of.caller.control);
    let peer = find(of.read(&control.live.read())?, &named.peer_id)?.1.id.clone();
    let (group, mut told) = (of.group.clone(), None);
    stream::open(of, Beat::Event, move |published| {
        let held = published.state.group(&group)?;
        let now = configuration(held, held.peers.get(&peer)?);
        // A change elsewhere in the group, as of a description, leaves the file as it was.
        if told.as_ref() == Some(&now.configuration) {
            return Some(Vec::new());
        }
        told = Some(now.configuration.clone());
        Some(vec![Event::message(now.version.to_string(), &now)])
    })
}

fn find<'a>(group: &'a Group, asked: &str) -> Result<(&'a Group, &'a PeerRow), Problem> {
    let peer = PeerId::parse(asked).ok().and_then(|id| group.peers.get(&id));
    Ok((group, peer.ok_or_else(|| missing("peer", asked))?))
}

fn configuration(group: &Group, peer: &PeerRow) -> Configuration {
    let listed = by_host(group).map(|row| ListedPeer {
        peer_id: row.id.to_string(),
        peer_ip: view::addrs(group, row.host).map(|addrs| addrs.v4.to_string()).unwrap_or_default(),
        peer_hostname: view::hostname(row).to_owned(),
    });
    Configuration {
        ng_id: group.row.id.to_string(),
        peer_id: peer.id.to_string(),
        version: group.row.revision.0,
        configuration: STANDARD.encode(wg_quick(group, peer)),
        peers: listed.collect(),
    }
}

fn text(group: &Group, peer: &PeerRow) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
    (StatusCode::OK, kind, wg_quick(group, peer)).into_response()
}

/// Whether JSON is asked for and text is not.
fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let kinds = || accept.split(',').filter_map(|kind| kind.split(';').next()).map(str::trim);
    let wants = |wanted: &str| kinds().any(|kind| kind.eq_ignore_ascii_case(wanted));
    wants("application/json") && !wants("text/plain")
}
