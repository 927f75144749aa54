//! Frames that wait for a stream, at the relay as at a member: bounded in bytes and in age.
//!
//! A stream that does not keep up must not turn into a long queue: data older than its worth is dropped, oldest first,
//! so that the tunnels inside notice loss as on any other way. What keeps tunnels and paths alive waits apart, and goes
//! first.

use std::{collections::VecDeque, time::Duration};

use super::{Batch, HEADER, Kind};

/// Bytes of data that wait: 20 ms at 100 Mbit/s (nat-traversal §3.4).
pub const MAX_QUEUED_DATA: usize = 256 * 1024;

/// Bytes of handshakes, probes and answers that wait: some hundreds.
pub const MAX_QUEUED_URGENT: usize = 32 * 1024;

/// How long data waits: what is older has been sent again by those who care.
pub const MAX_QUEUED_FOR: Duration = Duration::from_millis(150);

/// Frames on their way into one stream.
#[derive(Debug, Default)]
pub struct Queue {
    urgent: VecDeque<Box<[u8]>>,
    urgent_bytes: usize,
    data: VecDeque<(Duration, Box<[u8]>)>,
    data_bytes: usize,
}

impl Queue {
    /// Adds a frame; returns how many were dropped for it.
    pub fn push(&mut self, now: Duration, frame: Box<[u8]>) -> u64 {
        if !Batch::holds(&frame) {
            // All behind it would wait for ever.
            return 1;
        }
        let mut dropped = 0;
        if is_urgent(&frame) {
            self.urgent_bytes += frame.len();
            self.urgent.push_back(frame);
            while self.urgent_bytes > MAX_QUEUED_URGENT {
                self.urgent_bytes -= self.urgent.pop_front().map_or(self.urgent_bytes, |frame| frame.len());
                dropped += 1;
            }
        } else {
            self.data_bytes += frame.len();
            self.data.push_back((now, frame));
            while self.data_bytes > MAX_QUEUED_DATA {
                self.drop_oldest();
                dropped += 1;
            }
        }
        dropped
    }

    /// Moves what fits into one message; returns how many were dropped because they waited too long.
    pub fn take(&mut self, now: Duration, message: &mut Vec<u8>) -> u64 {
        let mut dropped = 0;
        while self.data.front().is_some_and(|(since, _)| now.saturating_sub(*since) > MAX_QUEUED_FOR) {
            self.drop_oldest();
            dropped += 1;
        }
        while self.urgent.front().is_some_and(|frame| Batch::push(message, frame)) {
            self.urgent_bytes -= self.urgent.pop_front().map_or(0, |frame| frame.len());
        }
        while self.urgent.is_empty()
            && self.data.front().is_some_and(|(_, frame)| Batch::push(message, frame))
        {
            self.drop_oldest();
        }
        if self.data.is_empty() && self.urgent.is_empty() {
            // An idle stream holds no memory here.
            *self = Self::default();
        }
        dropped
    }

    fn drop_oldest(&mut self) {
        self.data_bytes -= self.data.pop_front().map_or(self.data_bytes, |(_, frame)| frame.len());
    }
}

/// Whether a frame keeps something alive: what the relay itself says, path frames, and WireGuard's handshakes.
fn is_urgent(frame: &[u8]) -> bool {
    frame.get(1) != Some(&(Kind::Data as u8)) || matches!(frame.get(HEADER), Some(0x0D | 1..=3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::{MAX_BATCH, RelayAddress, header};

    const T: Duration = Duration::from_secs(1);

    fn data(first: u8, length: usize) -> Box<[u8]> {
        let mut frame = header(Kind::Data, 1, RelayAddress(2)).to_vec();
        frame.resize(HEADER + length, 9);
        frame[HEADER] = first;
        frame.into()
    }

    fn taken(queue: &mut Queue, now: Duration) -> (Vec<u8>, u64) {
        let mut message = Vec::new();
        let dropped = queue.take(now, &mut message);
        (Batch::parse(&message).unwrap().map(|frame| frame.unwrap()[HEADER]).collect(), dropped)
    }

    #[test]
    fn what_keeps_tunnels_alive_goes_first() {
        let mut queue = Queue::default();
        for first in [4, 0x0D, 4, 1, 2, 3] {
            assert_eq!(queue.push(T, data(first, 100)), 0);
        }
        assert_eq!(taken(&mut queue, T), (vec![0x0D, 1, 2, 3, 4, 4], 0));
        assert_eq!(taken(&mut queue, T), (Vec::new(), 0));
    }

    #[test]
    fn old_data_is_dropped_and_old_handshakes_are_not() {
        let mut queue = Queue::default();
        queue.push(T, data(4, 100));
        queue.push(T, data(1, 100));
        queue.push(T + MAX_QUEUED_FOR, data(5, 100));
        assert_eq!(taken(&mut queue, T + MAX_QUEUED_FOR + Duration::from_millis(1)), (vec![1, 5], 1));
    }

    #[test]
    fn a_frame_that_no_message_holds_holds_up_nothing() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(T, data(1, MAX_BATCH)), 1);
        assert_eq!(queue.push(T, [1; HEADER - 1].into()), 1);
        assert_eq!(queue.push(T, data(2, 100)), 0);
        assert_eq!(taken(&mut queue, T), (vec![2], 0));
    }

    #[test]
    fn the_queue_has_a_limit_in_bytes_and_drops_the_oldest() {
        let mut queue = Queue::default();
        let dropped: u64 = (0..300).map(|_| queue.push(T, data(4, 1_000))).sum();
        assert_eq!(dropped, 300 - u64::try_from(MAX_QUEUED_DATA / (1_000 + HEADER)).unwrap());
        let dropped: u64 = (0..300).map(|_| queue.push(T, data(1, 1_000))).sum();
        assert_eq!(dropped, 300 - u64::try_from(MAX_QUEUED_URGENT / (1_000 + HEADER)).unwrap());
        let mut seen = 0;
        loop {
            let (frames, _) = taken(&mut queue, T);
            if frames.is_empty() {
                break;
            }
            seen += frames.len();
        }
        assert_eq!(seen, MAX_QUEUED_DATA / 1_016 + MAX_QUEUED_URGENT / 1_016);
    }
}
