use proptest::prelude::*;

use super::*;

fn pool(text: &str) -> Ipv4Network {
    text.parse().unwrap()
}

/// Frozen: a changed byte moves every peer of every installation.
#[test]
fn the_arithmetic_of_overlay_addresses_is_frozen() {
    let group = GroupId::parse("ng_0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d").unwrap();
    let prefix = prefix6_of(&group);
    assert_eq!(prefix.to_string(), "fd08:9a00:be20:9351::/64");
    let addrs = overlay_addrs(pool("10.128.0.0/16"), prefix, Host(300)).unwrap();
    assert_eq!(addrs.v4.to_string(), "10.128.1.44");
    assert_eq!(addrs.v6.to_string(), "fd08:9a00:be20:9351::12c");
}

#[test]
fn a_pool_is_private_aligned_and_has_room_for_a_peer() {
    for good in ["10.128.0.0/16", "10.0.0.0/8", "192.168.7.0/29", "172.31.0.0/16", "100.64.0.0/10"] {
        assert_eq!(check_pool(pool(good)), Ok(()), "{good}");
    }
    for (bad, says) in [
        ("10.128.0.1/16", "10.128.0.0/16"),
        ("8.8.0.0/16", "not private"),
        ("172.32.0.0/16", "not private"),
        ("192.168.0.0/12", "bits set"),
        ("0.0.0.0/0", "prefix from"),
        ("10.0.0.0/30", "prefix from"),
        ("100.0.0.0/8", "not private"),
    ] {
        let error = check_pool(pool(bad)).unwrap_err().to_string();
        assert!(error.contains(says), "{bad}: {error}");
    }
}

#[test]
fn a_slash_29_has_room_for_two_peers() {
    assert_eq!(capacity(pool("10.0.0.0/29")), 2);
    assert_eq!(capacity(pool("10.128.0.0/16")), 65_530);
    assert_eq!(overlay4(pool("10.0.0.0/29"), Host(6)), Some(Ipv4Addr::new(10, 0, 0, 6)));
    assert_eq!(overlay4(pool("10.0.0.0/29"), Host(7)), None);
    assert_eq!(overlay4(pool("10.0.0.0/29"), Host(0)), None);
}

proptest! {
    #[test]
    fn different_hosts_have_different_addresses(a in 1u32..65_535, b in 1u32..65_535) {
        let pool = pool("10.200.0.0/16");
        let group = GroupId::from_random([7; 16]);
        let of = |host| overlay_addrs(pool, prefix6_of(&group), Host(host));
        prop_assert_eq!(a == b, of(a) == of(b));
        if let Some(addrs) = of(a) {
            prop_assert!(pool.contains(addrs.v4));
            prop_assert!(prefix6_of(&group).contains(addrs.v6));
        }
    }
}
