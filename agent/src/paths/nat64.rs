//! What a NAT64 changes: where relays and peers are reached from a host without IPv4.

use std::{net::SocketAddr, time::Duration};

use lacis_agent_core::{PathEvent, RelayEvent};

use super::{Finder, Found};

impl Finder {
    /// The network may be another, with a NAT64 of its own or with none.
    pub(super) fn look_for_nat64(&mut self, now: Duration) {
        if self.nat64.network(now, self.candidates.lacks_v4()) {
            self.use_nat64(now);
        }
        self.ask_for_nat64(now);
    }

    /// Asks the host's resolver if that is due, beside the loop.
    pub(super) fn ask_for_nat64(&mut self, now: Duration) {
        if self.nat64.asks(now) {
            let found = self.bridges.found.clone();
            tokio::spawn(async move {
                let prefix = crate::nat64::discover().await;
                // The loop has ended: nobody waits for it.
                let _ = found.send(Found::Nat64(prefix)).await;
            });
        }
    }

    /// Addresses of IPv4 are reached in another way than before.
    pub(super) fn use_nat64(&mut self, now: Duration) {
        let prefix = self.nat64.prefix();
        if let Some(prefix) = prefix {
            tracing::info!(%prefix, "this host has no IPv4, a NAT64 leads there");
        }
        self.paths.handle(now, PathEvent::Nat64(prefix));
        self.tell_map(now);
    }

    /// Tells the lease client of the relays, where this host reaches them.
    pub(super) fn tell_map(&mut self, now: Duration) {
        let mut map = self.map.clone();
        if let Some(prefix) = self.nat64.prefix() {
            let addresses =
                map.relays.iter_mut().flat_map(|relay| relay.udp.iter_mut().chain(&mut relay.stun));
            addresses.for_each(|addr: &mut SocketAddr| *addr = prefix.lead_to(*addr));
        }
        self.relays.handle(now, RelayEvent::Map(map));
    }
}
