//! Join tokens of a group.

use std::sync::Arc;

use ::http::{HeaderMap, StatusCode};
use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
};
use lacis_control_core::Command;
use lacis_proto::{Code, MemberId, Problem, TokenId};
use serde::{Deserialize, Serialize};

use super::{group, id, owner};
use crate::{
    admin::{TokenEntry, entry, make_join_token},
    app::Control,
    http::{self, Refusal},
};

/// How long a join token may be used unless asked otherwise: a day.
const LIFETIME_S: u64 = 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    member: Option<MemberId>,
    #[serde(default)]
    max_uses: u32,
    /// `null` for a token that does not end by itself.
    #[serde(default = "default_lifetime")]
    expires_in_s: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenView {
    /// The token itself, once: in the answer of the call that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    id: TokenId,
    member: Option<MemberId>,
    uses: u32,
    max_uses: u32,
    expires_ms: Option<u64>,
    state: String,
}

impl TokenView {
    fn new(token: Option<String>, entry: TokenEntry) -> Self {
        let TokenEntry { id, member, uses, max_uses, expires_ms, state, .. } = entry;
        Self { token, id, member, uses, max_uses, expires_ms, state }
    }
}

/// For a body without the field; `null` in it means something else.
const fn default_lifetime() -> Option<u64> {
    Some(LIFETIME_S)
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Path((path, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let owner = owner(&control, &headers, &path)?;
    let published = control.live.read();
    let group = group(&published, &owner, &name)?;
    let tokens = published.state.join_tokens().filter(|row| row.group == group.row.id);
    let tokens: Vec<_> = tokens.map(|row| TokenView::new(None, entry(row))).collect();
    Ok(http::json(StatusCode::OK, &tokens))
}

pub(super) async fn create(
    State(control): State<Arc<Control>>,
    Path((path, name)): Path<(String, String)>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refusal> {
    let owner = owner(&control, &headers, &path)?;
    let group = group(&control.live.read(), &owner, &name)?.row.id.clone();
    let (_, body) = http::body_of(request).await?;
    let wanted: Wanted = http::parse(if body.is_empty() { b"{}" } else { &body })?;
    let lifetime_ms = wanted.expires_in_s.map(|seconds| seconds.saturating_mul(1_000));
    let made = make_join_token(&control, group, wanted.member, wanted.max_uses, lifetime_ms).await?;
    Ok(http::json(StatusCode::CREATED, &TokenView::new(Some(made.token), made.entry)))
}

pub(super) async fn revoke(
    State(control): State<Arc<Control>>,
    Path((path, name, token)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let owner = owner(&control, &headers, &path)?;
    let token: TokenId = id(&token)?;
    let is_here = {
        let published = control.live.read();
        let group = group(&published, &owner, &name)?;
        published.state.join_tokens().any(|row| row.id == token && row.group == group.row.id)
    };
    if !is_here {
        return Err(Problem::new(Code::NotFound, format!("this group has no join token {token}")).into());
    }
    control.writer.ask(Command::RevokeJoinToken { token }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
