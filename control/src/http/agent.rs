//! The calls of agents, one module each. Every one is signed ([`auth`]).

mod auth;
mod join;
mod lines;
mod peers;
mod proofs;
mod report;
mod signal;
mod watch;

use std::sync::Arc;

use axum::{
    Router,
    routing::{delete, post},
};

use crate::app::Control;

pub(super) fn routes() -> Router<Arc<Control>> {
    Router::new()
        .route("/agent/v1/join", post(join::join))
        .route("/agent/v1/peers", post(peers::add))
        .route("/agent/v1/peers/{id}", delete(peers::remove))
        .route("/agent/v1/watch", post(watch::watch))
        .route("/agent/v1/report", post(report::report))
        .route("/agent/v1/proofs", post(proofs::proofs))
        .route("/agent/v1/signal", post(signal::signal))
}
