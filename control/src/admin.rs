//! The admin socket: what the command line asks of a control that runs (DESIGN ruling 27).

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use axum::Router;
use tokio::net::UnixListener;

use crate::{
    app::Control,
    http,
    listener::{self, Drain},
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

pub(crate) fn routes(control: &Arc<Control>) -> Router {
    http::finish(Router::new().with_state(Arc::clone(control)))
}

/// Accepts until the drain begins.
pub(crate) async fn accept(socket: UnixListener, routes: Router, drain: Drain) {
    loop {
        let accepted = tokio::select! {
            () = drain.begun.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                drain.tasks.spawn(listener::serve(stream, (), routes.clone(), drain.begun.clone()));
            }
            Err(error) => tracing::warn!(%error, "cannot accept on the admin socket"),
        }
    }
}
