//! A gateway sends packets on: from a client to a peer or to another client, and from a peer to a client.
//!
//! ```text
//!  client ═ gateway's key ═▶ open ─ source check ─▶ hop spent ─▶ route ─▶ seal ═ own key ═▶ peer: source check again
//! ```
//! A client is a plain WireGuard program: it knows one peer, the gateway, by a key that all gateways of the network have.
//! Its prefixes are shared by the gateways: whoever of them is heard with a packet of the client is sent what is for it.
//! The kernel has no part in this, so neither its routes nor its filters decide.
//!
//! Only where one of the two ends is a client is anything sent on, and nothing goes back to whom it came from. Each
//! gateway spends a hop, so that a packet that some of them disagree about dies. A gateway takes any source from another
//! one, but for its own clients alone: who holds the key can tell them anything anyhow.

use std::net::IpAddr;
use std::time::Instant;

use ipnetwork::IpNetwork;

use super::elsewhere::Errand;
use super::outbound::SLACK;
use super::{Engine, Output};
use crate::ecn::{self, Ecn};
use crate::icmp::{self, Problem};
use crate::mailbox::NetworkId;
use crate::packet;
use crate::tun::vnet;
use crate::tunnel::{Gate, PrivateKey};

impl Engine {
    /// Makes this node a gateway of a network, or no longer one; clients meet the new key alone.
    pub(crate) fn set_gateway(&mut self, id: NetworkId, key: Option<&PrivateKey>) {
        let core = self.core;
        let Some(net) = self.slot(id).and_then(|slot| self.networks.get_mut(slot)) else { return };
        net.front = key.map(|key| Gate::new(key, core));
        let mut peers: Vec<u32> = net.by_key.values().copied().collect();
        peers.sort_unstable();
        for peer in peers {
            if self.peers.get(peer).is_some_and(|state| state.client) {
                self.close_tunnel(peer);
            }
        }
    }

    /// Says what a known peer shares with others, and whether it is a client.
    pub(crate) fn set_shared(
        &mut self,
        id: NetworkId,
        key: &[u8; 32],
        mut shared: Vec<IpNetwork>,
        client: bool,
    ) {
        let Some((slot, peer)) = self.place_of(id, key) else { return };
        let (Some(state), Some(net)) = (self.peers.get_mut(peer), self.networks.get_mut(slot)) else {
            return;
        };
        shared.sort_unstable();
        shared.dedup();
        for prefix in state.shared.iter().filter(|prefix| shared.binary_search(prefix).is_err()) {
            net.routes.unshare(*prefix, peer);
        }
        for prefix in &shared {
            net.routes.share(*prefix, peer);
        }
        state.shared = shared;
        self.generation += 1;
        if std::mem::replace(&mut state.client, client) != client {
            self.close_tunnel(peer);
        }
    }

    /// Sends to shared prefixes through a peer until another one is heard from.
    pub(crate) fn prefer(&mut self, id: NetworkId, key: &[u8; 32], shared: &[IpNetwork]) {
        for prefix in shared {
            self.prefer_here(id, *prefix, key);
        }
    }

    /// Does what another engine has found out about a shared prefix.
    pub(super) fn prefer_here(&mut self, id: NetworkId, prefix: IpNetwork, key: &[u8; 32]) {
        let Some((slot, peer)) = self.place_of(id, key) else { return };
        let Some(net) = self.networks.get_mut(slot) else { return };
        if net.routes.prefer(prefix, peer) {
            self.generation += 1;
        }
    }

    /// A client has proven its keys to this gateway: what is for it goes straight there.
    pub(super) fn met_client(&mut self, peer: u32, out: &mut dyn Output) {
        let Some(state) = self.peers.get(peer).filter(|state| state.client) else { return };
        let Some(net) = self.networks.get_mut(state.network) else { return };
        for prefix in &state.shared {
            if net.routes.prefer(*prefix, peer) {
                self.generation += 1;
                for other in self.part.others() {
                    out.pass(other, Errand::Prefer { network: net.id, prefix: *prefix, key: state.key });
                }
            }
        }
    }

