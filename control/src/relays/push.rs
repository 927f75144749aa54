//! Tells relays outside of this process of members that are out, until each has said that it knows.
//!
//! ```text
//! start, a new relay: all that are kept ─┐
//! a commit: those that it put out ───────┴▶ untold ─ REVOKE ─▶ relay ─ REVOKE_ACK: it is on its disk ─▶ gone
//!                                             └── every 3 s again: some of each relay, one of a silent one
//! ```
//! What is untold is in memory alone: a control that starts again tells everything that it keeps in its database, which
//! also serves a relay that has lost its disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lacis_proto::relay::{Frame, Header, Kind, Packet, REVOCATION_BYTES, RelayAddress};
use tokio::{net::UdpSocket, sync::Notify};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// How long an answer is waited for: ten times a round trip across the world.
const AGAIN: Duration = Duration::from_secs(3);

/// Revocations that one relay is sent at a time: a relay takes 100 such frames per second from one source.
const AT_ONCE: usize = 200;

/// Revocations that wait at once: as many as one relay keeps.
const WAITING: usize = 100_000;

/// One revocation for one relay.
#[derive(Clone, Debug)]
pub(super) struct Push {
    pub(super) to: SocketAddr,
    pub(super) revocation: [u8; REVOCATION_BYTES],
}

/// What relays have not said that they know.
#[derive(Debug, Default)]
pub(super) struct Untold {
    queue: Mutex<Queue>,
    wake: Notify,
}

/// What waits, by the order in which it came.
#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Places by the random numbers that frames bear: what one relay is sent tells it nothing of another's.
    places: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    push: Push,
    /// The turn in which it was last sent.
    sent: Option<u64>,
}

/// Which relays answer.
#[derive(Debug, Default)]
struct Ears {
    turn: u64,
    heard: BTreeSet<SocketAddr>,
    silent: BTreeSet<SocketAddr>,
}

impl Queue {
    fn push(&mut self, push: Push) {
        let (place, number) = (self.next, u64::from_be_bytes(clock::random()));
        self.next += 1;
        self.places.insert(number, place);
        self.waiting.insert(place, Waiting { number, push, sent: None });
    }
}

