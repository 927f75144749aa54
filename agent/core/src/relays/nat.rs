//! What stands between this node and the outside, judged by how several observers see its socket.
//!
//! ```text
//! REFRESH-ACK of each relay ┐
//! STUN at other ports       ├▶ sightings (observer, seen address) ─▶ mapping, step of ports, own addresses outside
//! STUN at other servers     ┘
//! ```
//! One observer says nothing of the mapping (RFC 4787 §4.1): it takes two ports or two addresses to tell. Filtering is
//! not asked about: probing answers that.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::limits::MAX_SIGHTINGS;
use crate::path::{Mapping, NatSummary, stride};

/// Sightings from which on ports tell of the range that a NAT takes them from.
const TELLING_PORTS: usize = 3;

/// One observer's last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sighting {
    seen: SocketAddr,
    /// Counts up, so that the order in which mappings were made is known.
    turn: u64,
}

/// What a sighting adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    Same,
    /// Another observer's word.
    Added,
    /// This node is seen elsewhere than before.
    Moved,
}

/// What observers have told.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    by: BTreeMap<SocketAddr, Sighting>,
    turns: u64,
}

impl Sightings {
    /// An observer has seen this node's socket. One that sees another address than before tells of a new mapping, or of
    /// a new place: what others saw may be void, too, and is forgotten.
    pub(super) fn saw(&mut self, observer: SocketAddr, seen: SocketAddr) -> News {
        let mut news = News::Moved;
        match self.by.get(&observer) {
            Some(known) if known.seen == seen => return News::Same,
            Some(_) => self.by.clear(),
            None if self.by.len() >= MAX_SIGHTINGS => return News::Same,
            None => news = News::Added,
        }
        self.turns += 1;
        self.by.insert(observer, Sighting { seen, turn: self.turns });
        news
    }

    /// This node is elsewhere: nothing that was seen holds any more.
    pub(super) fn forget(&mut self) {
        self.by.clear();
    }

    /// Puts the sightings together: the addresses of this node as seen from outside, of each family those that two
    /// observers agree on, else the latest; and what kind of NAT explains them.
    pub(super) fn judge(&self) -> (Vec<SocketAddr>, NatSummary) {
        let mut told: Vec<(SocketAddr, Sighting)> =
            self.by.iter().map(|(observer, sighting)| (*observer, *sighting)).collect();
        told.sort_by_key(|(_, sighting)| sighting.turn);
        let v4: Vec<(SocketAddr, SocketAddr)> = told
            .iter()
            .filter(|(_, sighting)| sighting.seen.is_ipv4())
            .map(|(observer, sighting)| (*observer, sighting.seen))
            .collect();
        let outside = [true, false].into_iter().flat_map(|v4| agreed(&told, v4)).collect();
        let ports: BTreeSet<u16> = v4.iter().map(|(_, seen)| seen.port()).collect();
        let ports = ports.first().copied().zip(ports.last().copied()).filter(|_| v4.len() >= TELLING_PORTS);
        let nat = NatSummary {
            mapping: mapping(&v4),
            seen: front(&v4),
            step: step(&v4),
            ports,
            udp: !told.is_empty(),
            mapped: false,
            v6: told.iter().any(|(_, sighting)| sighting.seen.is_ipv6()),
        };
        (outside, nat)
    }
}

/// Addresses of one family that two observers agree on, else the one seen last.
fn agreed(told: &[(SocketAddr, Sighting)], v4: bool) -> Vec<SocketAddr> {
    let seen: Vec<SocketAddr> =
        told.iter().map(|(_, sighting)| sighting.seen).filter(|seen| seen.is_ipv4() == v4).collect();
    let mut agreed: Vec<SocketAddr> = Vec::new();
    for address in seen.iter().rev() {
        let observers = seen.iter().filter(|other| *other == address).count();
        if observers > 1 && !agreed.contains(address) {
            agreed.push(*address);
        }
    }
    if agreed.is_empty() { seen.last().copied().into_iter().collect() } else { agreed }
}

