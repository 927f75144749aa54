//! WebSocket as far as a relay's client needs it (RFC 6455): binary messages both ways, answers to pings.
//!
//! ```text
//! FIN 1 bit | 000 | opcode 4 | MASK 1 | length 7, or 126 and 16 bits, or 127 and 64 | mask 4 bytes from a client | payload
//! ```

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lacis_proto::relay::MAX_BATCH;

/// What the accepting side appends to our key (RFC 6455 §1.3).
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Longest payload of a message that is not binary (RFC 6455 §5.5).
const MAX_CONTROL: usize = 125;

/// Bytes that are no message, or a longer one than is ever sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A message of the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A batch of frames.
    Binary(Vec<u8>),
    /// Wants a pong with the same payload.
    Ping(Vec<u8>),
    /// Nothing that is of use.
    Other,
    /// The end.
    Close,
}

/// Cuts received bytes into messages.
#[derive(Debug, Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    /// What has come of a message in several parts.
    parts: Option<Vec<u8>>,
}

impl Reader {
    /// Takes in bytes as they came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The next whole message.
    pub(super) fn next(&mut self) -> Result<Option<Message>, Malformed> {
        loop {
            let Some((opcode, is_last, payload)) = self.take_frame()? else { return Ok(None) };
            match (opcode, is_last) {
                (0, _) => {
                    let mut parts = self.parts.take().ok_or(Malformed)?;
                    if parts.len() + payload.len() > MAX_BATCH {
                        return Err(Malformed);
                    }
                    parts.extend(payload);
                    if is_last {
                        return Ok(Some(Message::Binary(parts)));
                    }
                    self.parts = Some(parts);
                }
                (2, _) if self.parts.is_some() => return Err(Malformed),
                (2, true) => return Ok(Some(Message::Binary(payload))),
                (2, false) => self.parts = Some(payload),
                (8, true) => return Ok(Some(Message::Close)),
                (9, true) => return Ok(Some(Message::Ping(payload))),
                (10, true) => return Ok(Some(Message::Other)),
                (_, _) => return Err(Malformed),
            }
        }
    }

    /// The next frame: its opcode, whether it ends its message, its payload.
    fn take_frame(&mut self) -> Result<Option<(u8, bool, Vec<u8>)>, Malformed> {
        let Some(([first, second], rest)) = self.bytes.split_first_chunk::<2>() else { return Ok(None) };
        // A server never masks (RFC 6455 §5.1), and nobody has agreed on extensions.
        if first & 0x70 != 0 || second & 0x80 != 0 {
            return Err(Malformed);
        }
        let (opcode, is_last) = (first & 0x0F, first & 0x80 != 0);
        let (length, header) = match second {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            length => (u64::from(*length), 2),
        };
        let most = if opcode < 8 { MAX_BATCH } else { MAX_CONTROL };
        let length = usize::try_from(length).ok().filter(|length| *length <= most).ok_or(Malformed)?;
        if self.bytes.len() < header + length {
            return Ok(None);
        }
        let payload = self.bytes[header..header + length].to_vec();
        self.bytes.drain(..header + length);
        Ok(Some((opcode, is_last, payload)))
    }
}

/// Appends a binary message under this mask. It hides nothing inside TLS, but every client masks (RFC 6455 §5.3).
pub(super) fn binary(out: &mut Vec<u8>, payload: &[u8], mask: [u8; 4]) {
    write(out, 2, payload, mask);
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, 10, payload, [0; 4]);
    out
}

fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: [u8; 4]) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend(length.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(0x80 | 127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    let begin = out.len();
    out.extend(payload);
    for (byte, mask) in out[begin..].iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// What a server answers to this key, if it is one for WebSocket.
pub(super) fn accept_of(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes()))
}

/// The payload of one masked message, as a server reads it.
#[cfg(test)]
pub(super) fn unmasked(message: &[u8]) -> Vec<u8> {
    let Some((_, rest)) = message.split_first() else { return Vec::new() };
    let header = match rest[0] & 0x7F {
        126 => 3,
        127 => 9,
        _ => 1,
    };
    let mask: [u8; 4] = rest[header..header + 4].try_into().unwrap();
    rest[header + 4..].iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<Message>, Malformed> {
        let (mut reader, mut messages) = (Reader::default(), Vec::new());
        for piece in pieces {
            reader.push(piece);
            while let Some(message) = reader.next()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn messages_come_whole_however_they_were_cut() {
        let bytes = [&[0x82, 3, 1, 2, 3][..], &[0x89, 1, 7], &[0x8A, 0], &[0x88, 0]].concat();
        let expected =
            [Message::Binary(vec![1, 2, 3]), Message::Ping(vec![7]), Message::Other, Message::Close];
        assert_eq!(read(&[&bytes]).unwrap(), expected);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single).unwrap(), expected);
    }

    #[test]
    fn a_message_in_parts_is_put_together_around_a_ping() {
        let bytes = [&[0x02, 1, 1][..], &[0x89, 0], &[0x00, 1, 2], &[0x80, 1, 3]].concat();
        assert_eq!(read(&[&bytes]).unwrap(), [Message::Ping(vec![]), Message::Binary(vec![1, 2, 3])]);
    }

    #[test]
    fn what_a_relay_never_sends_is_refused() {
        let too_long = [&[0x82, 127][..], &(MAX_BATCH as u64 + 1).to_be_bytes()].concat();
        for bytes in
            [&[0xC2, 0][..], &[0x82, 0x80], &[0x81, 0], &[0x80, 0], &[0x09, 0], &[0x89, 126, 1, 0], &too_long]
        {
            assert_eq!(read(&[bytes]), Err(Malformed), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_written_is_masked_and_reads_back() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let mut out = Vec::new();
            binary(&mut out, &payload, [1, 2, 3, 4]);
            assert_eq!(out[0], 0x82);
            assert!(out[1] & 0x80 != 0, "masked");
            assert_eq!(unmasked(&out), payload);
        }
    }
}
