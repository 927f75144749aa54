//! Answers on the Unix socket.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::Semaphore,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{ErrorKind, PingRequest, Reply, Request, Until, rights::may_change};
use crate::{
    app::{Ask, Change, Resolved},
    http,
    status::{Netcheck, Pong},
};

/// Longest request.
const MAX_REQUEST: u64 = 4096;
/// A request comes at once or never.
const REQUEST: Duration = Duration::from_secs(5);
/// Conversations at the same time; the next waits.
const MAX_CONVERSATIONS: usize = 64;
/// Rest after a connection that could not be taken, so that the lack of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a peer that is waited for is asked.
const WAIT_PROBE: Duration = Duration::from_millis(250);
/// Measurements of the network are waited for this long: they end by themselves within a second.
const MEASURED: Duration = Duration::from_secs(2);
/// How often it is looked whether they have ended.
const MEASURE_LOOK: Duration = Duration::from_millis(50);

/// The socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("an agent already listens on {path:?}; choose another socket with --socket PATH")]
    InUse { path: PathBuf },
    #[error("cannot listen on {path:?}; choose another socket with --socket PATH")]
    Listen { path: PathBuf, source: io::Error },
}

/// Listens on a socket that everybody may use, and answers until dropped. A socket left behind by an
/// agent that was killed is replaced.
pub(crate) async fn serve(path: PathBuf, ask: Ask) -> Result<impl Future<Output = ()>, SocketError> {
    let listen = |source| SocketError::Listen { path: path.clone(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(listen)?;
    }
    if UnixStream::connect(&path).await.is_ok() {
        return Err(SocketError::InUse { path });
    }
    remove_stale(&path).map_err(listen)?;
    let listener = UnixListener::bind(&path).map_err(listen)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).map_err(listen)?;
    Ok(accept(listener, ask))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn accept(listener: UnixListener, ask: Ask) {
    let room = Arc::new(Semaphore::new(MAX_CONVERSATIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let ask = ask.clone();
                tokio::spawn(async move {
                    converse(stream, ask).await;
                    drop(place);
                });
            }
            // Out of descriptors: conversations end and free some.
            Err(_) => sleep_until(Instant::now() + ACCEPT_PAUSE).await,
        }
    }
}

async fn converse(stream: UnixStream, ask: Ask) {
    let trusted = may_change(&stream);
    let (read, write) = stream.into_split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(MAX_REQUEST));
    let got = timeout(REQUEST, read.read_until(b'\n', &mut line)).await;
    let mut answer = Answering { write };
    let request = match got {
        Ok(Ok(_)) if line.starts_with(http::GET) => {
            return http::respond(&line, &mut read, &mut answer.write, &ask).await;
        }
        Ok(Ok(_)) => serde_json::from_slice(&line),
        Ok(Err(_)) | Err(_) => return,
    };
    let end = match request {
        Err(error) => Some(failure(ErrorKind::BadRequest, format!("not a request: {error}"))),
        Ok(request) => tokio::select! {
            end = respond(request, trusted, &ask, &mut answer) => end,
            // The asker went away: nobody waits for the rest.
            _ = read.read_u8() => None,
        },
    };
    if let Some(end) = end {
        answer.send(&end).await;
    }
}

struct Answering {
    write: OwnedWriteHalf,
}

impl Answering {
    async fn send(&mut self, reply: &Reply) -> bool {
        let mut line = serde_json::to_vec(reply).expect("a reply has a JSON form");
        line.push(b'\n');
        matches!(timeout(REQUEST, self.write.write_all(&line)).await, Ok(Ok(())))
    }
}

async fn respond(request: Request, trusted: bool, ask: &Ask, answer: &mut Answering) -> Option<Reply> {
    match request {
        Request::Join { token } => match token.parse() {
            Ok(token) => Some(change(Change::Join(Box::new(token)), trusted, ask).await),
            Err(error) => Some(failure(ErrorKind::BadRequest, error.to_string())),
        },
        Request::Leave { group } => Some(change(Change::Leave(group), trusted, ask).await),
        Request::RotateKey { group } => Some(change(Change::RotateKey(group), trusted, ask).await),
        Request::Purge {} => Some(change(Change::Purge, trusted, ask).await),
        Request::Down {} => Some(change(Change::Down, trusted, ask).await),
        Request::Status {} => {
            let status = ask.status().await;
            Some(status.map_or_else(stopping, |status| Reply::Status(Box::new(status))))
        }
        Request::Logs { .. } if !trusted => Some(forbidden("read the log")),
        Request::Logs { lines, follow } => logs(lines, follow, ask, answer).await,
        Request::Wait { until, timeout_ms } => {
            let deadline = Instant::now() + Duration::from_millis(timeout_ms);
            match timeout_at(deadline, wait(&until, ask)).await {
                Ok(Some(())) => Some(Reply::Done {}),
                Ok(None) => Some(stopping()),
                Err(_) => Some(failure(ErrorKind::TimedOut, timed_out(&until, timeout_ms))),
            }
        }
        Request::Ping(request) => ping(&request, ask, answer).await,
        Request::Explain { target } => Some(explain(&target, ask).await),
        Request::Netcheck {} => Some(netcheck(ask).await.map_or_else(stopping, Reply::Netcheck)),
    }
}

