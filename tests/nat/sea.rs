//! What lies between the routers: a switch in user space with distance, weather and hops.
//!
//! Frames come from packet sockets, one per port, and wait in a heap for their time. The kernel here
//! cannot delay packets by itself. Chance comes from a seed alone, so that a run can be had again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    ifaddrs::getifaddrs,
    sys::{
        socket::{AddressFamily, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
};
use support::{Namespace, setting};

/// Frames on their way at once; more are lost, as in a router. A fifth of a second at full tilt.
const MOST_FRAMES: usize = 20_000;

/// How often a port looks whether the sea is gone.
const LOOK_MS: i64 = 100;

/// What frames meet between a port and the middle of the sea, on the way in and on the way out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) delay: Duration,
    /// Up to so much more, by chance. Frames overtake each other by it.
    pub(crate) jitter: Duration,
    pub(crate) loss_percent: u64,
}

/// A switch in user space. It ends when dropped.
pub(crate) struct Sea {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ports: Vec<Port>,
    learned: BTreeMap<[u8; 6], usize>,
    queue: BinaryHeap<Reverse<Frame>>,
    cuts: BTreeSet<(IpAddr, IpAddr)>,
    passed: BTreeMap<(IpAddr, IpAddr), u64>,
    /// The same in bytes.
    carried: BTreeMap<(IpAddr, IpAddr), u64>,
    firsts: BTreeMap<(IpAddr, IpAddr, usize), Instant>,
    random: u64,
    serial: u64,
    hops: u8,
    closed: bool,
}

struct Port {
    socket: Arc<File>,
    weather: Weather,
}

/// Ordered by its time, then by arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Frame {
    due: Instant,
    serial: u64,
    to: usize,
    bytes: Vec<u8>,
}

