//! Peers of a group: listed, shown, registered by clients, changed, removed.

use std::net::{IpAddr, SocketAddr};

use ::http::StatusCode;
use axum::response::Response;
use lacis_control_core::{Command, GatewayEdit, NewPeer, PeerEdit, Remover, Reply};
use lacis_proto::{Code, Endpoint, EndpointKind, PeerId, PeerReply, Problem, Revision};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    auth::OfGroup,
    body::{Asked, Body, Named, lacking, maybe, needed, parsed, port},
    gone, groups, missing,
    problem::Refused,
    view::{self, PeerView, ReceiptView, RegisteredView, Removed, Written},
    wait::{Force, Wait},
};
use crate::http::{self, Refusal};

/// A peer as a client registers it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PeerWanted {
    /// A uuid that the client chose; external peers get theirs from control.
    #[schema(pattern = "^(external_)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
    id: Option<String>,
    /// Shown to people; the id where it is left out.
    #[schema(min_length = 1, max_length = 128)]
    label: Option<String>,
    /// The member that it is an instance of.
    #[schema(required = true, nullable = false, pattern = "^[a-z][a-z0-9]*_[a-z0-9-]+$", max_length = 63)]
    parent_member: Option<String>,
    /// `CLIENT` dials others; `SERVER` can be dialled and needs `ip` and `port`. In any case.
    #[schema(value_type = Option<RoleView>)]
    peer_role: Option<String>,
    /// Read and not acted on: the path tells.
    #[schema(max_length = 64)]
    peer_kind: Option<String>,
    /// Its WireGuard key, 44 characters of base64; a peer without one has an address and no tunnel.
    #[schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]
    public_key: Option<String>,
    ip: Option<String>,
    #[serde(default, deserialize_with = "port")]
    #[schema(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    #[schema(max_length = 253)]
    hostname: Option<String>,
    #[schema(max_length = 128)]
    parent_event: Option<String>,
}

/// Whether a peer can be dialled.
#[derive(ToSchema)]
#[schema(as = PeerRole)]
#[expect(dead_code, reason = "stands for the words in the document; any case of them is read")]
enum RoleView {
    #[schema(rename = "CLIENT")]
    Client,
    #[schema(rename = "SERVER")]
    Server,
}

/// What is to change of a peer; what is left out stays. `gateway` and `gatewayEndpoint` are of one with an agent, all
/// else of one without.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PeerChange {
    #[schema(min_length = 1, max_length = 128)]
    label: Option<String>,
    #[schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]
    public_key: Option<String>,
    ip: Option<String>,
    #[serde(default, deserialize_with = "port")]
    #[schema(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    /// Whether it is to be a gateway for plain WireGuard clients, whatever its agent offers. A gateway sees in clear what
    /// it passes on.
    gateway: Option<bool>,
    /// Where clients dial the gateway, `HOST:PORT`: an address that moves from gateway to gateway, or a name. Empty takes
    /// it back.
    #[schema(max_length = 260)]
    gateway_endpoint: Option<String>,
    /// With `gateway` false: even if it is the last gateway and plain clients come in by it.
    #[serde(default)]
    force: bool,
}

impl PeerChange {
    /// What is said of the peer as a gateway, which stands alone.
    fn gateway(&self) -> Result<Option<GatewayEdit>, Problem> {
        let endpoint = match self.gateway_endpoint.as_deref() {
            Some("") => Some(None),
            Some(text) => Some(Some(parsed(text, "gatewayEndpoint")?)),
            None => None,
        };
        if self.gateway.is_none() && endpoint.is_none() {
            return Ok(None);
        }
        let other = [
            ("label", self.label.is_some()),
            ("publicKey", self.public_key.is_some()),
            ("ip", self.ip.is_some()),
            ("port", self.port.is_some()),
        ];
        if let Some((field, _)) = other.into_iter().find(|(_, is_there)| *is_there) {
            let message = format!(
                "{field} is of a peer without an agent, gateway of one with an agent; say one of them"
            );
            return Err(Problem::new(Code::BadRequest, message).in_field(field));
        }
        Ok(Some(GatewayEdit { chosen: self.gateway, endpoint, force: self.force }))
    }
}

/// A peer in a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct PeerPath {
    /// The peer's id.
    pub(super) peer_id: String,
}

/// Lists the peers of a group.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/peers", tag = "peers", params(OfGroup),
    responses((status = 200, body = Vec<PeerView<'static>>), Refused)
)]
pub(super) async fn list(of: OfGroup) -> Result<Response, Refusal> {
    let live = &of.caller.control.live;
    let (published, presence) = (live.read(), live.presence.now());
    let held = of.read(&published)?;
    let peers: Vec<_> = held.peers.values().map(|row| view::peer(held, row, &presence)).collect();
    Ok(http::json(StatusCode::OK, &peers))
}

