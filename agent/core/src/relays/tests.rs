//! The lease client against relays that are played, on a virtual clock.

mod net;

use std::time::Duration;

use self::net::{Net, Played, at, relay, seen_address};
use super::{
    RelayEvent,
    limits::{HOME_ROUNDS, MAX_GUESTS, MAX_MEASURED, MAX_RELAYS, MEASURE_EVERY},
};
use crate::path::Mapping;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_lease_is_had_within_a_round_trip_and_kept_for_two_frames_in_25_seconds() {
    let mut net = Net::new(&[(1, 40)]);
    net.run_for(ms(41));
    let leases = &net.leases;
    assert_eq!((leases.len(), leases[0].remote, leases[0].rtt), (1, at(1), Some(ms(40))));
    net.run_for(ms(2_000));
    let sent = net.sent;
    net.run_for(Duration::from_secs(600));
    assert!((24..=27).contains(&(net.sent - sent)), "{} frames in ten minutes", net.sent - sent);
    assert!(!net.leases[0].doubtful);
}

#[test]
fn a_busy_relay_is_answered_with_its_cookie() {
    let mut net = Net::new(&[(1, 40)]);
    net.relay(1).wants_cookie = true;
    net.run_for(ms(81));
    assert_eq!(net.leases.len(), 1);
}

#[test]
fn a_relay_that_asks_for_cookies_for_ever_is_asked_no_faster_than_a_silent_one() {
    let mut net = Net::new(&[(1, 10)]);
    net.relay(1).never_content = true;
    net.run_for(Duration::from_secs(60));
    assert!(net.sent < 40, "{} frames in a minute", net.sent);
}

#[test]
fn a_relay_that_forgot_the_lease_grants_another_at_once() {
    let mut net = Net::new(&[(1, 40)]);
    net.run_for(ms(1_000));
    net.relay(1).forget();
    net.forge(1, |relay| relay.not_bound());
    net.run_for(ms(81));
    assert_eq!(net.leases[0].lease, 2);
}

#[test]
fn a_forged_not_bound_takes_no_lease_away() {
    let mut net = Net::new(&[(1, 40)]);
    net.run_for(ms(1_000));
    net.forge(1, |relay| relay.not_bound());
    net.run_for(ms(20));
    let asked = net.sent;
    assert_eq!((net.leases.len(), net.leases[0].doubtful), (1, false));
    // A first question and its answer may be lost, too.
    net.flying.clear();
    net.run_for(ms(1_000));
    assert!(net.sent > asked && !net.leases[0].doubtful);
}

#[test]
fn a_lease_that_a_relay_denies_and_does_not_grant_anew_is_lost_however_often_it_is_denied() {
    let mut net = Net::new(&[(1, 40)]);
    net.run_for(ms(1_000));
    net.relay(1).is_dead = true;
    for tenth in 0..40 {
        net.forge(1, |relay| relay.not_bound());
        net.run_for(ms(100));
        assert!(tenth < 8 || net.leases.iter().all(|lease| lease.doubtful), "another one is better");
    }
    assert!(net.leases.is_empty());
}

#[test]
fn a_lease_that_is_denied_comes_back_with_a_cookie() {
    let mut net = Net::new(&[(1, 40)]);
    net.run_for(ms(1_000));
    net.relay(1).forget();
    net.relay(1).wants_cookie = true;
    net.forge(1, |relay| relay.not_bound());
    net.run_for(ms(150));
    assert_eq!(net.leases[0].lease, 2);
}

#[test]
fn not_bound_from_elsewhere_or_too_often_costs_nothing() {
    let mut net = Net::new(&[(1, 40)]);
    net.run_for(ms(2_000));
    let sent = net.sent;
    for _ in 0..100 {
        net.forge(1, |relay| relay.not_bound());
        net.run_for(ms(1));
    }
    assert!(net.sent - sent <= 2, "{} frames", net.sent - sent);
}

#[test]
fn a_relay_is_believed_not_to_know_a_peer_only_where_a_lease_is_held_at_it() {
    let mut net = Net::new(&[(1, 40), (2, 50)]);
    net.run_for(ms(3_000));
    let lease = net.leases.iter().find(|lease| lease.remote == at(1)).unwrap().lease;
    let told = |net: &mut Net, number: u8, lease: u32| {
        net.forge(number, |_| Played::peer_unknown(lease));
        net.run_for(ms(30));
        net.unknown
    };
    assert_eq!(
        [told(&mut net, 1, lease + 7), told(&mut net, 2, lease + 7)],
        [0, 0],
        "nobody holds such a lease"
    );
    assert_eq!(told(&mut net, 1, lease), 1);
}

#[test]
fn what_a_relay_did_not_seal_grants_nothing() {
    let mut net = Net::new(&[(1, 40)]);
    net.relay(1).other_key = true;
    net.run_for(Duration::from_secs(10));
    assert!(net.leases.is_empty());
}

