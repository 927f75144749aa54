//! WireGuard's messages (WireGuard paper §5.4), told apart by their first bytes and their length.
//!
//! ```text
//!  initiation  1 000  sender(4)                ephemeral static timestamp mac1 mac2   148 B
//!  response    2 000  sender(4)   receiver(4)  ephemeral nothing mac1 mac2             92 B
//!  cookie      3 000  receiver(4) nonce cookie                                         64 B
//!  data        4 000  receiver(4) counter(8) packet tag                             >= 32 B
//! ```

use crate::relay;

/// Length of an initiation.
pub(crate) const INITIATION: usize = 148;
/// Length of a response.
pub(crate) const RESPONSE: usize = 92;
/// Length of a cookie reply.
pub(crate) const COOKIE: usize = 64;
/// Length of the shortest data message: a keepalive.
pub(crate) const KEEPALIVE: usize = 32;

/// First byte of every path frame.
const PATH: u8 = 0x0d;
/// Length of a STUN header, and the magic cookie in it (RFC 8489 §5).
const STUN: usize = 20;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// A message, as far as it can be told without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Initiation,
    Response { receiver: u32 },
    Cookie { receiver: u32 },
    Data { receiver: u32 },
}

impl Message {
    /// Returns the index of whom it is for; an initiation has none.
    pub(crate) fn receiver(self) -> Option<u32> {
        match self {
            Self::Initiation => None,
            Self::Response { receiver } | Self::Cookie { receiver } | Self::Data { receiver } => {
                Some(receiver)
            }
        }
    }
}

/// Tells what a datagram is; `None` when it is no message of the protocol.
#[inline]
pub(crate) fn classify(datagram: &[u8]) -> Option<Message> {
    let kind = u32::from_le_bytes(*datagram.first_chunk()?);
    match (kind, datagram.len()) {
        (4, KEEPALIVE..) => Some(Message::Data { receiver: le32(datagram, 4)? }),
        (1, INITIATION) => Some(Message::Initiation),
        (2, RESPONSE) => Some(Message::Response { receiver: le32(datagram, 8)? }),
        (3, COOKIE) => Some(Message::Cookie { receiver: le32(datagram, 4)? }),
        _ => None,
    }
}

/// A datagram that is not WireGuard's and that somebody on this node may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    /// A path frame of a peer.
    Path,
    /// A frame of a relay.
    Relay,
    /// An answer of a STUN server.
    Stun,
}

impl Raw {
    /// Tells what a datagram is, once it was found to be no message of WireGuard's.
    pub(crate) fn of(datagram: &[u8]) -> Option<Self> {
        let first = datagram.first_chunk::<4>()?;
        match first {
            // Foreign bytes must not pass for STUN because a length or type of WireGuard's is wrong.
            [1..=4, 0, 0, 0] if datagram.len() >= KEEPALIVE => None,
            [PATH, ..] => Some(Self::Path),
            [relay::MAGIC, ..] if datagram.len() >= relay::HEADER => Some(Self::Relay),
            [0..=3, ..] if datagram.len() >= STUN && datagram[4..8] == STUN_COOKIE => Some(Self::Stun),
            _ => None,
        }
    }
}

#[inline]
fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![7; length];
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        bytes
    }

    #[test]
    fn each_message_is_known_by_type_and_exact_length() {
        let receiver = 0x0707_0707;
        let table = [
            (1, 148, Some(Message::Initiation)),
            (1, 147, None),
            (2, 92, Some(Message::Response { receiver })),
            (2, 93, None),
            (3, 64, Some(Message::Cookie { receiver })),
            (3, 63, None),
            (4, 32, Some(Message::Data { receiver })),
            (4, 1452, Some(Message::Data { receiver })),
            (4, 31, None),
            (5, 148, None),
            (0, 148, None),
        ];
        for (kind, length, expected) in table {
            assert_eq!(classify(&message(kind, length)), expected, "type {kind}, {length} B");
        }
    }

    #[test]
    fn what_is_not_wireguards_is_told_by_its_first_bytes() {
        let stun = [&[1, 1, 0, 0][..], &STUN_COOKIE, &[7; 12]].concat();
        let table: [(&[u8], Option<Raw>); 9] = [
            (&[0x0d, 1, 0, 0], Some(Raw::Path)),
            (&[0x0d, 1, 0], None),
            (&[0x0e; 16], Some(Raw::Relay)),
            (&[0x0e; 15], None),
            (&stun, Some(Raw::Stun)),
            (&stun[..19], None),
            (&[&[1, 0, 0, 0][..], &STUN_COOKIE, &[7; 24]].concat(), None),
            (&[5; 40], None),
            (&[], None),
        ];
        for (datagram, expected) in table {
            assert_eq!(Raw::of(datagram), expected, "{datagram:?}");
            assert_eq!(classify(datagram), None);
        }
    }

    #[test]
    fn reserved_bytes_must_be_zero() {
        let mut bytes = message(4, 40);
        bytes[2] = 1;
        assert_eq!(classify(&bytes), None);
    }
}
