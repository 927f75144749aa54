//! Trains under construction.
//!
//! A train has one destination, one congestion mark and datagrams of one size, the last of which may be shorter and ends it. Each peer has
//! at most one open train, so its packets leave in order; the least recently used one leaves when room is needed.

use crate::ecn::Ecn;
use crate::engine::Output;
use crate::limits;
use crate::path::Endpoint;
use crate::relay;
use crate::stats::Counters;
use crate::udp::train::{Datagrams, Sent};

/// Room beyond the payload: boringtun asks for 148 bytes even when it writes 32, behind a relay's header.
const BUFFER: usize = limits::UDP_PAYLOAD + 256;

#[derive(Debug)]
struct Train {
    peer: u32,
    /// Whether it holds copies that go a second way.
    copies: bool,
    to: Endpoint,
    ecn: Ecn,
    stride: usize,
    length: usize,
    /// Where the last datagram begins, behind a relay's header.
    last: usize,
    count: usize,
    closed: bool,
    used: u64,
    buffer: Box<[u8]>,
}

/// What is known of a datagram before it is sealed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Car<'a> {
    pub(crate) peer: u32,
    pub(crate) to: &'a Endpoint,
    pub(crate) ecn: Ecn,
    /// Its size once sealed, with a relay's header if there is one.
    pub(crate) size: usize,
    /// Whether it must leave with a call of its own.
    pub(crate) alone: bool,
    /// Whether it is a copy that goes a second way.
    pub(crate) copy: bool,
}

/// The open trains, and buffers for more.
#[derive(Debug)]
pub(crate) struct Trains {
    open: Vec<Train>,
    spare: Vec<Box<[u8]>>,
    /// Peers with whose trains something was wrong, and what.
    troubles: Vec<(u32, Sent)>,
    segment_limit: usize,
    clock: u64,
}

impl Trains {
    pub(crate) fn new(segment_limit: usize) -> Self {
        Self {
            open: Vec::with_capacity(limits::OPEN_TRAINS),
            spare: Vec::with_capacity(limits::OPEN_TRAINS),
            troubles: Vec::new(),
            segment_limit: segment_limit.max(1),
            clock: 0,
        }
    }

    /// Appends one datagram, which `seal` writes, to the peer's train; sends what must leave first.
    ///
    /// Returns whether `seal` wrote it.
    #[inline]
    pub(crate) fn append(
        &mut self,
        car: Car<'_>,
        out: &mut dyn Output,
        counters: &mut Counters,
        seal: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        if car.size > limits::UDP_PAYLOAD {
            return false;
        }
        let at = self.room_for(&car, out, counters);
        self.open[at].add(seal)
    }

    /// Appends a copy of the datagram that was appended last for the peer to its train of copies.
    pub(crate) fn repeat(&mut self, car: Car<'_>, out: &mut dyn Output, counters: &mut Counters) {
        if car.size > limits::UDP_PAYLOAD {
            return;
        }
        let copies = self.room_for(&car, out, counters);
        let Some(first) = self.open.iter().position(|train| train.peer == car.peer && !train.copies) else {
            return;
        };
        let Ok([first, copies]) = self.open.get_disjoint_mut([first, copies]) else { return };
        let sealed = &first.buffer[first.last..first.length];
        copies.add(|buffer| {
            buffer.get_mut(..sealed.len())?.copy_from_slice(sealed);
            Some(sealed.len())
        });
    }

    /// Returns the peer's train with room for one more datagram; sends what must leave first.
    #[inline]
    fn room_for(&mut self, car: &Car<'_>, out: &mut dyn Output, counters: &mut Counters) -> usize {
        let Car { to, ecn, size, alone, .. } = *car;
        let at = self.train_for(car, out, counters);
        let limit = if alone { 1 } else { self.segment_limit };
        let train = &mut self.open[at];
        let fits = !train.closed
            && train.to == *to
            && train.ecn == ecn
            && (train.count == 0 || size <= train.stride)
            && train.length + size <= limits::UDP_PAYLOAD
            && train.count < limit;
        if !fits {
            dispatch(train, out, counters, &mut self.troubles);
            (train.to, train.ecn) = (*to, ecn);
        }
        at
    }

