//! What is kept of things that have ended.

use std::collections::BTreeSet;

use lacis_proto::{Code, Host, IdentityKey, NodeId, PublicKey, RecordId, Revision, ScopeId};

use super::World;
use crate::{
    Batch, Command, DepartedRow, JoinUseRow, Kept, NodeRow, ReleasedHost, Remover, Reply, Row, TombstoneRow,
    decide, limits,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn forget(world: &mut World, connected: &[&NodeId]) {
    let ended_since_ms = Some(world.now_ms.saturating_sub(DAY_MS));
    let connected = connected.iter().map(|node| (*node).clone()).collect();
    world.ask(Command::Forget(Kept { audit_since_ms: None, ended_since_ms, connected })).unwrap();
}

fn node_of(world: &World, identity: u8) -> Option<NodeId> {
    world.state.node_of.get(&IdentityKey::try_new([identity; 32]).unwrap()).cloned()
}

#[test]
fn a_revoked_node_is_forgotten_a_while_after_its_end_was_noted_and_its_old_tokens_with_it() {
    let mut world = World::new();
    let (node, member) = world.join(1);
    world.add(&node, &member, 1);
    world.ask(Command::RevokeNode { node: node.clone(), owner: None }).unwrap();
    for _ in 0..3 {
        forget(&mut world, &[]);
        assert_eq!(node_of(&world, 1), Some(node.clone()), "it has ended just now");
        world.now_ms += DAY_MS / 3;
    }
    world.now_ms += 1;
    forget(&mut world, &[]);
    assert_eq!(node_of(&world, 1), None);
    assert!(
        world.state.tombstones(&ScopeId::from(&node)).next().is_none() && world.state.join_uses.is_empty()
    );
    let token = world.token.clone();
    let end = world.state.join_tokens[&token.0].expires_ms.unwrap();
    world.now_ms = world.now_ms.max(end);
    assert_eq!(world.refused(world.join_as(1, &token, "web")).code, Code::TokenExpired);
}

#[test]
fn a_node_without_a_group_is_forgotten_unless_it_is_connected_or_comes_back() {
    let mut world = World::new();
    for identity in 1..=3 {
        let (node, member) = world.join(identity);
        let peer = world.add(&node, &member, identity).peer;
        world.ask(Command::RemovePeer { peer, by: Remover::Node(node) }).unwrap();
    }
    let [gone, connected, back] = [1, 2, 3].map(|identity| node_of(&world, identity).unwrap());
    forget(&mut world, &[&connected]);
    world.join(3);
    world.now_ms += DAY_MS + 1;
    forget(&mut world, &[&connected]);
    assert!(world.state.node(&gone).is_none());
    assert!(world.state.node(&connected).is_some_and(|row| row.ended_ms.is_none()));
    assert!(world.state.node(&back).is_some_and(|row| row.ended_ms.is_none()));
}

#[test]
fn tokens_are_forgotten_a_while_after_they_ended() {
    let mut world = World::new();
    let group = world.group.clone();
    let (short, _) = world.new_token(&group, 0);
    let (revoked, _) = world.new_token(&group, 0);
    world.ask(Command::RevokeJoinToken { token: revoked.clone() }).unwrap();
    let first = world.token.0.clone();
    let left =
        |world: &World| -> BTreeSet<_> { world.state.join_tokens().map(|row| row.id.clone()).collect() };
    forget(&mut world, &[]);
    assert_eq!(left(&world), [short, revoked, first.clone()].into());
    world.now_ms += DAY_MS + 60_001;
    forget(&mut world, &[]);
    assert_eq!(left(&world), [first].into(), "the first is good for a day, so it has ended just now");
}

#[test]
fn what_ended_in_years_is_forgotten_by_short_commits() {
    let mut world = World::new();
    let (node, member) = world.join(1);
    world.add(&node, &member, 1);
    world.ask(Command::RevokeNode { node: node.clone(), owner: None }).unwrap();
    let (token, row) = (world.token.0.clone(), world.state.node(&node).unwrap().clone());
    let many = u16::try_from(limits::FORGOTTEN_AT_ONCE * 3 / 2).unwrap();
    let rows: Vec<Row> = (0..many)
        .flat_map(|n| {
            let [high, low] = n.to_be_bytes();
            let identity =
                IdentityKey::try_new([&[7, high, low][..], &[7; 29]].concat().try_into().unwrap()).unwrap();
            let id = NodeId::from_random([[7; 14].as_slice(), &[high, low]].concat().try_into().unwrap());
            let key = PublicKey::try_new(*identity.as_bytes()).unwrap();
            let used = JoinUseRow { token: token.clone(), identity, member: member.clone() };
            [
                Row::JoinUse(used),
                Row::Node(NodeRow { id, identity, ..row.clone() }),
                Row::Departed(DepartedRow { group: world.group.clone(), key, at_ms: u64::from(n) }),
            ]
        })
        .collect();
    world.state.apply(rows);
    world.now_ms += limits::RELAY_TOKEN_MS + DAY_MS;
    let mut commits = 0;
    let done = |world: &World| {
        let state = &world.state;
        state.nodes().count() + state.join_tokens().count() + state.join_uses.len() + state.departed().count()
            == 0
    };
    while !done(&world) {
        let ended_since_ms = Some(world.now_ms - 1);
        let kept = Kept { audit_since_ms: None, ended_since_ms, connected: BTreeSet::new() };
        let facts = world.facts();
        let decision = decide(&world.state, &Batch::default(), &Command::Forget(kept), facts).unwrap();
        // A node goes with its tombstones, and departures by one row.
        assert!(decision.rows.len() <= 2 * limits::FORGOTTEN_AT_ONCE + 1, "{}", decision.rows.len());
        world.state.apply(decision.rows);
        let Reply::Forgot { more } = decision.reply else { panic!("{:?}", decision.reply) };
        world.now_ms += if more { 0 } else { 2 };
        commits += 1;
        assert!(commits < 20, "it comes to an end");
    }
    assert!(commits >= 5, "uses, nodes noted and nodes forgotten by two commits each: {commits}");
}

#[test]
fn nothing_is_forgotten_where_everything_is_kept() {
    let mut world = World::new();
    let (node, _) = world.join(1);
    world.ask(Command::RevokeNode { node, owner: None }).unwrap();
    assert!(!world.has_effect(&Command::Forget(Kept::default())));
}

#[test]
fn the_oldest_tombstones_go_where_they_outnumber_what_is_there() {
    let mut world = World::new();
    let (node, member) = world.join(1);
    let peer = world.add(&node, &member, 1).peer;
    let scope = ScopeId::from(&world.group);
    let old = (0..limits::MAX_TOMBSTONES).map(|n| {
        let record = RecordId::parse(&format!("old-{n}")).unwrap();
        let revision = if n < limits::MAX_TOMBSTONES - 500 { Revision(1) } else { Revision(2) };
        Row::Tombstone(TombstoneRow { scope: scope.clone(), record, revision })
    });
    world.state.apply(old);
    world.ask(Command::RemovePeer { peer, by: Remover::Owner { force: false } }).unwrap();
    // Those of one revision go together, hence more than had to.
    assert_eq!(world.state.groups[&world.group].row.floor, Revision(1));
    // The newer ones, the peer, and the member that went with it.
    assert_eq!(world.state.tombstones(&scope).count(), 500 + 2);
}

#[test]
fn tombstones_and_resting_hosts_stay_few_however_often_peers_come_and_go() {
    let mut world = World::new();
    let group = world.group.clone();
    let scope = ScopeId::from(&group);
    let old = (0..limits::MIN_TOMBSTONES - 10).map(|n| {
        let record = RecordId::parse(&format!("old-{n}")).unwrap();
        Row::Tombstone(TombstoneRow { scope: scope.clone(), record, revision: Revision(1) })
    });
    let resting = (0..limits::MAX_RESTING - 10).map(|n| {
        let host = Host(u32::try_from(10_000 + n).unwrap());
        Row::Released(ReleasedHost { group: group.clone(), host, released_ms: 0, revision: Revision(1) })
    });
    world.state.apply(old.chain(resting));
    for round in 0..50 {
        let (node, member) = world.join(1);
        let peer = world.add(&node, &member, 1).peer;
        world.ask(Command::RemovePeer { peer, by: Remover::Node(node.clone()) }).unwrap();
        world.now_ms += limits::HOST_REST_MS;
        // One more, for the peer's member goes with it in one step.
        assert!(world.state.tombstones(&scope).count() <= limits::MIN_TOMBSTONES + 1, "round {round}");
        assert!(world.state.groups[&group].released.len() <= limits::MAX_RESTING, "round {round}");
    }
    let held = &world.state.groups[&group];
    assert_eq!(held.released.len(), limits::MAX_RESTING);
    assert!(held.row.floor > Revision(0), "readers that were away for longer get everything");
}