/// Shows a peer.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/peers/{peerId}", tag = "peers", params(OfGroup, PeerPath),
    responses((status = 200, body = PeerView<'static>), Refused)
)]
pub(super) async fn show(of: OfGroup, Named(named): Named<PeerPath>) -> Result<Response, Refusal> {
    let live = &of.caller.control.live;
    let (published, presence) = (live.read(), live.presence.now());
    let held = of.read(&published)?;
    let row = PeerId::parse(&named.peer_id).ok().and_then(|id| held.peers.get(&id));
    let row = row.ok_or_else(|| missing("peer", &named.peer_id))?;
    Ok(http::json(StatusCode::OK, &view::peer(held, row, &presence)))
}

/// Registers a peer under the id that the client chose, or says one anew.
#[utoipa::path(
    post, path = "/{ownerId}/networkgroups/{networkGroupId}/peers", tag = "peers", params(OfGroup, Wait),
    request_body = PeerWanted,
    responses((status = 202, body = Written<RegisteredView<'static>>), Refused)
)]
pub(super) async fn register(
    of: OfGroup,
    Asked(wait): Asked<Wait>,
    Body(wanted): Body<PeerWanted>,
) -> Result<Response, Refusal> {
    let id: Option<PeerId> = maybe(wanted.id.as_deref(), "id")?;
    if wanted.id.is_none() && wanted.public_key.is_none() {
        return Err(lacking("id").into());
    }
    put(of, wait, wanted, id).await
}

/// Registers an external peer, which gets its id from control. The same key under the same member is the same peer.
#[utoipa::path(
    post, path = "/{ownerId}/networkgroups/{networkGroupId}/external-peers", tag = "peers", params(OfGroup, Wait),
    request_body = PeerWanted,
    responses((status = 202, body = Written<RegisteredView<'static>>), Refused)
)]
pub(super) async fn register_external(
    of: OfGroup,
    Asked(wait): Asked<Wait>,
    Body(wanted): Body<PeerWanted>,
) -> Result<Response, Refusal> {
    if wanted.public_key.is_none() {
        return Err(lacking("publicKey").into());
    }
    put(of, wait, wanted, None).await
}

/// Changes a peer: the label, key or endpoint of one that no agent runs; whether one with an agent is a gateway.
#[utoipa::path(
    patch, path = "/{ownerId}/networkgroups/{networkGroupId}/peers/{peerId}", tag = "peers",
    params(OfGroup, PeerPath, Wait), request_body = PeerChange,
    responses((status = 200, body = Written<PeerView<'static>>), Refused)
)]
pub(super) async fn edit(
    of: OfGroup,
    Named(named): Named<PeerPath>,
    Asked(wait): Asked<Wait>,
    Body(wanted): Body<PeerChange>,
) -> Result<Response, Refusal> {
    let peer = PeerId::parse(&named.peer_id).map_err(|_| missing("peer", &named.peer_id))?;
    let group = of.group.clone();
    let command = match wanted.gateway()? {
        Some(edit) => Command::EditGateway { group, peer: peer.clone(), edit },
        None => {
            let edit = PeerEdit {
                label: wanted.label,
                key: maybe(wanted.public_key.as_deref(), "publicKey")?,
                ip: maybe(wanted.ip.as_deref(), "ip")?,
                port: wanted.port,
            };
            Command::EditPeer { group, peer: peer.clone(), edit }
        }
    };
    let waiting = wait.begin(&of.caller.control, &of.group);
    let reply = of.caller.ask(command).await?;
    let version = if let Reply::At(version) = reply { version } else { registered(reply).version };
    let receipt = waiting.end(version).await;
    let live = &of.caller.control.live;
    let (published, presence) = (live.read(), live.presence.now());
    let held = of.read(&published)?;
    let row = held.peers.get(&peer).ok_or_else(|| missing("peer", peer.as_str()))?;
    let object = view::peer(held, row, &presence);
    Ok(http::json(StatusCode::OK, &Written { object, version: version.0, receipt }))
}

