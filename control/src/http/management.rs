//! The management API (network-groups), for clients that show an API token.

use std::sync::Arc;

use ::http::StatusCode;
use axum::{Router, extract::State};

use crate::app::Control;

pub(super) fn routes() -> Router<Arc<Control>> {
    Router::new()
}

/// `GET /readyz`: whether this control takes requests, for whoever sends them here.
pub(super) async fn ready(State(control): State<Arc<Control>>) -> (StatusCode, &'static str) {
    if control.drain.begun.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}
