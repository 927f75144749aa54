//! What a relay alone answers over HTTP: the WebSocket for members, health, and on an inner address its figures.

use std::sync::Arc;

use ::http::{StatusCode, header};
use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use lacis_proto::{EXPOSITION_TYPE, Exposition, Figure, relay::TLS_PATH};
use lacis_relay::Relay;

use crate::{
    http::{Refusal, relay},
    listener::Drain,
    metrics::{self, Degraded},
};

#[derive(Clone, Debug)]
struct Shared {
    relay: Arc<Relay>,
    drain: Drain,
}

/// Routes for members and for whoever spreads them over relays.
pub(super) fn outer(relay: &Arc<Relay>, drain: &Drain) -> Router {
    health().route(TLS_PATH, get(member)).with_state(shared(relay, drain))
}

/// Routes for who looks after the relay.
pub(super) fn inner(relay: &Arc<Relay>, drain: &Drain) -> Router {
    health().route("/metrics", get(tell)).with_state(shared(relay, drain))
}

fn shared(relay: &Arc<Relay>, drain: &Drain) -> Shared {
    Shared { relay: Arc::clone(relay), drain: drain.clone() }
}

fn health() -> Router<Shared> {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready))
}

async fn member(State(shared): State<Shared>, request: Request) -> Response {
    relay::upgrade(&shared.relay, &shared.drain, request).unwrap_or_else(|Refusal(problem)| {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, format!("{}\n", problem.message)).into_response()
    })
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    if shared.drain.begun.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    (StatusCode::OK, metrics::ready(&degraded(&shared.relay)))
}

async fn tell(State(shared): State<Shared>) -> Response {
    let mut all = Exposition::default();
    let public = shared.relay.public().to_string();
    let info = [("version", env!("CARGO_PKG_VERSION")), ("key", &public)];
    all.family(Figure::Gauge, "lacis_relay_info", "The relay.").sample(&info, 1);
    metrics::relay(&mut all, &shared.relay);
    let mut family = all.family(Figure::Gauge, "lacis_relay_degraded", "Things that do not work, by kind.");
    for Degraded { kind, .. } in degraded(&shared.relay) {
        family.sample(&[("kind", kind)], 1);
    }
    ([(header::CONTENT_TYPE, EXPOSITION_TYPE)], all.into_text()).into_response()
}

/// What does not work.
fn degraded(relay: &Relay) -> Vec<Degraded> {
    let damaged = relay.damaged_revocations();
    let lost = (damaged > 0).then(|| Degraded {
        kind: "revocations_damaged",
        text: format!(
            "{damaged} revocations were damaged on disk at the start, their members may come back; start control again, \
             which tells of all of them, and then the relay"
        ),
    });
    let unwritten = (!relay.keeps_revocations()).then(|| Degraded {
        kind: "revocations_not_written",
        text: "revocations count but are not on disk; make room in the state folder, and make it writable"
            .to_owned(),
    });
    lost.into_iter().chain(unwritten).collect()
}
