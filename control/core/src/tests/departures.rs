//! Keys that are out, for relays.

use lacis_proto::{GroupId, PublicKey};

use super::World;
use crate::{
    Command, Kept, Remover, Row,
    limits::{MAX_DEPARTED, RELAY_TOKEN_MS},
    row::DepartedRow,
};

fn key(n: u8) -> PublicKey {
    PublicKey::try_new([n; 32]).unwrap()
}

fn departed(world: &World) -> Vec<(GroupId, PublicKey)> {
    world.state.departed().map(|DepartedRow { group, key, .. }| (group, key)).collect()
}

#[test]
fn a_key_is_out_when_its_peer_goes_or_takes_another_and_when_its_node_or_group_is_gone() {
    let mut world = World::new();
    let group = world.group.clone();
    let (node, member) = world.join(1);
    let peer = world.add(&node, &member, 1).peer;
    assert_eq!(departed(&world), []);
    world.add(&node, &member, 2);
    assert_eq!(departed(&world), [(group.clone(), key(1))]);
    world.ask(Command::RemovePeer { peer, by: Remover::Node(node) }).unwrap();
    let (second, member) = world.join(2);
    world.add(&second, &member, 3);
    world.ask(Command::RevokeNode { node: second, owner: None }).unwrap();
    let (third, member) = world.join(3);
    world.add(&third, &member, 4);
    world.ask(Command::DeleteGroup { group: group.clone() }).unwrap();
    assert_eq!(departed(&world), [1, 2, 3, 4].map(|n| (group.clone(), key(n))));
    assert_eq!(world.state.departed_at(&group, &key(4)), Some(world.now_ms));
}

#[test]
fn a_departure_is_forgotten_once_no_token_of_before_counts() {
    let mut world = World::new();
    let (node, member) = world.join(1);
    world.add(&node, &member, 1);
    world.add(&node, &member, 2);
    world.now_ms += RELAY_TOKEN_MS;
    assert!(!world.has_effect(&Command::Forget(Kept::default())));
    world.now_ms += 1;
    world.ask(Command::Forget(Kept::default())).unwrap();
    assert_eq!(departed(&world), []);
}

#[test]
fn of_too_many_departures_the_oldest_are_forgotten() {
    let mut world = World::new();
    let group = world.group.clone();
    let row = |n: u32| {
        let mut key = [1; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        let (key, at_ms) = (PublicKey::try_new(key).unwrap(), u64::from(n));
        Row::Departed(DepartedRow { group: group.clone(), key, at_ms })
    };
    let count = u32::try_from(MAX_DEPARTED).unwrap() + 5;
    world.state.apply((0..count).map(row));
    world.ask(Command::Forget(Kept::default())).unwrap();
    assert_eq!(world.state.departed().count(), MAX_DEPARTED);
    assert_eq!(world.state.departed().map(|row| row.at_ms).min(), Some(5));
}
