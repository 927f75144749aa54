//! One peer: what is known of it, and its tunnel while it has one.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use ipnetwork::IpNetwork;

use super::watch::Watch;
use crate::limits;
use crate::path::Path;
use crate::timers::Due;
use crate::tunnel::{Memory, PresharedKey, Protocol};
use crate::wire;

/// A known peer. Small, since there may be ten thousand.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) network: u32,
    /// The engine that has its tunnel. The others know its key and prefixes, and nothing else.
    pub(crate) owner: u8,
    pub(crate) key: [u8; 32],
    pub(crate) allowed: Vec<IpNetwork>,
    /// Prefixes that it may send from beside others, in order.
    pub(crate) shared: Vec<IpNetwork>,
    /// Whether it knows this node by the gateway's key.
    pub(crate) client: bool,
    pub(crate) keepalive: Option<u16>,
    pub(crate) preshared: Option<PresharedKey>,
    pub(crate) path: Path,
    pub(crate) live: Option<Box<Live>>,
    /// What is noticed of its traffic, for whoever chooses its ways.
    pub(crate) watch: Option<Box<Watch>>,
    /// What the last tunnel left to the next.
    pub(crate) memory: Memory,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) last_handshake: Option<Instant>,
    /// When data that we could not place last drew an initiation.
    pub(crate) last_nudge: Option<Instant>,
    /// The last source found to be this peer's, and the generation it holds for.
    pub(crate) last_source: Option<(IpAddr, u64)>,
}

/// A peer's tunnel.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) protocol: Protocol,
    pub(crate) index: u32,
    /// The wheel entry this tunnel waits for; others are stale.
    pub(crate) due: Due,
    pub(crate) round: Option<Round>,
    /// The round's last initiation, for places that become known before it is answered.
    pub(crate) initiation: Option<Box<[u8; wire::INITIATION]>>,
    /// Our index in the response we sent last, until data under it arrives.
    pub(crate) confirming: Option<u32>,
    pub(crate) reply: Option<Box<Reply>>,
    pub(crate) pending: Pending,
    pub(crate) last_data: Instant,
}

impl Live {
    /// Nothing of ours is on its way any more.
    pub(crate) fn end_round(&mut self) {
        (self.round, self.initiation) = (None, None);
    }
}

/// A handshake of ours on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) attempts: u32,
    /// When the next initiation is due.
    pub(crate) next: Instant,
    pub(crate) started: Instant,
    /// Whether the initiation waits for the pace already.
    pub(crate) queued: bool,
}

impl Round {
    pub(crate) fn new(now: Instant) -> Self {
        Self { attempts: 0, next: now, started: now, queued: false }
    }
}

/// The answer to an initiation, for copies of it that came another way.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) initiation: [u8; wire::INITIATION],
    pub(crate) response: [u8; wire::RESPONSE],
    pub(crate) made: Instant,
}

/// Frames that wait for a session.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Pending {
    /// Adds a frame at the end, dropping the oldest over the peer's limits, and none when `budget` is used up.
    ///
    /// Returns how many were dropped. `budget` is what all peers together have waiting.
    pub(crate) fn push(&mut self, frame: &[u8], budget: &mut usize) -> u64 {
        let mut dropped = 0;
        while !self.frames.is_empty()
            && (self.frames.len() >= limits::PENDING_FRAMES
                || self.bytes + frame.len() > limits::PENDING_BYTES
                || *budget + frame.len() > limits::PENDING_TOTAL)
        {
            self.pop(budget);
            dropped += 1;
        }
        if frame.len() > limits::PENDING_BYTES || *budget + frame.len() > limits::PENDING_TOTAL {
            return dropped + 1;
        }
        self.bytes += frame.len();
        *budget += frame.len();
        self.frames.push_back(frame.to_vec());
        dropped
    }

    /// Takes the oldest frame.
    pub(crate) fn pop(&mut self, budget: &mut usize) -> Option<Vec<u8>> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        *budget -= frame.len();
        Some(frame)
    }

    /// Drops all frames; returns how many.
    pub(crate) fn clear(&mut self, budget: &mut usize) -> u64 {
        let mut dropped = 0;
        while self.pop(budget).is_some() {
            dropped += 1;
        }
        self.frames = VecDeque::new();
        dropped
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_frame_goes_first_when_there_are_too_many() {
        let (mut pending, mut budget) = (Pending::default(), 0);
        for n in 0..40_u8 {
            pending.push(&[n; 100], &mut budget);
        }
        assert_eq!(budget, limits::PENDING_FRAMES * 100);
        assert_eq!(pending.pop(&mut budget).unwrap()[0], 8);
        assert_eq!(pending.clear(&mut budget), 31);
        assert_eq!(budget, 0);
    }

    #[test]
    fn bytes_are_limited_per_peer_and_in_total() {
        let (mut pending, mut budget) = (Pending::default(), 0);
        assert_eq!(pending.push(&vec![0; 60_000], &mut budget), 0);
        assert_eq!(pending.push(&vec![0; 60_000], &mut budget), 1);
        assert_eq!(budget, 60_000);
        assert_eq!(
            pending.push(&vec![0; limits::PENDING_BYTES + 1], &mut budget),
            2,
            "too long, whatever waits"
        );
        assert_eq!(pending.push(&vec![0; limits::PENDING_BYTES], &mut budget), 0);
        assert_eq!(budget, limits::PENDING_BYTES);
        let mut full = limits::PENDING_TOTAL - 10;
        assert_eq!(Pending::default().push(&[0; 20], &mut full), 1);
        assert_eq!(full, limits::PENDING_TOTAL - 10);
    }
}
