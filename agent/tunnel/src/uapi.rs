//! The text that `wg` and its like speak with a user-space WireGuard, as values: parsed and printed, nothing else.
//!
//! A request is lines of `key=value` and ends with an empty one. The first says what it is:
//!
//! ```text
//! get=1            set=1                                counters=1
//!                  private_key=<64 hex digits>
//!                  listen_port=51820
//!                  public_key=<64 hex digits>           begins a peer; what follows is about it
//!                  endpoint=192.0.2.1:51820
//!                  allowed_ip=10.0.0.2/32
//! ```
//!
//! Every answer ends with `errno=0` or the negative number of an error, and an empty line. `counters=1` is ours: the
//! figures of the data plane, a line each. Stock tools never ask it.
//!
//! Source: <https://www.wireguard.com/xplatform/>.

use std::io::{self, BufRead, Read};
use std::net::{SocketAddr, SocketAddrV6};

use ipnetwork::IpNetwork;

use crate::limits;
use crate::tunnel::{PresharedKey, PrivateKey};

mod print;

pub(crate) use print::{DeviceView, PeerView, write_device, write_peer};

/// What a client asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// The whole configuration and the figures of every peer.
    Get,
    /// A change.
    Set(Box<Changes>),
    /// The counters of the data plane.
    Counters,
}

/// A change; what is `None` stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The inner `None` takes the key away.
    pub(crate) private_key: Option<Option<PrivateKey>>,
    /// 0 means any.
    pub(crate) listen_port: Option<u16>,
    /// 0 means none.
    pub(crate) fwmark: Option<u32>,
    /// All peers that there are go first.
    pub(crate) replace_peers: bool,
    pub(crate) peers: Vec<PeerChanges>,
}

/// A change of one peer; what is `None` stays as it is.
#[derive(Debug, Default)]
pub(crate) struct PeerChanges {
    pub(crate) key: [u8; 32],
    pub(crate) remove: bool,
    /// A peer that is not there is not made.
    pub(crate) update_only: bool,
    /// The inner `None` takes the key away.
    pub(crate) preshared_key: Option<Option<PresharedKey>>,
    pub(crate) endpoint: Option<SocketAddr>,
    /// Seconds; 0 means none.
    pub(crate) keepalive: Option<u16>,
    /// The prefixes that there are go first.
    pub(crate) replace_allowed: bool,
    /// Prefixes in order, each given or taken away.
    pub(crate) allowed: Vec<(IpNetwork, Given)>,
}

/// Whether a prefix is given to a peer or taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Yes,
    Taken,
}

/// A request that cannot be understood. Nothing of it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request cannot be understood")]
pub(crate) struct Malformed;

/// Finds the number of an interface by its name, for scopes of link-local addresses.
pub(crate) type FindScope<'a> = &'a dyn Fn(&str) -> Option<u32>;

/// Reads one request; `None` at the end of the stream.
///
/// A malformed request is read to its end, so that the next one can follow.
///
/// # Errors
/// When the stream fails, ends within a request, or a request passes the limits.
pub(crate) fn read(
    input: &mut impl BufRead,
    find_scope: FindScope<'_>,
) -> io::Result<Option<Result<Request, Malformed>>> {
    let (mut line, mut parser, mut total) = (Vec::new(), Ok(Parser::default()), 0);
    loop {
        line.clear();
        input.by_ref().take(limits::UAPI_LINE).read_until(b'\n', &mut line)?;
        total += line.len();
        if line.is_empty() && total == 0 {
            return Ok(None);
        }
        if line.pop() != Some(b'\n') || total > limits::UAPI_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if line.is_empty() {
            return Ok(Some(parser.and_then(Parser::finish)));
        }
        parser = parser.and_then(|parser| parser.line(&line, find_scope));
    }
}

/// A request on its way.
#[derive(Debug, Default)]
struct Parser {
    request: Option<Request>,
}

impl Parser {
    fn line(mut self, line: &[u8], find_scope: FindScope<'_>) -> Result<Self, Malformed> {
        let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
        let (key, value) = line.split_once('=').ok_or(Malformed)?;
        match &mut self.request {
            None => self.request = Some(begin(key, value)?),
            Some(Request::Get | Request::Counters) => return Err(Malformed),
            Some(Request::Set(changes)) if key == "public_key" => {
                changes.peers.push(PeerChanges { key: parse_key(value)?, ..PeerChanges::default() });
            }
            Some(Request::Set(changes)) => match changes.peers.last_mut() {
                None => device_line(changes, key, value)?,
                Some(peer) => peer_line(peer, key, value, find_scope)?,
            },
        }
        Ok(self)
    }

