//! The agent's figures, as Prometheus reads them.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use lacis_agent_core::Degradation;
use lacis_proto::{Exposition, Figure, GroupId};
use lacis_tunnel::{Counters, NetworkStats};

use super::{
    enrol::AGENT,
    run::Running,
    status::{is_ready, peer_label, seconds},
};
use crate::{host::Limits, paths::from_tunnel};

impl Running {
    /// All figures, as of now.
    pub(super) fn metrics(&mut self) -> String {
        let degraded = self.degradations();
        let stats = self.overlay.tunnel.stats().unwrap_or_default();
        let mut all = Exposition::default();
        let info = [("version", AGENT), ("node", self.core.local().node.as_str())];
        all.family(Figure::Gauge, "lacis_info", "The agent.").sample(&info, 1);
        let ready = u8::from(is_ready(&self.core, &self.overlay));
        all.one(Figure::Gauge, "lacis_ready", "Whether every group has its interface.", ready);
        degradations(&mut all, &degraded);
        let alarms = self.core.alarms().count();
        all.one(Figure::Gauge, "lacis_alarms", "Identities that are in doubt now.", alarms);
        let alarms = self.core.alarms_total();
        all.one(Figure::Counter, "lacis_alarms_total", "Alarms about identities.", alarms);
        self.control(&mut all);
        self.scopes(&mut all);
        self.peers(&mut all, &stats.networks);
        self.ways(&mut all, &stats.networks);
        counters(&mut all, &stats.counters);
        self.names(&mut all);
        process(&mut all);
        all.into_text()
    }

    fn control(&self, all: &mut Exposition) {
        let control = self.core.control();
        let connected = u8::from(control.in_sync);
        all.one(
            Figure::Gauge,
            "lacis_control_connected",
            "Whether the stream from control is in sync.",
            connected,
        );
        if let Some(last) = control.last_line {
            let age = seconds(self.clock.now().saturating_sub(last));
            all.one(Figure::Gauge, "lacis_control_last_word_seconds", "Time since control's last line.", age);
        }
    }

    fn scopes(&self, all: &mut Exposition) {
        let scopes = || self.core.scopes();
        let mut revisions =
            all.family(Figure::Gauge, "lacis_scope_revision", "Revision of a scope that is held.");
        for (id, scope) in scopes() {
            revisions.sample(&[("scope", id.as_str())], scope.revision().0);
        }
        let name = "lacis_scope_age_seconds";
        let mut ages = all.family(Figure::Gauge, name, "Time since a scope last changed here.");
        for (id, _) in scopes() {
            if let Some(at) = self.scope_changed.get(id) {
                ages.sample(&[("scope", id.as_str())], seconds(self.clock.now().saturating_sub(*at)));
            }
        }
        let mut peers =
            all.family(Figure::Gauge, "lacis_group_peers", "Peers of a group, this node's included.");
        for (group, netmap) in self.core.netmaps() {
            let labels = [("group", group.as_str()), ("label", netmap.label.as_str())];
            peers.sample(&labels, netmap.peers.len());
        }
    }

    /// Peers with a tunnel only: the others have nothing to count.
    fn peers(&self, all: &mut Exposition, networks: &[NetworkStats]) {
        let mut seen = Vec::new();
        for network in networks {
            let Some(group) = self.overlay.group_of(network.id) else { continue };
            let Some(netmap) = self.core.netmaps().get(group) else { continue };
            let names: BTreeMap<[u8; 32], _> =
                netmap.peers.iter().map(|(id, peer)| (*peer.key.as_bytes(), id)).collect();
            for peer in &network.peers {
                if let Some(id) = names.get(&peer.key) {
                    seen.push((group, *id, peer_label(netmap, id), peer));
                }
            }
        }
        let labels = |group: &GroupId, id: &str, name: &str| {
            [("group", group.to_string()), ("peer", id.to_owned()), ("name", name.to_owned())]
        };
        let mut family = |figure, name, help, value: &dyn Fn(&lacis_tunnel::PeerStats) -> Option<f64>| {
            let mut family = all.family(figure, name, help);
            for (group, id, label, peer) in &seen {
                if let Some(value) = value(peer) {
                    let labels = labels(group, id.as_str(), label);
                    let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
                    family.sample(&labels, value);
                }
            }
        };
        let age = |peer: &lacis_tunnel::PeerStats| peer.last_handshake.map(seconds);
        family(
            Figure::Gauge,
            "lacis_peer_last_handshake_seconds",
            "Time since a peer's last handshake.",
            &age,
        );
        #[expect(clippy::cast_precision_loss, reason = "Prometheus counts in floating point")]
        let (rx, tx) = (
            |peer: &lacis_tunnel::PeerStats| Some(peer.rx_bytes as f64),
            |peer: &lacis_tunnel::PeerStats| Some(peer.tx_bytes as f64),
        );
        family(Figure::Counter, "lacis_peer_received_bytes_total", "Bytes of packets from a peer.", &rx);
        family(Figure::Counter, "lacis_peer_sent_bytes_total", "Bytes of packets to a peer.", &tx);
    }