impl Sea {
    /// A sea without ports. A packet needs so many hops across.
    pub(crate) fn new(hops: u8) -> Self {
        let state = State {
            ports: Vec::new(),
            learned: BTreeMap::new(),
            queue: BinaryHeap::new(),
            cuts: BTreeSet::new(),
            passed: BTreeMap::new(),
            carried: BTreeMap::new(),
            firsts: BTreeMap::new(),
            random: setting("LACIS_NAT_SEED").unwrap_or(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            serial: 0,
            hops,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let sender = Arc::clone(&shared);
        let threads = vec![std::thread::spawn(move || sender.send())];
        Self { shared, threads }
    }

    /// Makes an interface of a namespace a port, and gives its number.
    pub(crate) fn attach(&mut self, space: &Namespace, interface: &str, weather: Weather) -> usize {
        let socket = Arc::new(space.within(|| frames_of(interface)));
        let mut state = self.shared.lock();
        let number = state.ports.len();
        state.ports.push(Port { socket: Arc::clone(&socket), weather });
        drop(state);
        let shared = Arc::clone(&self.shared);
        self.threads.push(std::thread::spawn(move || shared.receive(number, &socket)));
        number
    }

    /// Somebody who looks at the sea, and changes its weather.
    pub(crate) fn eye(&self) -> Eye {
        Eye(Arc::clone(&self.shared))
    }
}

/// Looks at a sea, and changes its weather.
#[derive(Clone)]
pub(crate) struct Eye(Arc<Shared>);

impl Eye {
    /// Changes the weather at a port.
    pub(crate) fn set(&self, port: usize, weather: Weather) {
        self.0.lock().ports[port].weather = weather;
    }

    /// Nothing passes between the two any more, or all does again.
    pub(crate) fn cut(&self, one: IpAddr, other: IpAddr, is_cut: bool) {
        let mut state = self.0.lock();
        for pair in [(one, other), (other, one)] {
            if is_cut {
                state.cuts.insert(pair);
            } else {
                state.cuts.remove(&pair);
            }
        }
    }

    /// How many packets have set out from one for the other.
    pub(crate) fn passed(&self, from: IpAddr, to: IpAddr) -> u64 {
        self.0.lock().passed.get(&(from, to)).copied().unwrap_or_default()
    }

    /// How many bytes have set out from one for the other.
    pub(crate) fn carried(&self, from: IpAddr, to: IpAddr) -> u64 {
        self.0.lock().carried.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Forgets when packets first set out.
    pub(crate) fn look_anew(&self) {
        self.0.lock().firsts.clear();
    }

    /// When a frame of so many bytes first set out from one for the other.
    pub(crate) fn first(&self, from: IpAddr, to: IpAddr, length: usize) -> Option<Instant> {
        self.0.lock().firsts.get(&(from, to, length)).copied()
    }
}

impl Drop for Sea {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // What it panicked with has been printed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Takes frames in until the end.
    fn receive(&self, port: usize, mut socket: &File) {
        let mut buffer = [0; 65_536];
        loop {
            let read = socket.read(&mut buffer);
            let mut state = self.lock();
            if state.closed {
                return;
            }
            match read {
                Ok(length) => {
                    state.take(port, now(), &mut buffer[..length]);
                    self.changed.notify_all();
                }
                // No frame for a while, or the interface is down: it may come back.
                Err(error) => {
                    assert!(error.kind() == ErrorKind::WouldBlock || error.raw_os_error().is_some());
                }
            }
        }
    }

    /// Sends frames whose time has come until the end.
    fn send(&self) {
        let mut state = self.lock();
        while !state.closed {
            let Some(Reverse(first)) = state.queue.peek() else {
                state = self.changed.wait(state).unwrap();
                continue;
            };
            let wait = first.due.saturating_duration_since(now());
            if !wait.is_zero() {
                state = self.changed.wait_timeout(state, wait).unwrap().0;
                continue;
            }
            let Some(Reverse(frame)) = state.queue.pop() else { continue };
            let socket = Arc::clone(&state.ports[frame.to].socket);
            drop(state);
            // A port that is down loses what is sent to it.
            let _ = (&*socket).write(&frame.bytes);
            state = self.lock();
        }
    }
}

impl State {
    /// Puts a frame on its way to where its destination was last seen, or to everybody.
    fn take(&mut self, from: usize, now: Instant, bytes: &mut [u8]) {
        let Some((head, _)) = bytes.split_first_chunk::<12>() else { return };
        let (to, source) = head.split_at(6);
        let known = self.learned.get(to).copied();
        self.learned.insert(source.try_into().unwrap(), from);
        if let Some(pair) = addresses(bytes) {
            *self.passed.entry(pair).or_default() += 1;
            *self.carried.entry(pair).or_default() += u64::try_from(bytes.len()).unwrap();
            self.firsts.entry((pair.0, pair.1, bytes.len())).or_insert(now);
            if self.cuts.contains(&pair) || !travel(bytes, self.hops) {
                return;
            }
        }
        let everybody = 0..self.ports.len();
        for to in known.map_or(everybody, |port| port..port + 1).filter(|to| *to != from) {
            if self.queue.len() < MOST_FRAMES && !self.is_lost(from) && !self.is_lost(to) {
                let due = now + self.delay(from) + self.delay(to);
                self.serial += 1;
                self.queue.push(Reverse(Frame { due, serial: self.serial, to, bytes: bytes.to_vec() }));
            }
        }
    }

    fn is_lost(&mut self, port: usize) -> bool {
        let loss = self.ports[port].weather.loss_percent;
        loss > 0 && self.chance(100) < loss
    }

    fn delay(&mut self, port: usize) -> Duration {
        let Weather { delay, jitter, .. } = self.ports[port].weather;
        let most = u64::try_from(jitter.as_micros()).unwrap();
        delay + Duration::from_micros(if most == 0 { 0 } else { self.chance(most) })
    }

    /// A number below a limit (xorshift64*, Vigna 2016).
    fn chance(&mut self, limit: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

/// The source and destination of a frame that carries IP.
fn addresses(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let packet = frame.get(14..)?;
    match frame[12..14] {
        [0x08, 0x00] => {
            let at = |at: usize| packet.get(at..at + 4)?.try_into().ok().map(<[u8; 4]>::into);
            let (from, to): (Ipv4Addr, Ipv4Addr) = (at(12)?, at(16)?);
            Some((from.into(), to.into()))
        }
        [0x86, 0xDD] => {
            let at = |at: usize| packet.get(at..at + 16)?.try_into().ok().map(<[u8; 16]>::into);
            let (from, to): (Ipv6Addr, Ipv6Addr) = (at(8)?, at(24)?);
            Some((from.into(), to.into()))
        }
        _ => None,
    }
}

/// Takes the hops of the way from an IPv4 packet's time to live; false where it does not live so long.
fn travel(frame: &mut [u8], hops: u8) -> bool {
    if frame[12..14] != [0x08, 0x00] {
        return true;
    }
    let Some(left) = frame[22].checked_sub(hops).filter(|left| *left > 0) else { return false };
    frame[22] = left;
    // The checksum grows by what the sum loses (RFC 1624), one's complement.
    let sum = u32::from(u16::from_be_bytes([frame[24], frame[25]])) + (u32::from(hops) << 8);
    let folded = u16::try_from((sum & 0xFFFF) + (sum >> 16)).unwrap();
    frame[24..26].copy_from_slice(&folded.to_be_bytes());
    true
}

/// All frames that come in by an interface of this namespace, and a way to send by it.
fn frames_of(interface: &str) -> File {
    let all = SockProtocol::EthAll;
    let opened = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, all).unwrap();
    let link = |one: &nix::ifaddrs::InterfaceAddress| {
        (one.interface_name == interface).then_some(())?;
        one.address.and_then(|address| address.as_link_addr().copied())
    };
    let address = getifaddrs().unwrap().find_map(|one| link(&one)).unwrap();
    bind(opened.as_raw_fd(), &address).unwrap();
    setsockopt(&opened, sockopt::ReceiveTimeout, &TimeVal::milliseconds(LOOK_MS)).unwrap();
    // Bursts wait here while the thread has not run.
    setsockopt(&opened, sockopt::RcvBufForce, &(4 << 20)).unwrap();
    File::from(opened)
}

#[expect(clippy::disallowed_methods, reason = "delay is real time here")]
fn now() -> Instant {
    Instant::now()
}
