//! The admin socket: what the command line asks of a control that runs (DESIGN ruling 27).
//!
//! One call, [`Call`] in and JSON out. Who may open the file may ask anything; when no control runs, the
//! command line performs the same calls on the store itself.

mod call;
mod nodes;

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use ::http::StatusCode;
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::post,
};
use tokio::net::UnixListener;

pub(crate) use self::{
    call::{Call, Made, OwnerEntry, Status, TokenEntry, entry, make_join_token, perform, read},
    nodes::NodeEntry,
};
use crate::{
    app::Control,
    http::{self, Refusal},
    listener::{self, Bounds, Drain},
    metrics,
};

/// The socket's name in the data folder.
pub(crate) const SOCKET: &str = "admin.sock";

/// Opens the socket. One that a dead control has left is in the way and goes: the folder's lock is ours.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(socket)
}

/// The one path on the socket.
pub(crate) const PATH: &str = "/admin/v1/call";

pub(crate) fn routes(control: &Arc<Control>) -> Router {
    let routes = Router::new().route(PATH, post(take)).merge(metrics::routes());
    http::finish(routes.with_state(Arc::clone(control)), control)
}

async fn take(State(control): State<Arc<Control>>, request: Request) -> Result<Response, Refusal> {
    let (_, body) = http::body_of(request).await?;
    let answer = perform(&control, http::parse(&body)?).await?;
    Ok(http::json(StatusCode::OK, &answer))
}

/// Accepts until the drain begins.
pub(crate) async fn accept(socket: UnixListener, routes: Router, drain: Drain) {
    let places = Bounds::LOCAL.places();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = drain.begun.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let served = listener::serve(stream, (), routes.clone(), drain.begun.clone(), Bounds::LOCAL);
                drain.tasks.spawn(async {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin socket");
                tokio::time::sleep(listener::STARVED).await;
            }
        }
    }
}
