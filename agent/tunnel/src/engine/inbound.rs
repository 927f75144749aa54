//! From the wire to a device: find the tunnel, open, check, append to a run.

use std::time::Instant;

use super::{Engine, Output};
use crate::ecn::{self, Ecn};
use crate::mailbox::Event;
use crate::mss;
use crate::packet;
use crate::path::Endpoint;
use crate::tunnel::{Opened, Refusal};
use crate::udp::receive::Message;
use crate::way::Hop;
use crate::wire;

/// Where a message came from, and what that has proven so far.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) from: Endpoint,
    /// The network whose lease a relayed datagram came under.
    pub(super) network: Option<u32>,
    ecn: Ecn,
    /// The peer whose path this message has proven already.
    proven: Option<u32>,
    /// The other engines that have datagrams in it, a bit each.
    others: u16,
}

impl Arrival {
    pub(super) fn of(message: &Message<'_>) -> Self {
        let from =
            Endpoint { remote: message.from, local: message.to, relay: None, auxiliary: message.auxiliary };
        Self { from, network: None, ecn: message.ecn, proven: None, others: 0 }
    }

    /// Whether what it says may be for a network: a relayed datagram is for that of the lease alone.
    #[inline]
    pub(super) fn may_be_for(&self, network: u32) -> bool {
        self.network.is_none_or(|named| named == network)
    }

    /// Goes on to a datagram that came by another relay's hand, or none.
    pub(super) fn came_by(&mut self, relay: Option<Hop>, network: Option<u32>) {
        (self.from.relay, self.network, self.proven) = (relay, network, None);
    }
}

impl Engine {
    /// Takes a message from a socket: datagrams of one source.
    pub(crate) fn on_wire(&mut self, now: Instant, message: &Message<'_>, out: &mut dyn Output) {
        self.counters.trains_in += 1;
        self.now = now;
        let mut arrival = Arrival::of(message);
        for datagram in message.datagrams() {
            self.counters.datagrams_in += 1;
            match self.unframed(datagram, &mut arrival) {
                Some(datagram) => self.on_datagram(now, datagram, &mut arrival, out),
                None => self.counters.drop_relayed += 1,
            }
        }
        // Steered by its first datagram, a message that the kernel merged may hold those of others.
        for other in self.part.others().filter(|other| arrival.others >> other & 1 == 1) {
            out.pass_message(other, message);
        }
    }