#[test]
fn where_udp_is_silent_tls_is_begun_after_300_ms_and_carries_the_lease() {
    let mut net = Net::new(&[(1, 40)]);
    net.udp_is_blocked = true;
    net.run_for(ms(299));
    assert!(!net.is_opening(1));
    net.run_for(ms(2));
    assert!(net.is_opening(1));
    net.open_tls(1);
    net.run_for(ms(41));
    let leases = &net.leases;
    assert!(leases.len() == 1 && leases[0].tls && leases[0].remote == net::bridge(1), "{leases:?}");
}

#[test]
fn udp_takes_over_again_and_tls_goes_a_minute_later() {
    let mut net = Net::new(&[(1, 40)]);
    net.udp_is_blocked = true;
    net.run_for(ms(310));
    net.open_tls(1);
    net.run_for(ms(1_000));
    net.udp_is_blocked = false;
    net.run_for(Duration::from_secs(61));
    let leases = &net.leases;
    assert!(!leases[0].tls && leases[0].remote == at(1), "{leases:?}");
    assert!(net.is_opening(1), "the connection stays for a while");
    net.run_for(Duration::from_secs(61));
    assert!(!net.is_opening(1));
}

#[test]
fn while_tls_carries_the_lease_udp_is_looked_for_once_a_minute() {
    let mut net = Net::new(&[(1, 40)]);
    net.udp_is_blocked = true;
    net.run_for(ms(310));
    net.open_tls(1);
    net.run_for(Duration::from_secs(5));
    let sent = net.sent;
    net.run_for(Duration::from_secs(600));
    assert!(net.sent - sent <= 24, "{} frames in ten minutes", net.sent - sent);
}

#[test]
fn a_bridge_that_breaks_takes_its_leases_along_and_is_made_again() {
    let mut net = Net::new(&[(1, 40)]);
    net.udp_is_blocked = true;
    net.run_for(ms(310));
    net.open_tls(1);
    net.run_for(ms(100));
    net.close_tls(1);
    assert!(net.leases.is_empty());
    net.run_for(Duration::from_secs(2));
    assert!(net.is_opening(1));
}

#[test]
fn udp_that_stops_after_a_move_gives_way_to_tls() {
    let mut net = Net::new(&[(1, 40)]);
    net.run_for(ms(2_000));
    net.udp_is_blocked = true;
    net.tell(RelayEvent::NetworkChanged);
    net.run_for(ms(310));
    assert!(net.is_opening(1));
    net.open_tls(1);
    net.run_for(ms(81));
    assert!(net.leases[0].tls);
}

#[test]
fn a_move_brings_the_lease_along_within_two_round_trips() {
    let mut net = Net::new(&[(1, 40)]);
    net.run_for(ms(2_000));
    net.source = seen_address(9);
    net.tell(RelayEvent::NetworkChanged);
    net.run_for(ms(81));
    assert_eq!(net.relay(1).source(), Some(seen_address(9)));
    assert_eq!(net.outside, [seen_address(9)]);
    assert!(!net.leases[0].doubtful);
}

#[test]
fn a_dead_home_is_known_within_three_seconds_and_the_backup_becomes_home() {
    let mut net = Net::new(&[(1, 20), (2, 50), (3, 90)]);
    net.run_for(ms(3_000));
    assert_eq!(net.homes(), [relay(1), relay(2)]);
    net.relay(1).is_dead = true;
    net.tell(RelayEvent::Suspect);
    net.run_for(ms(1_100));
    let doubtful: Vec<bool> = net.leases.iter().map(|lease| lease.doubtful).collect();
    assert_eq!(doubtful, [true, false]);
    net.run_for(ms(1_900));
    assert_eq!(net.homes(), [relay(2), relay(3)]);
}

#[test]
fn peers_that_stay_silent_do_not_keep_a_dead_relay_alive() {
    let mut net = Net::new(&[(1, 20)]);
    net.run_for(ms(3_000));
    net.relay(1).is_dead = true;
    for _ in 0..4 {
        net.tell(RelayEvent::Suspect);
        net.run_for(ms(1_000));
    }
    assert!(net.leases.is_empty(), "{:?}", net.leases);
}

#[test]
fn a_thousand_silent_peers_cost_a_frame_a_second() {
    let mut net = Net::new(&[(1, 1)]);
    net.run_for(ms(3_000));
    let sent = net.sent;
    for _ in 0..1_000 {
        net.tell(RelayEvent::Suspect);
        net.run_for(ms(10));
    }
    assert!((9..=12).contains(&(net.sent - sent)), "{} frames in ten seconds", net.sent - sent);
}

#[test]
fn only_home_and_backup_hold_leases_and_one_relay_alone_is_not_told() {
    let mut net = Net::new(&[(1, 90), (2, 50), (3, 20)]);
    net.run_for(Duration::from_secs(10));
    assert_eq!(net.homes(), [relay(3), relay(2)]);
    let held: Vec<_> = net.leases.iter().map(|lease| lease.relay.clone()).collect();
    assert_eq!(held, [relay(2), relay(3)]);
    let mut net = Net::new(&[(1, 90)]);
    net.run_for(Duration::from_secs(10));
    assert!(!net.tells_homes());
}