/// Removes a peer. An agent that runs it loses its interface, and may come again while it has a grant.
#[utoipa::path(
    delete, path = "/{ownerId}/networkgroups/{networkGroupId}/peers/{peerId}", tag = "peers",
    params(OfGroup, PeerPath, Force, Wait),
    responses(
        (status = 204, description = "It is gone, or was not there."),
        (status = 200, description = "The same, where `wait` was asked.", body = Removed),
        Refused
    )
)]
pub(super) async fn remove(
    of: OfGroup,
    Named(named): Named<PeerPath>,
    Asked(Force { force }): Asked<Force>,
    Asked(wait): Asked<Wait>,
) -> Result<Response, Refusal> {
    take_away(of, &named.peer_id, force, wait).await
}

/// Removes an external peer.
#[utoipa::path(
    delete, path = "/{ownerId}/networkgroups/{networkGroupId}/external-peers/{peerId}", tag = "peers",
    params(OfGroup, PeerPath, Wait),
    responses(
        (status = 204, description = "It is gone, or was not there."),
        (status = 200, description = "The same, where `wait` was asked.", body = Removed),
        Refused
    )
)]
pub(super) async fn remove_external(
    of: OfGroup,
    Named(named): Named<PeerPath>,
    Asked(wait): Asked<Wait>,
) -> Result<Response, Refusal> {
    take_away(of, &named.peer_id, false, wait).await
}

/// A replay is harmless; a peer of another group is as good as gone.
async fn take_away(of: OfGroup, named: &str, force: bool, wait: Wait) -> Result<Response, Refusal> {
    let peer = PeerId::parse(named).map_err(|_| missing("peer", named))?;
    let control = &of.caller.control;
    let waiting = wait.begin(control, &of.group);
    let is_here = of.read(&control.live.read())?.peers.contains_key(&peer);
    if is_here {
        of.caller.ask(Command::RemovePeer { peer, by: Remover::Owner { force } }).await?;
    }
    let revision = groups::revision_of(control, &of.group)?;
    Ok(gone(revision, waiting.end(revision).await))
}

async fn put(of: OfGroup, wait: Wait, wanted: PeerWanted, id: Option<PeerId>) -> Result<Response, Refusal> {
    let new = NewPeer {
        group: of.group.clone(),
        id,
        member: parsed(&needed(wanted.parent_member.clone(), "parentMember")?, "parentMember")?,
        key: maybe(wanted.public_key.as_deref(), "publicKey")?,
        endpoints: endpoints(&wanted)?,
        label: wanted.label,
        hostname: wanted.hostname,
        parent_event: wanted.parent_event,
    };
    let waiting = wait.begin(&of.caller.control, &of.group);
    let made = registered(of.caller.ask(Command::RegisterPeer(new)).await?);
    let receipt = waiting.end(made.version).await;
    written(&of, &made.peer, made.version, receipt)
}

fn registered(reply: Reply) -> PeerReply {
    let Reply::Peer(made) = reply else { unreachable!("a registered peer is answered by its address") };
    made
}

/// Where a peer can be dialled: a server's address, nothing of a client.
fn endpoints(wanted: &PeerWanted) -> Result<Vec<Endpoint>, Problem> {
    let role = wanted.peer_role.as_deref().unwrap_or("CLIENT").to_ascii_uppercase();
    let ip: Option<IpAddr> = maybe(wanted.ip.as_deref(), "ip")?;
    if wanted.peer_kind.as_ref().is_some_and(|kind| kind.len() > 64) {
        return Err(Problem::new(Code::BadRequest, "peerKind is longer than any kind").in_field("peerKind"));
    }
    match role.as_str() {
        "CLIENT" => Ok(Vec::new()),
        "SERVER" => {
            let (ip, port) = (needed(ip, "ip")?, needed(wanted.port, "port")?);
            if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
                let message = format!("{ip} is no address where others can reach a server");
                return Err(Problem::new(Code::BadRequest, message).in_field("ip"));
            }
            Ok(vec![Endpoint { kind: EndpointKind::Static, addr: SocketAddr::new(ip, port) }])
        }
        _ => {
            Err(Problem::new(Code::BadRequest, "peerRole is none of CLIENT and SERVER").in_field("peerRole"))
        }
    }
}

fn written(
    of: &OfGroup,
    id: &PeerId,
    version: Revision,
    receipt: Option<ReceiptView>,
) -> Result<Response, Refusal> {
    let live = &of.caller.control.live;
    let (published, presence) = (live.read(), live.presence.now());
    let held = of.read(&published)?;
    let row = held.peers.get(id).ok_or_else(|| missing("peer", id.as_str()))?;
    let object = RegisteredView { peer_id: row.id.as_str(), peer: view::peer(held, row, &presence) };
    Ok(http::json(StatusCode::ACCEPTED, &Written { object, version: version.0, receipt }))
}
