//! One rule each.

use lacis_proto::{
    Code, Endpoint, EndpointKind, GroupId, Host, PeerReport, PeerRequest, PublicKey, RecordId, RelayHome,
    RelayId, Revision, Secret,
};

use super::World;
use crate::{Command, GroupEdit, NewGroup, Remover, Reply, limits};

#[test]
fn a_join_is_idempotent_on_identity_and_token() {
    let mut world = World::new();
    let group = world.group.clone();
    let once = world.new_token(&group, 1);
    let first = format!("{:?}", world.ask(world.join_as(1, &once, "web")).unwrap());
    assert!(!world.has_effect(&world.join_as(1, &once, "web")));
    world.now_ms += 1_000_000;
    let again = format!("{:?}", world.ask(world.join_as(1, &once, "other")).unwrap());
    assert_eq!(first, again, "used up and expired, yet the answer may have been lost");
    assert_eq!(world.state.join_tokens[&once.0].uses, 1);
}

#[test]
fn each_end_of_a_token_is_told_apart() {
    let mut world = World::new();
    let group = world.group.clone();
    let token = world.new_token(&group, 1);
    world.ask(world.join_as(1, &token, "web")).unwrap();
    assert_eq!(world.refused(world.join_as(2, &token, "web")).code, Code::TokenUsedUp);
    let expired = world.new_token(&group, 0);
    world.now_ms += 60_000;
    assert_eq!(world.refused(world.join_as(2, &expired, "web")).code, Code::TokenExpired);
    world.ask(Command::RevokeJoinToken { token: token.0.clone() }).unwrap();
    assert_eq!(world.refused(world.join_as(1, &token, "web")).code, Code::TokenRevoked);
    let wrong = (token.0, Secret::new([9; 32]));
    assert_eq!(world.refused(world.join_as(1, &wrong, "web")).code, Code::TokenUnknown);
}

#[test]
fn a_node_of_its_own_gets_a_label_that_no_other_member_has() {
    let mut world = World::new();
    let token = world.token.clone();
    for (identity, host_name) in (1..).zip(["web.example", "WEB", "web", "", "日本", &"a".repeat(80)]) {
        world.ask(world.join_as(identity, &token, host_name)).unwrap();
    }
    let mut labels: Vec<&str> =
        world.state.groups[&world.group].members.values().map(|member| member.label.as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, [&"a".repeat(63), "node", "node-2", "web", "web-2", "web-3"]);
    let problem = world.refused(world.join_as(99, &token, "a\nb"));
    assert_eq!((problem.code, problem.field.as_deref()), (Code::BadRequest, Some("host_name")));
    assert_eq!(world.refused(world.join_as(99, &token, &"a".repeat(254))).code, Code::BadRequest);
}

#[test]
fn hosts_are_given_in_order_and_again_only_after_their_rest() {
    let mut world = World::with_pool("10.9.0.0/29");
    let nodes: Vec<_> = (1..=3).map(|identity| world.join(identity)).collect();
    let first = world.add(&nodes[0].0, &nodes[0].1, 1);
    let second = world.add(&nodes[1].0, &nodes[1].1, 2);
    assert_eq!((first.host, second.host), (Host(5), Host(6)));
    let full = world.refused(world.peer(&nodes[2].0, &nodes[2].1, 3));
    assert_eq!(full.code, Code::PoolExhausted);
    for part in ["shop", world.group.as_str(), "10.9.0.0/29", "2 peers"] {
        assert!(full.message.contains(part), "{part}: {}", full.message);
    }

    world.ask(Command::RemovePeer { peer: first.peer, by: Remover::Node(nodes[0].0.clone()) }).unwrap();
    let removed = world.state.groups[&world.group].row.revision;
    assert!(world.refused(world.peer(&nodes[2].0, &nodes[2].1, 3)).message.contains("rest"));
    world.now_ms += limits::HOST_REST_MS;
    world.applied = Some(Revision(removed.0 - 1));
    let waits = world.refused(world.peer(&nodes[2].0, &nodes[2].1, 3));
    assert_eq!(waits.code, Code::PoolExhausted, "a connected agent does not know of the removal yet");
    world.applied = Some(removed);
    assert_eq!(world.add(&nodes[2].0, &nodes[2].1, 3).host, Host(5));
}

