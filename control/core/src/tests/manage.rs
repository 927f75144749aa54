//! What clients of the management API may do, and what follows.

use std::collections::BTreeSet;

use lacis_proto::{ApiToken, Code, Revision, ScopeId, TokenId};

use super::World;
use crate::{
    Access, Command, GroupEdit, NewApiToken, NewGroup, NewMember, Reply, Row, api_token, receipt, search,
};

#[test]
fn linking_again_is_without_effect_and_saying_anew_changes_what_is_said() {
    let mut world = World::new();
    let Reply::At(first) = world.link("app_1", Some("web"), None).unwrap() else { panic!() };
    let same = world.linking("app_1", Some("web"), None);
    assert!(!world.has_effect(&same));
    let less = world.linking("app_1", None, None);
    assert!(!world.has_effect(&less), "what is left out stays");
    let Reply::At(second) = world.link("app_1", Some("shop"), None).unwrap() else { panic!() };
    assert_eq!(second, first.next());
    let edit = Command::EditMember {
        group: world.group.clone(),
        member: lacis_proto::MemberId::parse("app_9").unwrap(),
        label: None,
        domain: None,
    };
    assert_eq!(world.refused(edit).code, Code::NotFound);
}

#[test]
fn unlinking_takes_peers_grants_and_ways_back() {
    let mut world = World::new();
    let group = world.group.clone();
    let token = world.new_member_token("app_1");
    world.ask(world.join_as(1, &token, "web")).unwrap();
    let member = lacis_proto::MemberId::parse("app_1").unwrap();
    let node = world.state.nodes().next().unwrap().id.clone();
    let peer = world.add(&node, &member, 1);
    let external = world.register("app_1", Some(2), Vec::new()).unwrap();
    let unlink = Command::UnlinkMember { group: group.clone(), member: member.clone(), force: false };
    world.ask(unlink.clone()).unwrap();
    assert!(!world.has_effect(&unlink), "a replay is harmless");
    let held = &world.state.groups[&group];
    assert!(held.peers.is_empty() && held.members.is_empty() && world.state.grants.is_empty());
    for gone in [&peer.peer, &external.peer] {
        assert!(world.state.tombstones(&ScopeId::from(&group)).any(|(id, _)| id.as_str() == gone.as_str()));
    }
    assert!(world.state.tombstones(&ScopeId::from(&node)).any(|(id, _)| id.as_str() == peer.peer.as_str()));
    assert_eq!(world.refused(world.peer(&node, &member, 1)).code, Code::NoGrant);
    assert_eq!(world.refused(world.join_as(2, &token, "web")).code, Code::TokenRevoked);
    world.link("app_1", None, None).unwrap();
    assert_eq!(world.refused(world.peer(&node, &member, 1)).code, Code::NoGrant, "a link is no grant");
    let again = world.register("app_1", Some(2), Vec::new()).unwrap();
    assert_ne!(again.peer, external.peer);
}

#[test]
fn a_deleted_group_leaves_nothing_and_goes_on_counting_when_made_again() {
    let mut world = World::new();
    let group = world.group.clone();
    let (node, member) = world.join(1);
    world.add(&node, &member, 1);
    world.register(member.as_str(), Some(2), Vec::new()).unwrap();
    let last = world.state.groups[&group].row.revision;
    let delete = Command::DeleteGroup { group: group.clone() };
    world.ask(delete.clone()).unwrap();
    assert!(!world.has_effect(&delete), "a replay is harmless");
    assert!(world.state.group(&group).is_none() && world.state.groups_of(&node).next().is_none());
    assert!(
        world.state.grants.is_empty()
            && world.state.join_tokens.is_empty()
            && world.state.join_uses.is_empty()
    );
    assert!(world.scopes.get(&ScopeId::from(&group)).is_none());
    assert_eq!(world.refused(world.peer(&node, &member, 1)).code, Code::NoGrant);

    let said = GroupEdit { label: Some("again".to_owned()), ..GroupEdit::default() };
    let again = Command::CreateGroup(world.group_said(Some(group.clone()), said));
    world.ask(again.clone()).unwrap();
    assert_eq!(world.state.groups[&group].row.revision, Revision(last.0 + 2));
    world.batch(&[delete.clone(), again.clone(), delete, again]);
    assert_eq!(
        world.state.groups[&group].row.revision,
        Revision(last.0 + 5),
        "a group that comes and goes within one commit spends one"
    );
}

#[test]
fn a_group_is_made_with_its_members_and_changed_by_saying_it_anew() {
    let mut world = World::new();
    let id = lacis_proto::GroupId::from_random([9; 16]);
    let member = |id: &str, label: &str| NewMember {
        id: lacis_proto::MemberId::parse(id).unwrap(),
        kind: None,
        label: Some(label.to_owned()),
        domain: None,
    };
    let edit = GroupEdit { label: Some("shop".to_owned()), ..GroupEdit::default() };
    let plain = world.group_said(Some(id.clone()), edit);
    let new = NewGroup { members: vec![member("app_1", "web"), member("app_1", "web")], ..plain.clone() };
    world.ask(Command::CreateGroup(new.clone())).unwrap();
    assert_eq!(world.state.groups[&id].row.revision, Revision(1), "one commit");
    assert!(!world.has_effect(&Command::CreateGroup(new)));
    let more = NewGroup { members: vec![member("app_2", "db")], ..plain.clone() };
    world.ask(Command::CreateGroup(more)).unwrap();
    assert_eq!(world.state.groups[&id].members.len(), 2);
    let odd = NewGroup { members: vec![member("app_3", "")], ..plain };
    assert_eq!(world.refused(Command::CreateGroup(odd)).field.as_deref(), Some("members.label"));
}

