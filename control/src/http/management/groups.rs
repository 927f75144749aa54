//! Groups and their peers.

use std::sync::Arc;

use ::http::{HeaderMap, StatusCode};
use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
};
use ipnetwork::Ipv4Network;
use lacis_control_core::{Command, NewGroup, Reply};
use lacis_proto::{Code, GroupId, PeerId, Problem};
use serde::Deserialize;

use super::{group, id, owner, view};
use crate::{
    app::Control,
    http::{self, Refusal},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    id: Option<String>,
    label: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    network_ip: Option<String>,
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let owner = owner(&control, &headers, &path)?;
    let published = control.live.read();
    let groups = published.state.groups().filter(|group| group.row.owner == owner);
    let groups: Vec<_> = groups.map(|group| view::group(group, &control.live.presence)).collect();
    Ok(http::json(StatusCode::OK, &groups))
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path((path, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let owner = owner(&control, &headers, &path)?;
    let published = control.live.read();
    let group = group(&published, &owner, &name)?;
    Ok(http::json(StatusCode::OK, &view::group(group, &control.live.presence)))
}

pub(super) async fn create(
    State(control): State<Arc<Control>>,
    Path(path): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refusal> {
    let owner = owner(&control, &headers, &path)?;
    let (_, body) = http::body_of(request).await?;
    let wanted: Wanted = http::parse(&body)?;
    let in_field =
        |field: &'static str| move |message: String| Problem::new(Code::BadRequest, message).in_field(field);
    let id = wanted.id.map(|id| GroupId::parse(&id).map_err(|error| error.to_string()));
    let pool = wanted.network_ip.map(|pool| {
        let parsed = pool.parse::<Ipv4Network>();
        parsed.map_err(|_| format!("{pool:?} is no IPv4 range; write 10.0.0.0/16"))
    });
    let new = NewGroup {
        id: id.transpose().map_err(in_field("id"))?,
        owner: owner.clone(),
        label: wanted.label,
        description: wanted.description.unwrap_or_default(),
        tags: wanted.tags.unwrap_or_default(),
        pool: pool.transpose().map_err(in_field("networkIp"))?,
    };
    let Reply::Group(made) = control.writer.ask(Command::CreateGroup(new)).await? else {
        unreachable!("a group is answered by its id");
    };
    let published = control.live.read();
    let made = group(&published, &owner, made.as_str())?;
    Ok(http::json(StatusCode::ACCEPTED, &view::group(made, &control.live.presence)))
}

/// A replay is harmless; a peer of another group is as good as gone.
pub(super) async fn remove_peer(
    State(control): State<Arc<Control>>,
    Path((path, name, peer)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let owner = owner(&control, &headers, &path)?;
    let peer: PeerId = id(&peer)?;
    let is_here = {
        let published = control.live.read();
        group(&published, &owner, &name)?.peers.contains_key(&peer)
    };
    if is_here {
        control.writer.ask(Command::RemovePeer { peer, by: None }).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
