//! A relay over TLS, so that it looks like one over UDP: for networks that let nothing else through.
//!
//! ```text
//! tunnel ─ UDP on loopback ─▶ bridge ─ batches of frames in a WebSocket over TLS ─▶ relay
//! ```
//! A bridge is a task with a socket of its own that is connected to the tunnel's: nobody else's datagrams get in. It ends
//! with the connection, and tells; its owner ends it by dropping it. What the connection does not take in time is dropped,
//! the oldest data first: a packet that comes late is worth less than the next one.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lacis_agent_core::RelayEvent;
use lacis_proto::{
    Pin, RelayId,
    relay::{Batch, Queue},
    websocket::{ACCEPT_GUID, Decoder, End, Message, write as write_message},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::Found;
use crate::{
    clock::{Clock, random},
    control::{AttemptError, Dialer, TrustError, host_and_port},
    race::race,
};

/// Connection, TLS and WebSocket together are there within this, or not at all.
const OPEN: Duration = Duration::from_secs(10);

/// Longest answer to the upgrade: a status and a few headers.
const MAX_UPGRADE: usize = 8 * 1024;

/// A connection whose bytes nobody acknowledges is dead after this (nat-traversal §3.4).
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// Bytes that the kernel keeps unsent: more would only wait where they cannot be dropped any more.
const UNSENT: u32 = 32 * 1024;

/// Room for datagrams between the tunnel and the bridge: what a shard sends in one go, several times.
const DATAGRAMS: usize = 1024 * 1024;

/// Datagrams that are taken in one go before something is sent.
const AT_ONCE: usize = 64;

/// Most pings that wait for their answer: a relay sends one a minute.
const MAX_PINGS: usize = 4;

/// How a bridge reaches relays and tells of itself.
#[derive(Clone, Debug)]
pub(crate) struct Bridges {
    pub(crate) dialer: Dialer,
    pub(crate) clock: Clock,
    /// The port of the tunnel.
    pub(crate) port: u16,
    pub(crate) found: mpsc::Sender<Found>,
}

/// A connection to one relay, made or in the making. Ends when dropped.
#[derive(Debug)]
pub(super) struct Bridge {
    task: JoinHandle<()>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why there is no bridge, or none any more.
#[derive(Debug, thiserror::Error)]
enum BridgeError {
    #[error("{}", list(.0))]
    Unreachable(Vec<(String, String)>),
    #[error("nobody can be trusted")]
    Trust(#[source] TrustError),
    #[error("no socket on loopback: {0}")]
    Loopback(#[source] io::Error),
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    #[error("the relay ended the connection")]
    Ended,
    #[error("the relay sent what is no frame")]
    Malformed,
}

/// Why one address gave no connection.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("it is not wss://host:port/path")]
    Url,
    #[error("no answer within 10 s")]
    Late,
    #[error(transparent)]
    Dial(#[from] AttemptError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it does not speak WebSocket there")]
    NoWebSocket,
}

fn list(tried: &[(String, String)]) -> String {
    let each: Vec<String> = tried.iter().map(|(url, why)| format!("{url} ({why})")).collect();
    each.join(", ")
}

impl Bridges {
    /// Begins to connect to a relay at one of these addresses.
    pub(super) fn open(&self, relay: RelayId, urls: Vec<String>, pins: Vec<Pin>) -> Bridge {
        let bridges = self.clone();
        let task = tokio::spawn(async move {
            let Err(error) = bridges.run(&relay, urls, &pins).await;
            let why = crate::overlay::report(&error);
            tracing::debug!(%relay, why, "no connection to a relay over TLS");
            // The loop has ended: nobody needs to know.
            let _ = bridges.found.send(Found::Relay(RelayEvent::TlsDown { relay, why })).await;
        });
        Bridge { task }
    }

    async fn run(
        &self,
        relay: &RelayId,
        urls: Vec<String>,
        pins: &[Pin],
    ) -> Result<std::convert::Infallible, BridgeError> {
        let dialer = self.dialer.for_relay(pins).map_err(BridgeError::Trust)?;
        let stream = first(&dialer, urls).await?;
        let socket = to_tunnel(self.port).await.map_err(BridgeError::Loopback)?;
        // As much as the host allows.
        let _ = SockRef::from(&socket).set_recv_buffer_size(DATAGRAMS);
        let at: SocketAddr = socket.local_addr().map_err(BridgeError::Loopback)?;
        tracing::info!(%relay, "reached over TLS");
        let up = Found::Relay(RelayEvent::TlsUp { relay: relay.clone(), at });
        self.found.send(up).await.map_err(|_| BridgeError::Ended)?;
        carry(stream, &socket, self.clock).await
    }
}

/// The first connection that is made, addresses begun one after the other.
async fn first(dialer: &Dialer, urls: Vec<String>) -> Result<TlsStream<TcpStream>, BridgeError> {
    let ways = urls.into_iter().map(|url| {
        let dialer = dialer.clone();
        async move {
            let opened = timeout(OPEN, open(&dialer, &url)).await.unwrap_or(Err(OpenError::Late));
            opened.map_err(|error| (url, crate::overlay::report(&error)))
        }
    });
    let (_, stream) = race(ways.collect()).await.map_err(BridgeError::Unreachable)?;
    Ok(stream)
}

/// A socket connected to the tunnel's on loopback, of the family that this host has.
async fn to_tunnel(port: u16) -> io::Result<UdpSocket> {
    let on = async |loopback: IpAddr| {
        let socket = UdpSocket::bind((loopback, 0)).await?;
        socket.connect((loopback, port)).await?;
        io::Result::Ok(socket)
    };
    match on(Ipv4Addr::LOCALHOST.into()).await {
        Ok(socket) => Ok(socket),
        Err(_) => on(Ipv6Addr::LOCALHOST.into()).await,
    }
}

/// Connects and asks for a WebSocket (RFC 6455 §4.1).
async fn open(dialer: &Dialer, url: &str) -> Result<TlsStream<TcpStream>, OpenError> {
    let (authority, path) =
        url.strip_prefix("wss://").and_then(|rest| rest.split_once('/')).ok_or(OpenError::Url)?;
    let (host, port) = host_and_port(authority).ok_or(OpenError::Url)?;
    if url.contains(['\r', '\n', ' ']) {
        return Err(OpenError::Url);
    }
    let mut stream = dialer.connect(host, port).await?;
    let key = STANDARD.encode(random::<16>());
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    // Byte by byte, out of the buffer of TLS: frames may follow at once.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_UPGRADE {
            return Err(OpenError::NoWebSocket);
        }
        answer.push(stream.read_u8().await?);
    }
    if !is_upgraded(&answer, &accept_of(&key)) {
        return Err(OpenError::NoWebSocket);
    }
    let tcp = SockRef::from(stream.get_ref().0);
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    tcp.set_tcp_notsent_lowat(UNSENT)?;
    Ok(stream)
}

/// What a server answers to this key, if it is one for WebSocket (RFC 6455 §4.2.2).
fn accept_of(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{ACCEPT_GUID}").as_bytes()))
}

/// Whether an answer is a change to WebSocket that whoever read our key has made.
fn is_upgraded(answer: &[u8], accept: &str) -> bool {
    let Ok(text) = std::str::from_utf8(answer) else { return false };
    let mut lines = text.split("\r\n");
    let is_switching = lines.next().is_some_and(|status| status.starts_with("HTTP/1.1 101"));
    is_switching
        && lines
            .filter_map(|line| line.split_once(':'))
            .any(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == accept)
}

/// What is to go into the connection.
#[derive(Debug, Default)]
struct Waiting {
    frames: Queue,
    /// Payloads of pings that are to be answered.
    pings: Vec<Vec<u8>>,
}

impl Waiting {
    /// Takes in a ping of the relay's WebSocket.
    fn answer(&mut self, payload: Vec<u8>) {
        if self.pings.len() < MAX_PINGS {
            self.pings.push(payload);
        }
    }

    /// Writes the next messages, or nothing where nothing waits.
    fn fill(&mut self, now: Duration, out: &mut Vec<u8>) {
        for payload in self.pings.drain(..) {
            write_message(out, &Message::Pong(payload), Some(random()));
        }
        let mut batch = Vec::new();
        self.frames.take(now, &mut batch);
        if !batch.is_empty() {
            write_message(out, &Message::Binary(batch), Some(random()));
        }
    }
}

/// Carries frames both ways until the connection ends.
async fn carry(
    stream: TlsStream<TcpStream>,
    socket: &UdpSocket,
    clock: Clock,
) -> Result<std::convert::Infallible, BridgeError> {
    let (mut read, mut write) = tokio::io::split(stream);
    let (mut waiting, mut reader) = (Waiting::default(), Decoder::new(End::Client));
    let (mut datagram, mut input) = (vec![0; usize::from(u16::MAX)], vec![0; 16 * 1024]);
    let (mut out, mut written, mut flushed) = (Vec::new(), 0, true);
    loop {
        if flushed {
            out.clear();
            written = 0;
            waiting.fill(clock.now(), &mut out);
            flushed = out.is_empty();
        }
        tokio::select! {
            length = socket.recv(&mut datagram) => {
                // An error is of a datagram that went the other way: the tunnel's socket is being replaced.
                let mut next = length.ok();
                let mut taken = 0;
                while let Some(length) = next {
                    waiting.frames.push(clock.now(), datagram[..length].into());
                    taken += 1;
                    next = if taken < AT_ONCE { socket.try_recv(&mut datagram).ok() } else { None };
                }
            }
            done = send_on(&mut write, &out, &mut written), if !flushed => {
                flushed = done.map_err(BridgeError::Broken)?;
            }
            length = read.read(&mut input) => {
                let length = length.map_err(BridgeError::Broken)?;
                if length == 0 {
                    return Err(BridgeError::Ended);
                }
                reader.push(&input[..length]);
                while let Some(message) = reader.next_message().map_err(|_| BridgeError::Malformed)? {
                    match message {
                        Message::Binary(batch) => deliver(&batch, socket)?,
                        Message::Ping(payload) => waiting.answer(payload),
                        Message::Pong(_) => {}
                        Message::Close => return Err(BridgeError::Ended),
                    }
                }
            }
        }
    }
}

/// Sends more of a message, and then what TLS still holds of it. Returns whether all of it is out.
async fn send_on(
    write: &mut (impl AsyncWrite + Unpin),
    out: &[u8],
    written: &mut usize,
) -> Result<bool, io::Error> {
    if *written < out.len() {
        *written += write.write(&out[*written..]).await?;
        return Ok(false);
    }
    write.flush().await?;
    Ok(true)
}

/// Hands the frames of a message to the tunnel. What it does not take at once is lost, as on any network.
fn deliver(batch: &[u8], socket: &UdpSocket) -> Result<(), BridgeError> {
    for frame in Batch::parse(batch).map_err(|_| BridgeError::Malformed)? {
        let _ = socket.try_send(frame.map_err(|_| BridgeError::Malformed)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lacis_proto::relay::{Kind, RelayAddress, header};

    use super::*;

    /// The messages that a relay reads next.
    fn read(waiting: &mut Waiting) -> Vec<Message> {
        let mut out = Vec::new();
        waiting.fill(Duration::ZERO, &mut out);
        let mut reader = Decoder::new(End::Server);
        reader.push(&out);
        std::iter::from_fn(|| reader.next_message().unwrap()).collect()
    }

    #[test]
    fn pings_are_answered_ahead_of_frames_and_only_so_many_wait() {
        let mut waiting = Waiting::default();
        let frame = header(Kind::Data, 1, RelayAddress(2));
        waiting.frames.push(Duration::ZERO, frame.into());
        for ping in 0..9 {
            waiting.answer(vec![ping]);
        }
        let mut batch = Vec::new();
        assert!(Batch::push(&mut batch, &frame));
        let mut expected: Vec<Message> =
            (0..).take(MAX_PINGS).map(|ping| Message::Pong(vec![ping])).collect();
        expected.push(Message::Binary(batch));
        assert_eq!(read(&mut waiting), expected);
        assert_eq!(read(&mut waiting), []);
    }

    #[test]
    fn only_a_server_that_has_read_the_key_is_taken_for_a_websocket() {
        // The example of RFC 6455 §1.3.
        let accept = accept_of("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let answer =
            format!("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n");
        assert!(is_upgraded(answer.as_bytes(), &accept));
        assert!(!is_upgraded(answer.replace("101", "200").as_bytes(), &accept));
        assert!(!is_upgraded(answer.as_bytes(), &accept_of("other")));
        assert!(!is_upgraded(b"\xff", &accept));
    }
}
