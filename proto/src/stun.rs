//! STUN binding (RFC 8489), as little as tells a host its address from outside.
//!
//! ```text
//! type 2 | length 2 | 0x2112A442 | transaction id 12 | attributes: type 2, length 2, value padded to four bytes
//! ```
//! A request may ask for a FINGERPRINT by bearing one; then the answer has one. Attributes that must be understood and
//! are not make a request be ignored: a full server would answer 420, which is larger than saying nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A transaction: drawn at random by who asks.
pub type TransactionId = [u8; 12];

/// Bytes of a request as [`request`] writes it.
pub const REQUEST: usize = HEADER;

/// Longest message that is looked at: a request with all that anyone puts into one. The path's least MTU, 548 bytes
/// of payload, is where RFC 8489 §6.1 ends, too.
pub const MAX_MESSAGE: usize = 548;

const HEADER: usize = 20;
const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
const FINGERPRINT_XOR: u32 = 0x5354_554E;
/// Attributes from this number on may be passed over (RFC 8489 §14).
const OPTIONAL: u16 = 0x8000;

/// A binding request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Goes back in the answer.
    pub id: TransactionId,
    /// Whether it bears a fingerprint, hence wants one.
    pub fingerprint: bool,
}

/// The answer to a binding request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// Of the request.
    pub id: TransactionId,
    /// Where the request came from.
    pub observed: SocketAddr,
}

impl Request {
    /// Reads a request. `None` for anything else, and for one that wants what is not understood here.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (id, attributes) = message(bytes, BINDING_REQUEST)?;
        let mut fingerprint = false;
        for attribute in attributes {
            let (kind, _) = attribute?;
            if kind < OPTIONAL {
                return None;
            }
            fingerprint |= kind == FINGERPRINT;
        }
        Some(Self { id, fingerprint })
    }

    /// The answer to it: at most 52 bytes.
    #[must_use]
    pub fn answer(&self, observed: SocketAddr) -> Vec<u8> {
        let mut bytes = start(BINDING_SUCCESS, self.id);
        let port = observed.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
        let mask: Vec<u8> = COOKIE.into_iter().chain(self.id).collect();
        let (family, mut ip) = match observed.ip() {
            IpAddr::V4(v4) => (1, v4.octets().to_vec()),
            IpAddr::V6(v6) => (2, v6.octets().to_vec()),
        };
        ip.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        bytes.extend(XOR_MAPPED_ADDRESS.to_be_bytes());
        bytes.extend(u16::try_from(4 + ip.len()).unwrap_or_default().to_be_bytes());
        bytes.extend([0, family]);
        bytes.extend(port.to_be_bytes());
        bytes.extend(ip);
        if self.fingerprint {
            set_length(&mut bytes, 8);
            let sum = crc32fast::hash(&bytes) ^ FINGERPRINT_XOR;
            bytes.extend(FINGERPRINT.to_be_bytes());
            bytes.extend(4_u16.to_be_bytes());
            bytes.extend(sum.to_be_bytes());
        } else {
            set_length(&mut bytes, 0);
        }
        bytes
    }
}

impl Response {
    /// Reads the answer to a request. `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (id, attributes) = message(bytes, BINDING_SUCCESS)?;
        let mut observed = None;
        for attribute in attributes {
            let (kind, value) = attribute?;
            match kind {
                XOR_MAPPED_ADDRESS => observed = Some(address(value, Some(id))?),
                // Servers of RFC 3489 know only this one.
                MAPPED_ADDRESS => observed = observed.or(Some(address(value, None)?)),
                _ if kind < OPTIONAL => return None,
                _ => {}
            }
        }
        Some(Self { id, observed: observed? })
    }
}

/// A binding request without attributes.
#[must_use]
pub fn request(id: TransactionId) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    bytes[..2].copy_from_slice(&BINDING_REQUEST);
    bytes[4..8].copy_from_slice(&COOKIE);
    bytes[8..].copy_from_slice(&id);
    bytes
}

/// Whether these bytes may be STUN: for a socket that WireGuard shares, which is asked first.
#[must_use]
pub fn is_stun(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && bytes[0] <= 3 && bytes[4..8] == COOKIE
}

fn message(bytes: &[u8], kind: [u8; 2]) -> Option<(TransactionId, Attributes<'_>)> {
    let (head, rest) = bytes.split_first_chunk::<HEADER>()?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let is_whole = bytes.len() <= MAX_MESSAGE && length == rest.len() && length.is_multiple_of(4);
    if !is_whole || head[..2] != kind || head[4..8] != COOKIE {
        return None;
    }
    Some((*head.last_chunk().expect("a header ends in a transaction"), Attributes(rest)))
}

fn start(kind: [u8; 2], id: TransactionId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend(kind);
    bytes.extend([0; 2]);
    bytes.extend(COOKIE);
    bytes.extend(id);
    bytes
}

/// Writes the length of a message to which `more` bytes will be added: a fingerprint is over the length that counts it.
fn set_length(bytes: &mut [u8], more: usize) {
    let length = u16::try_from(bytes.len() - HEADER + more).unwrap_or(u16::MAX);
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
}

fn address(value: &[u8], mask: Option<TransactionId>) -> Option<SocketAddr> {
    let (head, ip) = value.split_first_chunk::<4>()?;
    let mut port = u16::from_be_bytes([head[2], head[3]]);
    let mut ip = ip.to_vec();
    if let Some(id) = mask {
        port ^= u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
        ip.iter_mut().zip(COOKIE.into_iter().chain(id)).for_each(|(byte, mask)| *byte ^= mask);
    }
    let ip: IpAddr = match head[1] {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?).into(),
        2 => Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Attributes that are left to read; `None` as an item where the bytes are malformed, after which nothing comes.
struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    fn split(&self) -> Option<(u16, &'a [u8], &'a [u8])> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let rest_after = rest.get(length.next_multiple_of(4)..)?;
        Some((u16::from_be_bytes([head[0], head[1]]), rest.get(..length)?, rest_after))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((kind, value, rest)) = self.split() else {
            self.0 = &[];
            return Some(None);
        };
        self.0 = rest;
        Some(Some((kind, value)))
    }
}

#[cfg(test)]
mod tests;
