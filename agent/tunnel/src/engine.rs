//! The middle of the data plane: packets in, packets out, no system calls.
//!
//! Time and bytes come in as values; what is to happen goes to an [`Output`]. (boringtun alone reads its own clock.)
//! So two engines can be joined in memory, with any loss and order between them.
//!
//! Entries: [`Engine::on_tun`] takes a frame from a device, [`Engine::on_wire`] a message from a socket,
//! [`Engine::on_tick`] the time; the commands of the control side have methods of their own. Trains and runs under
//! construction leave with [`Engine::flush`], which the owner calls when its sources run dry.
//!
//! Invariants:
//! - a tunnel exists only for a peer that had traffic, was asked for, or asked us; it is in the wheel exactly once;
//! - an index leads to a live tunnel or to nothing;
//! - a packet that leaves through [`Output::deliver`] came from a peer of that very network, from a source of that
//!   peer, to a destination of this node;
//! - a packet is sent on from one peer to another (`forward`) within one network alone, by a gateway, and only where one of
//!   the two ends is a client.
//!
//! The place of an access policy is beside those last checks (`inbound`) and after the route look-up (`outbound`):
//! both see the peer and the clear packet, once per train or packet, outside the cryptography.
//!
//! Several engines may share the peers (`part.rs`). Each knows all of them and their routes, and has tunnels to its own
//! alone; what it takes in for another's peer goes to that one, at most once (`elsewhere`).

mod commands;
mod elsewhere;
mod forward;
mod handshake;
mod inbound;
mod network;
mod outbound;
mod peer;
mod raw;
mod respond;
mod slab;
mod trains;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::index::Indices;
use crate::limits;
use crate::mailbox::{Event, NetworkId};
use crate::part::Part;
use crate::path::Endpoint;
use crate::random::Jitter;
use crate::stats::Counters;
use crate::timers::{Bucket, Due, Wheel};
use crate::tun::coalesce::{Coalescer, Pieces};
use crate::tun::vnet::Vnet;
use crate::tunnel::Core;
use crate::udp::raw::Manner;
use crate::udp::receive::Message;
use crate::udp::train::{Datagrams, Sent};
use crate::way::Way;

use network::Network;
use peer::Peer;
use raw::{Leases, RawLimits};
use slab::Slab;
use trains::Trains;

pub(crate) use elsewhere::Errand;
pub(crate) use network::NetworkSettings;
pub(crate) use outbound::SLACK;

