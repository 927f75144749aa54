//! API tokens of an owner.

use std::collections::BTreeSet;

use ::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use lacis_control_core::{Access, ApiTokenRow, Command, NewApiToken, Reply};
use lacis_proto::{ApiToken, Code, Problem, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    auth::OfOwner,
    body::{Body, Named, parsed},
    join_tokens::{TokenPath, lifetime_ms},
    missing,
    problem::Refused,
};
use crate::{
    app::Control,
    http::{self, Refusal},
};

/// An API token as a client wants it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiTokenWanted {
    #[schema(max_length = 128)]
    label: Option<String>,
    /// `read` or `write`.
    #[schema(required = true, nullable = false, pattern = "^(read|write)$")]
    access: Option<String>,
    /// The groups that it sees; all, also later ones, where it is left out.
    #[schema(max_items = 100)]
    groups: Option<Vec<String>>,
    /// How long it may be used; for ever where it is left out.
    #[schema(minimum = 0, maximum = 2000000000)]
    expires_in_s: Option<u64>,
}

/// An API token. Its secrets stand in the answer of the call that made it, once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiToken)]
pub(crate) struct ApiTokenView {
    id: String,
    /// The bearer string.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The same credential as OAuth 1.0 token, for clients of the platform.
    #[serde(rename = "clever_token", skip_serializing_if = "Option::is_none")]
    clever_token: Option<String>,
    /// And its secret.
    #[serde(rename = "clever_secret", skip_serializing_if = "Option::is_none")]
    clever_secret: Option<String>,
    owner_id: String,
    label: String,
    /// `read` or `write`.
    access: &'static str,
    /// The groups that it sees; all where there are none.
    groups: Vec<String>,
    created_ms: u64,
    expires_ms: Option<u64>,
    /// When it was last used; behind by a moment.
    last_used_ms: Option<u64>,
}

impl ApiTokenView {
    /// A token without its secrets.
    pub(crate) fn new(control: &Control, row: &ApiTokenRow) -> Self {
        Self {
            id: row.id.to_string(),
            token: None,
            clever_token: None,
            clever_secret: None,
            owner_id: row.owner.to_string(),
            label: row.label.clone(),
            access: match row.access {
                Access::Read => "read",
                Access::Write => "write",
            },
            groups: row.groups.iter().map(ToString::to_string).collect(),
            created_ms: row.created_ms,
            expires_ms: row.expires_ms,
            last_used_ms: row.last_used_ms.max(control.uses.last(&row.id)),
        }
    }

    /// A token that was just made, with its secrets.
    pub(crate) fn made(control: &Control, reply: Reply) -> Self {
        let Reply::ApiToken(row, secret) = reply else { unreachable!("an API token is answered by it") };
        let bearer = ApiToken { id: row.id.clone(), secret };
        Self {
            token: Some(bearer.to_string()),
            clever_token: Some(row.id.to_string()),
            clever_secret: Some(control.keys.api_secret(&row.id)),
            ..Self::new(control, &row)
        }
    }
}

/// Lists the API tokens of an owner, without their secrets.
#[utoipa::path(
    get, path = "/{ownerId}/tokens", tag = "API tokens", params(OfOwner),
    responses((status = 200, body = Vec<ApiTokenView>), Refused)
)]
pub(super) async fn list(of: OfOwner) -> Result<Response, Refusal> {
    of.caller.check_sees_all()?;
    let control = &of.caller.control;
    let published = control.live.read();
    let tokens = published.state.api_tokens().filter(|row| row.owner == of.owner);
    let tokens: Vec<_> = tokens.map(|row| ApiTokenView::new(control, row)).collect();
    Ok(http::json(StatusCode::OK, &tokens))
}

/// Makes an API token; its secrets are told this once. Each call makes another.
#[utoipa::path(
    post, path = "/{ownerId}/tokens", tag = "API tokens", params(OfOwner), request_body = ApiTokenWanted,
    responses((status = 201, body = ApiTokenView), Refused)
)]
pub(super) async fn create(of: OfOwner, Body(wanted): Body<ApiTokenWanted>) -> Result<Response, Refusal> {
    of.caller.check_sees_all()?;
    let groups = wanted.groups.unwrap_or_default();
    let groups = groups.iter().map(|group| parsed(group, "groups")).collect::<Result<BTreeSet<_>, _>>()?;
    let asked = NewApiToken {
        owner: of.owner.clone(),
        label: wanted.label.unwrap_or_default(),
        access: access(wanted.access.as_deref())?,
        groups,
        lifetime_ms: lifetime_ms(wanted.expires_in_s)?,
    };
    let reply = of.caller.ask(Command::CreateApiToken(asked)).await?;
    Ok(http::json(StatusCode::CREATED, &ApiTokenView::made(&of.caller.control, reply)))
}

/// Ends an API token, also the one that is shown.
#[utoipa::path(
    delete, path = "/{ownerId}/tokens/{tokenId}", tag = "API tokens", params(OfOwner, TokenPath),
    responses((status = 204, description = "It has ended."), Refused)
)]
pub(super) async fn revoke(of: OfOwner, Named(named): Named<TokenPath>) -> Result<Response, Refusal> {
    of.caller.check_sees_all()?;
    let token = TokenId::parse(&named.token_id).map_err(|_| missing("API token", &named.token_id))?;
    of.caller.ask(Command::RevokeApiToken { owner: Some(of.owner.clone()), token }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn access(text: Option<&str>) -> Result<Access, Problem> {
    match text.map(str::to_ascii_lowercase).as_deref() {
        Some("read") => Ok(Access::Read),
        Some("write") => Ok(Access::Write),
        Some(_) | None => {
            let message = "access is none of read and write";
            Err(Problem::new(Code::BadRequest, message).in_field("access"))
        }
    }
}
