use proptest::prelude::*;

use super::{Freshness, Proof, Starts};

#[test]
fn a_number_is_new_once() {
    let mut starts = Starts::default();
    assert_eq!(starts.prove(5, true), Proof::First);
    for (seq, expected) in [
        (1, Freshness::New),
        (1, Freshness::Old),
        (3, Freshness::New),
        (2, Freshness::New),
        (2, Freshness::Old),
        (100, Freshness::New),
        (36, Freshness::Old),
        (37, Freshness::New),
        (0, Freshness::Old),
    ] {
        assert_eq!(starts.take(5, seq), expected, "{seq}");
    }
}

#[test]
fn a_later_start_counts_only_after_an_answer_under_it() {
    let mut starts = Starts::default();
    starts.prove(5, true);
    assert_eq!(starts.take(5, 9), Freshness::New);
    assert_eq!(starts.take(6, 1), Freshness::Claimed);
    assert_eq!(starts.take(5, 10), Freshness::New, "a claim alone shuts nobody out");
    assert_eq!(starts.prove(6, false), Proof::Restarted);
    assert_eq!(starts.take(6, 1), Freshness::Old, "the claim was seen before");
    assert_eq!(starts.take(6, 2), Freshness::New);
    assert_eq!(starts.take(5, 11), Freshness::Old);
}

#[test]
fn an_earlier_start_is_believed_only_after_a_silence() {
    let mut starts = Starts::default();
    starts.prove(6, true);
    assert_eq!(starts.prove(5, false), Proof::Late);
    assert_eq!(starts.take(5, 1), Freshness::Old);
    assert_eq!(starts.prove(5, true), Proof::Restarted);
    assert_eq!(starts.take(5, 1), Freshness::New);
}

#[test]
fn what_is_remembered_shuts_out_everything_up_to_its_number() {
    let mut starts = Starts::remembered(5, 40);
    assert!((1..=40).all(|seq| starts.take(5, seq) == Freshness::Old));
    assert_eq!(starts.take(5, 41), Freshness::New);
    assert_eq!(starts.memory(), Some((5, 41)));
}

#[test]
fn a_start_that_is_over_says_nothing_any_more_and_its_memory_neither() {
    let mut starts = Starts::default();
    starts.prove(5, true);
    assert_eq!(starts.take(5, 9), Freshness::New);
    starts.end();
    let (boot, last) = starts.memory().unwrap();
    for mut starts in [starts, Starts::remembered(boot, last)] {
        assert!([8, 9, 10, 1_000].into_iter().all(|seq| starts.take(5, seq) == Freshness::Old));
        assert_eq!(starts.take(6, 1), Freshness::Claimed);
        assert_eq!(starts.prove(6, false), Proof::Restarted);
        assert_eq!(starts.take(6, 2), Freshness::New);
    }
}

proptest! {
    #[test]
    fn no_number_is_new_twice(numbers in prop::collection::vec((1_u64..4, 0_u64..200), 0..300)) {
        let mut starts = Starts::default();
        starts.prove(2, true);
        let mut seen = std::collections::BTreeSet::new();
        for (boot, seq) in numbers {
            if starts.take(boot, seq) == Freshness::New {
                prop_assert!(boot == 2 && seen.insert(seq));
            }
        }
    }
}
