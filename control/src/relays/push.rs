//! Tells relays outside of this process of members that are out, until each has said that it knows.
//!
//! A relay keeps what it was told in memory: one that restarts has no leases, and a member that is out needs a token
//! that it took before, the cookie of the relay and its own key to get one again; that window is the token's life.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use lacis_proto::relay::{Frame, Header, Kind, Packet, RelayAddress, RelayRevocation};
use tokio::{net::UdpSocket, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// How long an answer is waited for: ten times a round trip across the world.
const AGAIN: Duration = Duration::from_secs(3);

/// Tries before a relay counts as gone: an hour of them.
const TRIES: u32 = 1_200;

/// Revocations that wait at once; with more the oldest are given up.
const WAITING: usize = 10_000;

/// One revocation for one relay.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(super) to: SocketAddr,
    pub(super) revocation: RelayRevocation,
}

/// Sends what comes until control drains.
pub(crate) async fn run(mut pushes: mpsc::Receiver<Push>, begun: CancellationToken) {
    let socket = match bind().await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "relays elsewhere are not told of members that are out");
            return;
        }
    };
    let is_v6 = socket.local_addr().is_ok_and(|addr| addr.is_ipv6());
    let mut waiting: BTreeMap<u64, (Push, u32)> = BTreeMap::new();
    let mut tick = tokio::time::interval(AGAIN);
    let mut answer = [0; 64];
    loop {
        tokio::select! {
            () = begun.cancelled() => return,
            Some(push) = pushes.recv() => {
                let number = u64::from_be_bytes(clock::random());
                send(&socket, is_v6, number, &push).await;
                while waiting.len() >= WAITING {
                    waiting.pop_first();
                }
                waiting.insert(number, (push, 0));
            }
            received = socket.recv(&mut answer) => {
                let header = received.ok().and_then(|length| Header::parse(&answer[..length]));
                if let Some(header) = header.filter(|header| header.kind == Kind::RevokeAck) {
                    waiting.remove(&header.address.0);
                }
            }
            _ = tick.tick() => {
                for (number, (push, tries)) in &mut waiting {
                    *tries += 1;
                    send(&socket, is_v6, *number, push).await;
                }
                waiting.retain(|_, (push, tries)| {
                    let is_gone = *tries >= TRIES;
                    if is_gone {
                        tracing::warn!(relay = %push.to, "a relay does not answer and is not told that a member is out");
                    }
                    !is_gone
                });
            }
        }
    }
}

async fn bind() -> io::Result<UdpSocket> {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await {
        Ok(socket) => Ok(socket),
        Err(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await,
    }
}

async fn send(socket: &UdpSocket, is_v6: bool, number: u64, push: &Push) {
    let bytes = push.revocation.to_bytes();
    let packet = Packet { lease: 0, address: RelayAddress(number), frame: Frame::Revoke(&bytes) };
    let to = match push.to.ip() {
        IpAddr::V4(ip) if is_v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), push.to.port()),
        IpAddr::V4(_) | IpAddr::V6(_) => push.to,
    };
    if let Err(error) = socket.send_to(&packet.to_bytes(), to).await {
        tracing::debug!(%to, %error, "a relay was not told");
    }
}
