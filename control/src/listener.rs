//! The listener: TCP, TLS, HTTP/1.1, and nothing that a stranger sends can keep it busy for long.
//!
//! ```text
//! accept ─▶ handshake (≤ 10 s) ─▶ request head (≤ 20 s) ─▶ routes ─▶ farewell (≤ 2 s)
//!    └── drain: no more connections, idle ones close, requests in flight are answered
//! ```
//! An honest client is never cut off: what it sends of a request that has been answered already is read all the same,
//! and the end of a connection is announced to it, so that it cannot be taken for the work of somebody in between.

mod lent;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use lacis_proto::MAX_BODY_BYTES;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::lent::Lent;
use self::lent::lend;

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
    /// Over taking note of the end: time for what was on its way when we ended.
    farewell: Duration,
}

impl Bounds {
    /// As many agents as one control is meant for, and some room. A handshake over a slow line takes a second, the
    /// head of a request another; networks of those who travel come back within a minute.
    pub(crate) const PUBLIC: Self = Self {
        connections: 12_000,
        handshake: Duration::from_secs(10),
        head: Duration::from_secs(20),
        untaken: Duration::from_secs(90),
        farewell: Duration::from_secs(2),
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
        answer(routes.clone(), request, bounds.head)
    });
    let (stream, mut returned) = lend(stream);
    let ended = {
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head)
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut served = std::pin::pin!(served);
        tokio::select! {
            ended = served.as_mut() => ended,
            () = begun.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
    // A connection that has become a WebSocket ends there.
    if let Ok(stream) = returned.try_recv() {
        let _ = tokio::time::timeout(bounds.farewell, farewell(stream, begun)).await;
    }
}

/// Announces the end, and waits for the other one: to close with something unread would reset the connection, and with
/// it what the client has not read yet.
async fn farewell(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    begun: CancellationToken,
) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unwanted = [0; 4096];
    let rest = async {
        while stream.read(&mut unwanted).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        ended = rest => ended,
        // Requests in flight have been answered: nothing more is on its way.
        () = begun.cancelled() => Ok(()),
    }
}

/// Answers one request. Where that needed no look at its body, the body is read behind the answer, for the client sends
/// it in any case and its next request comes after it.
async fn answer(
    routes: Router,
    request: hyper::Request<Incoming>,
    within: Duration,
) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    // Whoever asks first may keep the body back (RFC 9110 §10.1.1), and what follows would be taken for it.
    let stays_unread =
        body.size_hint().lower() > MAX_BODY_BYTES as u64 || parts.headers.contains_key(header::EXPECT);
    let (body, mut unread) = lend(body);
    let request = hyper::Request::from_parts(parts, Body::new(body));
    let mut response = TowerToHyperService::new(routes).call(request).await?;
    let Some(body) = unread.try_recv().ok().filter(|body| !body.is_end_stream()) else { return Ok(response) };
    if stays_unread {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    } else if !response.headers().contains_key(header::CONNECTION) {
        tokio::spawn(tokio::time::timeout(within, pass_over(body)));
    }
    Ok(response)
}

/// Reads a body to its end, or as much of it as anybody may send.
async fn pass_over(mut body: Incoming) {
    let mut left = MAX_BODY_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(less) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = less;
    }
}

#[cfg(test)]
mod tests;