#[test]
fn a_clock_that_goes_back_does_not_exhaust_a_pool() {
    let mut world = World::with_pool("10.9.0.0/29");
    world.now_ms += 20_000;
    let nodes: Vec<_> = (1..=3).map(|identity| world.join(identity)).collect();
    let first = world.add(&nodes[0].0, &nodes[0].1, 1);
    world.add(&nodes[1].0, &nodes[1].1, 2);
    world.ask(Command::RemovePeer { peer: first.peer, by: Remover::Owner { force: false } }).unwrap();
    world.now_ms -= 15_000;
    assert_eq!(world.add(&nodes[2].0, &nodes[2].1, 3).host, first.host);
}

#[test]
fn the_longest_rested_host_comes_first() {
    let mut world = World::with_pool("10.9.0.0/29");
    let nodes: Vec<_> = (1..=2).map(|identity| world.join(identity)).collect();
    let peers: Vec<_> = (1..).zip(&nodes).map(|(key, (node, member))| world.add(node, member, key)).collect();
    for peer in peers.into_iter().rev() {
        world.ask(Command::RemovePeer { peer: peer.peer, by: Remover::Owner { force: false } }).unwrap();
        world.now_ms += 10_000;
    }
    let (node, member) = world.join(1);
    assert_eq!(world.add(&node, &member, 1).host, Host(6));
}

#[test]
fn a_node_takes_its_peer_over_with_a_new_key_and_instance() {
    let mut world = World::new();
    let (node, member) = world.join(1);
    let first = world.add(&node, &member, 1);
    assert!(!world.has_effect(&world.peer(&node, &member, 1)));
    let again = world.add(&node, &member, 2);
    assert_eq!((again.peer, again.host), (first.peer, first.host));
    assert_eq!(again.version.0, first.version.0 + 1);
}

#[test]
fn keys_instances_and_members_are_not_shared() {
    let mut world = World::new();
    let group = world.group.clone();
    let member = lacis_proto::MemberId::parse("app_1").unwrap();
    let ask = |group: &GroupId, member: &str| Command::CreateJoinToken {
        group: group.clone(),
        member: Some(lacis_proto::MemberId::parse(member).unwrap()),
        max_uses: 0,
        lifetime_ms: None,
    };
    let Reply::JoinToken(row, secret) = world.ask(ask(&group, "app_1")).unwrap() else { panic!() };
    world.token = (row.id, secret);
    let (a, b) = (world.join(1).0, world.join(2).0);
    world.add(&a, &member, 1);
    let same_key = |instance: &str, key: u8| {
        let request = PeerRequest {
            group: group.clone(),
            member: member.clone(),
            instance: instance.to_owned(),
            key: PublicKey::try_new([key; 32]).unwrap(),
            label: "x".to_owned(),
            endpoints: Vec::new(),
            statement: None,
        };
        Command::AddPeer { node: b.clone(), request }
    };
    assert_eq!(world.refused(same_key("other", 1)).code, Code::KeyTaken);
    let taken = world.refused(same_key("instance-1", 2));
    assert_eq!((taken.code, taken.field.as_deref()), (Code::MemberConflict, Some("instance")));
    assert_eq!(world.refused(same_key("", 2)).code, Code::BadRequest);

    let Reply::JoinToken(row, secret) = world.ask(ask(&group, "app_2")).unwrap() else { panic!() };
    let conflict = world.refused(world.join_as(1, &(row.id, secret), "web"));
    assert_eq!(conflict.code, Code::MemberConflict);
    assert!(conflict.message.contains("app_1") && conflict.message.contains("app_2"), "{conflict}");
    let other = lacis_proto::MemberId::parse("app_2").unwrap();
    assert_eq!(world.refused(world.peer(&a, &other, 3)).code, Code::NoGrant);
}

#[test]
fn only_a_changed_set_of_endpoints_is_an_effect() {
    let mut world = World::new();
    let (node, member) = world.join(1);
    let peer = world.add(&node, &member, 1).peer;
    let report = |ports: &[u16]| {
        let endpoints = ports
            .iter()
            .map(|port| Endpoint { kind: EndpointKind::Host, addr: ([192, 0, 2, 1], *port).into() });
        let peers = vec![PeerReport {
            peer: peer.clone(),
            endpoints: endpoints.collect(),
            relays: None,
            statement: None,
            gateway: None,
        }];
        Command::Report { node: node.clone(), peers }
    };
    assert!(!world.has_effect(&report(&[])));
    world.ask(report(&[1, 2])).unwrap();
    assert!(!world.has_effect(&report(&[2, 1, 2, 0])), "order, copies and port 0 say nothing");
    let many: Vec<u16> = (1..=20).collect();
    world.ask(report(&many)).unwrap();
    assert_eq!(world.state.groups[&world.group].peers[&peer].endpoints.len(), 8);
}

