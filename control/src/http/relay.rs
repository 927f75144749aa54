//! `GET /relay/v1`: a member of a relay behind a WebSocket, where datagrams do not pass.
//!
//! ```text
//! upgrade ─▶ reader: bytes ─▶ messages ─▶ frames ─▶ the relay        stops reading whoever sends too fast
//!        └─▶ writer: the relay's queue ─▶ one message ─▶ bytes       one task, so that a slow member holds up nobody
//! ```
//! Nobody is asked who he is here: as over datagrams, a HELLO says it, and a stream without a lease can do nothing.

use std::{future::pending, io, time::Duration};

use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use aws_lc_rs::digest;
use axum::{
    extract::Request,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use lacis_proto::{
    Code, Problem,
    relay::{Batch, LEASE_LIFETIME},
    websocket::{self, ACCEPT_GUID, Decoder, End, Message},
};
use lacis_relay::{Relay, TlsLeg, TooFast};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    http::Refusal,
    listener::{Caller, Drain, Lent},
};

/// Bytes read at once: half a TLS record. An idle member holds no more than this and its TLS session.
const READ: usize = 8 * 1024;

/// A member that takes nothing for so long is gone: its tunnels have gone elsewhere long before.
const UNTAKEN: Duration = Duration::from_secs(15);

/// Bytes that the kernel holds unsent: what waits longer waits in the queue, where it can be dropped.
const UNSENT: u32 = 32 * 1024;

/// Pings that wait for the writer; a member that sends more gets fewer answers.
const PONGS: usize = 4;

/// Answers the handshake and hands the connection to the relay.
pub(crate) fn upgrade(relay: &Relay, drain: &Drain, mut request: Request) -> Result<Response, Refusal> {
    let accept = accept(request.headers()).ok_or_else(|| {
        Problem::new(Code::BadRequest, "this path takes WebSocket connections of version 13 alone")
    })?;
    let from = request.extensions().get::<Caller>().map_or(([0, 0, 0, 0], 0).into(), |caller| caller.0);
    let upgraded = request
        .extensions_mut()
        .remove::<OnUpgrade>()
        .ok_or_else(|| Problem::new(Code::BadRequest, "this connection cannot become a WebSocket"))?;
    let leg = relay.connect(from).ok_or_else(|| {
        Problem::new(Code::Busy, "the relay has as many members behind TLS as it takes; try another")
    })?;
    let begun = drain.begun.clone();
    drain.tasks.spawn(async move {
        match upgraded.await {
            Ok(upgraded) => run(upgraded, leg, begun).await,
            Err(error) => tracing::debug!(%from, %error, "a WebSocket was not opened"),
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// The answer to the key of a handshake (RFC 6455 §4.2.2), where it is one.
fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let says = |name, word: &str| {
        let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        text.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let is_handshake = says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "websocket")
        && says(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok().filter(|_| is_handshake)?;
    // SHA-1 shows that the answer is not an old one out of a cache; nothing rests on its strength.
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{ACCEPT_GUID}").as_bytes());
    HeaderValue::try_from(STANDARD.encode(hash)).ok()
}

async fn run(upgraded: Upgraded, leg: TlsLeg, begun: CancellationToken) {
    type Plain = TokioIo<Lent<tokio_rustls::server::TlsStream<TcpStream>>>;
    match upgraded.downcast::<Plain>() {
        Ok(parts) => {
            let stream = parts.io.into_inner().keep();
            let socket = socket2::SockRef::from(stream.get_ref().0);
            let _ = socket.set_tcp_user_timeout(Some(UNTAKEN));
            let _ = socket.set_tcp_notsent_lowat(UNSENT);
            serve(stream, &parts.read_buf, leg, begun).await;
        }
        Err(upgraded) => serve(TokioIo::new(upgraded), &[], leg, begun).await,
    }
}

async fn serve<S: AsyncRead + AsyncWrite>(stream: S, first: &[u8], leg: TlsLeg, begun: CancellationToken) {
    let (mut read, mut write) = tokio::io::split(stream);
    let (pongs, asked) = mpsc::channel(PONGS);
    let ended = tokio::select! {
        ended = hear(&mut read, first, &leg, pongs) => ended,
        ended = say(&mut write, &leg, asked, begun) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a member behind TLS is gone");
    }
    let mut bytes = Vec::new();
    websocket::write(&mut bytes, &Message::Close, None);
    let _ = timeout(UNTAKEN, async { write.write_all(&bytes).await.and(write.shutdown().await) }).await;
}

/// Takes what the member sends until it ends.
async fn hear(
    read: &mut (impl AsyncRead + Unpin),
    first: &[u8],
    leg: &TlsLeg,
    pongs: mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let mut decoder = Decoder::new(End::Server);
    let mut bytes = vec![0; READ];
    decoder.push(first);
    loop {
        while let Some(message) = decoder.next_message().map_err(io::Error::other)? {
            match message {
                Message::Binary(batch) => {
                    for frame in Batch::parse(&batch).map_err(io::Error::other)? {
                        let frame = frame.map_err(io::Error::other)?;
                        // What is not read stays in the sender's way, and slows it down honestly.
                        while let Err(TooFast(pause)) = leg.hear(frame) {
                            sleep(pause).await;
                        }
                    }
                }
                Message::Ping(payload) => drop(pongs.try_send(payload)),
                Message::Pong(_) => {}
                Message::Close => return Ok(()),
            }
        }
        match timeout(LEASE_LIFETIME, read.read(&mut bytes)).await {
            Ok(Ok(0)) | Err(_) => return Ok(()),
            Ok(Ok(length)) => decoder.push(&bytes[..length]),
            Ok(Err(error)) => return Err(error),
        }
    }
}

/// Sends what waits for the member until control drains and it has had the farewell.
async fn say(
    write: &mut (impl AsyncWrite + Unpin),
    leg: &TlsLeg,
    mut asked: mpsc::Receiver<Vec<u8>>,
    begun: CancellationToken,
) -> io::Result<()> {
    loop {
        let message = tokio::select! {
            batch = leg.next() => Message::Binary(batch),
            ping = asked.recv() => match ping {
                Some(payload) => Message::Pong(payload),
                None => pending().await,
            },
            () = begun.cancelled() => {
                // The relay's farewell is queued by now, or will be within moments.
                return match timeout(Duration::from_millis(100), leg.next()).await {
                    Ok(batch) => send(write, &Message::Binary(batch)).await,
                    Err(_) => Ok(()),
                };
            }
        };
        send(write, &message).await?;
    }
}

async fn send(write: &mut (impl AsyncWrite + Unpin), message: &Message) -> io::Result<()> {
    let mut bytes = Vec::new();
    websocket::write(&mut bytes, message, None);
    write.write_all(&bytes).await?;
    write.flush().await
}

#[cfg(test)]
mod tests;
