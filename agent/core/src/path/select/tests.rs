use std::time::Duration;

use super::{best, is_detour, promotes};
use crate::{
    path::{candidate::CandidateKind, measure::Path},
    way::Way,
};

fn measured(mut path: Path, rtt_ms: u64) -> Path {
    path.rtt = Some(Duration::from_millis(rtt_ms));
    path
}

fn direct(addr: &str, rtt_ms: u64) -> Path {
    measured(Path::direct(Way::direct(addr.parse().unwrap()), CandidateKind::Host), rtt_ms)
}

fn relay(is_tls: bool, rtt_ms: u64) -> Path {
    measured(Path::relayed(Way::relayed("198.51.100.1:3478".parse().unwrap(), 1, 2), is_tls), rtt_ms)
}

#[test]
fn a_nearer_tier_wins_whatever_the_round_trips_are() {
    let ranked = [direct("10.0.0.1:1", 40), direct("192.0.2.1:1", 39), relay(false, 38), relay(true, 37)];
    for (at, better) in ranked.iter().enumerate() {
        for worse in &ranked[at + 1..] {
            assert!(promotes(better, worse) && !promotes(worse, better), "{better:?} {worse:?}");
        }
    }
    assert_eq!(best(ranked.iter().rev()).unwrap().way, ranked[0].way);
}

#[test]
fn within_a_tier_only_a_clearly_faster_path_wins() {
    let primary = direct("192.0.2.1:1", 100);
    for (rtt_ms, wins) in [(100, false), (81, false), (79, true)] {
        assert_eq!(promotes(&direct("192.0.2.2:1", rtt_ms), &primary), wins, "{rtt_ms}");
    }
    assert!(!promotes(&direct("192.0.2.2:1", 1), &direct("192.0.2.1:1", 6)), "noise of a short path");
}

#[test]
fn ipv6_counts_as_three_milliseconds_faster() {
    let primary = direct("192.0.2.1:1", 20);
    assert!(promotes(&direct("[2001:db8::1]:1", 17), &primary));
    assert!(!promotes(&direct("192.0.2.2:1", 17), &primary));
}

#[test]
fn a_direct_path_that_goes_far_around_does_not_beat_a_fast_relay() {
    let fast = relay(false, 20);
    for (rtt_ms, detour) in [(60, false), (69, false), (71, true)] {
        assert_eq!(is_detour(&direct("192.0.2.1:1", rtt_ms), &fast), detour, "{rtt_ms}");
    }
    assert!(!promotes(&direct("192.0.2.1:1", 71), &fast));
    assert!(!is_detour(&direct("192.0.2.1:1", 200), &relay(false, 100)), "three times as long, not more");
}
