//! What a name means inside the groups of this node.
//!
//! ```text
//! apex                        names below it
//! <ngID>.<suffix>             ns, <memberID>.m, <peerID>.p, members' own domains
//! <group-label>.<suffix>      ns, <member-label>, members' own domains
//! <ngID>.cc-ng.cloud          ns, <memberID>.m (DESIGN ruling 21)
//! …in-addr.arpa, …ip6.arpa    ns, one PTR per host of the pool and of the /64
//! <domain of a member>        where it lies in a suffix and below no other apex
//! ```
//! A zone is made of a netmap ([`Zone::new`]) and lives until the next one. [`answer`] is a pure look-up:
//! authoritative below an apex (a name that exists with other types only: NODATA; one that does not:
//! NXDOMAIN, both with the SOA, RFC 2308 §2), `Refused` elsewhere. [`Zones`] holds the zones of all groups
//! of the node behind one resolver and picks by the longest apex (DESIGN ruling 22).
//!
//! A PTR points at `<peerID>.p.<ngID>.<first suffix>`: the one name that means exactly that address.
//! Where two members have the same label or domain, the one whose record is older by revision, then by
//! id, keeps it. The label `ns` belongs to the resolver.

mod apex;
mod build;
mod message;
mod reverse;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lacis_proto::{GroupId, OverlayAddrs, PeerId, peer_name};

use self::{apex::Apex, build::Resident, message::soa};
pub use self::{
    build::Zone,
    message::{Answer, AnswerCode, Kind, Question, Rr, RrValue},
};
use crate::limits::MAX_ADDRESSES;

/// What a name below an apex stands for.
enum Target<'a> {
    /// The apex itself.
    Apex,
    /// The group's resolver.
    Resolver,
    /// These peers, nearest first.
    Peers(&'a [Arc<Resident>]),
    /// The address of this peer, in a reverse zone.
    Peer(&'a Resident),
    /// The address of the resolver, in a reverse zone.
    ResolverAddress,
    /// Nothing itself, but there are names below it (RFC 8020 §2).
    Nothing,
}

/// Answers a question out of one zone. Peers in `demoted` stand last among the addresses of a member.
#[must_use]
pub fn answer(zone: &Zone, question: &Question, demoted: &BTreeSet<PeerId>) -> Answer {
    match zone.apex_of(&question.name).or_else(|| zone.domain_apex(&question.name)) {
        Some(apex) => answer_at(zone, &apex, question, demoted),
        None => Answer::refused(),
    }
}

fn answer_at(zone: &Zone, apex: &Apex, question: &Question, demoted: &BTreeSet<PeerId>) -> Answer {
    let Some(target) = zone.target(apex, &question.name) else {
        return Answer::negative(AnswerCode::NxDomain, soa(&apex.name, zone.serial));
    };
    let mut found = Vec::new();
    let mut add = |kind: Kind, values: Vec<RrValue>| {
        if question.kind == kind || question.kind == Kind::Any {
            found.extend(values.into_iter().map(|value| Rr::new(&question.name, value)));
        }
    };
    match target {
        Target::Apex => {
            add(Kind::Soa, vec![soa(&apex.name, zone.serial).value]);
            add(Kind::Ns, vec![RrValue::Ns(format!("ns.{}", apex.name))]);
            if let Some(peers) = zone.by_domain(&question.name) {
                let (v4, v6) = addresses(peers, demoted);
                add(Kind::A, v4);
                add(Kind::Aaaa, v6);
            }
            // In pools smaller than a /24 every address is an apex of its own.
            if let Some(address) = reverse::target(zone, &question.name) {
                add(Kind::Ptr, pointer(zone, &address));
            }
        }
        Target::Resolver => {
            add(Kind::A, vec![RrValue::A(zone.resolver.v4)]);
            add(Kind::Aaaa, vec![RrValue::Aaaa(zone.resolver.v6)]);
        }
        Target::Peers(peers) => {
            let (v4, v6) = addresses(peers, demoted);
            add(Kind::A, v4);
            add(Kind::Aaaa, v6);
        }
        Target::Peer(_) | Target::ResolverAddress => add(Kind::Ptr, pointer(zone, &target)),
        Target::Nothing => {}
    }
    if found.is_empty() {
        return Answer::negative(AnswerCode::NoError, soa(&apex.name, zone.serial));
    }
    Answer::positive(found, glue(zone.resolver, apex, question))
}

/// The name that an address points back at.
fn pointer(zone: &Zone, target: &Target<'_>) -> Vec<RrValue> {
    let Some(suffix) = zone.suffixes.first() else { return Vec::new() };
    match target {
        Target::Peer(peer) => vec![RrValue::Ptr(peer_name(&peer.id, &zone.group, suffix))],
        Target::ResolverAddress => vec![RrValue::Ptr(format!("ns.{}.{suffix}", zone.group))],
        Target::Apex | Target::Resolver | Target::Peers(_) | Target::Nothing => Vec::new(),
    }
}

/// Addresses of the name server beside an answer that names it.
fn glue(resolver: OverlayAddrs, apex: &Apex, question: &Question) -> Vec<Rr> {
    if question.kind != Kind::Ns {
        return Vec::new();
    }
    let name = format!("ns.{}", apex.name);
    vec![Rr::new(&name, RrValue::A(resolver.v4)), Rr::new(&name, RrValue::Aaaa(resolver.v6))]
}

fn addresses(peers: &[Arc<Resident>], demoted: &BTreeSet<PeerId>) -> (Vec<RrValue>, Vec<RrValue>) {
    let (last, first): (Vec<_>, Vec<_>) = peers.iter().partition(|peer| demoted.contains(&peer.id));
    let ordered = || first.iter().chain(&last).take(MAX_ADDRESSES).map(|peer| peer.addrs);
    (
        ordered().map(|addrs| RrValue::A(addrs.v4)).collect(),
        ordered().map(|addrs| RrValue::Aaaa(addrs.v6)).collect(),
    )
}

/// The zones of all groups of a node, behind one resolver. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    zones: Vec<Arc<Zone>>,
    demoted: Arc<BTreeMap<GroupId, BTreeSet<PeerId>>>,
}

