//! What people are shown of paths and relays.

use std::{net::IpAddr, time::Duration};

use lacis_agent_core::{BirthdayState, CandidateKind, Considered, Fate, Mapping, PathView, RelayView, Way};

use lacis_proto::{GroupId, PublicKey};

use super::Finder;
use crate::status::{BirthdayStatus, CandidateStatus, Netcheck, RelayStatus, ViaStatus};

impl Finder {
    /// The paths to all peers that are in use.
    pub(crate) fn views(&self) -> Vec<PathView> {
        self.paths.view()
    }

    /// The paths to one peer.
    pub(crate) fn view_of(&self, group: &GroupId, key: &PublicKey) -> Option<PathView> {
        self.views().into_iter().find(|view| view.group == *group && view.key == *key)
    }

    /// How packets to a peer travel that take this way, with what is known of it.
    pub(crate) fn via(&self, way: Way, view: Option<&PathView>) -> ViaStatus {
        let measured = view.filter(|view| view.primary == Some(way));
        let lease = way.relay.and_then(|hop| {
            self.leases.iter().find(|lease| lease.remote == way.remote && lease.lease == hop.lease)
        });
        let kind = if way.relay.is_some() { "relay" } else { direct_kind(way.remote.ip()) };
        ViaStatus {
            kind: kind.to_owned(),
            relay: self.relay_name(way),
            transport: lease.map(|lease| transport(lease.tls).to_owned()),
            rtt_ms: measured.and_then(|view| view.rtt).map(ms),
            loss_percent: measured.map_or(0, |view| view.loss_percent),
            both_ways: view.is_some_and(|view| view.also.is_some()),
            why: view.filter(|_| way.relay.is_some()).map(|view| view.why.clone()).unwrap_or_default(),
            birthday: view.and_then(|view| view.birthday).map(birthday),
        }
    }

    /// What people call the relay of a way.
    fn relay_name(&self, way: Way) -> Option<String> {
        way.relay?;
        let lease = self.leases.iter().find(|lease| lease.remote == way.remote)?;
        let entry = self.map.relays.iter().find(|entry| entry.id == lease.relay)?;
        Some(entry.label.clone())
    }

    /// What became of every way to a peer.
    pub(crate) fn candidates(&self, view: &PathView) -> Vec<CandidateStatus> {
        let told = |considered: &Considered| CandidateStatus {
            kind: considered.kind.map_or("relay", kind_word).to_owned(),
            address: considered.way.remote,
            relay: self.relay_name(considered.way),
            fate: fate_word(considered.fate).to_owned(),
            text: considered.fate.to_string(),
            rtt_ms: considered.rtt.map(ms),
            probes: considered.probes,
            answers: considered.answers,
        };
        view.candidates.iter().map(told).collect()
    }

    /// Changes of ways to peers since the start.
    pub(crate) const fn moves(&self) -> u64 {
        self.moves
    }

    /// How this node stands to the outside.
    pub(crate) fn netcheck(&self) -> Netcheck {
        let view = self.relays.view();
        let has_own = view.outside.iter().any(|seen| self.candidates.is_own(*seen));
        let mut relays: Vec<RelayStatus> = view.relays.into_iter().map(relay_status).collect();
        relays.sort_by(|a, b| {
            let distance = |relay: &RelayStatus| relay.rtt_ms.unwrap_or(f64::INFINITY);
            distance(a).total_cmp(&distance(b))
        });
        Netcheck {
            udp: (!relays.is_empty()).then_some(view.nat.udp),
            ipv6: view.nat.v6,
            nat: if has_own { "none" } else { mapping_word(view.nat.mapping) }.to_owned(),
            port_step: view.nat.step,
            nat64: self.nat64.prefix().map(|prefix| prefix.to_string()),
            outside: view.outside,
            port_mapped: view.nat.mapped,
            relays,
            measuring: view.measuring,
        }
    }
}

fn relay_status(view: RelayView) -> RelayStatus {
    RelayStatus {
        id: view.id,
        label: view.label,
        rank: view.rank,
        transport: view.tls.map(|tls| transport(tls).to_owned()),
        address: view.remote.filter(|_| view.tls == Some(false)),
        rtt_ms: view.rtt.map(ms),
        leaving: view.leaving,
        trouble: view.trouble,
    }
}

fn birthday(state: BirthdayState) -> BirthdayStatus {
    let (word, again_in) = match state {
        BirthdayState::Off => ("off", None),
        BirthdayState::OffThere => ("off_there", None),
        BirthdayState::Waiting => ("waiting", None),
        BirthdayState::AtWork { .. } => ("at_work", None),
        BirthdayState::Resting { again_in } => ("resting", Some(again_in)),
        BirthdayState::Failed { again_in } => ("failed", Some(again_in)),
        BirthdayState::Found => ("found", None),
    };
    let again_s = again_in.map(|again_in| again_in.as_secs());
    BirthdayStatus { state: word.to_owned(), text: state.to_string(), again_s }
}

const fn transport(tls: bool) -> &'static str {
    if tls { "tls" } else { "udp" }
}

fn direct_kind(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() || ip.is_loopback() => "lan",
        IpAddr::V6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback() => "lan",
        IpAddr::V4(_) => "v4",
        IpAddr::V6(_) => "v6",
    }
}

const fn mapping_word(mapping: Mapping) -> &'static str {
    match mapping {
        Mapping::Unknown => "unknown",
        Mapping::EndpointIndependent => "endpoint_independent",
        Mapping::AddressDependent => "address_dependent",
        Mapping::AddressAndPortDependent => "address_and_port_dependent",
    }
}

const fn kind_word(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::LastGood => "last_good",
        CandidateKind::Static => "static",
        CandidateKind::Portmap => "portmap",
        CandidateKind::PeerReflexive => "peer_reflexive",
        CandidateKind::Host => "host",
        CandidateKind::Reflexive => "reflexive",
        CandidateKind::Guess => "guess",
        CandidateKind::Predicted => "predicted",
    }
}

const fn fate_word(fate: Fate) -> &'static str {
    match fate {
        Fate::Waiting => "waiting",
        Fate::Probing => "probing",
        Fate::Proven => "proven",
        Fate::InUse => "in_use",
        Fate::Lost => "lost",
        Fate::Unanswered => "unanswered",
        Fate::Refused => "refused",
        Fate::Unknown => "unknown",
    }
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
