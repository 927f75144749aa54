//! Several sockets on one port, each with the datagrams of one shard.
//!
//! The kernel asks a small program (classic BPF) which socket of the group a datagram is for. It sees the UDP payload
//! and finds the shard in the receiver index (`index.rs`):
//!
//! ```text
//!  response  2 000  sender(4)  receiver(4)         byte 9 & 15
//!  cookie    3 000  receiver(4)                    byte 5 & 15
//!  data      4 000  receiver(4)                    byte 5 & 15
//!  initiation, anything else, a shard there is not     0
//! ```
//!
//! What a relay carried has all of this behind the relay's header (`relay.rs`).
//!
//! A message that the kernel merged goes where its first datagram belongs; the shard passes on what is not its own.
//!
//! The port is bound by one socket alone before it is shared, so that a port in use is noticed. A program of the same
//! user that shares it later gets nothing: the steering names none but the sockets that were there first.
#![expect(unsafe_code, reason = "attaching a filter to a socket has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::part::MOST;
use crate::relay;
use crate::udp::socket::UdpSocket;

/// Binds as many sockets of a family to one port as there are shards; 0 takes any port.
///
/// # Errors
/// `AddrInUse` when anybody has the port; others when the kernel cannot share or steer.
pub(crate) fn bind(v6: bool, port: u16, shards: u8) -> io::Result<Vec<UdpSocket>> {
    let first = UdpSocket::bind(v6, port)?;
    if shards <= 1 {
        return Ok(vec![first]);
    }
    let port = first.port()?;
    first.share_port()?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(UdpSocket::bind_beside(v6, port)?);
    }
    // The program is the group's, whichever of its sockets it is given to.
    attach(&sockets[0], &program(shards))?;
    Ok(sockets)
}

/// Length of the program.
const STEPS: usize = 14;

/// Returns the program for a group of `shards` sockets. A load past the end of a datagram answers 0.
fn program(shards: u8) -> [libc::sock_filter; STEPS] {
    let byte = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    let (equal, least) = (libc::BPF_JMP | libc::BPF_JEQ, libc::BPF_JMP | libc::BPF_JGE);
    let masked = libc::BPF_ALU | libc::BPF_AND;
    // Counted from the index register, which is 0 where the program begins and past the relay's header if there is one.
    let inside = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
    let header = u32::try_from(relay::HEADER).unwrap_or(0);
    [
        step(byte, 0, (0, 0)),
        step(equal, relay::MAGIC.into(), (0, 1)),
        step(libc::BPF_LDX | libc::BPF_IMM, header, (0, 0)),
        step(inside, 0, (0, 0)),
        step(equal, 4, (2, 0)),
        step(equal, 3, (1, 0)),
        step(equal, 2, (2, 6)),
        step(inside, 5, (0, 0)),
        step(libc::BPF_JMP | libc::BPF_JA, 1, (0, 0)),
        step(inside, 9, (0, 0)),
        step(masked, u32::from(MOST - 1), (0, 0)),
        step(least, shards.into(), (1, 0)),
        step(libc::BPF_RET | libc::BPF_A, 0, (0, 0)),
        step(libc::BPF_RET, 0, (0, 0)),
    ]
}

/// One step: what to do, with which number, and how many steps to skip when a comparison holds and when it does not.
fn step(code: u32, k: u32, (jt, jf): (u8, u8)) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k }
}

