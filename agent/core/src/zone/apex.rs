//! Which apex a name lies below, and what it stands for there.

use lacis_proto::{GroupNames, LEGACY_SUFFIX, in_suffix};

use super::{Target, Zone, build::Resident, reverse};
use std::sync::Arc;

/// The top of a part of the tree of names that a group is the authority for.
#[derive(Debug)]
pub(super) struct Apex {
    pub(super) name: String,
    kind: ApexKind,
}

/// What the names below an apex look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ApexKind {
    /// `<ngID>.<suffix>`.
    ById,
    /// `<group-label>.<suffix>`.
    ByLabel,
    /// `<ngID>.cc-ng.cloud`.
    Legacy,
    /// The pool or the /64, backwards.
    Reverse,
    /// A member's own domain.
    Domain,
}

impl Zone {
    /// The longest apex that a name is at or below, members' own domains aside.
    pub(super) fn apex_of(&self, name: &str) -> Option<Apex> {
        if let Some(apex) = reverse::apex(self.pool, self.prefix6, name) {
            return Some(Apex { name: apex.to_owned(), kind: ApexKind::Reverse });
        }
        let apexes = self.forward_apexes().filter(|apex| relative(name, &apex.name).is_some());
        apexes.max_by_key(|apex| apex.name.len())
    }

    /// The member's own domain that a name is at or below.
    pub(super) fn domain_apex(&self, name: &str) -> Option<Apex> {
        let suffix = self.suffixes.iter().find(|suffix| relative(name, suffix).is_some())?;
        let mut candidates = std::iter::once(name).chain(ancestors(name, suffix));
        let domain = candidates.find(|candidate| self.domains.contains_key(*candidate))?;
        Some(Apex { name: domain.to_owned(), kind: ApexKind::Domain })
    }

    /// Names of the apexes on the suffix side, members' own domains included.
    pub(super) fn apex_names(&self) -> impl Iterator<Item = String> {
        let outside = self.domains.keys().filter(|domain| self.apex_of(domain).is_none());
        self.forward_apexes().map(|apex| apex.name).chain(outside.cloned())
    }

    /// All names that this zone answers for, each with the names below it: apexes forward and backward, and
    /// the suffixes, below which no other name may be asked for elsewhere.
    pub(crate) fn domains(&self) -> Vec<String> {
        let mut domains: Vec<String> = self.forward_apexes().map(|apex| apex.name).collect();
        domains.extend(reverse::apexes(self.pool, self.prefix6));
        let more = self.suffixes.iter().filter(|suffix| *suffix != LEGACY_SUFFIX);
        domains.extend(more.cloned());
        domains
    }

    fn forward_apexes(&self) -> impl Iterator<Item = Apex> {
        let label = self.label.as_deref().unwrap_or_default();
        let under_suffixes = self.suffixes.iter().flat_map(move |suffix| {
            let names = GroupNames::new(&self.group, label, suffix);
            let by_label = names.by_label.filter(|_| suffix != LEGACY_SUFFIX);
            let by_id = Apex { name: names.by_id, kind: ApexKind::ById };
            [Some(by_id), by_label.map(|name| Apex { name, kind: ApexKind::ByLabel })].into_iter().flatten()
        });
        let legacy = (!self.suffixes.iter().any(|suffix| suffix == LEGACY_SUFFIX))
            .then(|| Apex { name: in_suffix(self.group.as_str(), LEGACY_SUFFIX), kind: ApexKind::Legacy });
        under_suffixes.chain(legacy)
    }

    /// What a name at or below `apex` stands for; `None` where it does not exist.
    pub(super) fn target(&self, apex: &Apex, name: &str) -> Option<Target<'_>> {
        let below = relative(name, &apex.name)?;
        match (apex.kind, below) {
            (_, "") => Some(Target::Apex),
            (_, "ns") => Some(Target::Resolver),
            (ApexKind::Reverse, _) => reverse::target(self, name),
            (ApexKind::ById, "m" | "p") | (ApexKind::Legacy, "m") => Some(Target::Nothing),
            (ApexKind::ById, _) => {
                let peer = || Some(Target::Peers(self.peers.get(below.strip_suffix(".p")?)?));
                self.member(below).or_else(peer).or_else(|| self.own_domain(name))
            }
            (ApexKind::Legacy, _) => self.member(below),
            (ApexKind::ByLabel, _) => {
                let labelled = || Some(Target::Peers(self.members.get(self.labels.get(below)?)?));
                labelled().or_else(|| self.own_domain(name))
            }
            (ApexKind::Domain, _) => self.own_domain(name),
        }
    }

    /// `<memberID>.m` below an apex.
    fn member(&self, below: &str) -> Option<Target<'_>> {
        Some(Target::Peers(self.members.get(below.strip_suffix(".m")?)?))
    }

    fn own_domain(&self, name: &str) -> Option<Target<'_>> {
        let above = || self.above_domains.contains(name).then_some(Target::Nothing);
        self.by_domain(name).map(Target::Peers).or_else(above)
    }

    /// Peers of the member whose own domain this is.
    pub(super) fn by_domain(&self, name: &str) -> Option<&[Arc<Resident>]> {
        self.members.get(self.domains.get(name)?).map(Vec::as_slice)
    }
}

/// The part of a name before an apex, without the dot between them; empty at the apex.
pub(super) fn relative<'a>(name: &'a str, apex: &str) -> Option<&'a str> {
    let below = name.strip_suffix(apex)?;
    if below.is_empty() { Some(below) } else { below.strip_suffix('.') }
}

/// The names strictly between a name and a suffix of it, longest first.
pub(super) fn ancestors<'a>(name: &'a str, suffix: &str) -> impl Iterator<Item = &'a str> {
    let stop = suffix.len();
    let parent = |name: &&'a str| name.split_once('.').map(|(_, parent)| parent);
    std::iter::successors(Some(name), parent).skip(1).take_while(move |name| name.len() > stop)
}
