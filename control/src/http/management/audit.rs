//! What was done to a group, by whom and when.

use ::http::StatusCode;
use axum::response::Response;
use lacis_proto::{Code, Problem, ScopeId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{auth::OfGroup, body::Asked, problem::Refused};
use crate::http::{self, Refusal};

/// Entries of one answer unless asked otherwise, and the most there may be.
const USUAL: u32 = 100;
const MOST: u32 = 1_000;

/// How many entries to show.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Limit {
    /// 100 where it is left out, 1,000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// How many of the newest to pass over.
    offset: Option<u32>,
}

/// One thing that was done.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntry)]
pub(super) struct EntryView {
    /// The version of the group that it made.
    version: i64,
    /// When, in Unix milliseconds.
    at_ms: i64,
    /// Who: `token <id>`, `join token <id>`, `node_<uuid>` or `control`.
    actor: String,
    /// What, as `thing.verb`.
    action: String,
    /// To what, by id.
    target: String,
}

/// Tells what was done to a group, the newest first.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/audit", tag = "audit", params(OfGroup, Limit),
    responses((status = 200, body = Vec<EntryView>), Refused)
)]
pub(super) async fn list(of: OfGroup, Asked(asked): Asked<Limit>) -> Result<Response, Refusal> {
    let most = asked.limit.unwrap_or(USUAL).min(MOST);
    let entries = of
        .caller
        .control
        .audit
        .of_scope(&ScopeId::from(&of.group), most, asked.offset.unwrap_or_default())
        .await;
    let entries = entries.map_err(|error| {
        tracing::warn!(%error, "cannot read the audit");
        Problem::new(Code::StoreUnavailable, "control cannot read its database now; try again later")
    })?;
    let entries: Vec<_> = entries
        .into_iter()
        .map(|entry| EntryView {
            version: entry.revision,
            at_ms: entry.at_ms,
            actor: entry.actor,
            action: entry.action,
            target: entry.target,
        })
        .collect();
    Ok(http::json(StatusCode::OK, &entries))
}