    /// A peer is silent: another that shares its prefixes has them, until one is heard.
    pub(super) fn pass_on(&mut self, peer: u32, out: &mut dyn Output) {
        let Some(state) = self.peers.get(peer).filter(|state| !state.shared.is_empty()) else { return };
        let Some(network) = self.networks.get(state.network).map(|net| net.id) else { return };
        let key = state.key;
        self.pass_on_here(network, &key);
        for other in self.part.others() {
            out.pass(other, Errand::PassOn { network, key });
        }
    }

    /// Does what [`Engine::pass_on`] does in this engine.
    pub(super) fn pass_on_here(&mut self, id: NetworkId, key: &[u8; 32]) {
        let Some((slot, peer)) = self.place_of(id, key) else { return };
        let (Some(state), Some(net)) = (self.peers.get(peer), self.networks.get_mut(slot)) else { return };
        for prefix in &state.shared {
            if net.routes.pass_on(*prefix, peer) {
                self.generation += 1;
            }
        }
    }

    /// Takes the opened packet at the end of the arena whose source is not its peer's alone: where the peer shares it, it
    /// is heard from now.
    #[cold]
    pub(super) fn accept_shared(
        &mut self,
        now: Instant,
        peer: u32,
        (length, ecn): (usize, Ecn),
        source: IpAddr,
        out: &mut dyn Output,
    ) {
        let Some(state) = self.peers.get(peer) else { return };
        let Some(net) = self.networks.get_mut(state.network) else { return };
        let Some(prefix) = net.routes.heard(source, peer) else {
            if self.is_for_client(peer, length) {
                return self.forward(now, peer, (length, ecn), out);
            }
            self.counters.drop_source += 1;
            return;
        };
        self.generation += 1;
        for other in self.part.others() {
            out.pass(other, Errand::Prefer { network: net.id, prefix, key: state.key });
        }
        self.accept(now, peer, length, ecn, out);
    }

    /// Whether another gateway, which may tell clients anything, sends the opened packet to a client of this one.
    fn is_for_client(&self, from: u32, length: usize) -> bool {
        let packet = &self.arena[self.arena_used..self.arena_used + length];
        let Some(state) = self.peers.get(from).filter(|state| !state.client && !state.shared.is_empty())
        else {
            return false;
        };
        let Some(net) = self.networks.get(state.network).filter(|net| net.front.is_some()) else {
            return false;
        };
        let to = packet::addresses(packet).and_then(|addresses| net.routes.peer_for(addresses.destination));
        to.and_then(|to| self.peers.get(to)).is_some_and(|to| to.client)
    }

