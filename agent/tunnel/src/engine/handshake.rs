//! Tunnels come and go, handshakes start, repeat and end.
//!
//! ```text
//!           traffic, command, nudge             a stranger's initiation
//!                     │                                   │
//!  (no tunnel) ──▶ round: initiate, repeat      response, wait for data
//!                     │ response                          │ data under our index
//!                     └──────────▶ session ◀──────────────┘
//!                                  │ 5 min idle, or 90 s without an answer
//!                                  ▼
//!                             (no tunnel)
//! ```

use std::time::{Duration, Instant};

use super::peer::{Live, Pending, Round};
use super::{Engine, Output};
use crate::limits;
use crate::mailbox::Event;
use crate::path::{Endpoint, Path};
use crate::relay;
use crate::timers::Due;
use crate::tunnel::{Protocol, Ticked};
use crate::udp::train::Datagrams;
use crate::wire;

/// A round ends after this long without an answer (WireGuard paper §6.1: `REKEY_ATTEMPT_TIME`).
const GIVE_UP: Duration = Duration::from_secs(90);

/// Room for any handshake message.
pub(super) const MESSAGE: usize = 256;

/// Sends one message of ours, framed for the relay if there is one on the way.
pub(super) fn send_message(to: &Endpoint, message: &[u8], out: &mut dyn Output) {
    let Some(hop) = to.relay else {
        out.transmit(to, Datagrams::single(message));
        return;
    };
    let mut frame = [0; relay::HEADER + MESSAGE];
    frame[..relay::HEADER].copy_from_slice(&relay::header(hop));
    frame[relay::HEADER..][..message.len()].copy_from_slice(message);
    out.transmit(to, Datagrams::single(&frame[..relay::HEADER + message.len()]));
}

impl Engine {
    /// Makes sure that a peer has a tunnel; returns whether it has.
    pub(super) fn open_tunnel(&mut self, now: Instant, peer: u32, out: &mut dyn Output) -> bool {
        let Some(state) = self.peers.get_mut(peer) else { return false };
        if state.live.is_some() {
            return true;
        }
        debug_assert_eq!(state.owner, self.part.number(), "tunnels are made where their peer belongs");
        let client = state.client;
        let Some(net) = self.networks.get(state.network) else { return false };
        let Some(gate) = net.gate(client) else { return false };
        let Some(index) = self.indices.take(peer) else { return false };
        let (preshared, memory) = (state.preshared.as_ref(), state.memory);
        let protocol = Protocol::new(gate, &state.key, preshared, state.keepalive, (index, memory));
        let due = self.wheel.schedule(peer, now + limits::TICK_HANDSHAKE);
        state.live = Some(Box::new(Live {
            protocol,
            index,
            due,
            round: None,
            initiation: None,
            confirming: None,
            reply: None,
            pending: Pending::default(),
            last_data: now,
        }));
        self.counters.tunnels += 1;
        out.event(Event::Wanted { network: net.id, key: state.key });
        true
    }

