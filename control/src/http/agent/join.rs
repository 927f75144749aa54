//! `POST /agent/v1/join`: a token and an identity in, a signed grant out.

use std::sync::Arc;

use ::http::StatusCode;
use axum::{
    extract::{Request, State},
    response::Response,
};
use lacis_control_core::{Command, Reply};
use lacis_proto::{Code, Grant, JoinReply, JoinRequest, Problem, version};

use super::auth;
use crate::{
    app::Control,
    clock,
    http::{self, Refusal},
};

pub(super) async fn join(State(control): State<Arc<Control>>, request: Request) -> Result<Response, Refusal> {
    let JoinRequest { token, secret, identity, host_name, agent, protocol } =
        auth::introduced(request).await?;
    common_protocol(protocol)?;
    let command = Command::Join { token, secret, identity, host_name, agent };
    let Reply::Joined { node, group, member, issued_ms } = control.writer.ask(command).await? else {
        unreachable!("a join is answered by a grant");
    };
    let keys = &control.keys;
    let grant = Grant { control: keys.control.clone(), node, group, member, issued_ms };
    tracing::info!(node = %grant.node, group = %grant.group, member = %grant.member, "node joined");
    let reply = JoinReply {
        node: grant.node.clone(),
        grant_signature: keys.sign_grant(&grant),
        grant,
        control_key: keys.public,
        urls: control.urls.clone(),
        pins: vec![keys.pin],
        now_ms: clock::unix_ms(),
    };
    Ok(http::json(StatusCode::OK, &reply))
}

/// The protocol number that both sides speak.
pub(super) fn common_protocol(theirs: [u16; 2]) -> Result<u16, Problem> {
    version::common(version::RANGE, theirs).ok_or_else(|| {
        let ([low, high], [ours_low, ours_high]) = (theirs, version::RANGE);
        let message = format!(
            "the agent speaks protocols {low} to {high}, this control {ours_low} to {ours_high}; upgrade the older"
        );
        Problem::new(Code::AgentTooOld, message)
    })
}
