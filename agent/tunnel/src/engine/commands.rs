//! What the control side asks for.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;

use super::handshake::send_message;
use super::network::{Network, NetworkSettings};
use super::outbound::SLACK;
use super::peer::Peer;
use super::{Engine, Errand, Output};
use crate::mailbox::{Event, NetworkId, PeerConfig};
use crate::path::Path;
use crate::probe::{self, Probe};
use crate::stats::{NetworkStats, PeerStats, Stats};
use crate::tun::vnet;
use crate::tunnel::{Gate, Memory, PrivateKey};
use crate::way::{Way, Ways};

impl Engine {
    /// Adds a network, replacing one of the same id; returns its slot.
    pub(crate) fn add_network(&mut self, now: Instant, settings: NetworkSettings) -> u32 {
        self.remove_network(settings.id);
        let id = settings.id;
        let slot = self.networks.insert(Network::new(now, settings, self.core, self.part));
        self.by_id.insert(id, slot);
        self.generation += 1;
        slot
    }

    /// Removes a network and its peers; returns the slot it had. Runs under construction must have been flushed.
    pub(crate) fn remove_network(&mut self, id: NetworkId) -> Option<u32> {
        let slot = self.by_id.remove(&id)?;
        let mut peers: Vec<u32> = self.networks.get(slot)?.by_key.values().copied().collect();
        peers.sort_unstable();
        for peer in peers {
            self.forget_peer(peer);
        }
        self.networks.remove(slot);
        self.generation += 1;
        Some(slot)
    }

