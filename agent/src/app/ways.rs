//! Joins the ways to peers with the rest of the loop.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lacis_agent_core::{Event, PathEvent, RemotePeer};
use lacis_proto::{GroupId, PeerId, Signal, relay};
use tokio::sync::Semaphore;

use super::run::Running;
use crate::paths::{Errand, Found};

/// Signals under way at the same time; further ones are dropped, as a network would: whoever sends them does so again.
const MAX_SIGNALS: usize = 32;

impl Running {
    /// Tells what is known from the start: relays of earlier runs, and own addresses.
    pub(super) fn begin_to_find(&mut self) {
        let now = self.clock.now();
        self.finder.reachable_at(now, &self.endpoints, &mut self.overlay);
        self.finder.use_relays(now, self.enroller.state.relays(), &mut self.overlay);
    }

    /// Something happened that concerns the ways to peers.
    pub(super) async fn find(&mut self, found: Found) {
        self.finder.take(self.clock.now(), found, &mut self.overlay);
        self.run_errands().await;
    }

    /// Time has passed.
    pub(super) async fn find_on(&mut self) {
        self.finder.tick(self.clock.now(), &mut self.overlay);
        self.run_errands().await;
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

/// Room for signals that are under way.
pub(super) fn signals() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_SIGNALS))
}