    fn finish(self) -> Result<Request, Malformed> {
        self.request.ok_or(Malformed)
    }
}

fn begin(key: &str, value: &str) -> Result<Request, Malformed> {
    match (key, value) {
        ("get", "1") => Ok(Request::Get),
        ("set", "1") => Ok(Request::Set(Box::default())),
        ("counters", "1") => Ok(Request::Counters),
        _ => Err(Malformed),
    }
}

fn device_line(changes: &mut Changes, key: &str, value: &str) -> Result<(), Malformed> {
    match key {
        "private_key" => changes.private_key = Some(parse_optional_key(value)?.map(PrivateKey::from)),
        "listen_port" => changes.listen_port = Some(parse_number(value)?),
        "fwmark" => changes.fwmark = Some(parse_number(value)?),
        "replace_peers" => changes.replace_peers = parse_true(value)?,
        _ => return Err(Malformed),
    }
    Ok(())
}

fn peer_line(
    peer: &mut PeerChanges,
    key: &str,
    value: &str,
    find_scope: FindScope<'_>,
) -> Result<(), Malformed> {
    match key {
        "remove" => peer.remove = parse_true(value)?,
        "update_only" => peer.update_only = parse_true(value)?,
        "preshared_key" => {
            peer.preshared_key = Some(parse_optional_key(value)?.map(PresharedKey::from));
        }
        "endpoint" => peer.endpoint = Some(parse_endpoint(value, find_scope)?),
        "persistent_keepalive_interval" => peer.keepalive = Some(parse_number(value)?),
        "replace_allowed_ips" => {
            peer.replace_allowed = parse_true(value)?;
            peer.allowed.clear();
        }
        "allowed_ip" => peer.allowed.push(parse_allowed(value)?),
        "protocol_version" if value == "1" => {}
        _ => return Err(Malformed),
    }
    Ok(())
}

fn parse_true(value: &str) -> Result<bool, Malformed> {
    if value == "true" { Ok(true) } else { Err(Malformed) }
}

/// Parses a decimal number without sign.
fn parse_number<T: std::str::FromStr>(value: &str) -> Result<T, Malformed> {
    if !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed);
    }
    value.parse().map_err(|_| Malformed)
}

fn parse_key(value: &str) -> Result<[u8; 32], Malformed> {
    let digits = value.as_bytes();
    let mut key = [0; 32];
    if digits.len() != 64 {
        return Err(Malformed);
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(key)
}

/// Parses a key of which all zeros means none.
fn parse_optional_key(value: &str) -> Result<Option<[u8; 32]>, Malformed> {
    parse_key(value).map(|key| (key != [0; 32]).then_some(key))
}

fn digit(byte: u8) -> Result<u8, Malformed> {
    let value = char::from(byte).to_digit(16).ok_or(Malformed)?;
    u8::try_from(value).map_err(|_| Malformed)
}

/// Parses a prefix, with `-` before it when it is taken away; bits past its length are dropped.
fn parse_allowed(value: &str) -> Result<(IpNetwork, Given), Malformed> {
    let (given, prefix) = match value.strip_prefix('-') {
        Some(prefix) => (Given::Taken, prefix),
        None => (Given::Yes, value),
    };
    let (_, length) = prefix.split_once('/').ok_or(Malformed)?;
    parse_number::<u8>(length)?;
    let prefix: IpNetwork = prefix.parse().map_err(|_| Malformed)?;
    let prefix = IpNetwork::new(prefix.network(), prefix.prefix()).map_err(|_| Malformed)?;
    Ok((prefix, given))
}

/// Parses `192.0.2.1:1`, `[2001:db8::1]:1`, `[fe80::1%2]:1` or `[fe80::1%eth0]:1`.
fn parse_endpoint(value: &str, find_scope: FindScope<'_>) -> Result<SocketAddr, Malformed> {
    if let Ok(endpoint) = value.parse() {
        return Ok(endpoint);
    }
    let inner = value.strip_prefix('[').ok_or(Malformed)?;
    let (host, port) = inner.split_once("]:").ok_or(Malformed)?;
    let (host, scope) = host.split_once('%').ok_or(Malformed)?;
    let address = host.parse().map_err(|_| Malformed)?;
    let scope = find_scope(scope).ok_or(Malformed)?;
    Ok(SocketAddrV6::new(address, parse_number(port)?, 0, scope).into())
}

#[cfg(test)]
mod tests;