    /// Ends a peer's tunnel and drops what waited in it.
    pub(super) fn close_tunnel(&mut self, peer: u32) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        let Some(mut live) = state.live.take() else { return };
        state.memory = live.protocol.memory();
        self.counters.drop_pending += live.pending.clear(&mut self.pending_bytes);
        self.indices.release(live.index);
        self.counters.tunnels -= 1;
    }

    /// Starts a handshake with a peer unless one is on its way.
    pub(super) fn start_round(&mut self, now: Instant, peer: u32, out: &mut dyn Output) {
        if !self.open_tunnel(now, peer, out) {
            return;
        }
        let Some(live) = self.peers.get_mut(peer).and_then(|state| state.live.as_mut()) else { return };
        if live.round.is_none() {
            live.round = Some(Round::new(now));
            self.initiate(now, peer, out);
        }
    }

    /// Sends the round's next initiation, or queues it for the pace.
    pub(super) fn initiate(&mut self, now: Instant, peer: u32, out: &mut dyn Output) {
        if self.waiting.is_empty() && self.pace.take(now) {
            self.send_initiation(now, peer, out);
            return;
        }
        let round = self.peers.get_mut(peer).and_then(|state| state.live.as_mut()?.round.as_mut());
        if let Some(round) = round
            && !round.queued
        {
            round.queued = true;
            self.waiting.push_back(peer);
        }
    }

    /// Sends an initiation of the peer's round now. A round that ended meanwhile sends nothing.
    pub(super) fn send_initiation(&mut self, now: Instant, peer: u32, out: &mut dyn Output) {
        let Some(live) = self.peers.get_mut(peer).and_then(|state| state.live.as_mut()) else { return };
        if live.round.is_none() {
            return;
        }
        let mut message = [0; MESSAGE];
        if let Some(length) = live.protocol.initiate(now, &mut message) {
            self.send_attempt(now, peer, &message[..length], out);
        }
    }

    /// Counts an initiation as the round's next attempt and sends it where the peer may be.
    fn send_attempt(&mut self, now: Instant, peer: u32, message: &[u8], out: &mut dyn Output) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        let Some(live) = state.live.as_mut() else { return };
        let round = live.round.get_or_insert(Round::new(now));
        let wait = limits::RETRIES[(round.attempts as usize).min(limits::RETRIES.len() - 1)];
        round.next = now + wait + Duration::from_millis(self.jitter.below(limits::RETRY_JITTER_MS));
        round.queued = false;
        round.attempts += 1;
        let attempts = round.attempts;
        live.initiation = message.try_into().ok().map(Box::new);
        let silent = state.watch.as_ref().is_some_and(|watch| watch.is_silent());
        for to in state.path.targets(attempts > 1 || silent) {
            send_message(&to, message, out);
            self.counters.initiations_out += 1;
        }
        if attempts == limits::UNANSWERED_AFTER + 1
            && let Some(network) = self.networks.get(state.network).map(|net| net.id)
        {
            out.event(Event::HandshakeUnanswered { network, key: state.key });
            self.pass_on(peer, out);
        }
    }

    /// Looks at a tunnel whose time has come.
    pub(super) fn tick_peer(&mut self, now: Instant, peer: u32, due: Due, out: &mut dyn Output) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        let Some(live) = state.live.as_mut().filter(|live| live.due == due) else { return };
        state.path.recover(now);
        let mut message = [0; MESSAGE];
        let ticked = live.protocol.tick(now, &mut message);
        let silent = live.round.is_some_and(|round| now.saturating_duration_since(round.started) >= GIVE_UP);
        if silent || ticked == Ticked::Expired {
            return self.give_up(now, peer, out);
        }
        match ticked {
            Ticked::Send(length) if wire::classify(&message[..length]) == Some(wire::Message::Initiation) => {
                self.send_attempt(now, peer, &message[..length], out);
            }
            Ticked::Send(length) => {
                if let Some(to) = state.path.proven {
                    send_message(&to, &message[..length], out);
                }
            }
            Ticked::Quiet | Ticked::Expired => {
                if live.round.is_some_and(|round| !round.queued && round.next <= now) {
                    self.initiate(now, peer, out);
                }
            }
        }
        self.note_silence(now, peer, out);
        self.rest(now, peer);
    }

    /// Enters a tunnel for its next look, or ends it when nobody needs it.
    fn rest(&mut self, now: Instant, peer: u32) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        let Some(live) = state.live.as_mut() else { return };
        let quiet = now.saturating_duration_since(live.last_data);
        let unused = state.keepalive.is_none() && live.round.is_none() && live.pending.is_empty();
        let patience = if live.protocol.is_up() { limits::IDLE } else { limits::UNCONFIRMED_IDLE };
        if unused && quiet >= patience {
            return self.close_tunnel(peer);
        }
        if live
            .reply
            .as_ref()
            .is_some_and(|reply| now.saturating_duration_since(reply.made) >= limits::REPLY_CACHE)
        {
            live.reply = None;
        }
        let often = live.round.is_some() || state.watch.as_ref().is_some_and(|watch| watch.is_awaiting());
        let pause = if often { limits::TICK_HANDSHAKE } else { live.protocol.rest(now) };
        live.due = self.wheel.schedule(peer, now + pause);
    }

    /// Renews a peer's session after the machine slept; the kernel's clock, which sessions go by, stood still.
    pub(super) fn resume_peer(&mut self, now: Instant, peer: u32, asleep: Duration, out: &mut dyn Output) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        state.last_handshake = state.last_handshake.and_then(|at| at.checked_sub(asleep));
        let Some(live) = &state.live else { return };
        let (up, waits) = (live.protocol.is_up(), live.round.is_some());
        let age = state.last_handshake.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        state.path.forget_local();
        if age >= limits::SESSION_AGE {
            self.close_tunnel(peer);
        }
        if up || waits {
            self.start_round(now, peer, out);
        }
    }

    /// Ends a round that nobody answered. A peer with keepalive is tried again, as its mapping must be held open.
    fn give_up(&mut self, now: Instant, peer: u32, out: &mut dyn Output) {
        self.close_tunnel(peer);
        let Some(state) = self.peers.get(peer) else { return };
        if let Some(network) = self.networks.get(state.network).map(|net| net.id) {
            out.event(Event::HandshakeFailed { network, key: state.key });
        }
        if state.keepalive.is_some() {
            self.start_round(now, peer, out);
        }
    }

    /// Both sides have the keys: says so and sends what waited.
    pub(super) fn handshake_done(&mut self, now: Instant, peer: u32, from: &Endpoint, out: &mut dyn Output) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        state.last_handshake = Some(now);
        let key = state.key;
        if let Some(live) = &mut state.live {
            live.end_round();
        }
        self.counters.handshakes += 1;
        if let Some(network) = self.networks.get(state.network).map(|net| net.id) {
            out.event(Event::HandshakeDone { network, key, way: from.way() });
        }
        self.met_client(peer, out);
        self.send_pending(now, peer, out);
    }

    /// Data came that we have no session for. When it is from where a peer of ours is, that peer, or we, restarted:
    /// a handshake of ours is the quickest way to tell it.
    ///
    /// It leaves from where the data came to: a NAT before the peer lets nothing else in.
    pub(super) fn nudge_own(&mut self, now: Instant, from: &Endpoint, out: &mut dyn Output) {
        let way = from.way();
        let owners: Vec<u32> = self.known.range((way, 0)..=(way, u32::MAX)).map(|(_, peer)| *peer).collect();
        for peer in owners {
            let Some(state) = self.peers.get_mut(peer) else { continue };
            let rested = |at: Instant| now.saturating_duration_since(at) >= limits::NUDGE_INTERVAL;
            let up = state.live.as_ref().is_some_and(|live| live.protocol.is_up());
            if up || !state.last_nudge.is_none_or(rested) {
                continue;
            }
            state.last_nudge = Some(now);
            state.path.answer_from(*from);
            match state.live.as_mut().and_then(|live| live.round.as_mut()) {
                Some(round) => round.next = now,
                None => self.start_round(now, peer, out),
            }
        }
    }

    /// Changes what is known of a peer's path and keeps the table of known endpoints in step.
    pub(super) fn change_path(&mut self, peer: u32, change: impl FnOnce(&mut Path)) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        for way in state.path.known() {
            self.known.remove(&(way, peer));
        }
        change(&mut state.path);
        for way in state.path.known() {
            self.known.insert((way, peer));
        }
    }
}
