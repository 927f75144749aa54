//! Joins the ways to peers with the rest of the loop.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lacis_agent_core::{Event, PathEvent, RemotePeer};
use lacis_proto::{GroupId, PeerId, Signal, relay};
use tokio::sync::{Semaphore, mpsc};

use super::{AgentError, FINDS, Options, Resolved, enrol::Enroller, run::Running, status::path_word};
use crate::{
    clock::random,
    paths::{Bridges, Errand, Finder, Found, from_tunnel},
    state::Enrolment,
    status::Explained,
};

/// Signals under way at the same time; further ones are dropped, as a network would: whoever sends them does so again.
const MAX_SIGNALS: usize = 32;

impl Running {
    /// Tells what is known from the start: relays of earlier runs, and own addresses.
    pub(super) async fn begin_to_find(&mut self) {
        self.tell_addresses().await;
        let now = self.clock.now();
        self.finder.use_relays(now, self.enroller.state.relays(), &mut self.overlay);
    }

    /// Tells this node's own addresses: what is configured, and the host's beside it. Returns whether they are others
    /// than before.
    pub(super) async fn tell_addresses(&mut self) -> bool {
        let mut all = self.endpoints.clone();
        if !self.options.endpoints.is_empty()
            && let Some(host) = &self.enroller.host
        {
            all.extend(host.endpoints(&self.overlay.tunnel).await.unwrap_or_default());
        }
        self.finder.reachable_at(self.clock.now(), &all, &mut self.overlay)
    }

    /// Something happened that concerns the ways to peers.
    pub(super) async fn find(&mut self, found: Found) {
        self.finder.take(self.clock.now(), found, &mut self.overlay);
        self.run_errands().await;
    }

    /// Another machine has spoken for this node: peers have heard its number of a start, which is larger than ours, and
    /// take us for its past until we have a larger one.
    pub(super) async fn find_anew(&mut self) {
        self.finder.begin_anew(self.clock.now(), random(), self.clock.unix_ms(), &mut self.overlay);
        self.run_errands().await;
    }

    /// Time has passed.
    pub(super) async fn find_on(&mut self) {
        self.finder.tick(self.clock.now(), &mut self.overlay);
        self.run_errands().await;
    }

    /// This node goes out of a group, or stops: peers that it speaks with need not find that out by silence.
    pub(super) async fn say_goodbye(&mut self, group: GroupId) {
        // No packet may follow the goodbye: whoever hears one takes this node for back.
        if let Some(network) = self.overlay.network_of(&group) {
            self.overlay.device_gone(network);
        }
        self.find(Found::Path(PathEvent::Leaving { group })).await;
        // The answer comes when the goodbyes have left. A tunnel that has stopped sends none.
        let _ = self.overlay.tunnel.stats();
    }

    /// The tunnel carries other peers than before.
    pub(super) async fn tell_peers(&mut self) {
        let (mut own, mut peers) = (BTreeMap::new(), BTreeMap::new());
        for (group, interface) in &self.core.desired().interfaces {
            let Some(netmap) = self.core.netmaps().get(group) else { continue };
            if self.overlay.network_of(group).is_none() {
                continue;
            }
            own.insert(group.clone(), interface.key);
            for (key, peer) in &interface.peers {
                let Some(known) = netmap.peers.get(&peer.peer).filter(|known| known.node.is_some()) else {
                    continue;
                };
                let remote = RemotePeer {
                    group: group.clone(),
                    own: interface.key,
                    key: *key,
                    peer: peer.peer.clone(),
                    address: relay::RelayAddress::of(group, key).0,
                    endpoints: peer.endpoints.clone(),
                    relays: known.relays.clone(),
                };
                peers.insert((group.clone(), *key), remote);
            }
        }
        self.finder.peers(self.clock.now(), own, peers, &mut self.overlay);
        self.run_errands().await;
    }