    /// Sends all open trains.
    pub(crate) fn flush(&mut self, out: &mut dyn Output, counters: &mut Counters) {
        while let Some(mut train) = self.open.pop() {
            dispatch(&mut train, out, counters, &mut self.troubles);
            self.spare.push(train.buffer);
        }
    }

    /// Returns a peer and what was wrong with a train of its, each once.
    pub(crate) fn trouble(&mut self) -> Option<(u32, Sent)> {
        self.troubles.pop()
    }

    /// Finds or opens the peer's train.
    #[inline]
    fn train_for(&mut self, car: &Car<'_>, out: &mut dyn Output, counters: &mut Counters) -> usize {
        let Car { peer, to, ecn, copy, .. } = *car;
        self.clock += 1;
        if let Some(at) = self.open.iter().position(|train| train.peer == peer && train.copies == copy) {
            self.open[at].used = self.clock;
            return at;
        }
        if self.open.len() >= limits::OPEN_TRAINS
            && let Some(oldest) = (0..self.open.len()).min_by_key(|at| self.open[*at].used)
        {
            let mut train = self.open.swap_remove(oldest);
            dispatch(&mut train, out, counters, &mut self.troubles);
            self.spare.push(train.buffer);
        }
        let buffer = self.spare.pop().unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
        let used = self.clock;
        self.open.push(Train {
            peer,
            copies: copy,
            to: *to,
            ecn,
            stride: 0,
            length: 0,
            last: 0,
            count: 0,
            closed: false,
            used,
            buffer,
        });
        self.open.len() - 1
    }
}

impl Train {
    /// Appends one datagram, which `seal` writes behind the relay's header; returns whether it did.
    #[inline]
    fn add(&mut self, seal: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        let last = self.length + self.to.header_len();
        if let Some(hop) = self.to.relay {
            self.buffer[self.length..last].copy_from_slice(&relay::header(hop));
        }
        let Some(sealed) = seal(&mut self.buffer[last..]) else { return false };
        let written = last + sealed - self.length;
        if self.count == 0 {
            self.stride = written;
        }
        self.closed = written < self.stride;
        self.last = last;
        self.length += written;
        self.count += 1;
        true
    }
}

/// Sends a train and empties it.
fn dispatch(
    train: &mut Train,
    out: &mut dyn Output,
    counters: &mut Counters,
    troubles: &mut Vec<(u32, Sent)>,
) {
    if train.count > 0 {
        let bytes = &train.buffer[..train.length];
        let sent = out.transmit(&train.to, Datagrams { stride: train.stride, ecn: train.ecn, bytes });
        counters.trains_out += 1;
        counters.datagrams_out += train.count as u64;
        match sent {
            Sent::Whole | Sent::Full => {}
            Sent::Singly => counters.segmentation_fallbacks += 1,
            Sent::Narrow => counters.trains_too_wide += 1,
            Sent::Refused | Sent::Unreachable => counters.drop_send_refused += 1,
            Sent::SourceGone => counters.sources_lost += 1,
        }
        // What is wrong with a second way says nothing of the first.
        if !train.copies && matches!(sent, Sent::Singly | Sent::Narrow | Sent::SourceGone) {
            troubles.push((train.peer, sent));
        }
    }
    (train.stride, train.length, train.count, train.closed) = (0, 0, 0, false);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::Recorder;

    fn fill(trains: &mut Trains, out: &mut Recorder, peer: u32, sizes: &[usize]) {
        let to =
            Endpoint { remote: ([192, 0, 2, 1], 1000).into(), local: None, relay: None, auxiliary: None };
        for (n, size) in sizes.iter().enumerate() {
            let mark = u8::try_from(n % 256).unwrap();
            let sealed = |buffer: &mut [u8]| {
                buffer[..*size].fill(mark);
                Some(*size)
            };
            let car = Car { peer, to: &to, ecn: Ecn::NotCapable, size: *size, alone: false, copy: false };
            assert!(trains.append(car, out, &mut Counters::default(), sealed));
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
        for peer in 0..=limits::OPEN_TRAINS {
            fill(&mut trains, &mut out, u32::try_from(peer).unwrap(), &[100 + peer]);
        }
        assert_eq!(shapes(&out), [(100, 100)]);
    }
}
