//! Messages of a WebSocket (RFC 6455), as far as relays need them: binary messages, ping, pong and close.
//!
//! ```text
//! fin 1 bit, zero 3, opcode 4 | mask? 1 bit, length 7 | length 0, 2 or 8 | mask 0 or 4 | payload
//! ```
//! A client masks what it sends, a server does not. A message may come in pieces, as a proxy on the way cuts it. Text,
//! extensions and messages beyond the limit are errors: the connection ends.

use crate::relay::MAX_BATCH;

/// What the key of a handshake is followed by before SHA-1 makes the answer of it (RFC 6455 §1.3).
pub const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Longest payload of ping, pong and close (RFC 6455 §5.5).
const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Which end of a connection one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Masks what it sends.
    Client,
    /// Does not.
    Server,
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Bytes, [`MAX_BATCH`] at most.
    Binary(Vec<u8>),
    /// To be answered by a pong with the same bytes.
    Ping(Vec<u8>),
    /// The answer to a ping.
    Pong(Vec<u8>),
    /// The other end is done.
    Close,
}

/// Bytes that break the protocol: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end does not speak the relay's WebSocket")]
pub struct WebSocketError;

/// Cuts received bytes into messages, holding one unfinished message at most.
#[derive(Debug)]
pub struct Decoder {
    /// Which end reads.
    end: End,
    received: Vec<u8>,
    partial: Option<Vec<u8>>,
}

impl Decoder {
    /// For what this end receives.
    #[must_use]
    pub const fn new(end: End) -> Self {
        Self { end, received: Vec::new(), partial: None }
    }

    /// Takes in bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// [`WebSocketError`]; nothing is read after it.
    pub fn next_message(&mut self) -> Result<Option<Message>, WebSocketError> {
        while let Some(piece) = self.piece()? {
            let is_last = piece.is_last;
            match (piece.opcode, &mut self.partial) {
                (BINARY, None) if is_last => return Ok(Some(Message::Binary(piece.payload))),
                (BINARY, None) => self.partial = Some(piece.payload),
                (CONTINUATION, Some(partial)) => {
                    if partial.len() + piece.payload.len() > MAX_BATCH {
                        return Err(WebSocketError);
                    }
                    partial.extend(piece.payload);
                    if is_last {
                        return Ok(self.partial.take().map(Message::Binary));
                    }
                }
                (PING, _) if is_last => return Ok(Some(Message::Ping(piece.payload))),
                (PONG, _) if is_last => return Ok(Some(Message::Pong(piece.payload))),
                (CLOSE, _) if is_last => return Ok(Some(Message::Close)),
                _ => return Err(WebSocketError),
            }
        }
        // An idle connection holds no memory.
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        Ok(None)
    }

    /// The next piece of a message, once it is there whole.
    fn piece(&mut self) -> Result<Option<Piece>, WebSocketError> {
        let [first, second, rest @ ..] = self.received.as_slice() else { return Ok(None) };
        let (opcode, is_last) = (first & 0x0F, first & FIN != 0);
        let most = if opcode >= CLOSE { MAX_CONTROL } else { MAX_BATCH };
        let is_masked = second & MASKED != 0;
        if first & 0x70 != 0 || is_masked != (self.end == End::Server) {
            return Err(WebSocketError);
        }
        let (length, rest) = match second & 0x7F {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= most).ok_or(WebSocketError)?;
        let (mask, rest) = match rest.split_first_chunk::<4>() {
            Some((mask, rest)) if is_masked => (*mask, rest),
            None if is_masked => return Ok(None),
            Some(_) | None => ([0; 4], rest),
        };
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let mut payload = payload.to_vec();
        apply_mask(&mut payload, mask);
        let taken = self.received.len() - rest.len() + length;
        self.received.drain(..taken);
        Ok(Some(Piece { opcode, is_last, payload }))
    }
}

struct Piece {
    opcode: u8,
    is_last: bool,
    payload: Vec<u8>,
}

/// Appends a message. A client draws a mask for each, a server has none.
///
/// The mask keeps what a client says from looking like a request to caches on the way; behind TLS it hides nothing and
/// need not be secret.
pub fn write(out: &mut Vec<u8>, message: &Message, mask: Option<[u8; 4]>) {
    let (opcode, payload) = match message {
        Message::Binary(payload) => (BINARY, payload.as_slice()),
        Message::Ping(payload) => (PING, payload.as_slice()),
        Message::Pong(payload) => (PONG, payload.as_slice()),
        Message::Close => (CLOSE, [].as_slice()),
    };
    let masked = if mask.is_some() { MASKED } else { 0 };
    out.push(FIN | opcode);
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => out.push(masked | length.to_be_bytes()[1]),
        Ok(length) => {
            out.push(masked | 126);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(masked | 127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(mask.into_iter().flatten());
    let start = out.len();
    out.extend(payload);
    apply_mask(&mut out[start..], mask.unwrap_or_default());
}

fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in bytes.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests;
