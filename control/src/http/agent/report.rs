//! `POST /agent/v1/report`: where a node's peers can be reached, and what it has applied.
//!
//! What was applied is presence, never a revision. A report counts as taken in only once its endpoints are
//! stored, so that one that failed can be sent again.

use std::{collections::BTreeMap, sync::Arc};

use ::http::StatusCode;
use axum::{
    extract::{Request, State},
    response::Response,
};
use lacis_control_core::Command;
use lacis_proto::{Cursor, Epoch, PeerId, PeerReport, ReportReply, ReportRequest, Revision, ScopeId};

use super::auth;
use crate::{
    app::Control,
    clock,
    http::{self, Refusal},
};

pub(super) async fn report(
    State(control): State<Arc<Control>>,
    request: Request,
) -> Result<Response, Refusal> {
    let signed = auth::signed(&control, request).await?;
    let said: ReportRequest = http::parse(&signed.body)?;
    let presence = &control.live.presence;
    if presence.is_news(&signed.node, signed.run.as_ref(), said.seq) {
        let clients = clients(&said.peers);
        if !said.peers.is_empty() {
            let command = Command::Report { node: signed.node.clone(), peers: said.peers };
            control.writer.ask(command).await?;
        }
        presence.reported(&signed.node, said.seq, revisions(&said.applied, control.live.epoch), clients);
    }
    Ok(http::json(StatusCode::OK, &ReportReply { now_ms: clock::unix_ms() }))
}

/// How many plain clients were heard last by each of a node's peers that is a gateway.
fn clients(peers: &[PeerReport]) -> BTreeMap<PeerId, u32> {
    let gateways = peers.iter().filter_map(|said| Some((&said.peer, said.gateway.as_ref()?)));
    gateways.map(|(peer, gateway)| (peer.clone(), gateway.clients)).collect()
}

/// The revisions in cursors of this epoch; others say nothing about what we published.
pub(super) fn revisions(cursors: &BTreeMap<ScopeId, String>, epoch: Epoch) -> BTreeMap<ScopeId, Revision> {
    let cursors = cursors.iter().filter_map(|(id, text)| Some((id, text.parse::<Cursor>().ok()?)));
    let ours = cursors.filter(|(_, cursor)| cursor.epoch == epoch);
    ours.map(|(id, cursor)| (id.clone(), cursor.revision)).collect()
}