#[test]
fn homes_that_were_told_are_taken_back_where_one_relay_is_left() {
    let mut net = Net::new(&[(1, 20), (2, 50)]);
    net.run_for(ms(3_000));
    assert_eq!(net.homes(), [relay(1), relay(2)]);
    net.tell_map(&[2]);
    net.run_for(ms(3_000));
    assert_eq!((net.homes(), net.leases.len()), (Vec::new(), 1));
}

#[test]
fn a_lease_at_the_home_of_a_peer_lasts_as_long_as_it_is_wanted() {
    let mut net = Net::new(&[(1, 20), (2, 50), (3, 90)]);
    net.run_for(ms(3_000));
    net.tell(RelayEvent::Wanted(relay(3)));
    net.run_for(ms(200));
    assert_eq!(net.leases.len(), 3);
    net.run_for(Duration::from_secs(301));
    assert_eq!(net.leases.len(), 2);
}

#[test]
fn a_relay_that_goes_away_is_left_for_the_backup_and_asked_again_when_it_is_back() {
    let mut net = Net::new(&[(1, 20), (2, 50)]);
    net.run_for(ms(3_000));
    net.forge(1, |relay| relay.go_away(2_000));
    net.run_for(ms(30));
    assert!(net.leases.iter().all(|lease| lease.doubtful == (lease.relay == relay(1))));
    net.relay(1).is_dead = true;
    net.relay(1).forget();
    net.run_for(ms(1_100));
    assert_eq!(net.homes()[0], relay(2));
    net.relay(1).is_dead = false;
    net.run_for(ms(3_000));
    assert!(net.leases.iter().all(|lease| !lease.doubtful), "{:?}", net.leases);
}

#[test]
fn a_goodbye_that_the_relay_did_not_say_means_nothing() {
    let mut net = Net::new(&[(1, 20), (2, 50)]);
    net.run_for(ms(3_000));
    net.relay(1).other_key = true;
    net.forge(1, |relay| relay.go_away(2_000));
    net.run_for(ms(30));
    assert!(net.leases.iter().all(|lease| !lease.doubtful));
}

#[test]
fn relay_and_stun_together_tell_the_kind_of_nat() {
    let mut net = Net::new(&[(1, 20)]);
    net.run_for(ms(1_500));
    assert_eq!(net.nat.mapping, Mapping::EndpointIndependent);
    assert_eq!(net.outside, [net.source]);
    let mut net = Net::new(&[(1, 20)]);
    net.is_symmetric = true;
    net.run_for(ms(1_500));
    assert_eq!(net.nat.mapping, Mapping::AddressAndPortDependent);
}

#[test]
fn without_a_map_nothing_ever_leaves() {
    let mut net = Net::new(&[]);
    net.run_for(Duration::from_secs(3_600));
    assert_eq!(net.sent, 0);
    assert_eq!(net.relays.deadline(), None);
}

#[test]
fn a_relay_that_leaves_the_map_is_let_go() {
    let mut net = Net::new(&[(1, 20), (2, 50)]);
    net.run_for(ms(3_000));
    net.tell_map(&[2]);
    net.run_for(ms(2_000));
    let held: Vec<_> = net.leases.iter().map(|lease| lease.relay.clone()).collect();
    assert_eq!(held, [relay(2)]);
}

#[test]
fn of_a_very_long_map_so_many_relays_are_looked_at_and_fewer_held_for_peers() {
    let relays: Vec<(u8, u64)> = (1..=40).map(|n| (n, 20 + u64::from(n))).collect();
    let mut net = Net::new(&relays);
    net.run_for(ms(3_000));
    for (number, _) in &relays {
        net.tell(RelayEvent::Wanted(relay(*number)));
    }
    net.run_for(ms(500));
    assert_eq!(net.relays.sites.len(), MAX_RELAYS);
    assert_eq!(net.relays.guests.len(), MAX_GUESTS);
    assert!((2..=2 + MAX_GUESTS).contains(&net.leases.len()), "{} leases", net.leases.len());
}

#[test]
fn of_many_relays_a_few_are_measured_at_a_time_and_each_has_its_turn() {
    let many = 3 * MAX_MEASURED + 2;
    let relays: Vec<(u8, u64)> = (1..).zip((0..many).rev().map(|n| 60 + n as u64)).collect();
    let mut net = Net::new(&relays);
    let farthest = u8::try_from(many).unwrap() - 2;
    net.relay(farthest).is_dead = true;
    net.run_for(Duration::from_secs(10));
    let last = relay(u8::try_from(many).unwrap());
    assert_eq!(net.homes().first(), Some(&last), "the first home is the nearest of all");
    let measured =
        |net: &mut Net| (1..=u8::try_from(many).unwrap()).map(|n| net.relay(n).measured).sum::<usize>();
    let before = measured(&mut net);
    assert_eq!(before, many - 1);
    net.run_for(MEASURE_EVERY);
    // Home and backup beside them.
    assert!(measured(&mut net) - before <= MAX_MEASURED + 2);
    net.relay(farthest).is_dead = false;
    net.relay(farthest).rtt = ms(5);
    net.run_for(MEASURE_EVERY * HOME_ROUNDS * 5);
    assert_eq!(net.homes().first(), Some(&relay(farthest)), "it was found by and by");
}
