//! One netlink message: the limits of a link that decide how long a super-packet gets.

use std::io::{self, Read, Write};

use socket2::{Domain, Protocol, Socket, Type};

/// Attributes of a link, as `linux/if_link.h` numbers them.
const IFLA_TXQLEN: u16 = 13;
const IFLA_GSO_MAX_SEGS: u16 = 40;

/// Sets how many segments a super-packet of the link may have and how many packets its queue holds.
pub(crate) fn set_link_limits(index: u32, segments: u32, queue: u32) -> io::Result<()> {
    let route = Protocol::from(libc::NETLINK_ROUTE);
    let mut socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(route))?;
    // A message without address goes to the kernel, which answers before the call returns.
    socket.write_all(&set_link(index, segments, queue))?;
    let mut answer = [0; 512];
    let length = socket.read(&mut answer)?;
    acknowledged(&answer[..length])
}

/// Prints the request: message header, link header, two attributes.
fn set_link(index: u32, segments: u32, queue: u32) -> [u8; 48] {
    let mut message = [0; 48];
    message[0..4].copy_from_slice(&48_u32.to_ne_bytes());
    message[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&request_flags().to_ne_bytes());
    message[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    message[20..24].copy_from_slice(&index.to_ne_bytes());
    for (at, kind, value) in [(32, IFLA_GSO_MAX_SEGS, segments), (40, IFLA_TXQLEN, queue)] {
        message[at..at + 2].copy_from_slice(&8_u16.to_ne_bytes());
        message[at + 2..at + 4].copy_from_slice(&kind.to_ne_bytes());
        message[at + 4..at + 8].copy_from_slice(&value.to_ne_bytes());
    }
    message
}

fn request_flags() -> u16 {
    u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK).unwrap_or(0)
}

/// Reads the kernel's answer: an error message whose code is zero when all went well.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let Some(code) = answer.get(16..20).and_then(|bytes| bytes.first_chunk()) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    match i32::from_ne_bytes(*code) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_success_from_refusal() {
        let mut answer = [0; 36];
        assert!(acknowledged(&answer).is_ok());
        answer[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert_eq!(acknowledged(&answer).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(acknowledged(&answer[..18]).is_err());
    }
}
