//! Messages of the NAT Port Mapping Protocol (RFC 6886), for UDP.

use std::net::Ipv4Addr;

const VERSION: u8 = 0;
/// The bit of a response in the opcode.
const RESPONSE: u8 = 0x80;
const OPCODE_ADDRESS: u8 = 0;
const OPCODE_MAP_UDP: u8 = 1;

/// Asks for the gateway's outer address (RFC 6886 §3.2).
pub(super) const ASK_ADDRESS: [u8; 2] = [VERSION, OPCODE_ADDRESS];

/// What a gateway says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Its outer address; also announced without a question.
    Address { epoch_s: u32, address: Ipv4Addr },
    /// A mapping of UDP.
    Mapped { epoch_s: u32, port: u16, external: u16, lifetime_s: u32 },
    /// Nothing is mapped, or there is no outer address.
    Refused,
}

/// Asks for a mapping (RFC 6886 §3.3), for the same one again, or with a lifetime of 0 for none (§3.4).
pub(super) fn map(port: u16, suggested: u16, lifetime_s: u32) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    bytes[1] = OPCODE_MAP_UDP;
    bytes[4..6].copy_from_slice(&port.to_be_bytes());
    bytes[6..8].copy_from_slice(&suggested.to_be_bytes());
    bytes[8..12].copy_from_slice(&lifetime_s.to_be_bytes());
    bytes
}

/// Reads what a gateway says; none where it is no response of this protocol.
pub(super) fn parse(bytes: &[u8]) -> Option<Reply> {
    let head = bytes.get(..8)?;
    if head[0] != VERSION || head[1] & RESPONSE == 0 {
        return None;
    }
    let short = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (result, epoch_s) = (short(2)?, long(4)?);
    if result != 0 {
        return Some(Reply::Refused);
    }
    match head[1] & !RESPONSE {
        OPCODE_ADDRESS => Some(Reply::Address { epoch_s, address: long(8)?.into() }),
        OPCODE_MAP_UDP => {
            Some(Reply::Mapped { epoch_s, port: short(8)?, external: short(10)?, lifetime_s: long(12)? })
        }
        _ => None,
    }
}
