//! Frames that wait for a connection over TLS.
//!
//! Handshakes, path frames and what is said to the relay itself go first, and are few. Data waits for 150 ms at most: a
//! tunnel inside TCP must lose packets in time, or the connections inside it learn of a jam too late.

use std::{collections::VecDeque, time::Duration};

use lacis_proto::{
    relay::{Batch, HEADER, Header, Kind},
    websocket::{Message, write},
};

use crate::clock::random;

/// Most data that waits, in bytes: 150 ms of 14 Mbit/s (nat-traversal §3.4).
const MAX_DATA: usize = 256 * 1024;

/// Data that has waited for so long is worth nothing any more.
const MAX_AGE: Duration = Duration::from_millis(150);

/// Most frames that go first: the handshakes of as many peers.
const MAX_URGENT: usize = 256;

/// Most pings that wait for their answer: a relay sends one a minute.
const MAX_PINGS: usize = 4;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Queue {
    urgent: VecDeque<Vec<u8>>,
    data: VecDeque<(Duration, Vec<u8>)>,
    data_bytes: usize,
    /// Payloads of pings that are to be answered.
    pings: VecDeque<Vec<u8>>,
}

impl Queue {
    /// Takes in a frame; the oldest goes where there is no room.
    pub(super) fn push(&mut self, now: Duration, frame: &[u8]) {
        if is_urgent(frame) {
            if self.urgent.len() >= MAX_URGENT {
                self.urgent.pop_front();
            }
            self.urgent.push_back(frame.to_vec());
            return;
        }
        while self.data_bytes + frame.len() > MAX_DATA {
            let Some((_, oldest)) = self.data.pop_front() else { return };
            self.data_bytes -= oldest.len();
        }
        self.data_bytes += frame.len();
        self.data.push_back((now, frame.to_vec()));
    }

    /// Takes in a ping of the other end's WebSocket.
    pub(super) fn answer(&mut self, payload: Vec<u8>) {
        if self.pings.len() < MAX_PINGS {
            self.pings.push_back(payload);
        }
    }

    /// Writes the next message, or nothing where nothing waits.
    pub(super) fn fill(&mut self, now: Duration, out: &mut Vec<u8>) {
        for payload in self.pings.drain(..) {
            write(out, &Message::Pong(payload), Some(random()));
        }
        let mut batch = Vec::new();
        while let Some(frame) = self.urgent.pop_front() {
            if !Batch::push(&mut batch, &frame) {
                self.urgent.push_front(frame);
                break;
            }
        }
        while let Some((since, frame)) = self.data.pop_front() {
            if since + MAX_AGE >= now && !Batch::push(&mut batch, &frame) {
                self.data.push_front((since, frame));
                break;
            }
            self.data_bytes -= frame.len();
        }
        if !batch.is_empty() {
            write(out, &Message::Binary(batch), Some(random()));
        }
    }
}

/// Whether a frame does not wait behind data.
fn is_urgent(frame: &[u8]) -> bool {
    let is_data = Header::parse(frame).is_some_and(|header| header.kind == Kind::Data);
    // The first byte of a path frame, or of a WireGuard message other than data (WireGuard paper §5.4).
    !is_data || matches!(frame.get(HEADER), Some(0x0D | 1..=3))
}

#[cfg(test)]
mod tests {
    use lacis_proto::{
        relay::{RelayAddress, header},
        websocket::{Decoder, End},
    };

    use super::*;

    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = header(Kind::Data, 1, RelayAddress(2)).to_vec();
        frame.push(first);
        frame.resize(length, 0);
        frame
    }

    /// The first bytes of the payloads in the next message.
    fn next(queue: &mut Queue, now: Duration) -> Vec<u8> {
        let mut out = Vec::new();
        queue.fill(now, &mut out);
        let mut reader = Decoder::new(End::Server);
        reader.push(&out);
        let Some(Message::Binary(batch)) = reader.next_message().unwrap() else { return Vec::new() };
        Batch::parse(&batch).unwrap().map(|frame| frame.unwrap()[HEADER]).collect()
    }

    #[test]
    fn handshakes_and_path_frames_go_ahead_of_data() {
        let mut queue = Queue::default();
        for first in [4, 1, 4, 0x0D, 2, 4, 3] {
            queue.push(Duration::ZERO, &frame(first, 100));
        }
        assert_eq!(next(&mut queue, Duration::ZERO), [1, 0x0D, 2, 3, 4, 4, 4]);
        assert!(next(&mut queue, Duration::ZERO).is_empty());
    }

    #[test]
    fn data_that_waited_too_long_is_dropped_and_handshakes_are_not() {
        let mut queue = Queue::default();
        queue.push(Duration::ZERO, &frame(4, 100));
        queue.push(Duration::ZERO, &frame(1, 100));
        queue.push(MAX_AGE, &frame(4, 100));
        assert_eq!(next(&mut queue, MAX_AGE + Duration::from_millis(1)), [1, 4]);
        assert_eq!(queue.data_bytes, 0);
    }

    #[test]
    fn where_there_is_no_room_the_oldest_data_goes() {
        let mut queue = Queue::default();
        for _ in 0..1000 {
            queue.push(Duration::ZERO, &frame(4, 1000));
        }
        assert!(queue.data_bytes <= MAX_DATA && queue.data_bytes > MAX_DATA - 1000);
        let mut messages = 0;
        while !next(&mut queue, Duration::ZERO).is_empty() {
            messages += 1;
        }
        assert_eq!((messages, queue.data_bytes), (5, 0));
    }
}
