//! Asks the host's former name servers about names that are none of ours.
//!
//! ```text
//! question of this host ─▶ is it ours? ─ no ─▶ server that answered last ─▶ the next … ─▶ answer, or SERVFAIL
//! ```
//! What came over TCP goes on over TCP; an answer that does not fit UDP is cut there, and the client comes back
//! over TCP. Every question has a socket and an id of its own, so that nobody who cannot see it can answer
//! it (RFC 5452). Invariants: at most [`MAX_WAITING`] questions wait; none waits longer than [`PATIENCE`] per
//! server; a server that turns out to ask us is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::clock::random;

/// Questions that wait for an answer at the same time; the next are refused at once. A busy host asks some
/// ten a second, and an answer takes some ten milliseconds.
pub(super) const MAX_WAITING: usize = 256;

/// How long one server may take: three of them are tried within the five seconds that clients wait.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Largest answer that is asked for over UDP: fits the least MTU of IPv6 (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;

/// Names that tell a loop from a server end here: nobody's names (RFC 6761 §6.4).
const LOOP_SUFFIX: &str = "lacis-loop.invalid.";

/// Asks upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Forwarder {
    upstream: watch::Receiver<Vec<SocketAddr>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting: Semaphore,
    /// The server that answered last, by its place.
    first: AtomicUsize,
    /// Names that must not come back, and the server that each was sent to.
    probes: Mutex<BTreeMap<String, SocketAddr>>,
    looping: Mutex<BTreeSet<SocketAddr>>,
    counts: Counts,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Questions answered from the zones of this node.
    pub(crate) own: AtomicU64,
    /// Questions answered by a name server upstream.
    pub(crate) forwarded: AtomicU64,
    /// Questions that no server upstream answered in time, or that found too many waiting.
    pub(crate) unanswered: AtomicU64,
}

impl Forwarder {
    pub(crate) fn new(upstream: watch::Receiver<Vec<SocketAddr>>) -> Self {
        let shared = Shared {
            waiting: Semaphore::new(MAX_WAITING),
            first: AtomicUsize::new(0),
            probes: Mutex::default(),
            looping: Mutex::default(),
            counts: Counts::default(),
        };
        Self { upstream, shared: Arc::new(shared) }
    }

    /// Looks for loops whenever the servers change, until nobody can change them any more.
    pub(crate) async fn watch_for_loops(self) {
        let mut upstream = self.upstream.clone();
        loop {
            let servers = upstream.borrow_and_update().clone();
            lock(&self.shared.looping).clear();
            for server in servers {
                self.probe(server).await;
            }
            if upstream.changed().await.is_err() {
                return;
            }
        }
    }

    /// Servers that ask us in turn.
    pub(crate) fn looping(&self) -> Vec<SocketAddr> {
        lock(&self.shared.looping).iter().copied().collect()
    }

    /// What was asked so far.
    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Servers that are asked about names that are none of ours.
    pub(crate) fn upstream(&self) -> Vec<SocketAddr> {
        self.upstream.borrow().clone()
    }

    /// Whether there is anybody to ask.
    pub(crate) fn has_upstream(&self) -> bool {
        !self.upstream.borrow().is_empty()
    }

    /// Takes note of a question that came in; true for one of ours that has come back.
    pub(super) fn is_loop(&self, name: &str) -> bool {
        let Some(server) = lock(&self.shared.probes).get(name).copied() else { return false };
        if lock(&self.shared.looping).insert(server) {
            tracing::warn!(%server, "a former name server asks this agent in turn; it is left out");
        }
        true
    }

    /// Asks the servers in turn, the one that answered last first; `None` where none answers.
    pub(super) async fn ask(&self, question: &Message, over_tcp: bool) -> Option<Message> {
        let answer = self.ask_in_turn(question, over_tcp).await;
        let counts = &self.shared.counts;
        let count = if answer.is_some() { &counts.forwarded } else { &counts.unanswered };
        count.fetch_add(1, Ordering::Relaxed);
        answer
    }

    async fn ask_in_turn(&self, question: &Message, over_tcp: bool) -> Option<Message> {
        let _place = self.shared.waiting.try_acquire().ok()?;
        let servers = self.upstream.borrow().clone();
        let first = self.shared.first.load(Ordering::Relaxed);
        for turn in 0..servers.len() {
            let place = (first + turn) % servers.len();
            let server = servers[place];
            if lock(&self.shared.looping).contains(&server) {
                continue;
            }
            match timeout(PATIENCE, exchange(server, question, over_tcp)).await {
                // A server that cannot or will not is no better than one that is silent.
                Ok(Ok(answer)) if !is_failure(&answer) || turn + 1 == servers.len() => {
                    self.shared.first.store(place, Ordering::Relaxed);
                    return Some(answer);
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!(%server, %error, "cannot ask a name server"),
                Err(_) => tracing::debug!(%server, "a name server is silent"),
            }
        }
        None
    }

    async fn probe(&self, server: SocketAddr) {
        let name = format!("{:016x}.{LOOP_SUFFIX}", u64::from_be_bytes(random()));
        let Ok(asked) = Name::from_ascii(&name) else { return };
        let key = name.trim_end_matches('.').to_owned();
        lock(&self.shared.probes).insert(key.clone(), server);
        let mut question = Message::new(0, MessageType::Query, OpCode::Query);
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(asked, RecordType::TXT));
        // Whatever it answers: what counts is whether the question comes back meanwhile.
        let _ = timeout(PATIENCE, exchange(server, &question, false)).await;
        lock(&self.shared.probes).remove(&key);
    }
}

fn is_failure(answer: &Message) -> bool {
    matches!(answer.metadata.response_code, ResponseCode::ServFail | ResponseCode::Refused)
}

/// One question to one server.
async fn exchange(server: SocketAddr, question: &Message, over_tcp: bool) -> io::Result<Message> {
    let mut asked = question.clone();
    asked.metadata.id = u16::from_be_bytes(random());
    let dnssec_ok = asked.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    if asked.edns.is_some() {
        // Hop by hop: options of the client are not for the next server (RFC 6891 §6.2.6).
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD).set_version(0).set_dnssec_ok(dnssec_ok);
        asked.edns = Some(edns);
    }
    let bytes = asked.to_vec().map_err(io::Error::other)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    if over_tcp {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
        let length = usize::from(stream.read_u16().await?);
        stream.read_exact(&mut buffer[..length]).await?;
        return answer_in(&buffer[..length], &asked).ok_or_else(|| io::ErrorKind::InvalidData.into());
    }
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else may be an answer to somebody else's guess: the right one may still come.
        if let Some(answer) = answer_in(&buffer[..length], &asked) {
            return Ok(answer);
        }
    }
}

/// The answer to a question, where these bytes are one.
fn answer_in(bytes: &[u8], asked: &Message) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let fits = answer.metadata.id == asked.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == asked.queries;
    fits.then_some(answer)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
