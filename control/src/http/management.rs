//! The management API (network-groups), for clients that show an API token.
//!
//! A token manages the groups of one owner. A group of another owner and one that does not exist are
//! answered alike, so nobody learns what others have.

mod groups;
mod tokens;
mod view;

use std::{str::FromStr, sync::Arc};

use ::http::{HeaderMap, StatusCode, header};
use axum::{
    Json, Router,
    extract::State,
    routing::{delete, get},
};
use lacis_control_core::{Group, limits};
use lacis_proto::{ApiToken, Code, GroupId, LEGACY_SUFFIX, OwnerId, Problem};

use crate::{app::Control, live::Published};

const BASE: &str = "/v4/networkgroups/organisations/{owner}/networkgroups";

pub(super) fn routes() -> Router<Arc<Control>> {
    let group = format!("{BASE}/{{group}}");
    Router::new()
        .route("/networkgroup/configuration", get(configuration))
        .route(BASE, get(groups::list).post(groups::create))
        .route(&group, get(groups::show))
        .route(&format!("{group}/peers/{{peer}}"), delete(groups::remove_peer))
        .route(&format!("{group}/join-tokens"), get(tokens::list).post(tokens::create))
        .route(&format!("{group}/join-tokens/{{token}}"), delete(tokens::revoke))
}

/// `GET /readyz`: whether this control takes requests, for whoever sends them here.
pub(super) async fn ready(State(control): State<Arc<Control>>) -> (StatusCode, String) {
    if control.drain.begun.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    let degraded = control.live.metrics.degraded();
    let lines = degraded.iter().map(|degraded| format!("degraded: {}: {}\n", degraded.kind, degraded.text));
    (StatusCode::OK, std::iter::once("ready\n".to_owned()).chain(lines).collect())
}

/// `GET /networkgroup/configuration`: needs no login.
async fn configuration() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "dnsSuffixes": [limits::DEFAULT_SUFFIX, LEGACY_SUFFIX] }))
}

/// The owner that a path names, if the caller's token manages its groups.
fn owner(control: &Control, headers: &HeaderMap, path: &str) -> Result<OwnerId, Problem> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|text| text.strip_prefix("Bearer "));
    let unauthorized = |message: &str| Problem::new(Code::Unauthorized, message);
    let bearer =
        bearer.ok_or_else(|| unauthorized("this call needs \"Authorization: Bearer lacis_api_…\""))?;
    let token: ApiToken = bearer.parse().map_err(|error| unauthorized(&format!("{error}")))?;
    let published = control.live.read();
    let known = lacis_control_core::api_token(&published.state, &token);
    let known = known.ok_or_else(|| unauthorized("this control knows no such API token"))?;
    if known.owner.as_str() == path {
        Ok(known.owner.clone())
    } else {
        Err(Problem::new(Code::NotFound, "there is no such owner, or the API token does not manage it"))
    }
}

/// A group of an owner.
fn group<'a>(published: &'a Published, owner: &OwnerId, path: &str) -> Result<&'a Group, Problem> {
    let found = GroupId::parse(path).ok().and_then(|id| published.state.group(&id));
    found.filter(|group| group.row.owner == *owner).ok_or_else(|| {
        let name: String = path.chars().take(64).collect();
        Problem::new(Code::NotFound, format!("there is no group {name}"))
    })
}

/// An id out of a path.
fn id<T: FromStr<Err: ToString>>(path: &str) -> Result<T, Problem> {
    path.parse().map_err(|error: T::Err| Problem::new(Code::BadRequest, error.to_string()))
}
