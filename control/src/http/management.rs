//! The management API: network groups as the platform's clients know them, and what the platform lacks in the
//! same style.
//!
//! Handlers read what is published or ask the writer; the rules are in `control/core`. Every route is entered
//! together with its description, so that the document at `/openapi.json` cannot lack one ([`document`]).

#![expect(unused_qualifications, reason = "the macros of utoipa name traits by their whole paths")]

mod api_tokens;
mod audit;
mod auth;
mod body;
pub(crate) mod document;
mod gateways;
mod groups;
mod join_tokens;
mod me;
mod members;
mod nodes;
mod oauth;
mod peers;
pub(super) mod problem;
mod stream;
mod view;
mod wait;
mod wireguard;

use std::sync::Arc;

use ::http::StatusCode;
use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Response},
};
use lacis_proto::{Code, LEGACY_SUFFIX, Problem, Revision};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use self::api_tokens::ApiTokenView;
use self::{
    view::{ReceiptView, Removed},
    wireguard::Anybody,
};
use crate::{app::Control, http, metrics};

const OWNERS: &str = "/v4/networkgroups/organisations";

/// The routes and the document that describes them.
fn described() -> OpenApiRouter<Arc<Control>> {
    let of_owners = OpenApiRouter::new()
        .routes(routes!(groups::list, groups::create))
        .routes(routes!(groups::find))
        .routes(routes!(groups::show, groups::edit, groups::delete))
        .routes(routes!(members::list, members::link))
        .routes(routes!(members::show, members::edit, members::unlink))
        .routes(routes!(peers::list, peers::register))
        .routes(routes!(peers::show, peers::edit, peers::remove))
        .routes(routes!(peers::register_external))
        .routes(routes!(peers::remove_external))
        .routes(routes!(gateways::list))
        .routes(routes!(gateways::rotate))
        .routes(routes!(wireguard::show))
        .routes(routes!(wireguard::presign))
        .routes(routes!(wireguard::follow))
        .routes(routes!(stream::group))
        .routes(routes!(stream::events))
        .routes(routes!(wait::show))
        .routes(routes!(audit::list))
        .routes(routes!(join_tokens::list, join_tokens::create))
        .routes(routes!(join_tokens::revoke))
        .routes(routes!(api_tokens::list, api_tokens::create))
        .routes(routes!(api_tokens::revoke))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::show, nodes::revoke));
    OpenApiRouter::with_openapi(document::frame())
        .routes(routes!(configuration))
        .routes(routes!(me::summary))
        .routes(routes!(me::myself))
        .routes(routes!(wireguard::presigned))
        .nest(OWNERS, of_owners)
}

pub(super) fn routes() -> Router<Arc<Control>> {
    let (router, _) = described().split_for_parts();
    router.merge(document::routes())
}

/// `GET /readyz`: whether this control takes requests, for whoever sends them here.
pub(super) async fn ready(State(control): State<Arc<Control>>) -> (StatusCode, String) {
    if control.drain.begun.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    (StatusCode::OK, metrics::ready(&control.live.metrics.degraded()))
}

/// What a client must know before it logs in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InstallationConfiguration)]
struct ConfigurationView {
    /// Suffixes that a domain name of a member may have; the first is the default.
    dns_suffixes: Vec<String>,
}

/// Tells the suffixes of domain names. Needs no login.
#[utoipa::path(
    get, path = "/networkgroup/configuration", tag = "configuration", security(()),
    responses((status = 200, body = ConfigurationView), problem::Refused)
)]
async fn configuration(_: Anybody, State(control): State<Arc<Control>>) -> Response {
    let suffixes = control.suffixes.iter().cloned();
    let dns_suffixes = suffixes.chain([LEGACY_SUFFIX.to_owned()]).collect();
    http::json(StatusCode::OK, &ConfigurationView { dns_suffixes })
}

/// The refusal of a path that names nothing.
fn missing(what: &str, asked: &str) -> Problem {
    let asked: String = asked.chars().filter(|c| !c.is_control()).take(64).collect();
    Problem::new(Code::NotFound, format!("there is no {what} {asked} here"))
}

/// The answer of a removal: with a receipt where one was asked for.
fn gone(revision: Revision, receipt: Option<ReceiptView>) -> Response {
    let Some(receipt) = receipt else { return StatusCode::NO_CONTENT.into_response() };
    http::json(StatusCode::OK, &Removed { version: revision.0, receipt })
}