    /// Sends the opened packet at the end of the arena on, if it is for a client or from one.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        from: u32,
        (length, ecn): (usize, Ecn),
        out: &mut dyn Output,
    ) {
        let packet = &mut self.arena[self.arena_used..self.arena_used + length];
        let Some(to) = packet::addresses(packet).map(|addresses| addresses.destination) else { return };
        let Some(state) = self.peers.get_mut(from) else { return };
        let Some(net) = self.networks.get(state.network) else { return };
        if net.front.is_none() || !(state.client || net.routes.is_shared(to)) {
            self.counters.drop_destination += 1;
            return;
        }
        if !ecn::decapsulate(packet, ecn) {
            self.counters.drop_congestion += 1;
            return;
        }
        state.rx_bytes += length as u64;
        self.counters.bytes_in += length as u64;
        let (network, next) = (state.network, net.routes.peer_for(to));
        let mut frame = std::mem::take(&mut self.onward);
        frame.clear();
        frame.resize(vnet::LEN, 0);
        frame.extend_from_slice(packet);
        if next.is_none_or(|next| next == from) {
            self.send_back(now, network, Problem::HostUnreachable, &frame[vnet::LEN..], out);
        } else if spend_hop(&mut frame[vnet::LEN..]) {
            self.counters.packets_forwarded += 1;
            self.send_on(now, network, &mut frame, true, out);
        } else {
            self.counters.drop_expired += 1;
            self.send_back(now, network, Problem::Expired, &frame[vnet::LEN..], out);
        }
        self.onward = frame;
    }

    /// Takes a packet that another engine sends on.
    pub(super) fn forward_passed(
        &mut self,
        now: Instant,
        id: NetworkId,
        packet: &[u8],
        out: &mut dyn Output,
    ) {
        let Some(network) = self.slot(id) else { return };
        let mut frame = vec![0; vnet::LEN];
        frame.extend_from_slice(packet);
        self.send_on(now, network, &mut frame, false, out);
    }

    /// Sends the packet of a frame to the peer that owns its destination, which may be another engine's where it `may_pass`.
    fn send_on(
        &mut self,
        now: Instant,
        network: u32,
        frame: &mut Vec<u8>,
        may_pass: bool,
        out: &mut dyn Output,
    ) {
        let length = frame.len();
        let Some(addresses) = packet::addresses(&frame[vnet::LEN..]) else { return };
        self.pass_unknown(network, addresses.destination);
        let Some(net) = self.networks.get(network) else { return };
        let next = net.routes.peer_for(addresses.destination);
        let Some((peer, state)) = next.and_then(|peer| Some((peer, self.peers.get(peer)?))) else { return };
        if state.owner != self.part.number() {
            if may_pass {
                let packet = frame[vnet::LEN..].into();
                out.pass(state.owner, Errand::Forward { network: net.id, packet });
            } else {
                self.counters.drop_no_route += 1;
            }
            return;
        }
        let limit = state.path.packet_limit(net.mtu, addresses.source.is_ipv4());
        if length - vnet::LEN <= limit {
            frame.resize(length + SLACK, 0);
            self.send_frame(now, peer, frame, length, out);
        } else if !self.send_fragments(now, peer, frame, limit, out) {
            self.counters.drop_too_big += 1;
            let problem = Problem::TooBig(packet::len16(limit));
            self.send_back(now, network, problem, &frame[vnet::LEN..], out);
        }
    }

    /// A client whose place nobody here knows is another gateway's, if it is anybody's.
    fn pass_unknown(&mut self, network: u32, to: IpAddr) {
        let Some(net) = self.networks.get_mut(network) else { return };
        let Some(peer) = net.routes.peer_for(to) else { return };
        let is_unknown = self.peers.get(peer).is_some_and(|state| {
            state.client && state.owner == self.part.number() && state.path.known().next().is_none()
        });
        if is_unknown && net.routes.pass_on(to.into(), peer) {
            self.generation += 1;
        }
    }

    /// Tells the sender of a packet, in this node's own name, that it is not sent on.
    fn send_back(
        &mut self,
        now: Instant,
        network: u32,
        problem: Problem,
        about: &[u8],
        out: &mut dyn Output,
    ) {
        let Some(net) = self.networks.get_mut(network) else { return };
        let to = packet::addresses(about).map(|addresses| addresses.source);
        let Some(from) = to.and_then(|to| net.address_towards(to)) else { return };
        let mut frame = vec![0; vnet::LEN + icmp::LONGEST];
        let written = icmp::error_from(from, problem, about, &mut frame[vnet::LEN..]);
        let Some(length) = written.filter(|_| net.errors.take(now)) else { return };
        self.counters.icmp_out += 1;
        frame.truncate(vnet::LEN + length);
        self.send_on(now, network, &mut frame, true, out);
    }

    /// Returns the slots of a network and of a peer of it.
    pub(super) fn place_of(&self, id: NetworkId, key: &[u8; 32]) -> Option<(u32, u32)> {
        let slot = self.slot(id)?;
        Some((slot, *self.networks.get(slot)?.by_key.get(key)?))
    }
}

/// Takes one from what a packet may still be forwarded (RFC 1812 §5.3.1, RFC 8200 §3); `false` when nothing is left.
fn spend_hop(packet: &mut [u8]) -> bool {
    let (v4, at) = if packet[0] >> 4 == 4 { (true, 8) } else { (false, 7) };
    if packet[at] <= 1 {
        return false;
    }
    let before = [packet[8], packet[9]];
    packet[at] -= 1;
    if v4 {
        let after = [packet[8], packet[9]];
        packet::patch_checksum(packet, 10, &before, &after);
    }
    true
}
