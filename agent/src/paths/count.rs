//! Opens a few flows from a socket of their own, for who must know how far a NAT has counted.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use lacis_proto::stun::{Response, TransactionId, request};
use tokio::{net::UdpSocket, time::timeout};

use crate::clock::random;

/// Flows that are opened: two differences between three ports tell the step.
pub(super) const FLOWS: usize = 3;

/// Requests are sent again after this, as often as it takes to lose three in a row seldom.
const AGAIN_AFTER: Duration = Duration::from_millis(150);
const TRIES: usize = 3;

/// Asks each of these servers, which are of one family, from one new socket how it sees it. Answers are in the order of the servers, which is that
/// of the flows; none where not all of them answered, for what is missing may be the one that counts.
pub(super) async fn count(servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let any: IpAddr = match servers.first() {
        Some(SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        Some(SocketAddr::V4(_)) | None => Ipv4Addr::UNSPECIFIED.into(),
    };
    let Ok(socket) = UdpSocket::bind((any, 0)).await else { return Vec::new() };
    let asked: Vec<(TransactionId, SocketAddr)> = servers.into_iter().map(|to| (random(), to)).collect();
    let mut seen: Vec<Option<SocketAddr>> = vec![None; asked.len()];
    for _ in 0..TRIES {
        for ((id, to), _) in asked.iter().zip(&seen).filter(|(_, seen)| seen.is_none()) {
            // One that cannot be sent is like one that is lost.
            let _ = socket.send_to(&request(*id), to).await;
        }
        // Whoever has all of them stops before the time is over.
        if timeout(AGAIN_AFTER, hear(&socket, &asked, &mut seen)).await.is_ok() {
            break;
        }
    }
    seen.into_iter().collect::<Option<_>>().unwrap_or_default()
}

/// Takes in answers until each server has given one.
async fn hear(socket: &UdpSocket, asked: &[(TransactionId, SocketAddr)], seen: &mut [Option<SocketAddr>]) {
    let mut datagram = [0; 512];
    while seen.iter().any(Option::is_none) {
        let Ok((length, from)) = socket.recv_from(&mut datagram).await else { return };
        let Some(Response { id, observed }) = Response::parse(&datagram[..length]) else { continue };
        if let Some(at) = asked.iter().position(|(of, to)| *of == id && *to == from) {
            seen[at] = Some(observed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacis_proto::stun::Request;

    /// A server on loopback that answers what comes from the second request on.
    async fn forgetful(loopback: IpAddr) -> SocketAddr {
        let socket = UdpSocket::bind((loopback, 0)).await.unwrap();
        let at = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut datagram = [0; 512];
            for number in 0.. {
                let (length, from) = socket.recv_from(&mut datagram).await.unwrap();
                if number > 0 {
                    let request = Request::parse(&datagram[..length]).unwrap();
                    socket.send_to(&request.answer(from), from).await.unwrap();
                }
            }
        });
        at
    }

    #[tokio::test]
    async fn every_server_is_asked_from_one_socket_until_it_answers() {
        // A NAT64 is asked by IPv6.
        for loopback in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let servers =
                vec![forgetful(loopback).await, forgetful(loopback).await, forgetful(loopback).await];
            let seen = count(servers).await;
            assert_eq!(seen.len(), FLOWS);
            assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
        }
    }
}
