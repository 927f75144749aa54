//! Who signed a request: checked over the raw body, before anything in it is believed.
//!
//! A join is signed by the identity that it introduces, for the token that it shows. Every other call is
//! signed by the key on record, for this installation.

use std::net::SocketAddr;

use ::http::{header, request::Parts};
use axum::extract::Request;
use bytes::Bytes;
use lacis_control_core::NodeState;
use lacis_proto::{
    Authorization, Code, IdentityKey, JoinRequest, NodeId, Problem, Run, Signer, request_bytes, verify,
};

use crate::{app::Control, clock, http, listener::Caller};

/// How far the time of a signature may be from ours: clocks of hosts drift by seconds, a slow line and a
/// retry add some; beyond that a stolen request could be sent again.
const WINDOW_MS: u64 = 120_000;

/// A request whose signature is right.
pub(super) struct Signed {
    pub(super) node: NodeId,
    /// The process that speaks, where it says so.
    pub(super) run: Option<Run>,
    pub(super) parts: Parts,
    pub(super) body: Bytes,
}

impl Signed {
    /// The underlay address of the caller.
    pub(super) fn from(&self) -> SocketAddr {
        self.parts.extensions.get::<Caller>().map_or(([0, 0, 0, 0], 0).into(), |caller| caller.0)
    }
}

/// Reads and checks a call of an enrolled node.
pub(super) async fn signed(control: &Control, request: Request) -> Result<Signed, Problem> {
    let (parts, body) = http::body_of(request).await?;
    let authorization = authorization(&parts)?;
    let Signer::Node(node) = &authorization.signer else {
        return Err(Problem::new(Code::Unauthorized, "this call is signed by a node, not by an identity"));
    };
    let known = control.live.read().state.node(node).map(|row| (row.identity, row.state));
    let Some((identity, state)) = known else {
        let message = format!("this control knows no {node}; join again with a token");
        return Err(Problem::new(Code::UnknownNode, message));
    };
    check(&authorization, &identity, &parts, &body, control.keys.control.as_str())?;
    if state == NodeState::Revoked {
        let message = format!(
            "{node} was revoked; to let this machine in again, run `lacis leave --purge` there and join with a token"
        );
        return Err(Problem::new(Code::NodeRevoked, message));
    }
    let run = parts.headers.get(Run::HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    let signed = Signed { node: node.clone(), run, parts, body };
    if let Some(run) = &signed.run {
        control.live.presence.check_copy(&signed.node, run, signed.from())?;
    }
    Ok(signed)
}

/// Reads and checks a join.
pub(super) async fn introduced(request: Request) -> Result<JoinRequest, Problem> {
    let (parts, body) = http::body_of(request).await?;
    let authorization = authorization(&parts)?;
    let asked: JoinRequest = http::parse(&body)?;
    if authorization.signer != Signer::Identity(asked.identity) {
        return Err(Problem::new(Code::BadSignature, "a join is signed by the identity that it introduces"));
    }
    check(&authorization, &asked.identity, &parts, &body, asked.token.as_str())?;
    Ok(asked)
}

fn authorization(parts: &Parts) -> Result<Authorization, Problem> {
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let text = header.ok_or_else(|| Problem::new(Code::Unauthorized, "this call needs a signature"))?;
    text.parse().map_err(|error| Problem::new(Code::Unauthorized, format!("{error}")))
}

fn check(
    authorization: &Authorization,
    identity: &IdentityKey,
    parts: &Parts,
    body: &[u8],
    audience: &str,
) -> Result<(), Problem> {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let unix_ms = authorization.unix_ms;
    let bytes = request_bytes(parts.method.as_str(), target, unix_ms, body, audience);
    if verify(identity, &bytes, &authorization.signature).is_err() {
        let message = "the signature does not belong to this request, key and control";
        return Err(Problem::new(Code::BadSignature, message));
    }
    let now_ms = clock::unix_ms();
    if unix_ms.abs_diff(now_ms) > WINDOW_MS {
        let away = unix_ms.abs_diff(now_ms) / 1_000;
        let message = format!("the request was signed {away} s away from the time of control; set the clock");
        let mut problem = Problem::new(Code::ClockSkew, message);
        problem.now_ms = Some(now_ms);
        return Err(problem);
    }
    Ok(())
}
