//! `POST /agent/v1/proofs`: what nodes have stated of the peers that the caller shares a group with.

use std::sync::Arc;

use ::http::StatusCode;
use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use lacis_control_core::State;
use lacis_proto::{Code, MAX_PROOFS, NodeId, PeerId, Problem, Proof, ProofsReply, ProofsRequest};

use super::auth;
use crate::{
    app::Control,
    http::{self, Refusal},
};

pub(super) async fn proofs(
    Extract(control): Extract<Arc<Control>>,
    request: Request,
) -> Result<Response, Refusal> {
    let signed = auth::signed(&control, request).await?;
    let asked: ProofsRequest = http::parse(&signed.body)?;
    if asked.peers.len() > MAX_PROOFS {
        let message = format!("{} peers were asked about, {MAX_PROOFS} at most may be", asked.peers.len());
        return Err(Problem::new(Code::BadRequest, message).in_field("peers").into());
    }
    let published = control.live.read();
    let proofs = asked.peers.iter().filter_map(|peer| proof(&published.state, &signed.node, peer));
    Ok(http::json(StatusCode::OK, &ProofsReply { proofs: proofs.collect() }))
}

fn proof(state: &State, reader: &NodeId, peer: &PeerId) -> Option<Proof> {
    let group = state.group(state.group_of(peer)?)?;
    group.peer_of(reader)?;
    let node = state.node(group.peers.get(peer)?.node.as_ref()?)?;
    let said = group.statements.get(peer)?.clone();
    Some(Proof { node: node.id.clone(), identity: node.identity, said })
}
