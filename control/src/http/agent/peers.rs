//! `POST /agent/v1/peers` and `DELETE /agent/v1/peers/{id}`: a node's peer comes and goes.

use std::sync::Arc;

use ::http::StatusCode;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use lacis_control_core::{Command, Remover, Reply};
use lacis_proto::{Code, PeerId, Problem};

use super::auth;
use crate::{
    app::Control,
    http::{self, Refusal},
};

pub(super) async fn add(State(control): State<Arc<Control>>, request: Request) -> Result<Response, Refusal> {
    let signed = auth::signed(&control, request).await?;
    let request = http::parse(&signed.body)?;
    let reply = control.writer.ask(Command::AddPeer { node: signed.node, request }).await?;
    let Reply::Peer(reply) = reply else { unreachable!("a new peer is answered by its address") };
    tracing::debug!(peer = %reply.peer, host = %reply.host, "peer is there");
    Ok(http::json(StatusCode::OK, &reply))
}

pub(super) async fn remove(
    State(control): State<Arc<Control>>,
    request: Request,
) -> Result<Response, Refusal> {
    let signed = auth::signed(&control, request).await?;
    let id = signed.parts.uri.path().rsplit('/').next().unwrap_or_default();
    let peer = PeerId::parse(id).map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?;
    control.writer.ask(Command::RemovePeer { peer, by: Remover::Node(signed.node) }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
