use proptest::prelude::*;

use super::*;

fn prefix(text: &str) -> Nat64Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Nat64Prefix::of(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

/// RFC 6052 §2.4.
const VECTORS: [(&str, &str); 7] = [
    ("2001:db8::/32", "2001:db8:c000:221::"),
    ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
    ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
    ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
    ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
    ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
];

#[test]
fn addresses_are_made_as_the_vectors_of_rfc_6052_have_them() {
    for (of, made) in VECTORS {
        let made: Ipv6Addr = made.parse().unwrap();
        let ip = Ipv4Addr::new(192, 0, 2, 33);
        assert_eq!((prefix(of).synthesize(ip), prefix(of).embedded(made)), (made, Some(ip)), "{of}");
        assert_eq!(prefix(of).to_string(), of);
    }
}

#[test]
fn a_prefix_is_found_by_one_address_or_both_of_the_known_name() {
    for (of, _) in VECTORS {
        let made = KNOWN.map(|known| prefix(of).synthesize(known));
        for answer in [&made[..], &made[..1], &made[1..]] {
            assert_eq!(Nat64Prefix::found_in(answer), Some(prefix(of)), "{answer:?}");
        }
    }
}

#[test]
fn a_known_address_within_the_prefix_itself_misleads_nobody() {
    let tricky = prefix("2001:db8:c000:aa::/64");
    let made = KNOWN.map(|known| tricky.synthesize(known));
    assert_eq!(Nat64Prefix::found_in(&made), Some(tricky));
}

#[test]
fn what_no_nat64_has_made_tells_of_none() {
    let answers =
        ["2001:db8::1", "::192.0.0.170", "ff0e::192.0.0.170", "fe80::192.0.0.170", "64:ff9b::192.0.2.33"];
    for answer in answers {
        assert_eq!(Nat64Prefix::found_in(&[answer.parse().unwrap()]), None, "{answer}");
    }
    assert_eq!(Nat64Prefix::found_in(&[]), None);
}

#[test]
fn the_resolver_is_asked_only_without_ipv4_once_at_a_time_and_ever_more_rarely() {
    let (mut nat64, found) = (Nat64::default(), Some(prefix("64:ff9b::/96")));
    assert!(!nat64.network(Duration::ZERO, false) && nat64.deadline().is_none());
    nat64.network(Duration::ZERO, true);
    let (mut asked, mut now) = (Vec::new(), Duration::ZERO);
    while asked.len() < 14 {
        now = nat64.deadline().unwrap();
        assert!(nat64.asks(now) && !nat64.asks(now) && nat64.deadline().is_none());
        asked.push(now);
        assert!(!nat64.answered(now, None));
    }
    let pauses: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.is_sorted() && pauses[0] == NAT64_AGAIN && pauses[12] == NAT64_AGAIN_MAX);

    nat64.network(now, true);
    assert!(nat64.asks(now), "another network: at once");
    nat64.network(now, true);
    assert!(!nat64.answered(now, found), "the answer of the network before");
    assert!(nat64.asks(now) && nat64.answered(now, found));
    assert_eq!((nat64.prefix(), nat64.deadline()), (found, None));
    assert!(nat64.network(now, false) && nat64.prefix().is_none());
}

proptest! {
    #[test]
    fn whatever_is_made_with_a_prefix_leads_where_it_came_from(octets: [u8; 16], ip: [u8; 4], at in 0usize..6) {
        let mut octets = octets;
        octets[ZERO] = 0;
        let Some(prefix) = Nat64Prefix::of(octets.into(), LENGTHS[at]) else { return Ok(()) };
        let made = prefix.synthesize(ip.into());
        prop_assert_eq!(made.octets()[ZERO], 0);
        prop_assert_eq!(prefix.embedded(made), Some(ip.into()));
        prop_assert_eq!(made.octets()[..usize::from(LENGTHS[at] / 8)].to_vec(), prefix.octets[..usize::from(LENGTHS[at] / 8)].to_vec());
    }

    #[test]
    fn both_addresses_of_the_known_name_tell_every_prefix(octets: [u8; 16], at in 0usize..6) {
        let mut octets = octets;
        octets[ZERO] = 0;
        let Some(prefix) = Nat64Prefix::of(octets.into(), LENGTHS[at]) else { return Ok(()) };
        let made = KNOWN.map(|known| prefix.synthesize(known));
        prop_assert_eq!(Nat64Prefix::found_in(&made), Some(prefix));
    }

    #[test]
    fn any_answer_is_survived(answer in prop::collection::vec(any::<[u8; 16]>(), 0..8)) {
        let answer: Vec<Ipv6Addr> = answer.into_iter().map(Into::into).collect();
        if let Some(prefix) = Nat64Prefix::found_in(&answer) {
            prop_assert!(answer.iter().any(|address| prefix.embedded(*address).is_some()));
        }
    }
}
