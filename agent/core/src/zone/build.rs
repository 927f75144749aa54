//! Makes a zone out of a netmap: the tables that look-ups go through.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnetwork::{Ipv4Network, Ipv6Network};
use lacis_proto::{GroupId, Host, MemberId, OverlayAddrs, PeerId, Revision, sanitize};

use super::apex::ancestors;
use crate::Netmap;

/// The names of one group.
#[derive(Clone, Debug)]
pub struct Zone {
    pub(super) group: GroupId,
    pub(super) serial: u32,
    pub(super) suffixes: Vec<String>,
    /// DNS form of the group's label.
    pub(super) label: Option<String>,
    pub(super) resolver: OverlayAddrs,
    /// Addresses of this node's peer.
    pub(super) own: Option<OverlayAddrs>,
    pub(super) pool: Ipv4Network,
    pub(super) prefix6: Ipv6Network,
    pub(super) by_host: BTreeMap<Host, Arc<Resident>>,
    /// One peer each, in a list of one, so that every name leads to a list.
    pub(super) peers: BTreeMap<String, [Arc<Resident>; 1]>,
    /// Peers of each member, nearest first.
    pub(super) members: BTreeMap<String, Vec<Arc<Resident>>>,
    /// Member ids by the DNS form of their labels.
    pub(super) labels: BTreeMap<String, String>,
    /// Member ids by their own domains, all of them below a suffix.
    pub(super) domains: BTreeMap<String, String>,
    /// Names above the domains that are not themselves in any table.
    pub(super) above_domains: BTreeSet<String>,
}

/// A peer as names see it.
#[derive(Debug)]
pub(super) struct Resident {
    pub(super) id: PeerId,
    pub(super) addrs: OverlayAddrs,
}

impl Zone {
    /// The zone of a group. `own` is this node's peer, the nearest of all.
    #[must_use]
    pub fn new(netmap: &Netmap, own: Option<&PeerId>) -> Self {
        let mut zone = Self {
            group: netmap.group.clone(),
            serial: serial(netmap.revision),
            suffixes: netmap.suffixes.clone(),
            label: sanitize(&netmap.label),
            resolver: netmap.resolver,
            own: own.and_then(|own| netmap.peers.get(own)).map(|peer| peer.addrs),
            pool: netmap.pool,
            prefix6: netmap.prefix6,
            by_host: BTreeMap::new(),
            peers: BTreeMap::new(),
            members: netmap.members.keys().map(|id| (id.to_string(), Vec::new())).collect(),
            labels: BTreeMap::new(),
            domains: BTreeMap::new(),
            above_domains: BTreeSet::new(),
        };
        let mut peers: Vec<_> = netmap.peers.iter().collect();
        peers.sort_by_key(|(id, peer)| (own != Some(*id), peer.host));
        for (id, peer) in peers {
            let resident = Arc::new(Resident { id: id.clone(), addrs: peer.addrs });
            zone.by_host.insert(peer.host, Arc::clone(&resident));
            zone.peers.insert(id.to_string(), [Arc::clone(&resident)]);
            zone.members.entry(peer.member.to_string()).or_default().push(resident);
        }
        zone.name_members(netmap);
        zone
    }

    /// The group.
    #[must_use]
    pub const fn group(&self) -> &GroupId {
        &self.group
    }

    /// Where its names are answered.
    #[must_use]
    pub const fn resolver(&self) -> OverlayAddrs {
        self.resolver
    }

    fn name_members(&mut self, netmap: &Netmap) {
        let mut oldest_first: Vec<(Revision, &MemberId)> =
            netmap.members.iter().map(|(id, member)| (member.revision, id)).collect();
        oldest_first.sort_unstable();
        for (_, id) in oldest_first {
            let member = &netmap.members[id];
            if let Some(label) = sanitize(&member.label) {
                self.labels.entry(label).or_insert_with(|| id.to_string());
            }
            let Some(suffix) = self.suffix_above(&member.domain) else { continue };
            self.above_domains.extend(ancestors(&member.domain, &suffix).map(str::to_owned));
            self.domains.entry(member.domain.clone()).or_insert_with(|| id.to_string());
        }
    }

    /// The suffix that a whole, well-formed name lies strictly below.
    fn suffix_above(&self, domain: &str) -> Option<String> {
        let is_label = |label: &str| {
            (1..=lacis_proto::MAX_LABEL).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // 253 bytes is the longest name (RFC 1035 §2.3.4); "ns." must still fit before it.
        if domain.len() > 250 || !domain.split('.').all(is_label) {
            return None;
        }
        let below = |suffix: &&String| {
            domain.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        };
        self.suffixes.iter().filter(below).max_by_key(|suffix| suffix.len()).cloned()
    }
}

/// The low 32 bits of the revision: serials wrap (RFC 1982).
fn serial(revision: Revision) -> u32 {
    let [.., a, b, c, d] = revision.0.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