    /// Control told which relays there are.
    pub(super) async fn use_relays(&mut self, map: relay::Relays) {
        self.saved(self.enroller.state.save_relays(&map));
        self.finder.use_relays(self.clock.now(), map, &mut self.overlay);
        self.run_errands().await;
    }

    /// A peer has said something through control.
    pub(super) async fn signaled(&mut self, signal: Signal) {
        let is_ours = self.core.local().hosted.get(&signal.group).is_some_and(|own| own.peer == signal.to);
        match STANDARD.decode(&signal.body) {
            Ok(payload) if is_ours => {
                self.find(Found::Path(PathEvent::Signal { group: signal.group, payload })).await;
            }
            Ok(_) | Err(_) => tracing::debug!(from = %signal.from, "a signal is not for this node"),
        }
    }

    /// Why a peer is reached the way it is; nothing of this node's own.
    pub(super) fn explain(&self, peer: &Resolved) -> Option<Explained> {
        let netmap = self.core.netmaps().get(&peer.group)?;
        let (id, known) = netmap.peer_with_addr(peer.address)?;
        if self.core.local().hosted.get(&peer.group).is_some_and(|own| own.peer == *id) {
            return None;
        }
        let network = self.overlay.network_of(&peer.group);
        let stats = self.overlay.tunnel.stats().unwrap_or_default();
        let seen = stats.networks.into_iter().filter(|net| Some(net.id) == network).flat_map(|net| net.peers);
        let way = seen
            .filter(|seen| seen.key == *known.key.as_bytes() && seen.session)
            .find_map(|seen| seen.way.map(from_tunnel));
        let view = self.finder.view_of(&peer.group, &known.key);
        Some(Explained {
            id: id.clone(),
            name: peer.name.clone(),
            path: way.map_or("none", path_word).to_owned(),
            via: way.map(|way| self.finder.via(way, view.as_ref())),
            candidates: view.map(|view| self.finder.candidates(&view)).unwrap_or_default(),
        })
    }

    async fn run_errands(&mut self) {
        while let Some(errand) = self.finder.next_errand() {
            match errand {
                Errand::Signal { group, to, payload } => self.send_signal(group, to, &payload),
                Errand::Home(homes) => {
                    // The loop feeds the rules from here, too: boxed, or the future would contain itself.
                    Box::pin(self.feed(Event::HomesChanged(homes))).await;
                }
                Errand::KeepLastGood => self.keep_last_good(),
            }
        }
    }

    fn send_signal(&self, group: GroupId, to: PeerId, payload: &[u8]) {
        let Some(from) = self.core.local().hosted.get(&group).map(|own| own.peer.clone()) else { return };
        let Ok(place) = Arc::clone(&self.signals).try_acquire_owned() else { return };
        let signal = Signal { group, from, to, body: STANDARD.encode(payload) };
        let (client, caller) = self.client.clone();
        tokio::spawn(async move {
            if let Err(error) = client.signal(&caller, &signal).await {
                tracing::debug!(%error, "a signal was not passed on");
            }
            drop(place);
        });
    }

    fn keep_last_good(&mut self) {
        let saved = self.enroller.state.save_last_good(&self.finder.last_good(), self.clock.unix_ms());
        self.saved(saved);
    }
}

/// What finds ways to peers, with what earlier runs have left, and where it hears of connections to relays.
pub(super) fn finder(
    enroller: &Enroller,
    enrolment: &Enrolment,
    options: &Options,
    port: u16,
) -> Result<(Finder, mpsc::Receiver<Found>), AgentError> {
    let (found, finds) = mpsc::channel(FINDS);
    let (clock, dialer) = (enroller.clock, enroller.dialer(&enrolment.pins)?);
    let last_good = enroller.state.last_good(clock.unix_ms());
    let bridges = Bridges { dialer, clock, port, found };
    let (mtu, birthday) = (options.mtu, options.birthday);
    Ok((Finder::new(random(), clock.unix_ms(), (mtu, birthday), last_good, bridges), finds))
}

/// Room for signals that are under way.
pub(super) fn signals() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_SIGNALS))
}
