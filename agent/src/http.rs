//! What machines ask over HTTP: is it alive, is it ready, what are its figures.
//!
//! On the agent's own socket (`curl --unix-socket /run/lacis/agent.sock http://agent/metrics`), and on a TCP address
//! only where one was named. One request per connection, no body; anything else is refused.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use lacis_proto::EXPOSITION_TYPE;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    sync::Semaphore,
    time::timeout,
};

use crate::{app::Ask, status::Status};

/// Longest head of a request: what a browser sends is half of it.
const MAX_HEAD: u64 = 8 << 10;

/// A request comes at once or never, and whoever asked reads the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests at the same time; the next waits.
const MAX_REQUESTS: usize = 16;

/// How a request begins, to tell it from one in JSON.
pub(crate) const GET: &[u8] = b"GET ";

/// An answer.
struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

/// Answers on a TCP address until aborted.
pub(crate) async fn serve(listener: TcpListener, ask: Ask) {
    let room = Arc::new(Semaphore::new(MAX_REQUESTS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let ask = ask.clone();
                tokio::spawn(async move {
                    let (read, mut write) = stream.split();
                    let mut read = BufReader::new(read);
                    let mut line = Vec::new();
                    let mut first = (&mut read).take(MAX_HEAD);
                    if let Ok(Ok(_)) = timeout(PATIENCE, first.read_until(b'\n', &mut line)).await {
                        respond(&line, &mut read, &mut write, &ask).await;
                    }
                    drop(place);
                });
            }
            // Out of descriptors: connections end and free some.
            Err(_) => tokio::time::sleep(PATIENCE / 50).await,
        }
    }
}

/// Opens the listener.
///
/// # Errors
/// Why not, and what to do.
pub(crate) async fn bind(addr: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(addr).await;
    bound.map_err(|error| {
        format!("cannot offer figures on {addr}: {error}; choose another with --metrics ADDR:PORT")
    })
}

/// Answers one request whose first line has been read.
pub(crate) async fn respond(
    line: &[u8],
    read: &mut (impl AsyncBufRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
    ask: &Ask,
) {
    // The rest of the head says nothing that matters, but unread it would break off the answer.
    let mut rest = read.take(MAX_HEAD);
    let head = async {
        let mut line = Vec::new();
        while rest.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 2) {
            line.clear();
        }
    };
    if timeout(PATIENCE, head).await.is_err() {
        return;
    }
    let path = std::str::from_utf8(line).ok().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let answer =
        if line.starts_with(GET) { answer(path, ask).await } else { Answer::of("405 Method Not Allowed") };
    let Answer { status, kind, body } = answer;
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    // Whoever asked may have gone away.
    let _ = timeout(PATIENCE, async {
        write.write_all(text.as_bytes()).await?;
        write.shutdown().await
    })
    .await;
}

async fn answer(path: &str, ask: &Ask) -> Answer {
    match path {
        "/healthz" => {
            ask.status().await.map_or_else(Answer::stopping, |_| Answer::text("200 OK", "ok\n".to_owned()))
        }
        "/readyz" => ask.status().await.map_or_else(Answer::stopping, |status| readiness(&status)),
        "/metrics" => ask.metrics().await.map_or_else(Answer::stopping, |body| Answer {
            status: "200 OK",
            kind: EXPOSITION_TYPE,
            body,
        }),
        _ => Answer::of("404 Not Found"),
    }
}

/// Ready or not, and what does not work; what is merely degraded still serves.
fn readiness(status: &Status) -> Answer {
    let (code, word) =
        if status.ready { ("200 OK", "ready") } else { ("503 Service Unavailable", "not ready") };
    let mut body = format!("{word}\n");
    for degraded in &status.degraded {
        body += &format!("degraded: {}: {}; {}\n", degraded.kind, degraded.what, degraded.remedy);
    }
    Answer::text(code, body)
}

impl Answer {
    fn text(status: &'static str, body: String) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body }
    }

    fn of(status: &'static str) -> Self {
        Self::text(status, format!("{status}; there are /healthz, /readyz and /metrics\n"))
    }

    fn stopping() -> Self {
        Self::text("503 Service Unavailable", "the agent is stopping\n".to_owned())
    }
}
