//! Messages of the Port Control Protocol (RFC 6887) that a client with one UDP port needs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// RFC 6887 §7.1.
const VERSION: u8 = 2;
/// The bit of a response in the opcode (RFC 6887 §7.2).
const RESPONSE: u8 = 0x80;
const OPCODE_ANNOUNCE: u8 = 0;
const OPCODE_MAP: u8 = 1;
/// UDP, among IP protocols.
const UDP: u8 = 17;
const HEADER: usize = 24;
const MAP: usize = HEADER + 36;

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Seconds since the server began to remember (RFC 6887 §8.5).
    pub(super) epoch_s: u32,
    pub(super) kind: ReplyKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyKind {
    /// The server has restarted, or says that it has not.
    Announce,
    /// Nothing is mapped.
    Refused,
    /// A mapping of UDP.
    Mapped(Mapped),
}

/// A mapping as the server has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) nonce: [u8; 12],
    pub(super) port: u16,
    pub(super) external: SocketAddrV4,
    pub(super) lifetime_s: u32,
}

/// Asks for a mapping (RFC 6887 §11.1), for the same one again, or with a lifetime of 0 for none.
pub(super) fn map(
    local: Ipv4Addr,
    nonce: [u8; 12],
    port: u16,
    suggested: SocketAddrV4,
    lifetime_s: u32,
) -> Vec<u8> {
    let mut bytes = vec![0; MAP];
    bytes[0] = VERSION;
    bytes[1] = OPCODE_MAP;
    bytes[4..8].copy_from_slice(&lifetime_s.to_be_bytes());
    bytes[8..24].copy_from_slice(&local.to_ipv6_mapped().octets());
    bytes[24..36].copy_from_slice(&nonce);
    bytes[36] = UDP;
    bytes[40..42].copy_from_slice(&port.to_be_bytes());
    bytes[42..44].copy_from_slice(&suggested.port().to_be_bytes());
    bytes[44..60].copy_from_slice(&suggested.ip().to_ipv6_mapped().octets());
    bytes
}

/// Reads what a server says; none where it is no response of this protocol. A server of NAT-PMP alone refuses with
/// its own version number (RFC 6886 §3.5), which is not read here.
pub(super) fn parse(bytes: &[u8]) -> Option<Reply> {
    let head = bytes.get(..HEADER)?;
    if head[0] != VERSION || head[1] & RESPONSE == 0 {
        return None;
    }
    let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (result, lifetime_s, epoch_s) = (head[3], number(4), number(8));
    let kind = match head[1] & !RESPONSE {
        OPCODE_ANNOUNCE => ReplyKind::Announce,
        OPCODE_MAP if result != 0 => ReplyKind::Refused,
        OPCODE_MAP => ReplyKind::Mapped(mapped(bytes.get(HEADER..MAP)?, lifetime_s)?),
        _ => return None,
    };
    Some(Reply { epoch_s, kind })
}

fn mapped(body: &[u8], lifetime_s: u32) -> Option<Mapped> {
    let nonce = body[..12].try_into().ok()?;
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let address: [u8; 16] = body[20..36].try_into().ok()?;
    let address = Ipv6Addr::from(address).to_ipv4_mapped()?;
    let external = SocketAddrV4::new(address, port(18));
    (body[12] == UDP).then_some(Mapped { nonce, port: port(16), external, lifetime_s })
}
