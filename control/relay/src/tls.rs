//! Members behind a stream: TLS and HTTP are the shell's, frames and queues are here.
//!
//! ```text
//! shell reads ─▶ TlsLeg::hear ── DATA ──▶ the other's datagrams or queue
//!                              └─ HELLO, REFRESH ──▶ desk
//! anybody ─▶ Clients::push ─▶ queue ─▶ TlsLeg::next ─▶ shell writes
//! ```
//! Whoever sends to a member behind TLS only ever fills its queue: a slow one holds up nobody.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lacis_proto::relay::{Frame, HEADER, Packet, Queue};
use tokio::sync::Notify;

use crate::{
    clock::Clock,
    forward::{self, Sort, Verdict},
    leg::{Leg, Place},
    limiter::{Limiter, nanoseconds},
    limits,
    udp::{send::send_one, socket::UdpSocket, worker::Shared},
};

/// Members that are connected.
#[derive(Debug)]
pub(crate) struct Clients {
    clock: Clock,
    next: AtomicU64,
    known: RwLock<HashMap<u64, Arc<Client>>>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Client {
    queue: Mutex<Queue>,
    wake: Notify,
}

impl Clients {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, next: AtomicU64::new(1), known: RwLock::default(), dropped: AtomicU64::new(0) }
    }

    /// Queues a frame for a member; `false` where it is not connected any more.
    pub(crate) fn push(&self, client: u64, frame: Box<[u8]>) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(client) = known.get(&client) else { return false };
        let dropped = client.lock().push(self.clock.since(), frame);
        client.wake.notify_one();
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        true
    }

    /// How many are connected.
    pub(crate) fn count(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Frames dropped because a member did not read fast enough.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Client {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a frame to a member, however it is connected; whether it left.
pub(crate) fn say(socket: &UdpSocket, clients: &Clients, to: &Leg, frame: &[u8]) -> bool {
    match to {
        Leg::Udp(place) => send_one(socket, place, frame),
        Leg::Tls(at) => clients.push(at.client, frame.into()),
    }
}

/// A member behind a stream. Dropping it ends its lease.
#[derive(Debug)]
pub struct TlsLeg {
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    leg: Leg,
    id: u64,
    client: Arc<Client>,
    asks: Mutex<Limiter>,
}

/// A member sends faster than it may: read nothing more from it for so long, then hear the same frame again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFast(pub Duration);

impl TlsLeg {
    /// `None` where the relay has as many as it takes.
    pub(crate) fn connect(shared: Arc<Shared>, socket: Arc<UdpSocket>, from: SocketAddr) -> Option<Self> {
        let client = Arc::new(Client::default());
        let clients = &shared.clients;
        let mut known = clients.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= limits::TLS_CLIENTS {
            return None;
        }
        let id = clients.next.fetch_add(1, Ordering::Relaxed);
        known.insert(id, Arc::clone(&client));
        drop(known);
        let place = Place::of(from);
        let leg = Leg::Tls(crate::leg::Stream { client: id, ip: place.ip, port: place.port });
        let asks = Mutex::new(Limiter::for_one(shared.limits.hellos_per_second));
        Some(Self { shared, socket, leg, id, client, asks })
    }

    /// Takes one frame that the member sent.
    ///
    /// # Errors
    /// [`TooFast`] where it shall wait.
    pub fn hear(&self, frame: &[u8]) -> Result<(), TooFast> {
        let (shared, now) = (&self.shared, self.shared.clock.since());
        match forward::sort(frame) {
            Sort::Data(data) => return self.data(frame, data, now),
            sort @ (Sort::Hello | Sort::Refresh) => {
                let ip = Place::of(self.leg.observed()).ip;
                if self.asks.lock().unwrap_or_else(PoisonError::into_inner).admit(now, ip)
                    && let Err(Some(retry)) = shared.letters.post(now, self.leg, frame, sort == Sort::Hello)
                {
                    shared.clients.push(self.id, retry.into());
                }
            }
            Sort::Probe(header) => {
                let frame = Frame::ProbeAck(self.leg.observed());
                let answer = Packet { lease: header.lease, address: header.address, frame };
                shared.clients.push(self.id, answer.to_bytes().into());
            }
            Sort::Stun | Sort::Foreign => drop(shared.figures.malformed.fetch_add(1, Ordering::Relaxed)),
        }
        Ok(())
    }

    /// Waits for frames, and gives as many as fit into one message.
    pub async fn next(&self) -> Vec<u8> {
        loop {
            let mut message = Vec::new();
            let dropped = self.client.lock().take(self.shared.clock.since(), &mut message);
            self.shared.clients.dropped.fetch_add(dropped, Ordering::Relaxed);
            if !message.is_empty() {
                return message;
            }
            self.client.wake.notified().await;
        }
    }

    fn data(&self, frame: &[u8], data: lacis_proto::relay::Header, now: Duration) -> Result<(), TooFast> {
        let (shared, figures) = (&self.shared, &self.shared.figures);
        let (figure, told) = match forward::decide(&shared.table, &self.leg, data) {
            Verdict::Forward { from, to } => {
                if !shared.table.admit(&from, frame.len(), nanoseconds(now), &shared.rates) {
                    return Err(TooFast(limits::TLS_PAUSE));
                }
                let frame = [&forward::delivered(&to, from.address), &frame[HEADER..]].concat();
                if say(&self.socket, &shared.clients, &to.leg, &frame) {
                    figures.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
                    figures.packets.fetch_add(1, Ordering::Relaxed);
                } else {
                    figures.refused.fetch_add(1, Ordering::Relaxed);
                }
                return Ok(());
            }
            Verdict::NotBound(told) => (&figures.not_bound, Some(told)),
            Verdict::Unknown(told) => (&figures.unknown, Some(told)),
            Verdict::Blocked => (&figures.blocked, None),
        };
        figure.fetch_add(1, Ordering::Relaxed);
        if let Some(told) = told {
            shared.clients.push(self.id, told.into());
        }
        Ok(())
    }
}

impl Drop for TlsLeg {
    fn drop(&mut self) {
        self.shared.clients.known.write().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.shared.letters.close(self.leg);
    }
}
