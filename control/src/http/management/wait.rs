//! Receipts: who has applied a version, and writes that wait for it.
//!
//! Interest in a group's confirmations is told before the write, so that agents confirm that very change.

use std::{sync::Arc, time::Duration};

use ::http::StatusCode;
use axum::response::Response;
use lacis_control_core::{Receipt, receipt};
use lacis_proto::{Code, GroupId, Problem, Revision, ScopeId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    auth::OfGroup,
    body::{Asked, Named},
    problem::Refused,
    view::{self, ReceiptView},
};
use crate::{
    app::Control,
    clock,
    http::{self, Refusal},
    live::Awaited,
};

/// Longest wait of one call: proxies give up after a minute.
const MAX_WAIT_S: u64 = 50;

/// What every write takes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Answer once every connected agent of the group has applied the change, or after so many seconds
    /// (50 at most); the answer then has a receipt.
    #[param(minimum = 0)]
    wait: Option<u64>,
}

/// What a removal takes that may cut plain clients off.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Force {
    /// Even if the last gateway goes and plain clients come in by it.
    #[serde(default)]
    pub(super) force: bool,
}

/// A write that may wait.
pub(super) struct Waiting {
    control: Arc<Control>,
    group: GroupId,
    within: Option<Duration>,
    _awaited: Option<Awaited>,
}

impl Wait {
    /// Begun before the write.
    pub(super) fn begin(&self, control: &Arc<Control>, group: &GroupId) -> Waiting {
        let within = self.wait.map(|seconds| Duration::from_secs(seconds.min(MAX_WAIT_S)));
        let awaited = within.map(|_| control.live.await_applied(group.into()));
        Waiting { control: Arc::clone(control), group: group.clone(), within, _awaited: awaited }
    }
}

impl Waiting {
    /// Waits until a version is applied, where that was asked. A group that is gone has no agents.
    pub(super) async fn end(self, revision: Revision) -> Option<ReceiptView> {
        let end = clock::later(self.within?);
        let mut news = self.control.live.presence.news();
        loop {
            let Some(now) = state_of(&self.control, &self.group, revision) else {
                return Some(view::receipt(&Receipt { revision, applied: 0, missing: Vec::new(), away: 0 }));
            };
            if now.is_complete() || tokio::time::timeout_at(end, news.changed()).await.is_err() {
                return Some(view::receipt(&now));
            }
        }
    }
}

fn state_of(control: &Control, group: &GroupId, revision: Revision) -> Option<Receipt> {
    let (published, presence) = (control.live.read(), control.live.presence.now());
    let scope = ScopeId::from(group);
    let applied = |node: &lacis_proto::NodeId| {
        presence.seen(node).map(|seen| seen.applied.get(&scope).copied().unwrap_or_default())
    };
    published.state.group(group).map(|held| receipt(held, revision, applied))
}

/// Tells who of the connected agents has applied a version.
#[utoipa::path(
    get,
    path = "/{ownerId}/networkgroups/{networkGroupId}/receipts/{version}",
    tag = "receipts",
    params(OfGroup, ("version" = u64, Path, description = "A version of the group.")),
    responses((status = 200, body = ReceiptView), Refused)
)]
pub(super) async fn show(
    of: OfGroup,
    Named(asked): Named<Version>,
    Asked(wait): Asked<Wait>,
) -> Result<Response, Refusal> {
    let control = Arc::clone(&of.caller.control);
    let now = of.read(&control.live.read())?.row.revision;
    let revision = asked.version.parse().map(Revision).ok().filter(|revision| *revision <= now);
    let revision = revision.ok_or_else(|| {
        Problem::new(Code::NotFound, format!("the group has no such version; it is at {now}"))
    })?;
    let waited = wait.begin(&control, &of.group).end(revision).await;
    let shown = waited.or_else(|| state_of(&control, &of.group, revision).map(|now| view::receipt(&now)));
    let shown = shown.ok_or_else(|| super::auth::no_group(of.group.as_str()))?;
    Ok(http::json(StatusCode::OK, &shown))
}

/// A version in a path.
#[derive(Deserialize)]
pub(super) struct Version {
    version: String,
}
