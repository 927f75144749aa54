//! A relay that cannot be trusted: between it and its members somebody drops, doubles, damages, reorders and forges.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use support::{Host, eventually};

use crate::{
    files::fetch,
    lab::text,
    relay_alone::{Alone, without_a_relay},
    relayed::part,
};

/// Where members find it.
pub(crate) const PORT: u16 = 4_000;

/// Sockets of members at most: two nodes, each from a port or two.
const MEMBERS: usize = 8;

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Kinds of frames that a relay says, as it would number them.
const NOT_BOUND: u8 = 7;
const PEER_UNKNOWN: u8 = 8;
const GOAWAY: u8 = 11;

/// What stands between a relay and its members. Ends when dropped.
struct Liar {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    outside: UdpSocket,
    is_over: AtomicBool,
    passed: AtomicU64,
    damaged: AtomicU64,
}

impl Liar {
    /// On the host of a relay that listens at its usual port.
    fn new(host: &Host) -> Self {
        let (outside, inner) = host.space.within(|| {
            let inner = [(); MEMBERS].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
            inner.iter().for_each(|socket| socket.connect("127.0.0.1:3478").unwrap());
            (UdpSocket::bind(("0.0.0.0", PORT)).unwrap(), inner)
        });
        inner.iter().chain([&outside]).for_each(|socket| socket.set_read_timeout(Some(LOOK)).unwrap());
        let (is_over, passed, damaged) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { outside, is_over, passed, damaged });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.listen(inner)
        });
        Self { shared, thread: Some(thread) }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Takes what members send, to the relay by a socket for each.
    fn listen(self: &Arc<Self>, inner: [UdpSocket; MEMBERS]) {
        let mut free = inner.into_iter();
        let mut members: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
        let (mut bytes, mut threads) = ([0; 65_536], Vec::new());
        while !self.is_over() {
            let Ok((length, from)) = self.outside.recv_from(&mut bytes) else { continue };
            let to_relay = members.entry(from).or_insert_with(|| {
                let socket = Arc::new(free.next().unwrap());
                let (shared, back) = (Arc::clone(self), Arc::clone(&socket));
                threads.push(thread::spawn(move || shared.answer(&back, from)));
                socket
            });
            self.pass(
                &bytes[..length],
                |bytes| drop(to_relay.send(bytes)),
                |lie| drop(self.outside.send_to(lie, from)),
            );
        }
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }

    /// Takes what the relay answers to one member.
    fn answer(&self, from_relay: &UdpSocket, to: SocketAddr) {
        let mut bytes = [0; 65_536];
        while !self.is_over() {
            let Ok(length) = from_relay.recv(&mut bytes) else { continue };
            let send = |bytes: &[u8]| drop(self.outside.send_to(bytes, to));
            self.pass(&bytes[..length], send, send);
        }
    }

    /// Passes a datagram on, or does worse; `lie` goes to the member.
    fn pass(&self, bytes: &[u8], on: impl Fn(&[u8]), lie: impl Fn(&[u8])) {
        let number = self.passed.fetch_add(1, Ordering::Relaxed);
        let forged = |kind: u8| {
            let mut frame = bytes.get(..44).unwrap_or(bytes).to_vec();
            frame.resize(if kind == GOAWAY { 44 } else { 16 }, 0);
            frame[..4].copy_from_slice(&[0x0E, kind, 0, 0]);
            frame
        };
        let worse = match number % 20 {
            3 => None,
            5 | 15 => Some(vec![bytes.to_vec(), bytes.to_vec()]),
            7 => {
                let mut damaged = bytes.to_vec();
                let at = damaged.len() * 2 / 3;
                damaged[at] ^= 0x10;
                Some(vec![damaged])
            }
            9 => Some(vec![bytes[..bytes.len() / 2].to_vec()]),
            11 => {
                lie(&forged(NOT_BOUND));
                Some(vec![bytes.to_vec()])
            }
            13 => {
                lie(&forged(PEER_UNKNOWN));
                Some(vec![bytes.to_vec()])
            }
            17 => {
                lie(&forged(GOAWAY));
                Some(vec![bytes.to_vec()])
            }
            _ => return on(bytes),
        };
        self.damaged.fetch_add(1, Ordering::Relaxed);
        worse.into_iter().flatten().for_each(|bytes| on(&bytes));
    }
}

#[test]
fn through_a_relay_that_drops_doubles_damages_and_forges_what_arrives_is_what_was_sent() {
    let lab = without_a_relay();
    let alone = Alone::behind(&lab, 21, PORT);
    let liar = Liar::new(&alone.host);
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    part(&web, &db);
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    // A lie may take the way for a moment, so both are asked for again.
    eventually("web reaches db through the relay", || {
        (web.reaches("db") && text(&web.group()["peers"][0], "path") == "relayed").then_some(())
    });

    // Every seventh datagram is lost in one way or another: TCP gets on slowly.
    fetch(&lab, &db, &web, &[text(&db.group(), "address4")], 4_000, Duration::from_secs(60));
    let [passed, damaged] =
        [&liar.shared.passed, &liar.shared.damaged].map(|count| count.load(Ordering::Relaxed));
    assert!(passed > 60 && damaged > 20, "{damaged} of {passed}");
    for node in [&web, &db] {
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}
