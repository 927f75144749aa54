use super::*;
use crate::{Body, Change, Del, Digest, Hello, NodeId, NodeRecord, Put, Reset, Revision};

fn node(n: u8) -> NodeId {
    NodeId::from_random([n; 16])
}

fn put(n: u8) -> Change {
    Change::Put(RecordId::from(&node(n)), Body::Node(NodeRecord { label: format!("n{n}") }))
}

fn scope_id() -> ScopeId {
    ScopeId::from(&node(0))
}

fn hello(epoch: u64) -> Line {
    let epoch = Epoch(epoch);
    Line::Hello(Hello { protocol: 1, control: "0".into(), epoch, now_ms: 0, beat_s: 30, urls: Vec::new() })
}

/// The lines that answer a follower's cursor.
fn lines(control: &Scope, follower: &Follower) -> Vec<Line> {
    let scope = scope_id();
    let have = follower.have().get(&scope).and_then(|text| text.parse().ok());
    let answer = control.answer(have.as_ref());
    let mut lines = Vec::new();
    if answer.reset {
        lines.push(Line::Reset(Reset { scope: scope.clone() }));
    }
    lines.push(Line::Put(Put { scope: scope.clone(), records: answer.puts.into_iter().cloned().collect() }));
    lines.push(Line::Del(Del { scope: scope.clone(), ids: answer.dels.into_iter().cloned().collect() }));
    let (rev, digest) = (answer.at.revision, answer.at.digest);
    lines.push(Line::At(At { scope, rev, digest, ack_within_ms: None }));
    lines
}

fn follow(follower: &mut Follower, lines: Vec<Line>) -> Result<(), FollowError> {
    lines.into_iter().try_for_each(|line| follower.handle(line, |_, _| Ok(())).map(drop))
}

fn held(follower: &Follower) -> usize {
    follower.scope(&scope_id()).map_or(0, |scope| scope.records().count())
}

#[test]
fn nothing_is_visible_before_its_commit_point() {
    let mut control = Scope::new(Epoch(1));
    control.commit([put(1), put(2)]);
    let mut follower = Follower::default();
    let mut all = lines(&control, &follower);
    let at = all.pop().unwrap();
    follow(&mut follower, vec![hello(1)]).unwrap();
    follow(&mut follower, all.clone()).unwrap();
    assert_eq!(held(&follower), 0);
    follower.disconnected();
    follow(&mut follower, vec![hello(1)]).unwrap();
    follow(&mut follower, all).unwrap();
    follow(&mut follower, vec![at]).unwrap();
    assert_eq!(held(&follower), 2);
}

#[test]
fn a_bad_digest_keeps_the_copy_and_asks_for_all_of_it() {
    let mut control = Scope::new(Epoch(1));
    control.commit([put(1)]);
    let mut follower = Follower::default();
    let answer = lines(&control, &follower);
    follow(&mut follower, vec![hello(1)]).unwrap();
    follow(&mut follower, answer).unwrap();
    let bad = At { scope: scope_id(), rev: Revision(2), digest: Digest::default(), ack_within_ms: None };
    assert!(matches!(follow(&mut follower, vec![Line::At(bad)]), Err(FollowError::Apply { .. })));
    assert_eq!(held(&follower), 1);
    assert!(follower.have().is_empty());
    control.commit([put(2)]);
    let answer = lines(&control, &follower);
    follow(&mut follower, answer).unwrap();
    assert_eq!(held(&follower), 2);
    assert_eq!(follower.have().len(), 1);
}

#[test]
fn a_reset_can_be_refused_by_the_reader() {
    let mut control = Scope::new(Epoch(1));
    control.commit([put(1)]);
    let mut follower = Follower::default();
    let answer = lines(&control, &follower);
    follow(&mut follower, vec![hello(1)]).unwrap();
    follow(&mut follower, answer).unwrap();
    let empty = Scope::new(Epoch(2));
    follow(&mut follower, vec![hello(2)]).unwrap();
    let refused = lines(&empty, &follower)
        .into_iter()
        .try_for_each(|line| follower.handle(line, |_, _| Err("no own peer")).map(drop));
    assert!(matches!(refused, Err(FollowError::Refused { .. })));
    assert_eq!(held(&follower), 1);
}

#[test]
fn a_commit_point_before_hello_is_refused() {
    let control = Scope::new(Epoch(1));
    let mut follower = Follower::default();
    let answer = lines(&control, &follower);
    assert_eq!(follow(&mut follower, answer), Err(FollowError::NoHello));
}

#[test]
fn a_refused_answer_about_a_new_scope_makes_no_copy() {
    let mut control = Scope::new(Epoch(1));
    control.commit([put(1)]);
    let mut follower = Follower::default();
    follow(&mut follower, vec![hello(1)]).unwrap();
    let at = lines(&control, &follower).pop().unwrap();
    assert!(matches!(follow(&mut follower, vec![at]), Err(FollowError::Apply { .. })));
    assert!(follower.scope(&scope_id()).is_none());
}

#[test]
fn scopes_are_limited_staged_and_held() {
    let group = |n: u16| {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        ScopeId::from(&crate::GroupId::from_random(bytes))
    };
    let mut follower = Follower::default();
    let mut say = |line| follower.handle(line, |_, _| Ok(()));
    say(hello(1)).unwrap();
    let most = u16::try_from(MAX_SCOPES).unwrap();
    for n in 0..most {
        say(Line::Reset(Reset { scope: group(n) })).unwrap();
    }
    assert_eq!(say(Line::Reset(Reset { scope: group(most) })), Err(FollowError::TooManyScopes));
    let empty = Scope::new(Epoch(1)).cursor();
    let at = |n| At { scope: group(n), rev: empty.revision, digest: empty.digest, ack_within_ms: None };
    for n in 0..most {
        say(Line::At(at(n))).unwrap();
    }
    assert_eq!(say(Line::At(at(most))), Err(FollowError::TooManyScopes));
    say(Line::Drop(crate::DropScope { scope: group(0), reason: None })).unwrap();
    say(Line::At(at(most))).unwrap();
}

#[test]
fn records_without_a_commit_point_are_limited() {
    let mut follower = Follower::default();
    let mut control = Scope::new(Epoch(1));
    control.commit([put(1)]);
    let record = control.records().next().unwrap().clone();
    follower.handle(hello(1), |_, _| Ok(())).unwrap();
    // As many as a stream that never commits would have sent by now.
    follower.staged_records = MAX_STAGED_RECORDS - 1;
    let mut say = || {
        let put = Put { scope: scope_id(), records: vec![record.clone()] };
        follower.handle(Line::Put(put), |_, _| Ok(())).map(drop)
    };
    assert_eq!(say(), Ok(()));
    assert_eq!(say(), Err(FollowError::TooMuch));
    follower.disconnected();
    assert_eq!(follower.staged_records, 0, "the next stream begins anew");
}