async fn change(change: Change, trusted: bool, ask: &Ask) -> Reply {
    if !trusted {
        return forbidden("change anything");
    }
    match ask.change(change).await {
        Some(Ok(())) => Reply::Done {},
        Some(Err(message)) => failure(ErrorKind::Failed, message),
        None => stopping(),
    }
}

fn forbidden(what: &str) -> Reply {
    let message = format!("only root, whoever runs the agent, and the group lacis may {what}; try sudo");
    failure(ErrorKind::Forbidden, message)
}

/// What the agent has said, and goes on saying where that is wanted.
async fn logs(lines: u32, follow: bool, ask: &Ask, answer: &mut Answering) -> Option<Reply> {
    if let Some(unit) = ask.journal() {
        return Some(Reply::Journal { unit: unit.to_owned() });
    }
    let mut written = ask.logs().written();
    let mut from = ask.logs().last(lines);
    loop {
        written.mark_unchanged();
        let (said, next) = ask.logs().since(from);
        for line in said {
            if !answer.send(&Reply::Log { line }).await {
                return None;
            }
        }
        from = next;
        if !follow || written.changed().await.is_err() {
            return Some(Reply::Done {});
        }
    }
}

async fn wait(until: &Until, ask: &Ask) -> Option<()> {
    let mut changes = ask.changes();
    loop {
        let reached = match until {
            Until::Ready => ask.status().await?.ready,
            Until::Peer(target) => match ask.resolve(target, None).await? {
                Some(to) => matches!(timeout(WAIT_PROBE, ask.probe(&to, 1)).await, Ok(Some(_))),
                None => false,
            },
        };
        if reached {
            return Some(());
        }
        // A peer that did not answer is asked again; anything else changes with the agent's state.
        if let Ok(Err(_)) = timeout(WAIT_PROBE, changes.changed()).await {
            return None;
        }
    }
}

async fn ping(request: &PingRequest, ask: &Ask, answer: &mut Answering) -> Option<Reply> {
    let Some(found) = ask.resolve(&request.target, request.family).await else { return Some(stopping()) };
    let Some(to) = found else { return Some(unknown_peer(&request.target)) };
    let mut next = Instant::now();
    let mut seq = 0u16;
    while request.count == 0 || u32::from(seq) < request.count {
        sleep_until(next).await;
        next += Duration::from_millis(request.interval_ms.max(1));
        seq = seq.wrapping_add(1);
        let within = Duration::from_millis(request.timeout_ms);
        let pong = timeout(within, ask.probe(&to, seq)).await.ok().flatten();
        if !answer.send(&Reply::Pong(pong.unwrap_or_else(|| silence(&to, seq)))).await {
            return None;
        }
    }
    Some(Reply::Done {})
}

fn silence(to: &Resolved, seq: u16) -> Pong {
    let (address, name) = (to.address, to.name.clone());
    Pong { seq, address, name, rtt_ms: None, path: None, via: None, endpoint: None }
}

async fn explain(target: &str, ask: &Ask) -> Reply {
    let Some(found) = ask.resolve(target, None).await else { return stopping() };
    let Some(peer) = found else { return unknown_peer(target) };
    match ask.explain(peer).await {
        Some(Some(told)) => Reply::Explained(Box::new(told)),
        Some(None) => failure(ErrorKind::UnknownPeer, format!("{target:?} is this node itself")),
        None => stopping(),
    }
}

/// Measures, and tells what is known once answers have come or do not come any more.
async fn netcheck(ask: &Ask) -> Option<Box<Netcheck>> {
    ask.measure().await?;
    let deadline = Instant::now() + MEASURED;
    loop {
        let found = ask.netcheck().await?;
        if !found.measuring || Instant::now() >= deadline {
            return Some(Box::new(found));
        }
        sleep_until(Instant::now() + MEASURE_LOOK).await;
    }
}

fn unknown_peer(target: &str) -> Reply {
    failure(ErrorKind::UnknownPeer, format!("no peer is called {target:?}; `lacis status` lists them"))
}

fn timed_out(until: &Until, timeout_ms: u64) -> String {
    let seconds = Duration::from_millis(timeout_ms).as_secs_f64();
    match until {
        Until::Ready => format!("not ready after {seconds} s; `lacis status` says what is missing"),
        Until::Peer(peer) => format!("{peer:?} did not answer within {seconds} s"),
    }
}

fn stopping() -> Reply {
    failure(ErrorKind::Stopping, "the agent is stopping".to_owned())
}

const fn failure(kind: ErrorKind, message: String) -> Reply {
    Reply::Error { kind, message }
}