#[test]
fn a_range_grows_from_its_base_and_overlaps_none_of_the_owner() {
    let mut world = World::with_pool("10.9.0.0/24");
    let (node, member) = world.join(1);
    let peer = world.add(&node, &member, 1);
    let group = world.group.clone();
    let to = |pool: &str| {
        let edit = GroupEdit { pool: Some(pool.parse().unwrap()), ..GroupEdit::default() };
        Command::EditGroup { group: group.clone(), edit }
    };
    for (pool, code) in [
        ("10.9.0.0/25", Code::RangeFixed),
        ("10.8.0.0/15", Code::RangeFixed),
        ("10.10.0.0/16", Code::RangeFixed),
        ("8.8.8.0/24", Code::BadRequest),
        ("10.9.0.1/16", Code::BadRequest),
        ("10.128.0.0/9", Code::RangeOverlaps),
    ] {
        let problem = world.refused(to(pool));
        assert_eq!((problem.code, problem.field.as_deref()), (code, Some("networkIp")), "{pool}: {problem}");
    }
    assert!(!world.has_effect(&to("10.9.0.0/24")));
    world.ask(to("10.9.0.0/16")).unwrap();
    let held = &world.state.groups[&group];
    assert_eq!((held.row.pool.prefix(), held.peers[&peer.peer].host), (16, peer.host));
    let overlapping = world.new_group(Some("10.9.128.0/24".parse().unwrap()));
    assert_eq!(world.refused(overlapping).code, Code::RangeOverlaps);
}

#[test]
fn an_api_token_ends_with_its_time_and_sees_what_it_names() {
    let mut world = World::new();
    let groups = BTreeSet::from([world.group.clone()]);
    let asked = NewApiToken {
        label: "ci".to_owned(),
        access: Access::Read,
        groups,
        lifetime_ms: Some(1_000),
        ..NewApiToken::all_of(world.owner.clone())
    };
    let Reply::ApiToken(row, secret) = world.ask(Command::CreateApiToken(asked.clone())).unwrap() else {
        panic!()
    };
    let token = ApiToken { id: row.id.clone(), secret };
    assert!(api_token(&world.state, &token, world.now_ms).is_some_and(|row| row.sees(&world.group)));
    assert!(!row.sees(&lacis_proto::GroupId::from_random([7; 16])) && !row.sees_all());
    assert!(api_token(&world.state, &token, world.now_ms + 1_000).is_none());

    let used =
        Command::NoteApiTokenUses { uses: vec![(row.id.clone(), 5), (TokenId::from_bytes([9; 8]), 5)] };
    world.ask(used.clone()).unwrap();
    assert_eq!(world.state.api_tokens[&row.id].last_used_ms, Some(5));
    assert!(!world.has_effect(&used));
    let other = lacis_proto::OwnerId::from_random([8; 16]);
    let foreign = Command::RevokeApiToken { owner: Some(other), token: row.id.clone() };
    assert_eq!(world.refused(foreign).code, Code::NotFound);
    world.ask(Command::RevokeApiToken { owner: Some(world.owner.clone()), token: row.id.clone() }).unwrap();
    assert!(!world.state.api_tokens.contains_key(&row.id));
    let missing =
        NewApiToken { groups: BTreeSet::from([lacis_proto::GroupId::from_random([7; 16])]), ..asked };
    assert_eq!(world.refused(Command::CreateApiToken(missing)).field.as_deref(), Some("groups"));
}

#[test]
fn search_finds_any_piece_of_an_id_or_a_label_in_any_case() {
    let mut world = World::new();
    world.link("app_1", Some("WebShop"), None).unwrap();
    world.register("app_1", Some(1), Vec::new()).unwrap();
    let count = |query: &str| search(world.state.groups(), query).len();
    assert_eq!(
        (count("MAIN"), count("shop"), count("EXTERNAL_"), count("app_"), count("none")),
        (1, 1, 1, 1, 0)
    );
    assert_eq!(count(""), 3);
}

#[test]
fn a_receipt_waits_for_connected_agents_only() {
    let mut world = World::new();
    let nodes: Vec<_> = (1..=3).map(|identity| world.join(identity)).collect();
    for (key, (node, member)) in (1..).zip(&nodes) {
        world.add(node, member, key);
    }
    let held = &world.state.groups[&world.group];
    let revision = held.row.revision;
    let at = |node: &lacis_proto::NodeId| {
        [Some(revision), Some(Revision(revision.0 - 1)), None]
            [nodes.iter().position(|(id, _)| id == node).unwrap()]
    };
    let receipt = receipt(held, revision, at);
    assert_eq!((receipt.applied, receipt.missing.len(), receipt.away), (1, 1, 1));
    assert_eq!(receipt.missing[0], nodes[1].0);
    assert!(!receipt.is_complete());
    let within = crate::confirm_within_ms;
    assert_eq!((within(3, true), within(20, true), within(10_000, true)), (20, 40, 1_000), "at once");
    assert_eq!((within(3, false), within(10_000, false)), (1_000, 20_000), "500 reports a second at most");
}

#[test]
fn every_deed_names_who_did_it() {
    let mut world = World::new();
    world.link("app_1", None, None).unwrap();
    assert!(world.audit.iter().all(|row| row.actor.to_string() == "control"));
    let rows = [Row::Audit(world.audit[0].clone())];
    let before = world.state.clone();
    world.state.apply(rows);
    assert!(world.state == before, "what was done is never read back");
}
