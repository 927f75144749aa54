//! In which order the addresses of one server are tried.

use std::net::SocketAddr;

use crate::limits::MAX_DIALED;

/// The addresses of a name in the order in which they are tried: as the resolver has sorted them, but one family after the
/// other in turn, so that a family which leads nowhere is passed by after its first address (RFC 8305 §4).
#[must_use]
pub fn dial_order(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut known: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !known.contains(&address) && known.len() < MAX_RESOLVED {
            known.push(address);
        }
    }
    let first_is_v6 = known.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        known.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let longest = one.len().max(other.len());
    let in_turn = (0..longest).flat_map(|at| [one.get(at), other.get(at)]).flatten();
    in_turn.copied().take(MAX_DIALED).collect()
}

/// Addresses of a name that are looked at, before those that are tried are chosen from them.
const MAX_RESOLVED: usize = 4 * MAX_DIALED;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn order(addresses: &[&str]) -> Vec<String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        dial_order(addresses).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn families_take_turns_and_the_resolver_says_which_begins() {
        let six = ["[2001:db8::1]:1", "[2001:db8::2]:1"];
        let four = ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"];
        assert_eq!(order(&[&six[..], &four].concat()), [six[0], four[0], six[1], four[1], four[2]]);
        assert_eq!(order(&[&four[..], &six].concat()), [four[0], six[0], four[1], six[1], four[2]]);
        assert_eq!(order(&four), four);
        assert_eq!(order(&[]), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn each_address_is_tried_once_the_first_one_first_and_not_too_many(
            ports in prop::collection::vec((1u16..40, any::<bool>()), 0..60),
        ) {
            let loopback = |v6: bool| if v6 { IpAddr::from(Ipv6Addr::LOCALHOST) } else { Ipv4Addr::LOCALHOST.into() };
            let addresses: Vec<SocketAddr> =
                ports.iter().map(|(port, v6)| SocketAddr::new(loopback(*v6), *port)).collect();
            let order = dial_order(addresses.clone());
            prop_assert!(order.len() <= MAX_DIALED);
            prop_assert_eq!(order.first(), addresses.first());
            for (at, address) in order.iter().enumerate() {
                prop_assert!(addresses.contains(address) && !order[..at].contains(address));
            }
            let has = |v6: bool| addresses.iter().take(MAX_RESOLVED).any(|address| address.is_ipv6() == v6);
            if has(true) && has(false) && order.len() > 1 {
                prop_assert_ne!(order[0].is_ipv6(), order[1].is_ipv6());
            }
        }
    }
}
