//! A stream of numbered packets through the overlay, and when each of them came.

use std::{
    net::UdpSocket,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use support::pause;

use crate::mesh::Node;

/// How much a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Packets a second.
    pub(crate) rate: u32,
    /// Bytes of each.
    pub(crate) length: usize,
}

impl Flow {
    /// As of speech, and what goes with it.
    pub(crate) const SPEECH: Self = Self { rate: 200, length: 200 };
}

/// As long as a packet of speech is on the way between two public addresses of IPv4: sealed (WireGuard paper §5.4.6) and framed.
pub(crate) const SEALED: usize = 14 + 20 + 8 + 16 + 240 + 16;

/// What is still under way when the sender ends comes within this.
const AFTERMATH: Duration = Duration::from_secs(1);

/// A stream. Ends when dropped.
pub(crate) struct Stream {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    begin: Instant,
    sent: AtomicU64,
    ended: AtomicBool,
    closed: AtomicBool,
    /// The number of each packet that came, and when.
    came: Mutex<Vec<(u64, Duration)>>,
    flow: Flow,
}

/// What became of a stream.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    /// Which are missing.
    pub(crate) missing: Vec<RangeInclusive<u64>>,
    pub(crate) doubled: usize,
    /// When the first of those that came did, since the first was sent.
    pub(crate) first: Option<Duration>,
    /// The longest time in which nothing came.
    pub(crate) gap: Duration,
}

impl Report {
    /// Whether nothing is missing after the first packet that came. What waits for a first way may be more than is kept.
    pub(crate) fn is_whole(&self) -> bool {
        self.lost_later() == 0
    }

    /// How many are missing after the first packet that came.
    pub(crate) fn lost_later(&self) -> u64 {
        let later = self.missing.iter().filter(|range| *range.start() > 0);
        later.map(|range| range.end() - range.start() + 1).sum()
    }
}

impl Stream {
    /// Begins, from one node to another's overlay address.
    pub(crate) fn start(from: &Node, to: &Node, flow: Flow) -> Self {
        let address = to.address();
        let receiver = to.host.within(|| UdpSocket::bind((address, 0)).unwrap());
        let goal = receiver.local_addr().unwrap();
        let sender = from.host.within(|| UdpSocket::bind(("0.0.0.0", 0)).unwrap());
        receiver.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let shared = Arc::new(Shared {
            begin: now(),
            sent: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            came: Mutex::default(),
            flow,
        });
        let (one, other) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || one.receive(&receiver)),
            std::thread::spawn(move || {
                let every = Duration::from_secs(1) / flow.rate;
                let mut packet = vec![0; flow.length];
                while !other.ended.load(Ordering::Relaxed) {
                    let number = other.sent.fetch_add(1, Ordering::Relaxed);
                    packet[..8].copy_from_slice(&number.to_be_bytes());
                    // What cannot be sent is lost, and counted by whoever misses it.
                    let _ = sender.send_to(&packet, goal);
                    let next = every * u32::try_from(number + 1).unwrap();
                    pause(next.saturating_sub(other.begin.elapsed()));
                }
            }),
        ];
        Self { shared, threads }
    }

    /// Time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.begin.elapsed()
    }

    /// How many packets have come.
    pub(crate) fn came(&self) -> usize {
        self.shared.came.lock().unwrap().len()
    }

    /// When it began.
    pub(crate) fn begin(&self) -> Instant {
        self.shared.begin
    }

    /// When the first packet came after a moment, since the beginning.
    pub(crate) fn first_after(&self, moment: Duration) -> Option<Duration> {
        let came = self.shared.came.lock().unwrap();
        came.iter().map(|(_, at)| *at).find(|at| *at >= moment)
    }

    /// The longest time so far in which nothing came.
    pub(crate) fn gap(&self) -> Duration {
        gap(&self.shared.came.lock().unwrap())
    }

    /// The same from a moment on, since the beginning.
    pub(crate) fn gap_since(&self, moment: Duration) -> Duration {
        let came = self.shared.came.lock().unwrap();
        let later = came.iter().map(|(_, at)| *at).filter(|at| *at >= moment);
        let (mut last, mut longest) = (moment, Duration::ZERO);
        for at in later.chain([self.elapsed()]) {
            longest = longest.max(at - last);
            last = at;
        }
        longest
    }

    /// Ends, waits for what is under way, and tells.
    pub(crate) fn end(mut self) -> Report {
        self.close();
        let came = std::mem::take(&mut *self.shared.came.lock().unwrap());
        let sent = self.shared.sent.load(Ordering::Relaxed);
        let mut numbers: Vec<u64> = came.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let first = came.first().map(|(_, at)| *at);
        let mut missing: Vec<RangeInclusive<u64>> = Vec::new();
        for number in (0..sent).filter(|number| numbers.binary_search(number).is_err()) {
            match missing.last_mut() {
                Some(range) if *range.end() + 1 == number => *range = *range.start()..=number,
                Some(_) | None => missing.push(number..=number),
            }
        }
        Report {
            sent,
            lost: sent - u64::try_from(numbers.len()).unwrap(),
            missing,
            doubled: came.len() - numbers.len(),
            first,
            gap: gap(&came),
        }
    }

    fn close(&mut self) {
        if !self.shared.ended.swap(true, Ordering::Relaxed) {
            pause(AFTERMATH);
        }
        self.shared.closed.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What it panicked with has been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn receive(&self, socket: &UdpSocket) {
        let mut buffer = vec![0; self.flow.length];
        while !self.closed.load(Ordering::Relaxed) {
            let Ok(length) = socket.recv(&mut buffer) else { continue };
            if length == self.flow.length
                && let Some(number) = buffer.first_chunk()
            {
                let at = self.begin.elapsed();
                self.came.lock().unwrap().push((u64::from_be_bytes(*number), at));
            }
        }
    }
}

fn gap(came: &[(u64, Duration)]) -> Duration {
    came.windows(2).map(|pair| pair[1].1 - pair[0].1).max().unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "the stream runs in real time")]
fn now() -> Instant {
    Instant::now()
}
