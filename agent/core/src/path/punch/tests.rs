use std::time::Duration;

use super::{Part, Rounds, half_of_both};

const MS: Duration = Duration::from_millis(1);
const HALF: Duration = Duration::from_millis(40);

#[test]
fn who_leads_and_who_follows_begin_at_the_same_moment() {
    for knows in [true, false] {
        let (mut leader, mut follower) = (Rounds::default(), Rounds::default());
        for _ in 0..5 {
            let began = 10_000 * MS;
            let proposed = leader.lead(began, HALF, knows);
            // The proposal takes half a round trip, and so does the acknowledgement.
            let wait = if knows { proposed.wait } else { proposed.wait.max(HALF) };
            let follows = follower.follow(began + HALF, proposed.round, wait);
            let agreed = leader.agreed(began + HALF * 2, proposed.round).unwrap();
            let (one, other) = (agreed.instant.unwrap(), follows.instant.unwrap());
            let apart = one.abs_diff(other);
            // In later rounds without knowledge the leader learns the addresses late; it begins as soon as it can.
            assert!(apart.is_zero() || (!knows && one == began + HALF * 2), "round {}", proposed.round);
        }
    }
}

#[test]
fn rounds_follow_after_2_and_8_seconds_then_ever_more_rarely() {
    let mut rounds = Rounds::default();
    rounds.restart(Duration::ZERO);
    let mut at = Vec::new();
    while at.len() < 9 {
        let next = rounds.next.unwrap();
        at.push(next.as_secs());
        rounds.lead(next, HALF, true);
    }
    assert_eq!(at, [0, 2, 10, 70, 190, 430, 910, 1_510, 2_110]);
}

#[test]
fn the_third_round_begins_with_silence() {
    let mut rounds = Rounds::default();
    let waits: Vec<Duration> = (0..4).map(|_| rounds.lead(Duration::ZERO, HALF, true).wait).collect();
    assert_eq!(waits, [Duration::ZERO, 40 * MS, 35_000 * MS, 40 * MS]);
}

/// One proposes, and so does the other this much later.
fn crossing(later: Duration) -> [Rounds; 2] {
    [Duration::ZERO, later].map(|began| {
        let mut rounds = Rounds::default();
        rounds.lead(began, HALF, false);
        rounds
    })
}

#[test]
fn two_whose_proposals_cross_begin_when_the_later_one_arrives_whichever_key_is_lesser() {
    for (later, one_is_lesser) in (0..40).flat_map(|later| [(later * MS, true), (later * MS, false)]) {
        let [mut one, mut other] = crossing(later);
        assert_eq!(one.part(later + HALF, 1, false, one_is_lesser), Part::Crosses);
        assert_eq!(other.part(HALF, 1, false, !one_is_lesser), Part::Crosses);
        let one = one.cross(later + HALF, HALF, one_is_lesser).unwrap();
        let other = other.cross(HALF, HALF, !one_is_lesser).unwrap();
        assert_eq!((one.instant, other.instant), (Some(later + HALF), Some(later + HALF)));
    }
}

#[test]
fn of_two_measures_of_the_way_the_lesser_counts() {
    for (ours, theirs) in [(HALF, HALF * 2), (HALF * 2, HALF)] {
        let mut late = Rounds::default();
        late.lead(Duration::ZERO, ours, false);
        let met = late.cross(HALF / 2, half_of_both(ours, theirs, true), true).unwrap();
        assert_eq!(met.instant, Some(HALF));
    }
    assert_eq!(half_of_both(HALF, Duration::ZERO, true), HALF, "a repeated proposal");
    assert_eq!(half_of_both(HALF, MS, false), HALF, "a later round");
}

#[test]
fn an_acknowledgement_that_overtakes_its_proposal_changes_nothing() {
    let [mut one, _] = crossing(Duration::ZERO);
    assert!(one.agreed(HALF * 2, 1).is_some());
    assert_eq!(one.part(HALF * 2, 1, false, false), Part::Abides);
    assert_eq!(one.part(HALF * 2, 2, false, false), Part::Follows, "a later round");
    assert_eq!(one.part(1_500 * MS, 1, false, true), Part::Follows, "a new first round");
}

#[test]
fn who_knows_the_peer_leads_and_of_two_that_do_the_lesser_key() {
    let part = |knows: bool, is_known: bool, is_lesser: bool| {
        let mut rounds = Rounds::default();
        rounds.lead(Duration::ZERO, HALF, knows);
        rounds.part(HALF, 1, is_known, is_lesser)
    };
    for is_lesser in [true, false] {
        assert_eq!(part(true, false, is_lesser), Part::Abides);
        assert_eq!(part(false, true, is_lesser), Part::Follows);
    }
    assert_eq!([part(true, true, true), part(true, true, false)], [Part::Abides, Part::Follows]);
    let [late, _] = crossing(Duration::ZERO);
    assert_eq!([true, false].map(|key| late.part(200 * MS, 1, false, key)), [Part::Abides, Part::Follows]);
}

#[test]
fn a_repeated_proposal_changes_nothing() {
    let mut rounds = Rounds::default();
    rounds.follow(Duration::ZERO, 1, HALF);
    assert_eq!(rounds.part(250 * MS, 1, false, true), Part::Abides);
    assert_eq!(rounds.part(250 * MS, 2, false, true), Part::Follows);
    assert_eq!(rounds.part(5_000 * MS, 1, false, true), Part::Follows, "a new first round, much later");
}

#[test]
fn a_proposal_is_repeated_until_the_peer_agrees_but_not_for_ever() {
    let mut rounds = Rounds::default();
    rounds.lead(Duration::ZERO, HALF, true);
    let mut repeated = 0;
    rounds.proposed(Duration::ZERO, 250 * MS);
    while let Some(at) = rounds.again_at() {
        repeated += 1;
        rounds.proposed(at, 250 * MS);
    }
    assert_eq!(repeated, 3);
    rounds.lead(Duration::ZERO, HALF, true);
    rounds.proposed(Duration::ZERO, 250 * MS);
    assert!(rounds.agreed(HALF, 2).is_some() && rounds.again_at().is_none());
    assert!(rounds.agreed(HALF, 2).is_none(), "known already");
}
