//! Trains under construction.
//!
//! A train has one destination and datagrams of one size, the last of which may be shorter and ends it. Each peer has
//! at most one open train, so its packets leave in order; the least recently used one leaves when room is needed.

use crate::engine::Output;
use crate::limits;
use crate::path::Endpoint;
use crate::stats::Counters;
use crate::udp::train::Sent;

/// Room beyond the payload: boringtun asks for 148 bytes even when it writes 32.
const BUFFER: usize = limits::UDP_PAYLOAD + 256;

#[derive(Debug)]
struct Train {
    peer: u32,
    to: Endpoint,
    stride: usize,
    length: usize,
    count: usize,
    closed: bool,
    used: u64,
    buffer: Box<[u8]>,
}

/// The open trains, and buffers for more.
#[derive(Debug)]
pub(crate) struct Trains {
    open: Vec<Train>,
    spare: Vec<Box<[u8]>>,
    /// Peers whose source address the kernel refused.
    lost: Vec<u32>,
    segment_limit: usize,
    clock: u64,
}

impl Trains {
    pub(crate) fn new(segment_limit: usize) -> Self {
        Self {
            open: Vec::with_capacity(limits::OPEN_TRAINS),
            spare: Vec::with_capacity(limits::OPEN_TRAINS),
            lost: Vec::new(),
            segment_limit: segment_limit.max(1),
            clock: 0,
        }
    }

    /// Appends one datagram of `size` bytes, which `seal` writes, to the peer's train; sends what must leave first.
    ///
    /// Returns whether `seal` wrote it.
    #[inline]
    pub(crate) fn append(
        &mut self,
        peer: u32,
        to: &Endpoint,
        size: usize,
        out: &mut dyn Output,
        counters: &mut Counters,
        seal: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        if size > limits::UDP_PAYLOAD {
            return false;
        }
        let at = self.train_for(peer, to, out, counters);
        let limit = self.segment_limit;
        let train = &mut self.open[at];
        let fits = !train.closed
            && train.to == *to
            && (train.count == 0 || size <= train.stride)
            && train.length + size <= limits::UDP_PAYLOAD
            && train.count < limit;
        if !fits {
            dispatch(train, out, counters, &mut self.lost);
            train.to = *to;
        }
        let Some(written) = seal(&mut train.buffer[train.length..]) else { return false };
        if train.count == 0 {
            train.stride = written;
        }
        train.closed = written < train.stride;
        train.length += written;
        train.count += 1;
        true
    }

    /// Sends all open trains.
    pub(crate) fn flush(&mut self, out: &mut dyn Output, counters: &mut Counters) {
        while let Some(mut train) = self.open.pop() {
            dispatch(&mut train, out, counters, &mut self.lost);
            self.spare.push(train.buffer);
        }
    }

    /// Returns a peer whose source address is gone, each once.
    pub(crate) fn lost_source(&mut self) -> Option<u32> {
        self.lost.pop()
    }

    /// Finds or opens the peer's train.
    #[inline]
    fn train_for(
        &mut self,
        peer: u32,
        to: &Endpoint,
        out: &mut dyn Output,
        counters: &mut Counters,
    ) -> usize {
        self.clock += 1;
        if let Some(at) = self.open.iter().position(|train| train.peer == peer) {
            self.open[at].used = self.clock;
            return at;
        }
        if self.open.len() >= limits::OPEN_TRAINS
            && let Some(oldest) = (0..self.open.len()).min_by_key(|at| self.open[*at].used)
        {
            let mut train = self.open.swap_remove(oldest);
            dispatch(&mut train, out, counters, &mut self.lost);
            self.spare.push(train.buffer);
        }
        let buffer = self.spare.pop().unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
        let used = self.clock;
        self.open.push(Train { peer, to: *to, stride: 0, length: 0, count: 0, closed: false, used, buffer });
        self.open.len() - 1
    }
}

/// Sends a train and empties it.
fn dispatch(train: &mut Train, out: &mut dyn Output, counters: &mut Counters, lost: &mut Vec<u32>) {
    if train.count > 0 {
        let sent = out.transmit(&train.to, train.stride, &train.buffer[..train.length]);
        counters.trains_out += 1;
        counters.datagrams_out += train.count as u64;
        match sent {
            Sent::Whole | Sent::Full => {}
            Sent::Singly => counters.segmentation_fallbacks += 1,
            Sent::Refused => counters.drop_send_refused += 1,
            Sent::SourceGone => {
                counters.sources_lost += 1;
                lost.push(train.peer);
            }
        }
    }
    (train.stride, train.length, train.count, train.closed) = (0, 0, 0, false);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::Recorder;

    fn fill(trains: &mut Trains, out: &mut Recorder, peer: u32, sizes: &[usize]) {
        let to = Endpoint { remote: ([192, 0, 2, 1], 1000).into(), local: None };
        for (n, size) in sizes.iter().enumerate() {
            let mark = u8::try_from(n % 256).unwrap();
            let sealed = |buffer: &mut [u8]| {
                buffer[..*size].fill(mark);
                Some(*size)
            };
            assert!(trains.append(peer, &to, *size, out, &mut Counters::default(), sealed));
        }
    }

    fn shapes(out: &Recorder) -> Vec<(usize, usize)> {
        out.sent.iter().map(|train| (train.stride, train.bytes.len())).collect()
    }

    #[test]
    fn equal_sizes_share_a_train_and_a_shorter_one_ends_it() {
        let (mut trains, mut out) = (Trains::new(64), Recorder::default());
        fill(&mut trains, &mut out, 1, &[100, 100, 60, 60, 100]);
        trains.flush(&mut out, &mut Counters::default());
        assert_eq!(shapes(&out), [(100, 260), (60, 60), (100, 100)]);
    }

    #[test]
    fn a_train_stays_within_what_one_send_carries() {
        let (mut trains, mut out) = (Trains::new(64), Recorder::default());
        fill(&mut trains, &mut out, 1, &[1452; 90]);
        fill(&mut trains, &mut out, 1, &[100; 70]);
        trains.flush(&mut out, &mut Counters::default());
        assert_eq!(
            shapes(&out),
            [(1452, 45 * 1452), (1452, 45 * 1452 + 100), (100, 6400), (100, 500)].map(|x| x)
        );
    }

    #[test]
    fn the_least_recently_used_train_leaves_when_there_are_too_many() {
        let (mut trains, mut out) = (Trains::new(64), Recorder::default());
        for peer in 0..=8 {
            fill(&mut trains, &mut out, peer, &[100 + peer as usize]);
        }
        assert_eq!(shapes(&out), [(100, 100)]);
    }
}
