//! Every limit is reached: the last one fits, one more is refused or makes room.

use lacis_proto::{Code, GroupId, Host, IdentityKey, MemberId, NodeId, OwnerId, PeerId, TokenId, prefix6_of};

use super::{EPOCH, World};
use crate::{
    Command, DeletedGroupRow, GroupEdit, NewApiToken, Reply, Row, Scopes, decide, limits,
    row::{ApiTokenRow, GroupRow, JoinTokenRow, MemberRow, NodeRow, OwnerRow, PeerRow},
};

/// Sixteen bytes that differ from number to number, and from those that a world draws.
fn bytes(number: usize) -> [u8; 16] {
    let mut bytes = [0xee; 16];
    bytes[..4].copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
    bytes
}

fn identity(number: usize) -> IdentityKey {
    let mut key = [0xee; 32];
    key[..16].copy_from_slice(&bytes(number));
    IdentityKey::try_new(key).unwrap()
}

impl World {
    fn member_row(&self, number: usize) -> MemberRow {
        let id = MemberId::external_from_random(bytes(number));
        let template = self.state.groups[&self.group].members.values().next().unwrap().clone();
        MemberRow { domain: format!("{id}.m.x"), label: id.to_string(), of_node: None, id, ..template }
    }

    /// Takes in rows as if they had always been there.
    fn fill(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.state.apply(rows);
        self.scopes = Scopes::build(&self.state, EPOCH).unwrap();
    }

    #[track_caller]
    fn is_full(&self, command: &Command, most: usize) {
        let facts = crate::Facts {
            now_ms: self.now_ms,
            by: crate::Actor::Control,
            random: crate::Random::new([7; crate::Random::BYTES]),
            applied: None,
        };
        let problem = decide(&self.state, &crate::Batch::default(), command, facts).unwrap_err();
        assert_eq!(problem.code, Code::LimitReached, "{problem}");
        assert!(problem.to_string().contains(&most.to_string()), "{problem}");
    }
}

#[test]
fn an_installation_has_so_many_owners_groups_and_nodes() {
    let mut world = World::new();
    let (node, _) = world.join(1);
    let owners = (1..limits::MAX_OWNERS)
        .map(|n| Row::Owner(OwnerRow { id: OwnerId::from_random(bytes(n)), label: "owner".to_owned() }));
    world.fill(owners);
    world.is_full(&Command::PutOwner { id: None, label: "one more".to_owned() }, limits::MAX_OWNERS);

    let template = world.state.groups[&world.group].row.clone();
    let groups = (1..limits::MAX_GROUPS).map(|n| {
        let id = GroupId::from_random(bytes(n));
        Row::Group(GroupRow { prefix6: prefix6_of(&id), id, ..template.clone() })
    });
    world.fill(groups);
    world.is_full(&world.new_group(None), limits::MAX_GROUPS);

    let template = world.state.nodes[&node].clone();
    let nodes = (1..limits::MAX_NODES).map(|n| {
        let id = NodeId::from_random(bytes(n));
        Row::Node(NodeRow { id, identity: identity(n), ..template.clone() })
    });
    world.fill(nodes);
    world.is_full(&world.join_as(2, &world.token, "web"), limits::MAX_NODES);
}

