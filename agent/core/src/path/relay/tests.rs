use std::time::Duration;

use lacis_proto::{RecordId, RelayHome};

use super::{distances, order};
use crate::{
    fixtures::group,
    path::{event::RelayWay, limits::MAX_OFFERED_RELAYS, relay::relay_tag},
};

fn relay(name: &str) -> RecordId {
    RecordId::parse(&format!("relay_{name}")).unwrap()
}

fn lease(name: &str, leg_ms: Option<u64>) -> RelayWay {
    RelayWay {
        relay: relay(name),
        group: group(1),
        remote: "198.51.100.1:3478".parse().unwrap(),
        lease: 1,
        rtt: leg_ms.map(Duration::from_millis),
        tls: false,
    }
}

fn names(ordered: &[&RelayWay]) -> Vec<String> {
    ordered.iter().map(|way| way.relay.to_string()).collect()
}

#[test]
fn both_ends_choose_the_relay_with_the_smallest_sum_of_legs() {
    let ours = [lease("a", Some(10)), lease("b", Some(30)), lease("c", Some(5))];
    let theirs = [lease("a", Some(50)), lease("b", Some(10)), lease("c", Some(80))];
    let seen_here = order(ours.iter(), &distances(theirs.iter(), &[]), &[]);
    let seen_there = order(theirs.iter(), &distances(ours.iter(), &[]), &[]);
    assert_eq!(names(&seen_here), ["relay_b", "relay_a", "relay_c"]);
    assert_eq!(names(&seen_here), names(&seen_there));
}

#[test]
fn a_tie_is_broken_alike_at_both_ends() {
    let ours = [lease("a", Some(10)), lease("b", Some(20))];
    let theirs = [lease("b", Some(10)), lease("a", Some(20))];
    let here = names(&order(ours.iter(), &distances(theirs.iter(), &[]), &[]));
    assert_eq!(here, names(&order(theirs.iter(), &distances(ours.iter(), &[]), &[])));
}

fn home(name: &str, rank: u8) -> RelayHome {
    RelayHome { relay: relay(name), rank }
}

#[test]
fn before_anything_is_known_of_the_peer_its_home_comes_first_and_only_its_homes_count() {
    let ours = [lease("a", Some(1)), lease("b", Some(9)), RelayWay { tls: true, ..lease("c", None) }];
    let ordered = order(ours.iter(), &[], &[home("b", 0), home("c", 1)]);
    assert_eq!(names(&ordered), ["relay_b", "relay_c"]);
}

#[test]
fn without_a_lease_at_its_homes_the_others_count() {
    let ours = [lease("a", Some(9)), lease("b", Some(1))];
    let ordered = order(ours.iter(), &[], &[home("gone", 0), home("lost", 1)]);
    assert_eq!(names(&ordered), ["relay_b", "relay_a"]);
}

#[test]
fn a_peer_is_told_of_leases_at_its_own_homes_before_nearer_ones() {
    let ours = [1, 2, 3, 4, 5].map(|ms| lease(&format!("near{ms}"), Some(ms)));
    let far = [lease("home", Some(70)), lease("backup", Some(80))];
    let told = distances(ours.iter().chain(&far), &[home("home", 0), home("backup", 1)]);
    assert_eq!(told.iter().map(|(_, ms)| *ms).collect::<Vec<_>>(), [70, 80, 1, 2]);
}

#[test]
fn a_leg_over_tls_comes_after_every_other() {
    let ours = [RelayWay { tls: true, ..lease("a", Some(1)) }, lease("b", None)];
    assert_eq!(names(&order(ours.iter(), &[], &[])), ["relay_b", "relay_a"]);
}

#[test]
fn of_many_leases_a_few_are_offered_the_peers_home_and_the_nearest() {
    let ours: Vec<RelayWay> =
        (0..10).map(|n| lease(&n.to_string(), Some(100 - n))).chain([lease("home", Some(200))]).collect();
    let offered = distances(ours.iter(), &[home("home", 0)]);
    let nearest = (7..10).rev().map(|n| (relay_tag(&relay(&n.to_string())), 100 - n));
    let expected: Vec<_> = [(relay_tag(&relay("home")), 200)].into_iter().chain(nearest).collect();
    assert_eq!(offered.len(), MAX_OFFERED_RELAYS);
    assert_eq!(offered.iter().map(|(tag, ms)| (*tag, u64::from(*ms))).collect::<Vec<_>>(), expected);
}
