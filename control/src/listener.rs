//! The listener: TCP, TLS, HTTP/1.1, and nothing that a stranger sends can keep it busy for long.
//!
//! ```text
//! accept ─▶ handshake (≤ 10 s) ─▶ request head (≤ 20 s) ─▶ routes
//!    └── drain: no more connections, idle ones close, requests in flight are answered
//! ```

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What strangers may take of a listener: how many connections, and for how long without getting on with one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at once; the next waits.
    connections: usize,
    /// Over the handshake.
    handshake: Duration,
    /// Over the head of a request, or silent between two.
    head: Duration,
    /// Without taking what we sent, whatever waits in front of it (RFC 5482).
    untaken: Duration,
}

impl Bounds {
    /// As many agents as one control is meant for, and some room. A handshake over a slow line takes a second, the
    /// head of a request another; networks of those who travel come back within a minute.
    pub(crate) const PUBLIC: Self = Self {
        connections: 12_000,
        handshake: Duration::from_secs(10),
        head: Duration::from_secs(20),
        untaken: Duration::from_secs(90),
    };

    /// On this host: commands of an administrator, and whoever reads figures.
    pub(crate) const LOCAL: Self = Self { connections: 64, ..Self::PUBLIC };

    /// Places for connections.
    pub(crate) fn places(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.connections))
    }
}

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: u32 = 1_024;

/// How long to wait when the process has no file descriptors left.
pub(crate) const STARVED: Duration = Duration::from_millis(100);

/// What every task of a running control needs to end in order.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    pub(crate) begun: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// Opens the listening socket. Without an address: every address of the host, both families where there
/// is IPv6.
pub(crate) fn bind(listen: Option<SocketAddr>, port: u16) -> Result<TcpListener, (SocketAddr, io::Error)> {
    if let Some(addr) = listen {
        return bind_one(addr).map_err(|error| (addr, error));
    }
    let any6 = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
    let any4 = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port));
    match bind_one(any6) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            tracing::debug!(%error, "no IPv6 here, listening on IPv4 alone");
            bind_one(any4).map_err(|error| (any4, error))
        }
        other => other.map_err(|error| (any6, error)),
    }
}

fn bind_one(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket2::SockRef::from(&socket).set_only_v6(false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Accepts until the drain begins.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    routes: Router,
    drain: Drain,
    bounds: Bounds,
) {
    let places = bounds.places();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = drain.begun.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let (tls, routes, begun) = (tls.clone(), routes.clone(), drain.begun.clone());
                drain.tasks.spawn(connection(stream, from, tls, routes, begun, (bounds, place)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(STARVED).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    tls: TlsAcceptor,
    routes: Router,
    begun: CancellationToken,
    (bounds, place): (Bounds, OwnedSemaphorePermit),
) {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(bounds.untaken));
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(bounds.handshake, tls.accept(stream)) => shaken,
        () = begun.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => serve(stream, Caller(from), routes, begun, bounds).await,
        Ok(Err(error)) => tracing::debug!(%from, %error, "handshake failed"),
        Err(_) => tracing::debug!(%from, "handshake took too long"),
    }
    drop(place);
}

/// The underlay address of a caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller(pub(crate) SocketAddr);

/// Serves one connection until it ends or the drain begins.
pub(crate) async fn serve<S, C>(
    stream: S,
    caller: C,
    routes: Router,
    begun: CancellationToken,
    bounds: Bounds,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Clone + Send + Sync + 'static,
{
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        let mut routes = routes.clone();
        async move { tower_service(&mut routes, request).await }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = begun.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

async fn tower_service(
    routes: &mut Router,
    request: hyper::Request<Incoming>,
) -> Result<axum::response::Response, std::convert::Infallible> {
    use hyper_util::service::TowerToHyperService;
    hyper::service::Service::call(&TowerToHyperService::new(routes.clone()), request).await
}

#[cfg(test)]
mod tests;