impl Untold {
    /// Has relays told.
    pub(super) fn add(&self, pushes: impl IntoIterator<Item = Push>) {
        let mut queue = self.lock();
        for push in pushes {
            if queue.waiting.len() >= WAITING {
                tracing::warn!(relay = %push.to, "too many members are out at once; relays are told of the others at the next start");
                break;
            }
            queue.push(push);
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Tells nobody any more who is not among these.
    pub(super) fn keep(&self, relays: &[SocketAddr]) {
        let Queue { waiting, places, .. } = &mut *self.lock();
        waiting.retain(|_, waiting| relays.contains(&waiting.push.to));
        places.retain(|_, place| waiting.contains_key(place));
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be sent now, the oldest first, with the numbers of the frames.
    fn due(&self, ears: &Ears) -> Vec<(u64, Push)> {
        let mut counts: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        let mut due = Vec::new();
        let mut queue = self.lock();
        for waiting in queue.waiting.values_mut().filter(|waiting| waiting.sent != Some(ears.turn)) {
            let count = counts.entry(waiting.push.to).or_default();
            let most = if ears.silent.contains(&waiting.push.to) { 1 } else { AT_ONCE };
            if *count < most {
                *count += 1;
                waiting.sent = Some(ears.turn);
                due.push((waiting.number, waiting.push.clone()));
            }
        }
        due
    }

    /// A relay knows. Returns which.
    fn told(&self, number: u64) -> Option<SocketAddr> {
        let mut queue = self.lock();
        let place = queue.places.remove(&number)?;
        queue.waiting.remove(&place).map(|waiting| waiting.push.to)
    }
}

impl Ears {
    /// A turn is over: whoever was sent something and said nothing is silent.
    fn next_turn(&mut self, untold: &Untold) {
        let mut silent = BTreeSet::new();
        for waiting in untold.lock().waiting.values().filter(|waiting| waiting.sent.is_some()) {
            if !self.heard.contains(&waiting.push.to) {
                silent.insert(waiting.push.to);
            }
        }
        for relay in silent.difference(&self.silent) {
            tracing::warn!(%relay, "a relay does not answer and does not know yet that members are out");
        }
        *self = Self { turn: self.turn + 1, heard: BTreeSet::new(), silent };
    }
}

/// Sends what waits until control drains.
pub(super) async fn run(untold: &Untold, begun: CancellationToken) {
    let socket = match bind().await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "relays elsewhere are not told of members that are out");
            return;
        }
    };
    let is_v6 = socket.local_addr().is_ok_and(|addr| addr.is_ipv6());
    let (mut ears, mut answer) = (Ears::default(), [0; 64]);
    let mut tick = tokio::time::interval(AGAIN);
    loop {
        tokio::select! {
            () = begun.cancelled() => return,
            () = untold.wake.notified() => {}
            _ = tick.tick() => ears.next_turn(untold),
            received = socket.recv(&mut answer) => {
                let header = received.ok().and_then(|length| Header::parse(&answer[..length]));
                let header = header.filter(|header| header.kind == Kind::RevokeAck);
                let Some(relay) = header.and_then(|header| untold.told(header.address.0)) else { continue };
                ears.heard.insert(relay);
                if !ears.silent.remove(&relay) {
                    continue;
                }
            }
        }
        for (number, push) in untold.due(&ears) {
            send(&socket, is_v6, number, &push).await;
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
    let frame = Frame::Revoke(&push.revocation);
    let packet = Packet { lease: 0, address: RelayAddress(number), frame };
    let to = match push.to.ip() {
        IpAddr::V4(ip) if is_v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), push.to.port()),
        IpAddr::V4(_) | IpAddr::V6(_) => push.to,
    };
    if let Err(error) = socket.send_to(&packet.to_bytes(), to).await {
        tracing::debug!(%to, %error, "a relay was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(n: u8) -> Push {
        Push { to: ([192, 0, 2, n], 3478).into(), revocation: [n; REVOCATION_BYTES] }
    }

    #[test]
    fn a_silent_relay_is_asked_by_one_frame_a_turn_and_told_all_once_it_answers() {
        let (untold, mut ears) = (Untold::default(), Ears::default());
        untold.add((0..300).map(|_| push(1)).chain([push(2)]));
        let due = untold.due(&ears);
        assert_eq!(due.len(), AT_ONCE + 1, "some of one relay do not wait behind many of another");
        assert_eq!(untold.due(&ears).len(), 100, "each once a turn");
        let (number, _) = due.iter().find(|(_, push)| push.to.ip().to_string() == "192.0.2.2").unwrap();
        ears.heard.insert(untold.told(*number).unwrap());
        ears.next_turn(&untold);
        assert_eq!(untold.due(&ears).len(), 1);
        ears.next_turn(&untold);
        let due = untold.due(&ears);
        assert_eq!(due.len(), 1, "for as long as it takes");
        ears.silent.remove(&untold.told(due[0].0).unwrap());
        assert_eq!(untold.due(&ears).len(), AT_ONCE);
    }

    #[test]
    fn a_relay_is_told_in_the_order_in_which_members_went() {
        let (untold, ears) = (Untold::default(), Ears::default());
        let went = |n: u16| {
            let mut revocation = [0; REVOCATION_BYTES];
            revocation[..2].copy_from_slice(&n.to_be_bytes());
            Push { revocation, ..push(1) }
        };
        untold.add((0..150).map(went));
        untold.add((150..300).map(went));
        let told = |due: Vec<(u64, Push)>| -> Vec<u16> {
            due.iter().map(|(_, push)| u16::from_be_bytes([push.revocation[0], push.revocation[1]])).collect()
        };
        assert_eq!(told(untold.due(&ears)), (0..200).collect::<Vec<_>>());
        assert_eq!(told(untold.due(&ears)), (200..300).collect::<Vec<_>>());
    }

    #[test]
    fn a_relay_that_is_named_no_more_is_told_no_more_and_what_waits_has_a_limit() {
        let untold = Untold::default();
        untold.add([push(1), push(2)]);
        untold.keep(&[push(2).to]);
        assert_eq!((untold.count(), untold.lock().places.len()), (1, 1));
        untold.add((0..WAITING).map(|_| push(2)));
        assert_eq!(untold.count(), WAITING);
    }
}