    #[inline]
    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
        arrival: &mut Arrival,
        out: &mut dyn Output,
    ) {
        match wire::classify(datagram) {
            Some(wire::Message::Data { receiver }) => self.on_data(now, receiver, datagram, arrival, out),
            Some(wire::Message::Initiation) => self.on_initiation(now, datagram, arrival, out),
            Some(wire::Message::Response { receiver }) => {
                if let Some(other) = self.part.other_named_by(receiver) {
                    arrival.others |= 1 << other;
                } else {
                    self.on_response(now, receiver, datagram, arrival, out);
                }
            }
            Some(wire::Message::Cookie { receiver }) => {
                if let Some(other) = self.part.other_named_by(receiver) {
                    arrival.others |= 1 << other;
                } else {
                    self.on_cookie(now, receiver, datagram, &arrival.from);
                }
            }
            None => self.on_raw(now, datagram, &arrival.from, out),
        }
    }

    #[inline]
    fn on_data(
        &mut self,
        now: Instant,
        receiver: u32,
        datagram: &[u8],
        arrival: &mut Arrival,
        out: &mut dyn Output,
    ) {
        let from = &arrival.from;
        if self.coalescer.is_full()
            || self.arena.len() - self.arena_used < datagram.len().max(wire::INITIATION)
        {
            self.flush_runs(out);
        }
        let owner = self.indices.owner(receiver);
        let live = owner
            .and_then(|owner| self.peers.get_mut(owner))
            .filter(|state| arrival.may_be_for(state.network))
            .and_then(|state| state.live.as_mut());
        let (Some(peer), Some(live)) = (owner, live) else {
            if let Some(other) = self.part.other_named_by(receiver) {
                arrival.others |= 1 << other;
                return;
            }
            self.counters.drop_unknown_index += 1;
            self.nudge(now, from, out);
            return;
        };
        let opened = live.protocol.open(now, from.remote, datagram, &mut self.arena[self.arena_used..]);
        match opened {
            Opened::Packet(length) => {
                live.last_data = now;
                if arrival.proven != Some(peer) || live.confirming == Some(receiver) {
                    self.authenticated(now, peer, receiver, from, out);
                    self.note_heard(now, peer, from.way(), true, out);
                    arrival.proven = Some(peer);
                }
                self.accept(now, peer, length, arrival.ecn, out);
            }
            Opened::Empty => {
                self.authenticated(now, peer, receiver, from, out);
                self.note_heard(now, peer, from.way(), false, out);
            }
            Opened::Reply(_) => {}
            Opened::Refused(Refusal::Replay) => self.counters.drop_replay += 1,
            Opened::Refused(Refusal::TooOld) => self.counters.drop_too_old += 1,
            Opened::Refused(Refusal::Authentication) => self.counters.drop_authentication += 1,
            Opened::Refused(Refusal::Malformed) => self.counters.drop_malformed_packet += 1,
            Opened::Refused(Refusal::NoSession) => {
                self.counters.drop_unknown_index += 1;
                self.nudge(now, from, out);
            }
        }
    }

    /// Takes note that `peer` sent authentic data from `from`.
    fn authenticated(
        &mut self,
        now: Instant,
        peer: u32,
        receiver: u32,
        from: &Endpoint,
        out: &mut dyn Output,
    ) {
        self.prove(peer, from, out);
        let Some(live) = self.peers.get_mut(peer).and_then(|state| state.live.as_mut()) else { return };
        if live.confirming == Some(receiver) {
            live.confirming = None;
            self.handshake_done(now, peer, from, out);
        } else if !live.pending.is_empty() && live.protocol.is_up() {
            self.send_pending(now, peer, out);
        }
    }

    /// Makes `from` the peer's proven endpoint.
    pub(super) fn prove(&mut self, peer: u32, from: &Endpoint, out: &mut dyn Output) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        if state.path.proven == Some(*from) {
            return;
        }
        if state.path.way() == Some(from.way()) {
            state.path.prove(*from);
            return;
        }
        if state.path.is_steered() && state.path.proven.is_some() {
            return;
        }
        let (key, network, first) = (state.key, state.network, state.path.proven.is_none());
        self.change_path(peer, |path| {
            path.prove(*from);
        });
        if let Some(network) = self.networks.get(network).map(|net| net.id).filter(|_| !first) {
            out.event(Event::EndpointChanged { network, key, way: from.way() });
        }
    }

    /// Checks the opened packet at the end of the arena and hands it to the coalescer.
    #[inline]
    pub(super) fn accept(&mut self, now: Instant, peer: u32, length: usize, ecn: Ecn, out: &mut dyn Output) {
        let offset = self.arena_used;
        let packet = &mut self.arena[offset..offset + length];
        let Some(addresses) = packet::addresses(packet) else {
            self.counters.drop_malformed_packet += 1;
            return;
        };
        let Some(state) = self.peers.get_mut(peer) else { return };
        let Some(net) = self.networks.get_mut(state.network) else { return };
        let cached = Some((addresses.source, self.generation));
        if state.last_source != cached {
            if net.routes.peer_for(addresses.source) != Some(peer) {
                return self.accept_shared(now, peer, (length, ecn), addresses.source, out);
            }
            state.last_source = cached;
        }
        if !net.is_ours(addresses.destination) {
            return self.forward(now, peer, (length, ecn), out);
        }
        if !ecn::decapsulate(packet, ecn) {
            self.counters.drop_congestion += 1;
            return;
        }
        if mss::clamp(packet, state.path.packet_limit(net.mtu, addresses.source.is_ipv4())) {
            self.counters.segment_sizes_lowered += 1;
        }
        state.rx_bytes += length as u64;
        self.counters.bytes_in += length as u64;
        if let Some(probe) = net.probes.answered(addresses.source, packet) {
            out.event(Event::ProbeReply {
                network: net.id,
                target: probe.target,
                ident: probe.ident,
                seq: probe.seq,
                rtt: now.saturating_duration_since(probe.sent),
                way: state.path.way(),
            });
            return;
        }
        self.coalescer.push(state.network, &self.arena, offset, length);
        // Sixteen keeps the starts of packets aligned for the checksum's wide loads.
        self.arena_used = (offset + length.next_multiple_of(16)).min(self.arena.len());
    }
}