/// The kind of mapping that explains all sightings; IPv6 is not translated, as a rule, and says nothing.
fn mapping(told: &[(SocketAddr, SocketAddr)]) -> Mapping {
    let seen: BTreeSet<SocketAddr> = told.iter().map(|(_, seen)| *seen).collect();
    if told.len() < 2 {
        return Mapping::Unknown;
    }
    if seen.len() == 1 {
        return Mapping::EndpointIndependent;
    }
    let mut per_address: BTreeMap<IpAddr, BTreeSet<SocketAddr>> = BTreeMap::new();
    for (observer, seen) in told {
        per_address.entry(observer.ip()).or_default().insert(*seen);
    }
    let asked_twice = told.len() > per_address.len();
    if asked_twice && per_address.values().all(|seen| seen.len() == 1) {
        Mapping::AddressDependent
    } else {
        Mapping::AddressAndPortDependent
    }
}

/// What the NAT adds from one mapping to the next, as the last three sightings tell it.
fn step(told: &[(SocketAddr, SocketAddr)]) -> Option<i16> {
    stride(last_ports(told)?)
}

/// As what this node was seen by the newest of its mappings: the next ones are steps ahead of it.
fn front(told: &[(SocketAddr, SocketAddr)]) -> Option<SocketAddr> {
    let (_, last) = *told.last()?;
    let ports: Option<[u16; 3]> = last_ports(told);
    let newest = match (step(told), ports) {
        (Some(step), Some(ports)) if step > 0 => ports.into_iter().max(),
        (Some(_), Some(ports)) => ports.into_iter().min(),
        (None, _) | (Some(_), None) => None,
    };
    Some(SocketAddr::new(last.ip(), newest.unwrap_or(last.port())))
}

