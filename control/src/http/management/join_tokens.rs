//! Join tokens of a group.

use ::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use lacis_control_core::Command;
use lacis_proto::{Code, Problem, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    auth::OfGroup,
    body::{Body, Named, maybe},
    missing,
    problem::Refused,
};
use crate::{
    admin::{TokenEntry, entry, make_join_token},
    http::{self, Refusal},
};

/// How long a join token may be used unless asked otherwise: a day.
const LIFETIME_S: u64 = 24 * 60 * 60;

/// Longest lifetime that is one: some sixty years.
const MAX_LIFETIME_S: u64 = 2_000_000_000;

/// A join token as a client wants it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct JoinTokenWanted {
    /// The member whose peers it lets run, linked if it is not yet; without one, each node becomes a member
    /// of its own.
    #[schema(pattern = "^[a-z][a-z0-9]*_[a-z0-9-]+$", max_length = 63)]
    member: Option<String>,
    /// How many nodes may use it; 0 for any number.
    #[serde(default)]
    max_uses: u32,
    /// A day where it is left out; null for a token that does not end by itself.
    #[serde(default = "default_lifetime")]
    #[schema(minimum = 0, maximum = 2000000000)]
    expires_in_s: Option<u64>,
}

/// A join token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = JoinToken)]
pub(super) struct JoinTokenView {
    /// The token itself, once: in the answer of the call that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    id: String,
    member: Option<String>,
    uses: u32,
    /// 0 for any number.
    max_uses: u32,
    expires_ms: Option<u64>,
    /// `usable`, `expired`, `used_up` or `revoked`.
    state: String,
}

/// A token in a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct TokenPath {
    /// The token's id.
    pub(super) token_id: String,
}

impl JoinTokenView {
    fn new(token: Option<String>, entry: TokenEntry) -> Self {
        let TokenEntry { id, member, uses, max_uses, expires_ms, state, .. } = entry;
        let member = member.map(|member| member.to_string());
        Self { token, id: id.to_string(), member, uses, max_uses, expires_ms, state }
    }
}

/// For a body without the field; `null` in it means something else.
const fn default_lifetime() -> Option<u64> {
    Some(LIFETIME_S)
}

/// Lists the join tokens of a group, without their secrets.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/join-tokens", tag = "join tokens", params(OfGroup),
    responses((status = 200, body = Vec<JoinTokenView>), Refused)
)]
pub(super) async fn list(of: OfGroup) -> Response {
    let published = of.caller.control.live.read();
    let tokens = published.state.join_tokens().filter(|row| row.group == of.group);
    let tokens: Vec<_> = tokens.map(|row| JoinTokenView::new(None, entry(row))).collect();
    http::json(StatusCode::OK, &tokens)
}

/// Makes a join token; its text is told this once. Each call makes another.
#[utoipa::path(
    post, path = "/{ownerId}/networkgroups/{networkGroupId}/join-tokens", tag = "join tokens", params(OfGroup),
    request_body = JoinTokenWanted,
    responses((status = 201, body = JoinTokenView), Refused)
)]
pub(super) async fn create(of: OfGroup, Body(wanted): Body<JoinTokenWanted>) -> Result<Response, Refusal> {
    let member = maybe(wanted.member.as_deref(), "member")?;
    let lifetime_ms = lifetime_ms(wanted.expires_in_s)?;
    let by = of.caller.actor();
    let made =
        make_join_token(&of.caller.control, by, of.group, member, wanted.max_uses, lifetime_ms).await?;
    Ok(http::json(StatusCode::CREATED, &JoinTokenView::new(Some(made.token), made.entry)))
}

/// Ends a join token; nodes that have joined with it stay.
#[utoipa::path(
    delete, path = "/{ownerId}/networkgroups/{networkGroupId}/join-tokens/{tokenId}", tag = "join tokens",
    params(OfGroup, TokenPath),
    responses((status = 204, description = "It has ended."), Refused)
)]
pub(super) async fn revoke(of: OfGroup, Named(named): Named<TokenPath>) -> Result<Response, Refusal> {
    let token = TokenId::parse(&named.token_id).ok().filter(|id| {
        let published = of.caller.control.live.read();
        published.state.join_tokens().any(|row| row.id == *id && row.group == of.group)
    });
    let token = token.ok_or_else(|| missing("join token", &named.token_id))?;
    of.caller.ask(Command::RevokeJoinToken { token }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A lifetime in milliseconds.
pub(super) fn lifetime_ms(seconds: Option<u64>) -> Result<Option<u64>, Problem> {
    if seconds.is_some_and(|seconds| seconds > MAX_LIFETIME_S) {
        let message = format!("expiresInS is more than {MAX_LIFETIME_S}; write null for a token without end");
        return Err(Problem::new(Code::BadRequest, message).in_field("expiresInS"));
    }
    Ok(seconds.map(|seconds| seconds * 1_000))
}
