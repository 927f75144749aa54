use proptest::prelude::*;

use super::*;
use crate::{NodeId, NodeRecord};

fn id(n: u8) -> RecordId {
    RecordId::from(&NodeId::from_random([n; 16]))
}

fn body(label: u16) -> Body {
    Body::Node(NodeRecord { label: format!("label-{label}") })
}

/// What a reader holds after taking an answer.
fn read(reader: &mut Scope, control: &Scope, have: Option<Cursor>) -> Result<(), ApplyError> {
    let answer = control.answer(have.as_ref());
    let puts = answer.puts.iter().map(|record| (record.id.clone(), (*record).clone())).collect();
    let dels = answer.dels.iter().map(|id| (*id).clone()).collect();
    reader.apply(answer.reset, puts, &dels, answer.at)
}

fn same(a: &Scope, b: &Scope) -> bool {
    a.records().eq(b.records()) && a.cursor() == b.cursor()
}

fn changes() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let change = (0u8..8, any::<bool>(), any::<u16>())
        .prop_map(|(n, put, label)| if put { Change::Put(id(n), body(label)) } else { Change::Del(id(n)) });
    prop::collection::vec(prop::collection::vec(change, 0..5), 1..30)
}

proptest! {
    /// I3 of control-plane §12.
    #[test]
    fn any_path_of_deltas_equals_the_snapshot(batches in changes(), stops in prop::collection::vec(any::<bool>(), 30)) {
        let mut control = Scope::new(Epoch(7));
        let mut reader = Scope::new(Epoch(7));
        for (batch, stop) in batches.into_iter().zip(stops) {
            let before = control.revision();
            prop_assert_eq!(control.commit(batch), before.next());
            if stop {
                let have = reader.cursor();
                read(&mut reader, &control, Some(have)).unwrap();
                prop_assert!(same(&reader, &control));
            }
        }
        let mut fresh = Scope::new(Epoch(0));
        read(&mut fresh, &control, None).unwrap();
        let have = reader.cursor();
        read(&mut reader, &control, Some(have)).unwrap();
        prop_assert!(same(&reader, &fresh));
        prop_assert!(control.answer(Some(&fresh.cursor())).is_empty());
    }

    /// I4 of control-plane §12.
    #[test]
    fn any_cursor_converges(
        batches in changes(), epoch in 6u64..9, revision in 0u64..40, floor in 0u64..40, wrong_digest: bool, take in 0usize..30,
    ) {
        let mut control = Scope::new(Epoch(7));
        let mut reader = Scope::new(Epoch(7));
        for (n, batch) in batches.into_iter().enumerate() {
            control.commit(batch);
            if n == take {
                read(&mut reader, &control, None).unwrap();
            }
        }
        control.compact(Revision(floor));
        // The reader's own cursor, or any other it may claim; a claim it does not hold is caught by the digest.
        let own = reader.cursor();
        let claimed = Cursor {
            epoch: Epoch(epoch),
            revision: Revision(revision),
            digest: if wrong_digest { Digest::default() } else { own.digest },
        };
        for have in [own, claimed] {
            if read(&mut reader, &control, Some(have)).is_err() {
                read(&mut reader, &control, None).unwrap();
            }
            prop_assert!(same(&reader, &control));
        }
    }

    #[test]
    fn stored_rows_make_the_scope_again(batches in changes(), floor in 0u64..30) {
        let mut control = Scope::new(Epoch(7));
        for batch in batches {
            control.commit(batch);
        }
        control.compact(Revision(floor));
        let live: Vec<Record> = control.records().cloned().collect();
        let dead: Vec<_> = control.entries.iter().filter_map(|(id, entry)| match entry {
            Entry::Dead(rev) => Some((id.clone(), *rev)),
            Entry::Live(_) => None,
        }).collect();
        let again = Scope::restore(Epoch(7), control.revision(), control.floor(), live, dead).unwrap();
        prop_assert!(same(&again, &control));
        for revision in 0..=control.revision().0 {
            let cursor = Cursor { epoch: Epoch(7), revision: Revision(revision), digest: Digest::default() };
            if revision != control.revision().0 {
                prop_assert_eq!(again.answer(Some(&cursor)).reset, Revision(revision) < control.floor());
            }
        }
    }

    #[test]
    fn a_cursor_survives_its_text(epoch: u64, revision: u64, digest: u128) {
        let cursor = Cursor { epoch: Epoch(epoch), revision: Revision(revision), digest: Digest::from(digest) };
        prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn text_that_is_no_cursor_is_refused_quietly(text in "\\PC{0,60}") {
        if let Ok(cursor) = text.parse::<Cursor>() {
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }
}

#[test]
fn an_id_may_come_back_after_a_delete() {
    let mut control = Scope::new(Epoch(1));
    control.commit([Change::Put(id(1), body(1))]);
    let mut reader = Scope::new(Epoch(1));
    read(&mut reader, &control, None).unwrap();
    let have = reader.cursor();
    control.commit([Change::Del(id(1))]);
    control.commit([Change::Put(id(1), body(2))]);
    let answer = control.answer(Some(&have));
    assert_eq!((answer.puts.len(), answer.dels.len()), (1, 0));
    read(&mut reader, &control, Some(have)).unwrap();
    assert!(same(&reader, &control));
}

#[test]
fn an_answer_that_lost_a_record_changes_nothing() {
    let mut control = Scope::new(Epoch(1));
    control.commit([Change::Put(id(1), body(1)), Change::Put(id(2), body(2))]);
    let mut reader = Scope::new(Epoch(1));
    let lost = BTreeMap::from([(id(1), control.live(&id(1)).unwrap().clone())]);
    let before = reader.cursor();
    let error = reader.apply(true, lost, &BTreeSet::new(), control.cursor()).unwrap_err();
    assert_eq!(error, ApplyError::Digest { revision: Revision(1) });
    assert_eq!(reader.cursor(), before);
}

#[test]
fn older_revisions_and_other_epochs_need_a_reset() {
    let mut control = Scope::new(Epoch(1));
    let old = control.cursor();
    control.commit([Change::Put(id(1), body(1))]);
    let mut reader = Scope::new(Epoch(1));
    read(&mut reader, &control, None).unwrap();
    let apply = |reader: &mut Scope, at| reader.apply(false, BTreeMap::new(), &BTreeSet::new(), at);
    assert!(matches!(apply(&mut reader, old), Err(ApplyError::Stale { .. })));
    let other = Cursor { epoch: Epoch(2), ..control.cursor() };
    assert_eq!(apply(&mut reader, other), Err(ApplyError::Epoch));
    assert!(same(&reader, &control));
}

#[test]
fn rows_that_contradict_each_other_are_named() {
    let row = |rev| Record { id: id(1), rev: Revision(rev), body: body(1) };
    let restore = |live: Vec<Record>, dead| Scope::restore(Epoch(1), Revision(3), Revision(0), live, dead);
    assert!(matches!(restore(vec![row(4)], vec![]), Err(ScopeError::FromTheFuture { .. })));
    assert!(matches!(restore(vec![row(2)], vec![(id(1), Revision(3))]), Err(ScopeError::Twice { .. })));
}

#[test]
fn a_reader_that_is_older_than_what_is_remembered_is_given_everything() {
    let mut control = Scope::new(Epoch(1));
    let mut cursors = Vec::new();
    for label in 0..u16::try_from(2 * RECENT).unwrap() {
        control.commit([Change::Put(id(1), body(label))]);
        cursors.push(control.cursor());
        assert!(control.recent.len() <= RECENT);
    }
    assert_eq!(control.recent.len(), RECENT);
    for cursor in [cursors[0], cursors[2 * RECENT - 2]] {
        let mut reader = Scope::new(Epoch(1));
        read(&mut reader, &control, None).unwrap();
        assert!(same(&reader, &control));
        assert_eq!(control.answer(Some(&cursor)).at, control.cursor(), "however old it is, it comes to now");
    }
}