#[test]
fn homes_are_kept_by_rank_until_others_are_told() {
    let mut world = World::new();
    let (node, member) = world.join(1);
    let peer = world.add(&node, &member, 1).peer;
    let relay = |n: u8| RecordId::from(&RelayId::from_random([n; 16]));
    let home = |n: u8, rank| RelayHome { relay: relay(n), rank };
    let report = |relays: Option<Vec<RelayHome>>| {
        let peer = peer.clone();
        let peers = vec![PeerReport { peer, endpoints: Vec::new(), relays, statement: None, gateway: None }];
        Command::Report { node: node.clone(), peers }
    };
    let told = |world: &World| world.state.groups[&world.group].peers[&peer].relays.clone();
    assert!(!world.has_effect(&report(None)) && !world.has_effect(&report(Some(Vec::new()))));

    let before = world.state.groups[&world.group].row.revision;
    world.ask(report(Some(vec![home(2, 9), home(1, 4), home(1, 5), home(3, 200)]))).unwrap();
    assert_eq!(told(&world), [home(1, 0), home(2, 1)], "at most two, each once, counted anew");
    assert!(world.state.groups[&world.group].row.revision > before, "others are told");
    assert!(!world.has_effect(&report(Some(vec![home(1, 0), home(2, 1)]))));
    assert!(!world.has_effect(&report(None)), "an agent that does not know yet changes nothing");

    let foreign = RelayHome { relay: RecordId::parse("app_1").unwrap(), rank: 0 };
    world.ask(report(Some(vec![foreign, home(2, 1)]))).unwrap();
    assert_eq!(told(&world), [home(2, 0)], "what is no relay is passed over");
    world.add(&node, &member, 2);
    assert_eq!(told(&world), [home(2, 0)], "a new key changes no home");
    world.ask(report(Some(Vec::new()))).unwrap();
    assert_eq!(told(&world), []);
}

#[test]
fn a_node_cannot_touch_the_peers_of_others() {
    let mut world = World::new();
    let (a, b) = (world.join(1), world.join(2));
    let peer = world.add(&a.0, &a.1, 1).peer;
    let remove = Command::RemovePeer { peer: peer.clone(), by: Remover::Node(b.0.clone()) };
    assert_eq!(world.refused(remove).code, Code::NotFound);
    let peers = vec![PeerReport {
        peer,
        endpoints: vec![Endpoint { kind: EndpointKind::Host, addr: ([192, 0, 2, 1], 1).into() }],
        relays: None,
        statement: None,
        gateway: None,
    }];
    assert!(!world.has_effect(&Command::Report { node: b.0, peers }));
}

#[test]
fn a_revoked_node_loses_its_peers_and_is_not_let_in_again() {
    let mut world = World::new();
    let (node, member) = world.join(1);
    world.add(&node, &member, 1);
    let revoke = Command::RevokeNode { node: node.clone(), owner: None };
    world.ask(revoke.clone()).unwrap();
    assert!(!world.has_effect(&revoke));
    assert!(world.state.groups[&world.group].peers.is_empty() && world.state.grants.is_empty());
    let token = world.token.clone();
    assert_eq!(world.refused(world.join_as(1, &token, "web")).code, Code::NodeRevoked);
    assert_eq!(world.refused(world.peer(&node, &member, 1)).code, Code::NodeRevoked);
}

#[test]
fn pools_do_not_overlap_while_there_are_free_ones() {
    let mut world = World::new();
    for _ in 1..128 {
        world.ask(world.new_group(None)).unwrap();
    }
    let pools: Vec<_> = world.state.groups().map(|group| group.row.pool).collect();
    for (at, pool) in pools.iter().enumerate() {
        assert!(pools[at + 1..].iter().all(|other| !pool.overlaps(*other)), "{pool}");
    }
    world.ask(world.new_group(None)).unwrap();
}