impl Zones {
    /// Zones in the order of their claim to a name that several have, and peers to be named last.
    #[must_use]
    pub fn new(
        zones: impl IntoIterator<Item = Arc<Zone>>,
        demoted: BTreeMap<GroupId, BTreeSet<PeerId>>,
    ) -> Self {
        Self { zones: zones.into_iter().collect(), demoted: Arc::new(demoted) }
    }

    /// Answers a question; `within` restricts it to one group, for a question that came through a tunnel.
    #[must_use]
    pub fn answer(&self, question: &Question, within: Option<&GroupId>) -> Answer {
        let visible = || self.zones.iter().filter(|zone| within.is_none_or(|group| zone.group == *group));
        let apexes = visible().filter_map(|zone| Some((zone, zone.apex_of(&question.name)?)));
        // Of several apexes the longest; of equally long ones the first.
        let longest =
            apexes.reduce(|best, next| if next.1.name.len() > best.1.name.len() { next } else { best });
        let domains = || visible().find_map(|zone| Some((zone, zone.domain_apex(&question.name)?)));
        let Some((zone, apex)) = longest.or_else(domains) else { return Answer::refused() };
        let nobody = BTreeSet::new();
        answer_at(zone, &apex, question, self.demoted.get(&zone.group).unwrap_or(&nobody))
    }

    /// The zones, in the order of their claim to a name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter().map(AsRef::as_ref)
    }

    /// Whether a name is at or below a suffix of a group, so that nobody upstream may hear of it, whether
    /// it exists or not.
    #[must_use]
    pub fn keeps(&self, name: &str) -> bool {
        self.iter().flat_map(|zone| &zone.suffixes).any(|suffix| apex::relative(name, suffix).is_some())
    }

    /// Whether a source is this host itself: loopback, or an address of its own in a group.
    #[must_use]
    pub fn is_this_host(&self, source: IpAddr) -> bool {
        let own = |zone: &Zone| {
            zone.own.is_some_and(|own| own.both().contains(&source)) || zone.resolver.both().contains(&source)
        };
        source.is_loopback() || self.iter().any(own)
    }

    /// Suffix-side apexes of all groups: the names whose look-ups belong here and never upstream.
    #[must_use]
    pub fn apexes(&self) -> BTreeSet<String> {
        self.zones.iter().flat_map(|zone| zone.apex_names()).collect()
    }

    /// The group through whose tunnels a question with this source came; `None` for one of this host.
    #[must_use]
    pub fn tunnel_of(&self, source: IpAddr) -> Option<&GroupId> {
        let beyond = |zone: &&Arc<Zone>| match source {
            IpAddr::V4(source) => zone.pool.contains(source),
            IpAddr::V6(source) => zone.prefix6.contains(source),
        };
        let zone = self.zones.iter().find(beyond)?;
        let own = zone.own.is_some_and(|own| own.both().contains(&source));
        (!own && !zone.resolver.both().contains(&source)).then_some(&zone.group)
    }
}

#[cfg(test)]
mod tests;
