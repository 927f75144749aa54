//! The pairs of every day: who reaches whom directly, how soon, and without losing a packet.

use std::time::Duration;

use crate::{
    composites,
    kind::Kind,
    matrix::{Arena, expected},
    pair::Class,
};

/// Those that each stand for many of the matrix. A leaky NAT needs both ends to begin within the 20 ms of the way, which a
/// busy machine does not keep: `tests/nat-matrix` has it.
const PAIRS: [[Kind; 2]; 5] = [
    [Kind::Public, Kind::Public],
    [Kind::PortRestricted, Kind::PortRestricted],
    [Kind::PortRestricted, Kind::Random],
    [Kind::Random, Kind::Random],
    [Kind::FullCone, Kind::Random],
];

/// One and a half round trips of 80 ms through the relay are 120 ms; the rest is for a busy machine.
const FIRST_WITHIN: Duration = Duration::from_secs(3);

#[test]
fn pairs_meet_as_expected_and_lose_nothing_on_the_way() {
    let mut arena = Arena::new();
    let mut wrong = Vec::new();
    for kinds in PAIRS {
        let seen = arena.pair(kinds);
        let name = format!("{}-{}", kinds[0].short(), kinds[1].short());
        println!("{name:7} {seen}");
        let is_prompt = seen.report.first.is_some_and(|first| first < FIRST_WITHIN);
        let is_expected = seen.class == expected(kinds[0], kinds[1]);
        if !(is_expected && is_prompt && seen.report.is_whole()) {
            wrong.push(format!("{name} is to be {}: {seen}", expected(kinds[0], kinds[1])));
        }
        assert_ne!(seen.class, Class::Nothing, "{name}: nothing comes");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn neighbours_and_firewalls_of_ipv6_need_no_relay() {
    let wrong = [composites::run("one LAN"), composites::run("IPv6")].concat();
    assert!(wrong.is_empty(), "{wrong:?}");
}