    /// Ways to peers with a session, by kind, and how relays are reached.
    fn ways(&self, all: &mut Exposition, networks: &[NetworkStats]) {
        let seen = networks.iter().flat_map(|network| &network.peers).filter(|peer| peer.session);
        let ways = seen.filter_map(|peer| peer.way.map(from_tunnel)).map(|way| self.finder.via(way, None));
        let mut kinds = BTreeMap::from([("lan", 0u64), ("v4", 0), ("v6", 0), ("relay", 0)]);
        for via in ways {
            if let Some(count) = kinds.get_mut(via.kind.as_str()) {
                *count += 1;
            }
        }
        let mut paths =
            all.family(Figure::Gauge, "lacis_peers_by_path", "Peers with a session, by their path.");
        for (kind, count) in kinds {
            paths.sample(&[("path", kind)], count);
        }
        let moves = self.finder.moves();
        all.one(Figure::Counter, "lacis_path_changes_total", "Changes of the way to a peer.", moves);
        let found = self.finder.netcheck();
        let mut leases = all.family(
            Figure::Gauge,
            "lacis_relay_lease",
            "Whether a lease is held at a relay, by transport.",
        );
        for relay in &found.relays {
            let transport = relay.transport.as_deref().unwrap_or("none");
            let labels = [("relay", relay.label.as_str()), ("transport", transport)];
            leases.sample(&labels, u8::from(relay.transport.is_some()));
        }
        let mut distances = all.family(Figure::Gauge, "lacis_relay_rtt_seconds", "Round trip to a relay.");
        for (relay, rtt_ms) in found.relays.iter().filter_map(|relay| Some((relay, relay.rtt_ms?))) {
            distances.sample(&[("relay", relay.label.as_str())], rtt_ms / 1000.0);
        }
    }

    fn names(&self, all: &mut Exposition) {
        let counts = self.forwarder.counts();
        let name = "lacis_dns_questions_total";
        let mut questions = all.family(Figure::Counter, name, "Questions for names, by who answered.");
        for (by, count) in
            [("group", &counts.own), ("upstream", &counts.forwarded), ("nobody", &counts.unanswered)]
        {
            questions.sample(&[("answered_by", by)], count.load(Ordering::Relaxed));
        }
    }
}

fn degradations(all: &mut Exposition, degraded: &[Degradation]) {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for degradation in degraded {
        *kinds.entry(degradation.kind()).or_default() += 1;
    }
    let mut family = all.family(Figure::Gauge, "lacis_degraded", "Things that do not work, by kind.");
    for (kind, count) in kinds {
        family.sample(&[("kind", kind)], count);
    }
}

/// What the tunnel counts: drops by reason, everything else by name.
fn counters(all: &mut Exposition, counters: &Counters) {
    let mut drops = all.family(Figure::Counter, "lacis_tunnel_drops_total", "Packets dropped, by reason.");
    for (reason, count) in
        counters.named().iter().filter_map(|(name, count)| Some((name.strip_prefix("drop_")?, count)))
    {
        drops.sample(&[("reason", reason)], count);
    }
    for (name, count) in counters.named().into_iter().filter(|(name, _)| !name.starts_with("drop_")) {
        let help = name.replace('_', " ");
        all.one(Figure::Counter, &format!("lacis_tunnel_{name}_total"), &help, count);
    }
}

fn process(all: &mut Exposition) {
    let limits = Limits::read();
    all.one(Figure::Gauge, "process_open_fds", "File descriptors open.", limits.descriptors_used);
    all.one(Figure::Gauge, "process_max_fds", "File descriptors that may be open.", limits.descriptors_limit);
    all.one(Figure::Gauge, "process_resident_memory_bytes", "Memory in use.", limits.resident);
}