#[test]
fn odd_groups_are_refused_with_the_field() {
    let mut world = World::new();
    let Command::CreateGroup(plain) = world.new_group(None) else { panic!() };
    let cases: [(GroupEdit, &str); 6] = [
        (GroupEdit { label: Some(String::new()), ..plain.edit.clone() }, "label"),
        (GroupEdit { label: Some("a".repeat(129)), ..plain.edit.clone() }, "label"),
        (GroupEdit { label: None, ..plain.edit.clone() }, "label"),
        (GroupEdit { description: Some("\u{7}".to_owned()), ..plain.edit.clone() }, "description"),
        (GroupEdit { pool: Some("8.8.8.0/24".parse().unwrap()), ..plain.edit.clone() }, "networkIp"),
        (GroupEdit { tags: Some(vec!["x".to_owned(); 33]), ..plain.edit.clone() }, "tags"),
    ];
    for (edit, field) in cases {
        let new = NewGroup { edit, ..plain.clone() };
        assert_eq!(world.refused(Command::CreateGroup(new)).field.as_deref(), Some(field));
    }
    let again = NewGroup { id: Some(world.group.clone()), edit: GroupEdit::default(), ..plain };
    assert!(!world.has_effect(&Command::CreateGroup(again)), "a replay answers the group that is there");
}

#[test]
fn a_batch_shares_one_revision_and_a_refusal_rolls_nobody_back() {
    let mut world = World::new();
    let nodes: Vec<_> = (1..=3).map(|identity| world.join(identity)).collect();
    let before = world.state.groups[&world.group].row.revision;
    let commands = [
        world.peer(&nodes[0].0, &nodes[0].1, 1),
        world.peer(&nodes[1].0, &nodes[0].1, 9),
        world.peer(&nodes[1].0, &nodes[1].1, 2),
        world.peer(&nodes[2].0, &nodes[2].1, 1),
    ];
    let replies = world.batch(&commands);
    let codes: Vec<_> =
        replies.iter().map(|reply| reply.as_ref().err().map(|problem| problem.code)).collect();
    assert_eq!(codes, [None, Some(Code::NoGrant), None, Some(Code::KeyTaken)]);
    assert_eq!(world.state.groups[&world.group].row.revision, before.next());
    let refused = [world.peer(&nodes[2].0, &nodes[2].1, 1)];
    world.batch(&refused);
    assert_eq!(world.state.groups[&world.group].row.revision, before.next(), "no effect, no revision");
}

#[test]
fn a_registered_peer_has_an_address_and_no_node() {
    let mut world = World::new();
    let group = world.group.clone();
    world.new_member_token("app_1");
    let server = vec![Endpoint { kind: EndpointKind::Static, addr: ([192, 0, 2, 9], 51820).into() }];
    let first = world.register("app_1", Some(1), server.clone()).unwrap();
    let again = world.register("app_1", Some(1), server.clone()).unwrap();
    assert_eq!((&first.peer, first.host, first.version), (&again.peer, again.host, again.version));
    assert!(first.peer.is_external());
    let id = RecordId::from(&first.peer);
    let record = world.scope(&group).live(&id).unwrap();
    let lacis_proto::Body::Peer(body) = &record.body else { panic!("{record:?}") };
    assert_eq!((&body.node, &body.endpoints), (&None, &server));
    assert!(!serde_json::to_string(record).unwrap().contains("node"), "absent, not null");

    let moved = world.register("app_1", Some(1), Vec::new()).unwrap();
    assert_eq!((moved.peer, moved.version.0), (first.peer.clone(), first.version.0 + 1));
    world.new_member_token("app_2");
    let taken = world.register("app_2", Some(1), Vec::new()).unwrap_err();
    assert_eq!((taken.code, taken.field.as_deref()), (Code::KeyTaken, Some("publicKey")));
    assert_eq!(world.register("app_3", Some(2), Vec::new()).unwrap_err().code, Code::NotFound);
    let (node, member) = world.join(1);
    assert_eq!(world.refused(world.peer(&node, &member, 1)).code, Code::KeyTaken);

    let keyless = world.register("app_2", None, Vec::new()).unwrap();
    let record = world.scope(&group).live(&RecordId::from(&keyless.peer)).unwrap();
    assert!(matches!(&record.body, lacis_proto::Body::Peer(peer) if peer.keys.is_empty()));
    world.ask(Command::RemovePeer { peer: first.peer, by: Remover::Owner { force: false } }).unwrap();
    assert!(world.scope(&group).live(&id).is_none());
}
