//! Overlay address to peer: longest match over the allowed IPs of one network.
//!
//! A mesh is nearly all host routes, so the first look is one hash probe; each further prefix length in use costs one
//! more. Used in both directions: where a packet goes, and whether a source belongs to the peer that sealed it.
//!
//! A prefix may be shared: several peers, the gateways of its owner, may send from it, and it is sent to through the one
//! that was last heard from. The table then names that one; the claims of all are kept beside it.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// The allowed IPs of all peers of one network. Each prefix has one owner.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    v4: Lengths,
    v6: Lengths,
    /// Who may have a shared prefix, in the order in which they came.
    claims: HashMap<Prefix, Vec<u32>>,
}

/// A prefix without its host bits: whether it is IPv4, its length, its bits.
type Prefix = (bool, u8, u128);

impl Routes {
    /// Gives `prefix` to `peer`, taking it from whoever had it.
    pub(crate) fn insert(&mut self, prefix: IpNetwork, peer: u32) {
        let bits = address_bits(prefix.ip());
        self.family_mut(prefix.ip()).insert(prefix.prefix(), bits, peer);
    }

    /// Takes `prefix` from `peer`; a prefix that moved to another peer stays there.
    pub(crate) fn remove(&mut self, prefix: IpNetwork, peer: u32) {
        let bits = address_bits(prefix.ip());
        self.family_mut(prefix.ip()).remove(prefix.prefix(), bits, peer);
    }

    /// Lets `peer` have `prefix` beside others; it is the owner if there is none yet.
    pub(crate) fn share(&mut self, prefix: IpNetwork, peer: u32) {
        let claims = self.claims.entry(key(prefix)).or_default();
        if claims.contains(&peer) {
            return;
        }
        claims.push(peer);
        if claims.len() == 1 {
            self.insert(prefix, peer);
        }
    }

    /// Ends what [`Routes::share`] began; the next in order takes over.
    pub(crate) fn unshare(&mut self, prefix: IpNetwork, peer: u32) {
        let Some(claims) = self.claims.get_mut(&key(prefix)) else { return };
        claims.retain(|other| *other != peer);
        let next = claims.first().copied();
        if next.is_none() {
            self.claims.remove(&key(prefix));
        }
        if self.exact(prefix) == Some(peer) {
            match next {
                Some(next) => self.insert(prefix, next),
                None => self.remove(prefix, peer),
            }
        }
    }

    /// Makes `peer` the owner of a prefix that it shares; returns whether that changed anything.
    pub(crate) fn prefer(&mut self, prefix: IpNetwork, peer: u32) -> bool {
        let may = self.claims.get(&key(prefix)).is_some_and(|claims| claims.contains(&peer));
        if !may || self.exact(prefix) == Some(peer) {
            return false;
        }
        self.insert(prefix, peer);
        true
    }

    /// Makes `peer` the owner of the shared prefix that holds `address`, since a packet of it came through that peer;
    /// returns the prefix, or `None` where the peer has no part in it.
    pub(crate) fn heard(&mut self, address: IpAddr, peer: u32) -> Option<IpNetwork> {
        let (prefix, _) = self.longest(address)?;
        self.claims.get(&prefix).filter(|claims| claims.contains(&peer))?;
        let (_, length, bits) = prefix;
        self.family_mut(address).insert(length, bits, peer);
        IpNetwork::new(address, length).ok()
    }

    /// Takes a shared prefix from `peer`, which is silent, for the one after it; returns whether there is one.
    pub(crate) fn pass_on(&mut self, prefix: IpNetwork, peer: u32) -> bool {
        let Some(claims) = self.claims.get(&key(prefix)) else { return false };
        let at = claims.iter().position(|other| *other == peer);
        let next = at.and_then(|at| claims.get((at + 1) % claims.len()).copied());
        match next.filter(|next| *next != peer && self.exact(prefix) == Some(peer)) {
            Some(next) => {
                self.insert(prefix, next);
                true
            }
            None => false,
        }
    }

    /// Whether the longest prefix that holds `address` is a shared one.
    pub(crate) fn is_shared(&self, address: IpAddr) -> bool {
        self.longest(address).is_some_and(|(prefix, _)| self.claims.contains_key(&prefix))
    }

    /// Returns the owner of the longest prefix that holds `address`.
    #[inline]
    pub(crate) fn peer_for(&self, address: IpAddr) -> Option<u32> {
        self.longest(address).map(|(_, peer)| peer)
    }

    #[inline]
    fn longest(&self, address: IpAddr) -> Option<(Prefix, u32)> {
        let (v4, bits) = (address.is_ipv4(), address_bits(address));
        let (length, peer) = if v4 { self.v4.find(bits) } else { self.v6.find(bits) }?;
        Some(((v4, length, mask(bits, length)), peer))
    }

    fn exact(&self, prefix: IpNetwork) -> Option<u32> {
        let (v4, length, bits) = key(prefix);
        if v4 { self.v4.exact(length, bits) } else { self.v6.exact(length, bits) }
    }