#[test]
fn a_group_has_so_many_members_and_peers() {
    let mut world = World::new();
    let (node, member) = world.join(1);
    let peer = world.add(&node, &member, 1).peer;
    let group = world.group.clone();
    let template = world.state.groups[&group].peers[&peer].clone();
    let peers = (1..limits::MAX_PEERS).map(|n| {
        let (id, host) = (PeerId::from_random(bytes(n)), Host(u32::try_from(10 + n).unwrap()));
        let instance = id.to_string();
        Row::Peer(PeerRow { id, host, instance, node: None, key: None, ..template.clone() })
    });
    world.fill(peers);
    let (other, of_it) = world.join(200);
    world.is_full(&world.peer(&other, &of_it, 2), limits::MAX_PEERS);

    let members = limits::MAX_MEMBERS - world.state.groups[&group].members.len();
    let rows: Vec<Row> = (0..members).map(|n| Row::Member(world.member_row(n))).collect();
    world.fill(rows);
    world.is_full(&world.linking("app_more", None, None), limits::MAX_MEMBERS);
    world.is_full(&world.join_as(9, &world.token, "web"), limits::MAX_MEMBERS);
    let member = Some(MemberId::parse("app_more").unwrap());
    let (max_uses, lifetime_ms) = (0, None);
    world.is_full(&Command::CreateJoinToken { group, member, max_uses, lifetime_ms }, limits::MAX_MEMBERS);
}

#[test]
fn a_label_stays_unique_in_a_group_that_is_full_of_the_same() {
    let mut world = World::new();
    let (_, first) = world.join(1);
    let named = (2..limits::MAX_LABEL_NUMBER - 1).map(|n| (n, format!("web-{n}")));
    let rows: Vec<Row> =
        named.map(|(n, label)| Row::Member(MemberRow { label, ..world.member_row(n) })).collect();
    world.fill(rows);
    let (_, last) = world.join(200);
    let held = &world.state.groups[&world.group].members;
    assert_eq!(held.len(), limits::MAX_MEMBERS);
    assert_eq!(held[&first].label, "web");
    assert_eq!(held[&last].label, format!("web-{}", limits::MAX_LABEL_NUMBER - 1));
}

#[test]
fn ended_tokens_make_room_and_tokens_that_are_good_do_not() {
    let mut world = World::new();
    let template = world.state.join_tokens[&world.token.0].clone();
    let now_ms = world.now_ms;
    let tokens = (1..limits::MAX_JOIN_TOKENS).map(|n| {
        let id = TokenId::from_bytes(*bytes(n).first_chunk().unwrap());
        let expires_ms = Some(if n == 1 { now_ms + 10 } else { now_ms + 1_000 });
        Row::JoinToken(JoinTokenRow { id, expires_ms, ..template.clone() })
    });
    world.fill(tokens);
    let (group, member) = (world.group.clone(), None);
    let more = Command::CreateJoinToken { group, member, max_uses: 0, lifetime_ms: None };
    world.is_full(&more, limits::MAX_JOIN_TOKENS);
    world.now_ms += 10;
    world.ask(more.clone()).unwrap();
    assert_eq!(world.state.join_tokens.len(), limits::MAX_JOIN_TOKENS);
    world.is_full(&more, limits::MAX_JOIN_TOKENS);

    let template = world.state.api_tokens.values().next().unwrap().clone();
    let tokens = (1..limits::MAX_API_TOKENS).map(|n| {
        let id = TokenId::from_bytes(*bytes(n).first_chunk().unwrap());
        let expires_ms = (n == 1).then_some(now_ms + 100);
        Row::ApiToken(ApiTokenRow { id, expires_ms, ..template.clone() })
    });
    world.fill(tokens);
    let more = Command::CreateApiToken(NewApiToken::all_of(world.owner.clone()));
    world.is_full(&more, limits::MAX_API_TOKENS);
    world.now_ms += 100;
    world.ask(more).unwrap();
    assert_eq!(world.state.api_tokens.len(), limits::MAX_API_TOKENS);
}

#[test]
fn the_oldest_of_the_deleted_groups_is_forgotten() {
    let mut world = World::new();
    let gone = |n: usize| GroupId::from_random(bytes(n));
    let rows = (0..limits::MAX_DELETED_GROUPS).map(|n| {
        let (id, deleted_ms) = (gone(n), u64::try_from(n).unwrap());
        Row::GroupGone(DeletedGroupRow { id, revision: lacis_proto::Revision(1), deleted_ms })
    });
    world.fill(rows);
    let Reply::Group(group) = world.ask(world.new_group(None)).unwrap() else { panic!() };
    world.ask(Command::DeleteGroup { group: group.clone() }).unwrap();
    assert_eq!(world.state.deleted.len(), limits::MAX_DELETED_GROUPS);
    assert!(world.state.deleted.contains_key(&group) && !world.state.deleted.contains_key(&gone(0)));
}

