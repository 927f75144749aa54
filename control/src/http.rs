//! HTTP: routes, bodies with a limit, and refusals that are always a [`Problem`].
//!
//! One module per kind of caller: agents sign their requests, management clients show an API token, the
//! admin socket is open to whoever may open the file.

mod agent;
mod consumers;
mod limit;
pub(crate) mod management;
pub(crate) mod relay;

use std::{sync::Arc, time::Duration};

use ::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use lacis_proto::{Code, MAX_BODY_BYTES, Problem, relay::TLS_PATH};
use serde::de::DeserializeOwned;

use self::management::problem::ProblemView;
pub(crate) use self::{consumers::Consumers, limit::Limiter};
use crate::{app::Control, clock};

/// How long a client may take over the body of a request.
const BODY: Duration = Duration::from_secs(15);

/// Room for an answer from the start: a group with some peers.
const USUAL_ANSWER: usize = 8 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The routes of the public listener.
pub(crate) fn routes(control: &Arc<Control>) -> Router {
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(management::ready))
        .route(TLS_PATH, get(member_behind_tls))
        .merge(agent::routes())
        .merge(management::routes())
        .with_state(Arc::clone(control));
    finish(routes, control)
}

async fn member_behind_tls(
    State(control): State<Arc<Control>>,
    request: Request,
) -> Result<Response, Refusal> {
    let own = control.relays.own();
    let own = own.ok_or_else(|| Problem::new(Code::NotFound, "there is no relay in this control"))?;
    relay::upgrade(own.relay(), &control.drain, request)
}

/// Adds what every set of routes has: refusals for unknown paths and methods, and request ids.
pub(crate) fn finish(routes: Router, control: &Arc<Control>) -> Router {
    let routes = routes.fallback(no_path).method_not_allowed_fallback(no_method);
    routes.layer(middleware::from_fn_with_state(Arc::clone(control), stamp))
}

/// A refusal; `stamp` gives it its request id.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(Arc::new(self.0));
        response
    }
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    let mut body = Vec::with_capacity(USUAL_ANSWER);
    serde_json::to_writer(&mut body, value).expect("every answer has a JSON form");
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, kind, body).into_response()
}

/// Reads the whole body of a request.
pub(crate) async fn body_of(request: Request) -> Result<(Parts, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match read {
        Ok(Ok(body)) => Ok((parts, body.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body is longer than {MAX_BODY_BYTES} bytes, the most that is read");
            Err(Problem::new(Code::TooLarge, message))
        }
        Ok(Err(_)) => Err(Problem::new(Code::BadRequest, "the body ended too early")),
        Err(_) => Err(Problem::new(Code::BadRequest, "the body took too long to arrive")),
    }
}

/// Reads a JSON body.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(Code::BadRequest, format!("the body is not what this call takes: {error}"))
    })
}

async fn no_path(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(Code::NotFound, format!("there is nothing at {path}")).into()
}

async fn no_method(method: Method, uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(Code::MethodNotAllowed, format!("{path} does not take {method}")).into()
}

/// When to come again where control is overloaded: not all at once.
fn soon() -> u16 {
    1 + u16::from(clock::random::<1>()[0] % 5)
}

/// Gives every answer a request id, and writes refusals.
async fn stamp(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let id = format!("{:016x}", u64::from_be_bytes(clock::random()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // Clients of the management API read JSON by the plain name only, and show anything else as it came.
    let is_agent = path.starts_with("/agent/");
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        let mut problem = Arc::unwrap_or_clone(problem);
        control.live.metrics.refused(problem.code);
        tracing::debug!(%method, path, code = ?problem.code, request_id = id, "refused");
        problem.request_id = Some(id.clone());
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response = if is_agent {
            let kind = HeaderValue::from_static("application/problem+json");
            ([(header::CONTENT_TYPE, kind)], json(status, &problem)).into_response()
        } else {
            json(status, &ProblemView::new(&problem))
        };
        if let Some(wait_s) = problem.retry_after_s.or_else(|| (problem.status == 503).then(soon)) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
        }
        if problem.status == 401 {
            let schemes = HeaderValue::from_static("Bearer, OAuth realm=\"lacis\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, schemes);
        }
        // The body of the request may be unread: what follows on this connection would be its rest.
        if problem.code == Code::TooLarge {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
