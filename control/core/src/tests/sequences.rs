//! I1 and I2 over sequences of operations, batched at random.

use std::collections::BTreeMap;

use lacis_proto::{Endpoint, EndpointKind, Host, PeerReport, Revision};
use proptest::prelude::*;

use super::World;
use crate::{Command, Remover, Reply, limits};

#[derive(Clone, Debug)]
enum Op {
    Join { identity: u8 },
    Add { identity: u8, key: u8 },
    Remove { identity: u8 },
    Report { identity: u8, port: u16 },
    Revoke,
    NewToken { max_uses: u32 },
    Wait { ms: u64 },
    Applied { behind: Option<u64> },
}

fn op() -> impl Strategy<Value = Op> {
    let identity = 1u8..5;
    prop_oneof![
        4 => identity.clone().prop_map(|identity| Op::Join { identity }),
        6 => (identity.clone(), 1u8..9).prop_map(|(identity, key)| Op::Add { identity, key }),
        3 => identity.clone().prop_map(|identity| Op::Remove { identity }),
        2 => (identity, 1u16..4).prop_map(|(identity, port)| Op::Report { identity, port }),
        1 => Just(Op::Revoke),
        1 => (0u32..3).prop_map(|max_uses| Op::NewToken { max_uses }),
        2 => (0u64..8_000).prop_map(|ms| Op::Wait { ms }),
        1 => proptest::option::of(0u64..4).prop_map(|behind| Op::Applied { behind }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hosts_are_unique_and_rested_and_revisions_have_no_gap(
        batches in proptest::collection::vec(proptest::collection::vec(op(), 1..5), 1..25)
    ) {
        let mut world = World::with_pool("10.9.0.0/29");
        let mut rested: BTreeMap<Host, (u64, Revision)> = BTreeMap::new();
        for ops in batches {
            let commands: Vec<Command> = ops.iter().filter_map(|op| step(&mut world, op)).collect();
            let before = world.state.groups[&world.group].clone();
            let replies = world.batch(&commands);
            let after = &world.state.groups[&world.group];
            for peer in after.peers.values() {
                prop_assert!(after.peers.values().filter(|other| other.host == peer.host).count() == 1);
                prop_assert!((5..=6).contains(&peer.host.0));
                let is_new = !before.peers.contains_key(&peer.id);
                if let Some((since, revision)) = rested.remove(&peer.host).filter(|_| is_new) {
                    prop_assert!(world.now_ms >= since + limits::HOST_REST_MS, "host {} had no rest", peer.host);
                    prop_assert!(world.applied.is_none_or(|applied| applied >= revision));
                }
            }
            for (host, released) in &after.released {
                rested.insert(*host, (released.released_ms, released.revision));
            }
            prop_assert!(after.row.revision.0 - before.row.revision.0 <= 1, "one batch, one revision");
            let grown = replies.iter().any(|reply| matches!(reply, Ok(Reply::Peer(_))));
            prop_assert!(grown || after.peers.len() <= before.peers.len());
        }
    }

    #[test]
    fn what_was_answered_is_answered_again_without_effect(
        ops in proptest::collection::vec(op(), 1..60)
    ) {
        let mut world = World::with_pool("10.9.0.0/29");
        for op in &ops {
            let Some(command) = step(&mut world, op) else { continue };
            if world.ask(command.clone()).is_ok() {
                prop_assert!(!world.has_effect(&command), "{command:?}");
            }
        }
    }
}

/// The command of an operation in this world; none where it only moves the world.
fn step(world: &mut World, op: &Op) -> Option<Command> {
    let of = |world: &World, identity: u8| {
        let key = lacis_proto::IdentityKey::try_new([identity; 32]).unwrap();
        world.state.node_of.get(&key).cloned()
    };
    let hosted = |world: &World, identity: u8| {
        let node = of(world, identity)?;
        Some((world.state.groups[&world.group].peer_of(&node)?.id.clone(), node))
    };
    match op {
        Op::Join { identity } => Some(world.join_as(*identity, &world.token, "web")),
        Op::Add { identity, key } => {
            let node = of(world, *identity)?;
            let grants = world.state.grants.keys();
            let member =
                grants.filter(|(n, g, _)| *n == node && *g == world.group).map(|(_, _, m)| m).next()?;
            Some(world.peer(&node, member, *key))
        }
        Op::Remove { identity } => {
            let (peer, node) = hosted(world, *identity)?;
            Some(Command::RemovePeer { peer, by: Remover::Node(node) })
        }
        Op::Report { identity, port } => {
            let (peer, node) = hosted(world, *identity)?;
            let addr = ([192, 0, 2, 1], *port).into();
            let endpoints = vec![Endpoint { kind: EndpointKind::Host, addr }];
            Some(Command::Report {
                node,
                peers: vec![PeerReport { peer, endpoints, relays: None, statement: None, gateway: None }],
            })
        }
        Op::Revoke => Some(Command::RevokeJoinToken { token: world.token.0.clone() }),
        Op::NewToken { max_uses } => {
            let group = world.group.clone();
            world.token = world.new_token(&group, *max_uses);
            None
        }
        Op::Wait { ms } => {
            world.now_ms += ms;
            None
        }
        Op::Applied { behind } => {
            let revision = world.state.groups[&world.group].row.revision.0;
            world.applied = behind.map(|behind| Revision(revision.saturating_sub(behind)));
            None
        }
    }
}
