//! Overlay address to peer: longest match over the allowed IPs of one network.
//!
//! A mesh is nearly all host routes, so the first look is one hash probe; each further prefix length in use costs one
//! more. Used in both directions: where a packet goes, and whether a source belongs to the peer that sealed it.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// The allowed IPs of all peers of one network. Each prefix has one owner.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    v4: Lengths,
    v6: Lengths,
}

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

    /// Returns the owner of the longest prefix that holds `address`.
    #[inline]
    pub(crate) fn peer_for(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(_) => self.v4.find(address_bits(address)),
            IpAddr::V6(_) => self.v6.find(address_bits(address)),
        }
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
    fn find(&self, bits: u128) -> Option<u32> {
        self.0.iter().find_map(|(length, table)| table.get(&mask(bits, *length)).copied())
    }
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
    fn host_bits_of_a_prefix_are_ignored() {
        let routes = routes(&[("10.1.2.3/24", 1)]);
        assert_eq!(routes.peer_for("10.1.2.99".parse().unwrap()), Some(1));
    }
}