#[test]
fn words_of_people_are_as_long_as_they_may_be() {
    let mut world = World::new();
    let group = world.group.clone();
    let edit = |edit: GroupEdit| Command::EditGroup { group: group.clone(), edit };
    let label = |n: usize| edit(GroupEdit { label: Some("a".repeat(n)), ..GroupEdit::default() });
    let text = |n: usize| edit(GroupEdit { description: Some("a".repeat(n)), ..GroupEdit::default() });
    let tags = |n: usize| {
        let tags = (0..n).map(|n| format!("tag-{n}")).collect();
        edit(GroupEdit { tags: Some(tags), ..GroupEdit::default() })
    };
    let token = world.token.clone();
    let host = |n: usize| Command::Join {
        token: token.0.clone(),
        secret: token.1.clone(),
        identity: identity(1),
        host_name: "a".repeat(n),
        agent: "test".to_owned(),
    };
    let agent = |n: usize| Command::Join {
        token: token.0.clone(),
        secret: token.1.clone(),
        identity: identity(2),
        host_name: "web".to_owned(),
        agent: "a".repeat(n),
    };
    let mut both = |command: &dyn Fn(usize) -> Command, most: usize, field: &str| {
        assert_eq!(world.refused(command(most + 1)).field.as_deref(), Some(field));
        world.ask(command(most)).unwrap();
    };
    both(&label, limits::MAX_LABEL_CHARS, "label");
    both(&text, limits::MAX_DESCRIPTION_CHARS, "description");
    both(&tags, limits::MAX_TAGS, "tags");
    both(&host, limits::MAX_HOST_NAME_BYTES, "host_name");
    both(&agent, limits::MAX_AGENT_BYTES, "agent");
    let (node, member) = world.join(5);
    let Command::AddPeer { request, .. } = world.peer(&node, &member, 5) else { panic!() };
    let named = |n: usize| {
        let request = lacis_proto::PeerRequest { instance: "a".repeat(n), ..request.clone() };
        Command::AddPeer { node: node.clone(), request }
    };
    assert!(world.ask(named(limits::MAX_INSTANCE_BYTES + 1)).is_err());
    world.ask(named(limits::MAX_INSTANCE_BYTES)).unwrap();
}

#[test]
fn an_api_token_names_so_many_groups() {
    let mut world = World::new();
    let template = world.state.groups[&world.group].row.clone();
    let ids: Vec<GroupId> = (0..=limits::MAX_TOKEN_GROUPS).map(|n| GroupId::from_random(bytes(n))).collect();
    world.fill(
        ids.iter()
            .map(|id| Row::Group(GroupRow { prefix6: prefix6_of(id), id: id.clone(), ..template.clone() })),
    );
    let naming = |world: &World, groups: &[GroupId]| {
        let groups = groups.iter().cloned().collect();
        Command::CreateApiToken(NewApiToken { groups, ..NewApiToken::all_of(world.owner.clone()) })
    };
    let (all, fewer) = (naming(&world, &ids), naming(&world, &ids[1..]));
    assert!(!world.has_effect(&all));
    assert!(world.has_effect(&fewer));
}

#[test]
fn a_pool_that_control_chooses_has_the_usual_size_and_stands_in_its_range() {
    let world = World::new();
    let pool = world.state.groups[&world.group].row.pool;
    let (base, prefix) = limits::SUPER_NET;
    assert_eq!(pool.prefix(), limits::POOL_PREFIX);
    assert!(ipnetwork::Ipv4Network::new(base, prefix).unwrap().contains(pool.ip()));
}
