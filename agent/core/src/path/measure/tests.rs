use std::time::Duration;

use super::{MAX_PENDING, Path, Tier};
use crate::{
    path::{candidate::CandidateKind, unique::Transaction},
    way::Way,
};

const MS: Duration = Duration::from_millis(1);

fn path() -> Path {
    Path::direct(Way::direct("192.0.2.1:1".parse().unwrap()), CandidateKind::Reflexive)
}

/// When the probes of a round leave, in milliseconds.
fn climbed(path: &mut Path) -> Vec<u128> {
    let mut at = Vec::new();
    while let Some(due) = path.probe_at() {
        at.push(due.as_millis());
        path.climbed(due);
    }
    at
}

#[test]
fn a_ladder_is_dense_at_first_and_ends_after_twelve_probes() {
    let mut path = path();
    path.discover(Duration::ZERO);
    let expected = [0, 20, 50, 100, 200, 400, 800, 1_800, 2_800, 3_800, 4_800, 5_800];
    assert_eq!(climbed(&mut path), expected);
}

#[test]
fn rungs_that_were_missed_are_not_made_up_for() {
    let mut path = path();
    path.discover(Duration::ZERO);
    path.climbed(150 * MS);
    assert_eq!(path.probe_at(), Some(200 * MS));
}

#[test]
fn a_nudge_probes_now_and_does_not_begin_again() {
    let mut path = path();
    path.discover(Duration::ZERO);
    for at in [0, 20, 50, 100] {
        path.climbed(at * MS);
    }
    path.nudge(120 * MS);
    assert_eq!(climbed(&mut path).len(), 8);
}

#[test]
fn two_answers_confirm_a_path_and_end_its_ladder() {
    let mut path = path();
    path.discover(Duration::ZERO);
    for n in [1, 2] {
        path.sent(Duration::ZERO, [n; 12]);
    }
    assert_eq!(path.answered(40 * MS, &[1; 12]), Some(Duration::ZERO));
    assert!(path.proven && !path.is_confirmed());
    assert_eq!(path.answered(40 * MS, &[1; 12]), None, "an answer counts once");
    path.answered(60 * MS, &[2; 12]);
    assert!(path.is_confirmed() && path.probe_at().is_none());
    assert_eq!(path.rtt, Some(Duration::from_micros(42_500)));
}

#[test]
fn a_quarter_of_lost_probes_costs_a_tier() {
    let mut path = path();
    for n in 0..4 {
        assert_eq!(path.tier(), Tier::Direct);
        path.sent(Duration::ZERO, [n; 12]);
        assert_eq!(path.give_up(path.patience()), 1);
    }
    assert_eq!(path.tier(), Tier::Relay);
    assert_eq!(path.loss_percent(), 100);
}

#[test]
fn probes_that_left_before_the_first_answered_one_are_not_lost() {
    let mut path = path();
    for (n, at) in [(1, 0), (2, 20), (3, 50)] {
        path.sent(at * MS, [n; 12]);
    }
    path.answered(60 * MS, &[2; 12]);
    assert_eq!(path.give_up(10_000 * MS), 1, "the one that left later");
    for n in 4..7 {
        path.sent(10_000 * MS, [n; 12]);
    }
    path.answered(10_040 * MS, &[6; 12]);
    assert_eq!(path.give_up(20_000 * MS), 2, "a proven path loses what it does not answer");
}

#[test]
fn of_very_many_unanswered_probes_the_last_are_waited_for() {
    let mut path = path();
    let transaction = |n: usize| {
        let mut transaction = Transaction::default();
        transaction[0] = u8::try_from(n).unwrap();
        transaction
    };
    for n in 0..=MAX_PENDING {
        path.sent(Duration::ZERO, transaction(n));
    }
    assert_eq!(path.pending.len(), MAX_PENDING);
    assert_eq!(path.asked(&transaction(0)), None);
    assert!(path.asked(&transaction(MAX_PENDING)).is_some());
}