    /// Returns the slot of a network.
    pub(crate) fn slot(&self, id: NetworkId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// Returns the id of the network in a slot.
    pub(crate) fn network_id(&self, slot: u32) -> Option<NetworkId> {
        self.networks.get(slot).map(|net| net.id)
    }

    /// Changes this node's own addresses.
    pub(crate) fn set_addresses(&mut self, id: NetworkId, addresses: Vec<IpAddr>, accepted: Vec<IpNetwork>) {
        if let Some(net) = self.slot(id).and_then(|slot| self.networks.get_mut(slot)) {
            (net.addresses, net.accepted) = (addresses, accepted);
        }
    }

    /// Changes the largest packet of a network.
    pub(crate) fn set_mtu(&mut self, id: NetworkId, mtu: u16) {
        if let Some(net) = self.slot(id).and_then(|slot| self.networks.get_mut(slot)) {
            net.mtu = usize::from(mtu);
        }
    }

    /// Adds a peer or changes one; its session survives unless the preshared key or the keepalive changed. With
    /// `initiate` it is called even where a session is up: it may look for us where we no longer are.
    pub(crate) fn set_peer(&mut self, now: Instant, config: PeerConfig, out: &mut dyn Output) {
        let Some(slot) = self.slot(config.network) else {
            tracing::debug!(network = config.network.0, "peer for an unknown network ignored");
            return;
        };
        let PeerConfig { key, allowed, candidates, keepalive, preshared_key, initiate, .. } = config;
        let keepalive = keepalive.filter(|seconds| *seconds > 0);
        let known = self.networks.get(slot).and_then(|net| net.by_key.get(&key).copied());
        let peer = match known {
            Some(peer) => peer,
            None => self.add_peer(slot, key),
        };
        self.set_allowed(peer, slot, allowed);
        if !self.part.has(&key) {
            return;
        }
        self.change_path(peer, |path| path.set_candidates(&candidates));
        let Some(state) = self.peers.get_mut(peer) else { return };
        if state.keepalive != keepalive || state.preshared != preshared_key {
            (state.keepalive, state.preshared) = (keepalive, preshared_key);
            self.close_tunnel(peer);
        }
        let up = self
            .peers
            .get(peer)
            .and_then(|state| state.live.as_ref())
            .is_some_and(|live| live.protocol.is_up());
        if initiate || (keepalive.is_some() && !up) {
            self.start_round(now, peer, out);
        }
        self.hasten(now, peer);
    }

    /// Changes this node's key in a network. Tunnels made with the former key end; those that are to be kept open
    /// start anew.
    pub(crate) fn set_private_key(
        &mut self,
        now: Instant,
        id: NetworkId,
        key: &PrivateKey,
        out: &mut dyn Output,
    ) {
        let Some(net) = self.slot(id).and_then(|slot| self.networks.get_mut(slot)) else { return };
        net.gate = Gate::new(key, self.core);
        let mut peers: Vec<u32> = net.by_key.values().copied().collect();
        peers.sort_unstable();
        for peer in peers {
            self.close_tunnel(peer);
            if self.peers.get(peer).is_some_and(|state| state.keepalive.is_some()) {
                self.start_round(now, peer, out);
            }
        }
    }

    /// Takes `endpoint` for where a peer is, as if it had been proven.
    pub(crate) fn set_endpoint(
        &mut self,
        now: Instant,
        id: NetworkId,
        key: &[u8; 32],
        endpoint: SocketAddr,
        out: &mut dyn Output,
    ) {
        let Some((_, peer)) = self.place_of(id, key) else { return };
        self.change_path(peer, |path| {
            path.prove(Way::straight(endpoint).into());
        });
        self.hasten(now, peer);
        self.send_pending(now, peer, out);
    }

    /// Sends to a peer by the chosen ways from now on.
    pub(crate) fn set_ways(
        &mut self,
        now: Instant,
        id: NetworkId,
        key: &[u8; 32],
        ways: Ways,
        out: &mut dyn Output,
    ) {
        let Some((_, peer)) = self.place_of(id, key) else { return };
        // Packets under construction leave by the way they were made for, before any that follow.
        self.flush_trains(out);
        let known = self.peers.get(peer).map_or_else(Vec::new, |state| state.path.known().collect());
        self.change_path(peer, |path| path.steer(ways));
        let Some(state) = self.peers.get_mut(peer) else { return };
        state.watch.get_or_insert_default();
        // Whoever is sought is sought in a new place at once: that is what a first packet waits for. By the same initiation,
        // for of two that come at once the peer answers the first, and we would know the last alone.
        if let Some(initiation) = state.live.as_ref().and_then(|live| live.initiation.as_deref()) {
            for to in state.path.targets(true).filter(|to| !known.contains(&to.way())) {
                send_message(&to, initiation, out);
                self.counters.initiations_out += 1;
            }
        }
        self.send_pending(now, peer, out);
    }

    /// Removes a peer.
    pub(crate) fn remove_peer(&mut self, id: NetworkId, key: &[u8; 32]) {
        let Some(slot) = self.slot(id) else { return };
        if let Some(peer) = self.networks.get(slot).and_then(|net| net.by_key.get(key).copied()) {
            self.forget_peer(peer);
            self.generation += 1;
        }
    }

    /// Sends an echo request; its answer is an event.
    pub(crate) fn probe(
        &mut self,
        now: Instant,
        id: NetworkId,
        (target, ident, seq): (IpAddr, u16, u16),
        out: &mut dyn Output,
    ) {
        if let Some(owner) = self.slot(id).and_then(|slot| self.owner_of(slot, target)) {
            return out.pass(owner, Errand::Probe { network: id, target, ident, seq });
        }
        self.probe_own(now, id, (target, ident, seq), out);
    }

    /// Does what [`Engine::probe`] does when no other engine has the peer.
    pub(super) fn probe_own(
        &mut self,
        now: Instant,
        id: NetworkId,
        (target, ident, seq): (IpAddr, u16, u16),
        out: &mut dyn Output,
    ) {
        let failed = Event::ProbeFailed { network: id, target, ident, seq };
        let Some(slot) = self.slot(id) else { return out.event(failed) };
        let generation = self.generation;
        let Some(net) = self.networks.get_mut(slot) else { return };
        if net.addresses.contains(&target) {
            out.event(Event::ProbeReply { network: id, target, ident, seq, rtt: Duration::ZERO, way: None });
            return;
        }
        let mut frame = [0; vnet::LEN + probe::LONGEST + SLACK];
        let request = net
            .address_towards(target)
            .and_then(|from| probe::echo_request(from, target, ident, seq, &mut frame[vnet::LEN..]));
        let peer = net
            .route(target, generation)
            .filter(|peer| self.peers.get(*peer).is_some_and(|state| state.owner == self.part.number()));
        let (Some(length), Some(peer)) = (request, peer) else {
            return out.event(failed);
        };
        net.probes.add(Probe { target, ident, seq, sent: now });
        self.send_frame(now, peer, &mut frame, vnet::LEN + length, out);
    }

    /// Returns the figures of the moment, of its own peers alone.
    pub(crate) fn stats(&self, now: Instant) -> Stats {
        let mut networks = Vec::with_capacity(self.by_id.len());
        for (id, slot) in &self.by_id {
            let Some(net) = self.networks.get(*slot) else { continue };
            let mut keys: Vec<_> = net.by_key.iter().collect();
            keys.retain(|(key, _)| self.part.has(key));
            keys.sort_unstable();
            let peers = keys.into_iter().filter_map(|(key, peer)| {
                let state = self.peers.get(*peer)?;
                Some(PeerStats {
                    key: *key,
                    way: state.path.way(),
                    last_handshake: state.last_handshake.map(|at| now.saturating_duration_since(at)),
                    rx_bytes: state.rx_bytes,
                    tx_bytes: state.tx_bytes,
                    session: state.live.as_ref().is_some_and(|live| live.protocol.is_up()),
                })
            });
            networks.push(NetworkStats { id: *id, peers: peers.collect() });
        }
        Stats { counters: self.counters, networks }
    }

    fn add_peer(&mut self, slot: u32, key: [u8; 32]) -> u32 {
        let peer = self.peers.insert(Peer {
            network: slot,
            owner: self.part.owner(&key),
            key,
            allowed: Vec::new(),
            shared: Vec::new(),
            client: false,
            keepalive: None,
            preshared: None,
            path: Path::default(),
            live: None,
            watch: None,
            memory: Memory::default(),
            rx_bytes: 0,
            tx_bytes: 0,
            last_handshake: None,
            last_nudge: None,
            last_source: None,
        });
        if let Some(net) = self.networks.get_mut(slot) {
            net.by_key.insert(key, peer);
        }
        peer
    }

    /// Gives a peer its prefixes and takes those away that it no longer has.
    fn set_allowed(&mut self, peer: u32, slot: u32, allowed: Vec<IpNetwork>) {
        let (Some(state), Some(net)) = (self.peers.get_mut(peer), self.networks.get_mut(slot)) else {
            return;
        };
        for prefix in state.allowed.iter().filter(|prefix| !allowed.contains(prefix)) {
            net.routes.remove(*prefix, peer);
        }
        for prefix in &allowed {
            net.routes.insert(*prefix, peer);
        }
        state.allowed = allowed;
        self.generation += 1;
    }

    /// Lets a round that waits for an answer try new candidates at the next tick.
    fn hasten(&mut self, now: Instant, peer: u32) {
        let Some(live) = self.peers.get_mut(peer).and_then(|state| state.live.as_mut()) else { return };
        if let Some(round) = &mut live.round
            && round.attempts > 1
        {
            round.next = now;
        }
    }

    fn forget_peer(&mut self, peer: u32) {
        self.close_tunnel(peer);
        self.change_path(peer, |path| *path = Path::default());
        let Some(state) = self.peers.remove(peer) else { return };
        let Some(net) = self.networks.get_mut(state.network) else { return };
        net.by_key.remove(&state.key);
        for prefix in state.allowed {
            net.routes.remove(prefix, peer);
        }
        for prefix in state.shared {
            net.routes.unshare(prefix, peer);
        }
    }
}