fn attach(socket: &UdpSocket, program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut(),
    };
    let size = libc::socklen_t::try_from(size_of_val(&program)).unwrap_or(0);
    let (fd, pointer) = (socket.as_fd().as_raw_fd(), (&raw const program).cast());
    // SAFETY: the pointer and size describe `program`, whose steps outlive the call; the kernel copies and only reads.
    let result =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, pointer, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket as Plain};
    use std::time::Duration;

    use super::*;
    use crate::udp::poll::Poll;
    use crate::udp::receive::Receiver;
    use crate::way::Hop;

    const SHARDS: u8 = 3;

    /// Returns which sockets of the group have something, after taking it.
    fn heard(sockets: &[UdpSocket]) -> Vec<usize> {
        let mut poll = Poll::new().unwrap();
        for (number, socket) in sockets.iter().enumerate() {
            poll.add(socket, number as u64).unwrap();
        }
        let ready: Vec<_> =
            poll.wait(Some(Duration::from_secs(10))).unwrap().map(|event| event.token).collect();
        for number in &ready {
            Receiver::default().receive(&sockets[usize::try_from(*number).unwrap()]).unwrap();
        }
        ready.into_iter().map(|number| usize::try_from(number).unwrap()).collect()
    }

    fn message(kind: u8, length: usize, at: usize, owner: u8) -> Vec<u8> {
        let mut bytes = vec![0xff; length];
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        if at < length {
            bytes[at] = 0xc0 | owner;
        }
        bytes
    }

    #[test]
    fn each_datagram_reaches_the_shard_that_its_receiver_index_names() {
        for (v6, local) in [(false, IpAddr::V4(Ipv4Addr::LOCALHOST)), (true, IpAddr::V6(Ipv6Addr::LOCALHOST))]
        {
            let Ok(sockets) = bind(v6, 0, SHARDS) else {
                assert!(v6, "every host has IPv4");
                continue;
            };
            let Ok(sender) = Plain::bind((local, 0)) else { continue };
            let port = sockets[0].port().unwrap();
            assert!(sockets.iter().all(|socket| socket.port().unwrap() == port));
            let mut cases = Vec::new();
            for owner in 0..MOST {
                let expected = if owner < SHARDS { usize::from(owner) } else { 0 };
                cases.push((message(4, 32, 5, owner), expected));
                cases.push((message(4, 1452, 5, owner), expected));
                cases.push((message(3, 64, 5, owner), expected));
                cases.push((message(2, 92, 9, owner), expected));
                cases.push((message(1, 148, 5, owner), 0));
                cases.push((message(9, 40, 5, owner), 0));
                for (kind, length, at) in [(4, 32, 5), (4, 1452, 5), (3, 64, 5), (2, 92, 9)] {
                    let frame = relay::header(Hop { lease: 7, address: 0x0404_0404_0404_0404 });
                    cases.push(([&frame[..], &message(kind, length, at, owner)].concat(), expected));
                }
            }
            cases.push((vec![relay::MAGIC; 40], 0));
            cases.push((vec![relay::MAGIC; 16], 0));
            cases.push((vec![4], 0));
            cases.push((vec![4, 0, 0, 0, 1], 0));
            cases.push((vec![2, 0, 0, 0, 1, 1, 1, 1], 0));
            for (bytes, expected) in cases {
                sender.send_to(&bytes, (local, port)).unwrap();
                assert_eq!(heard(&sockets), [expected], "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_shared_port_is_taken_for_everybody_else() {
        for v6 in [false, true] {
            let Ok(sockets) = bind(v6, 0, SHARDS) else { continue };
            let port = sockets[0].port().unwrap();
            for shards in [1, SHARDS] {
                let again = bind(v6, port, shards).unwrap_err();
                assert_eq!(again.kind(), io::ErrorKind::AddrInUse, "{shards} more");
            }
        }
    }

    #[test]
    fn whoever_shares_the_port_later_hears_nothing() {
        let sockets = bind(false, 0, 2).unwrap();
        let port = sockets[0].port().unwrap();
        let intruder = UdpSocket::bind_beside(false, port).unwrap();
        let sender = Plain::bind("127.0.0.1:0").unwrap();
        for owner in 0..MOST {
            sender.send_to(&message(4, 32, 5, owner), ("127.0.0.1", port)).unwrap();
            heard(&sockets);
        }
        assert!(Receiver::default().receive(&intruder).is_err());
    }
}