    fn family_mut(&mut self, address: IpAddr) -> &mut Lengths {
        match address {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        }
    }
}

/// One table per prefix length, longest first.
#[derive(Debug, Default)]
struct Lengths(Vec<(u8, HashMap<u128, u32>)>);

impl Lengths {
    fn insert(&mut self, length: u8, bits: u128, peer: u32) {
        let at = match self.0.binary_search_by(|(other, _)| length.cmp(other)) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (length, HashMap::new()));
                at
            }
        };
        self.0[at].1.insert(mask(bits, length), peer);
    }

    fn remove(&mut self, length: u8, bits: u128, peer: u32) {
        let Ok(at) = self.0.binary_search_by(|(other, _)| length.cmp(other)) else { return };
        let table = &mut self.0[at].1;
        if table.get(&mask(bits, length)) == Some(&peer) {
            table.remove(&mask(bits, length));
        }
        if table.is_empty() {
            self.0.remove(at);
        }
    }

    #[inline]
    fn find(&self, bits: u128) -> Option<(u8, u32)> {
        self.0.iter().find_map(|(length, table)| Some((*length, *table.get(&mask(bits, *length))?)))
    }

    fn exact(&self, length: u8, bits: u128) -> Option<u32> {
        let at = self.0.binary_search_by(|(other, _)| length.cmp(other)).ok()?;
        self.0[at].1.get(&bits).copied()
    }
}

fn key(prefix: IpNetwork) -> Prefix {
    (prefix.is_ipv4(), prefix.prefix(), mask(address_bits(prefix.ip()), prefix.prefix()))
}

/// Address as a left-aligned number, so that both families mask alike.
#[inline]
fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[inline]
fn mask(bits: u128, length: u8) -> u128 {
    match length {
        0 => 0,
        length => bits & (u128::MAX << (128 - u32::from(length.min(128)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(table: &[(&str, u32)]) -> Routes {
        let mut routes = Routes::default();
        for (prefix, peer) in table {
            routes.insert(prefix.parse().unwrap(), *peer);
        }
        routes
    }

    #[test]
    fn the_longest_prefix_wins_in_both_families() {
        let routes = routes(&[
            ("0.0.0.0/0", 1),
            ("10.0.0.0/8", 2),
            ("10.1.0.0/16", 3),
            ("10.1.2.3/32", 4),
            ("fd00::/8", 5),
            ("fd00::7/128", 6),
        ]);
        let table = [
            ("192.0.2.1", Some(1)),
            ("10.9.9.9", Some(2)),
            ("10.1.9.9", Some(3)),
            ("10.1.2.3", Some(4)),
            ("fd00::8", Some(5)),
            ("fd00::7", Some(6)),
            ("2001:db8::1", None),
        ];
        for (address, peer) in table {
            assert_eq!(routes.peer_for(address.parse().unwrap()), peer, "{address}");
        }
    }

    #[test]
    fn a_prefix_moves_to_the_last_owner_and_stays_when_the_former_leaves() {
        let mut routes = routes(&[("10.0.0.1/32", 1), ("10.0.0.1/32", 2)]);
        let address = "10.0.0.1".parse().unwrap();
        assert_eq!(routes.peer_for(address), Some(2));
        routes.remove("10.0.0.1/32".parse().unwrap(), 1);
        assert_eq!(routes.peer_for(address), Some(2));
        routes.remove("10.0.0.1/32".parse().unwrap(), 2);
        assert_eq!(routes.peer_for(address), None);
    }

    #[test]
    fn a_shared_prefix_is_with_whoever_was_heard_last_and_never_without_an_owner() {
        let prefix: IpNetwork = "10.0.0.9/32".parse().unwrap();
        let mut routes = routes(&[("10.0.0.1/32", 1), ("10.0.0.0/24", 7)]);
        routes.share(prefix, 1);
        routes.share(prefix, 2);
        let address = prefix.ip();
        assert_eq!(routes.peer_for(address), Some(1));
        assert_eq!((routes.heard(address, 2), routes.peer_for(address)), (Some(prefix), Some(2)));
        assert_eq!((routes.heard(address, 7), routes.heard("10.0.0.1".parse().unwrap(), 2)), (None, None));
        assert!(routes.is_shared(address) && !routes.is_shared("10.0.0.8".parse().unwrap()));
        assert!(routes.pass_on(prefix, 2) && !routes.pass_on(prefix, 2));
        assert_eq!(routes.peer_for(address), Some(1));
        assert!(routes.prefer(prefix, 2) && !routes.prefer(prefix, 2) && !routes.prefer(prefix, 7));
        routes.unshare(prefix, 2);
        assert_eq!(routes.peer_for(address), Some(1));
        routes.unshare(prefix, 1);
        assert_eq!(routes.peer_for(address), Some(7));
        assert!(routes.claims.is_empty());
    }

    #[test]
    fn host_bits_of_a_prefix_are_ignored() {
        let routes = routes(&[("10.1.2.3/24", 1)]);
        assert_eq!(routes.peer_for("10.1.2.99".parse().unwrap()), Some(1));
    }
}