/// Where effects go.
pub(crate) trait Output {
    /// Sends datagrams, all with the same congestion mark. A relay's header is in front of each already.
    fn transmit(&mut self, to: &Endpoint, datagrams: Datagrams<'_>) -> Sent;
    /// Sends one datagram of the control side.
    fn transmit_raw(&mut self, to: &Endpoint, datagram: &[u8], manner: Manner);
    /// Asks for the largest UDP payload that reaches `to` in one packet.
    fn payload_room(&mut self, to: &Endpoint) -> Option<usize>;
    /// Writes one frame to a queue of the device of a network.
    fn deliver(&mut self, network: u32, queue: u8, vnet: &Vnet, pieces: Pieces<'_>);
    /// Tells the control side.
    fn event(&mut self, event: Event);
    /// Gives another engine something to do.
    fn pass(&mut self, to: u8, errand: Errand);
    /// Gives another engine a message that holds datagrams for it.
    fn pass_message(&mut self, to: u8, message: &Message<'_>);
}

/// The state of all networks of one shard.
#[derive(Debug)]
pub(crate) struct Engine {
    /// Which peers are this engine's.
    part: Part,
    /// What carries the tunnels of networks added from now on.
    core: Core,
    networks: Slab<Network>,
    by_id: BTreeMap<NetworkId, u32>,
    peers: Slab<Peer>,
    indices: Indices,
    /// Every way known to lead to a peer, so that a stranger's data can be told from a restarted peer's.
    known: BTreeSet<(Way, u32)>,
    wheel: Wheel,
    /// Entries of the wheel under work; kept for its memory.
    due: Vec<(u32, Due)>,
    pace: Bucket,
    /// Limits what other engines are told of strangers' data.
    nudges: Bucket,
    /// Limits what the control side is told of datagrams that are not WireGuard's.
    raw: RawLimits,
    leases: Leases,
    /// Initiations of others that wait for their turn.
    arrivals: VecDeque<respond::Arrived>,
    /// Initiations that may still be answered before the packets get their turn.
    answers_left: u32,
    /// Peers whose initiation waits for the pace.
    waiting: VecDeque<u32>,
    trains: Trains,
    arena: Box<[u8]>,
    arena_used: usize,
    /// The frame of a packet that is sent on; kept for its memory.
    onward: Vec<u8>,
    coalescer: Coalescer,
    /// Bytes that all peers have waiting for sessions.
    pending_bytes: usize,
    jitter: Jitter,
    counters: Counters,
    /// The moment of the last entry.
    now: Instant,
    /// Changes with every route; caches of route answers hold the value they were made under.
    generation: u64,
}

impl Engine {
    /// Makes an engine without networks. `seed` must be unpredictable: it hides the order of tunnels.
    pub(crate) fn new(now: Instant, seed: u64, segment_limit: usize) -> Self {
        let part = Part::WHOLE;
        Self {
            part,
            core: Core::default(),
            networks: Slab::new(),
            by_id: BTreeMap::new(),
            peers: Slab::new(),
            indices: Indices::new(seed, part),
            known: BTreeSet::new(),
            wheel: Wheel::new(now),
            due: Vec::new(),
            pace: pace(now, part),
            nudges: Bucket::new(now, limits::NUDGES_PASSED_PER_SECOND, limits::NUDGES_PASSED_BURST),
            raw: RawLimits::new(now),
            leases: Leases::default(),
            arrivals: VecDeque::new(),
            answers_left: limits::HANDSHAKES_PER_TURN,
            waiting: VecDeque::new(),
            trains: Trains::new(segment_limit),
            arena: vec![0; limits::ARENA].into_boxed_slice(),
            arena_used: 0,
            onward: Vec::new(),
            coalescer: Coalescer::new(),
            pending_bytes: 0,
            jitter: Jitter::new(seed.rotate_left(17)),
            counters: Counters::default(),
            now,
            generation: 1,
        }
    }

    /// Chooses what carries the tunnels of networks added from now on.
    pub(crate) fn with_core(mut self, core: Core) -> Self {
        self.core = core;
        self
    }

    /// What it has counted so far.
    pub(crate) const fn counters(&self) -> Counters {
        self.counters
    }

    /// Makes it one of several, before it is told of any network. What is limited for the node is divided.
    pub(crate) fn with_part(mut self, part: Part, seed: u64) -> Self {
        (self.part, self.indices, self.pace) = (part, Indices::new(seed, part), pace(self.now, part));
        self
    }

    /// Sends the trains under construction.
    pub(crate) fn flush_trains(&mut self, out: &mut dyn Output) {
        self.trains.flush(out, &mut self.counters);
        while let Some((peer, trouble)) = self.trains.trouble() {
            let Some(path) = self.peers.get_mut(peer).map(|state| &mut state.path) else { continue };
            match trouble {
                Sent::SourceGone => path.forget_local(),
                Sent::Singly => path.refuse_trains(self.now),
                Sent::Narrow => {
                    if let Some(room) = path.proven.and_then(|to| out.payload_room(&to)) {
                        path.narrowed(self.now, room);
                    }
                }
                Sent::Whole | Sent::Full | Sent::Refused | Sent::Unreachable => {}
            }
        }
    }

    /// Writes the runs under construction to their devices.
    pub(crate) fn flush_runs(&mut self, out: &mut dyn Output) {
        let Self { coalescer, arena, networks, peers, part, .. } = self;
        coalescer.flush(arena, |network, vnet, pieces| {
            let queue = elsewhere::queue(*part, networks.get(network), peers, &pieces);
            out.deliver(network, queue, &vnet, pieces);
        });
        self.arena_used = 0;
    }

    /// Ends a turn: sends and writes all that is under construction.
    pub(crate) fn flush(&mut self, out: &mut dyn Output) {
        self.answers_left = limits::HANDSHAKES_PER_TURN;
        self.flush_trains(out);
        self.flush_runs(out);
    }

    /// Does what is due at `now`.
    pub(crate) fn on_tick(&mut self, now: Instant, out: &mut dyn Output) {
        self.now = now;
        let mut due = std::mem::take(&mut self.due);
        self.wheel.collect(now, &mut due);
        for (peer, at) in due.drain(..due.len().min(limits::TICKS_PER_TURN)) {
            self.tick_peer(now, peer, at, out);
        }
        self.due = due;
        self.answer_arrivals(now, out);
        while let Some(peer) = self.waiting.front().copied() {
            if !self.pace.take(now) {
                break;
            }
            self.waiting.pop_front();
            self.send_initiation(now, peer, out);
        }
        self.check_invariants();
    }

    /// Returns when [`Engine::on_tick`] wants to be called next.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        if !self.due.is_empty() || !self.arrivals.is_empty() {
            return Some(now);
        }
        let paced = (!self.waiting.is_empty()).then(|| now + Duration::from_millis(20));
        [self.wheel.deadline(), paced].into_iter().flatten().min()
    }

    /// The machine slept for `asleep` before `now`. Every session is renewed, paced with others; those that are older
    /// than keys may be end at once.
    pub(crate) fn on_resume(&mut self, now: Instant, asleep: Duration, out: &mut dyn Output) {
        self.now = now;
        self.counters.resumptions += u64::from(self.part.is_first());
        for peer in 0..self.peers.end() {
            self.resume_peer(now, peer, asleep, out);
        }
    }

    /// Turns merging towards devices on or off.
    pub(crate) fn set_coalescing(&mut self, enabled: bool, udp: bool) {
        self.coalescer.set(enabled, udp);
    }

    /// Checks in debug builds what must hold between entries.
    fn check_invariants(&self) {
        debug_assert!(self.pending_bytes <= limits::PENDING_TOTAL, "the waiting frames fit their budget");
        debug_assert!(self.arena_used <= self.arena.len(), "the arena holds what was opened");
    }
}

fn pace(now: Instant, part: Part) -> Bucket {
    Bucket::new(now, part.share(limits::INITIATIONS_PER_SECOND), part.share(limits::INITIATION_BURST))
}

#[cfg(test)]
mod tests;
