//! `POST /agent/v1/signal`: a word from one peer to another that control cannot read.
//!
//! It goes to the open stream of the receiver's node and is kept nowhere: where there is none, it is lost, and the
//! sender, which is told nothing of that, tries again.

use std::sync::Arc;

use ::http::StatusCode;
use axum::{
    extract::{Request, State as Extract},
    response::{IntoResponse as _, Response},
};
use lacis_control_core::State;
use lacis_proto::{Code, Line, NodeId, Problem, Signal, relay::MAX_SIGNAL_TEXT};

use super::auth;
use crate::{
    app::Control,
    clock,
    http::{self, Refusal, limit::Caller},
};

pub(super) async fn signal(
    Extract(control): Extract<Arc<Control>>,
    request: Request,
) -> Result<Response, Refusal> {
    let signed = auth::signed(&control, request).await?;
    control.limits.take(Caller::Node(signed.node.clone()), clock::now())?;
    let signal: Signal = http::parse(&signed.body)?;
    if signal.body.len() > MAX_SIGNAL_TEXT {
        let message = format!("a signal has {MAX_SIGNAL_TEXT} characters at most");
        return Err(Problem::new(Code::BadRequest, message).in_field("body").into());
    }
    let to = receiver(&control.live.read().state, &signed.node, &signal)?;
    control.live.presence.say(&to, Line::Signal(signal));
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The node that hosts the receiver, which must share the group with a peer of the sender's node.
fn receiver(state: &State, sender: &NodeId, signal: &Signal) -> Result<NodeId, Problem> {
    let group = state.group(&signal.group);
    let from = group.and_then(|group| group.peer_of(sender));
    if from.is_none_or(|peer| peer.id != signal.from) {
        let message = format!("{} is no peer of this node in {}", signal.from, signal.group);
        return Err(Problem::new(Code::NotFound, message).in_field("from"));
    }
    let to = group.and_then(|group| group.peers.get(&signal.to)?.node.clone());
    to.ok_or_else(|| {
        let message = format!("{} has no peer {} with an agent", signal.group, signal.to);
        Problem::new(Code::NotFound, message).in_field("to")
    })
}