fn last_ports(told: &[(SocketAddr, SocketAddr)]) -> Option<[u16; 3]> {
    told.last_chunk::<3>().map(|last| last.map(|(_, seen)| seen.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges sightings written as `observer>seen`.
    #[track_caller]
    fn judge(sightings: &[&str]) -> (Vec<SocketAddr>, NatSummary) {
        let mut all = Sightings::default();
        for sighting in sightings {
            let (observer, seen) = sighting.split_once('>').unwrap();
            assert_eq!(all.saw(observer.parse().unwrap(), seen.parse().unwrap()), News::Added);
        }
        all.judge()
    }

    #[test]
    fn the_mapping_is_told_by_two_ports_or_addresses_of_observers() {
        let mapping = |sightings: &[&str]| judge(sightings).1.mapping;
        assert_eq!(mapping(&[]), Mapping::Unknown);
        assert_eq!(mapping(&["198.51.100.1:1>192.0.2.1:5"]), Mapping::Unknown);
        assert_eq!(
            mapping(&["[2001:db8::1]:1>[2001:db8::9]:5", "[2001:db8::1]:2>[2001:db8::9]:6"]),
            Mapping::Unknown
        );
        let independent =
            ["198.51.100.1:1>192.0.2.1:5", "198.51.100.1:2>192.0.2.1:5", "198.51.100.2:1>192.0.2.1:5"];
        assert_eq!(mapping(&independent), Mapping::EndpointIndependent);
        let by_address =
            ["198.51.100.1:1>192.0.2.1:5", "198.51.100.1:2>192.0.2.1:5", "198.51.100.2:1>192.0.2.1:6"];
        assert_eq!(mapping(&by_address), Mapping::AddressDependent);
        let by_port = ["198.51.100.1:1>192.0.2.1:5", "198.51.100.1:2>192.0.2.1:9"];
        assert_eq!(mapping(&by_port), Mapping::AddressAndPortDependent);
        let one_port_each = ["198.51.100.1:1>192.0.2.1:5", "198.51.100.2:1>192.0.2.1:9"];
        assert_eq!(mapping(&one_port_each), Mapping::AddressAndPortDependent, "the worse of two readings");
    }

    #[test]
    fn a_sequential_nat_shows_equal_steps_in_the_order_of_the_mappings() {
        let sightings =
            ["198.51.100.9:1>192.0.2.1:700", "198.51.100.1:1>192.0.2.1:702", "198.51.100.5:1>192.0.2.1:704"];
        assert_eq!(judge(&sightings).1.step, Some(2));
        assert_eq!(judge(&sightings).1.ports, Some((700, 704)));
        assert_eq!(judge(&sightings[..2]).1.step, None, "two steps are needed");
        let overtaken =
            ["198.51.100.9:1>192.0.2.1:700", "198.51.100.1:1>192.0.2.1:704", "198.51.100.5:1>192.0.2.1:702"];
        let nat = judge(&overtaken).1;
        assert_eq!((nat.step, nat.seen.map(|seen| seen.port())), (Some(2), Some(704)), "answers overtake");
        let falling =
            ["198.51.100.9:1>192.0.2.1:704", "198.51.100.1:1>192.0.2.1:702", "198.51.100.5:1>192.0.2.1:700"];
        let nat = judge(&falling).1;
        assert_eq!((nat.step, nat.seen.map(|seen| seen.port())), (Some(-2), Some(700)));
        let random =
            ["198.51.100.9:1>192.0.2.1:700", "198.51.100.1:1>192.0.2.1:41", "198.51.100.5:1>192.0.2.1:9000"];
        assert_eq!(judge(&random).1.step, None);
    }

    #[test]
    fn addresses_that_two_observers_agree_on_are_this_nodes_own() {
        let outside = |sightings: &[&str]| judge(sightings).0;
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(outside(&["198.51.100.1:1>192.0.2.1:5"]), [address("192.0.2.1:5")]);
        let one_is_odd =
            ["198.51.100.1:1>192.0.2.1:5", "198.51.100.1:2>192.0.2.1:5", "198.51.100.2:1>192.0.2.1:6"];
        assert_eq!(outside(&one_is_odd), [address("192.0.2.1:5")]);
        let all_differ =
            ["198.51.100.1:1>192.0.2.1:5", "198.51.100.1:2>192.0.2.1:6", "[2001:db8::1]:1>[2001:db8::9]:5"];
        assert_eq!(outside(&all_differ), [address("192.0.2.1:6"), address("[2001:db8::9]:5")]);
    }

    #[test]
    fn an_observer_that_sees_another_address_makes_all_others_void() {
        let mut all = Sightings::default();
        let observer = |n: u8| SocketAddr::from(([198, 51, 100, n], 1));
        let seen = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        assert_eq!(all.saw(observer(1), seen(5)), News::Added);
        assert_eq!(all.saw(observer(1), seen(5)), News::Same);
        assert_eq!(all.saw(observer(2), seen(5)), News::Added);
        assert_eq!(all.saw(observer(1), seen(9)), News::Moved);
        assert_eq!(all.judge().1.mapping, Mapping::Unknown, "one sighting is left");
        assert_eq!(all.judge().0, [seen(9)]);
    }

    #[test]
    fn the_word_of_so_many_observers_is_kept_and_no_more() {
        let observer = |n: usize| SocketAddr::from(([192, 0, 2, 1], u16::try_from(n + 1).unwrap()));
        let seen: SocketAddr = "203.0.113.1:47820".parse().unwrap();
        let mut sightings = Sightings::default();
        for n in 0..MAX_SIGHTINGS {
            assert_eq!(sightings.saw(observer(n), seen), News::Added);
        }
        assert_eq!(sightings.saw(observer(MAX_SIGHTINGS), seen), News::Same);
        assert_eq!(sightings.by.len(), MAX_SIGHTINGS);
        let moved: SocketAddr = "203.0.113.2:47820".parse().unwrap();
        assert_eq!(sightings.saw(observer(0), moved), News::Moved);
        assert_eq!(sightings.by.len(), 1, "what the others saw is void");
    }
}
