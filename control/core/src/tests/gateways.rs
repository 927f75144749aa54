//! Gateways: offers, choices, and the one key.

use lacis_proto::{Body, Code, GatewayReport, GroupRecord, KeyUse, PeerId, PeerRecord, PeerReport, RecordId};

use super::*;
use crate::{GatewayEdit, Remover};

fn key(n: u8) -> PublicKey {
    PublicKey::try_new([n; 32]).unwrap()
}

fn offer(key: Option<u8>) -> Option<GatewayReport> {
    Some(GatewayReport { offered: true, key: key.map(self::key), ..GatewayReport::default() })
}

impl World {
    fn tells(&mut self, node: &NodeId, peer: &PeerId, gateway: Option<GatewayReport>) {
        let command = self.telling(node, peer, gateway);
        self.ask(command).unwrap();
    }

    fn telling(&self, node: &NodeId, peer: &PeerId, gateway: Option<GatewayReport>) -> Command {
        let (peer, none) = (peer.clone(), Vec::new());
        let report = PeerReport { peer, endpoints: none, relays: None, statement: None, gateway };
        Command::Report { node: node.clone(), peers: vec![report] }
    }

    fn choose(&mut self, peer: &PeerId, chosen: bool) {
        let edit = GatewayEdit { chosen: Some(chosen), ..GatewayEdit::default() };
        self.ask(Command::EditGateway { group: self.group.clone(), peer: peer.clone(), edit }).unwrap();
    }

    fn peer_record(&self, peer: &PeerId) -> PeerRecord {
        let Body::Peer(record) = &self.scope(&self.group).live(&RecordId::from(peer)).unwrap().body else {
            panic!("a peer's record is one")
        };
        record.clone()
    }

    fn group_record(&self) -> GroupRecord {
        let record = self.scope(&self.group).live(&RecordId::from(&self.group)).unwrap();
        let Body::Group(record) = &record.body else { panic!("a group's record is one") };
        record.clone()
    }
}

/// Two nodes with a peer each, keys 1 and 2.
fn two() -> (World, [(NodeId, PeerId); 2]) {
    let mut world = World::new();
    let peers = [1, 2].map(|n| {
        let (node, member) = world.join(n);
        let peer = world.add(&node, &member, n).peer;
        (node, peer)
    });
    (world, peers)
}

#[test]
fn the_first_key_that_a_gateway_tells_is_the_groups_and_stays() {
    let (mut world, [(a, first), (b, second)]) = two();
    world.tells(&a, &first, offer(None));
    assert!(world.peer_record(&first).gateway && world.peer_record(&first).gateway_key().is_none());
    assert_eq!(world.group_record().gateway_key, None);
    world.tells(&a, &first, offer(Some(70)));
    assert_eq!(world.group_record().gateway_key, Some(key(70)));
    assert_eq!(world.peer_record(&first).gateway_key(), Some(key(70)));
    // Another one made its own at the same time: it is no gateway before it holds the first one's.
    world.tells(&b, &second, offer(Some(71)));
    assert_eq!(world.peer_record(&second).gateway_key(), None);
    world.tells(&b, &second, offer(Some(70)));
    assert_eq!(world.peer_record(&second).gateway_key(), Some(key(70)));
    // All of them gone, the key stays.
    world.tells(&a, &first, None);
    world.tells(&b, &second, None);
    assert!(!world.peer_record(&first).gateway && world.peer_record(&second).keys.len() == 1);
    assert_eq!(world.group_record().gateway_key, Some(key(70)));
    world.tells(&b, &second, offer(Some(71)));
    assert_eq!(world.group_record().gateway_key, Some(key(70)));
}

#[test]
fn what_was_told_before_spends_no_revision() {
    let (mut world, [(a, first), _]) = two();
    world.tells(&a, &first, offer(Some(70)));
    assert!(!world.has_effect(&world.telling(&a, &first, offer(Some(70)))));
    assert!(world.has_effect(&world.telling(&a, &first, None)));
}

#[test]
fn an_owners_word_counts_more_than_the_agents() {
    let (mut world, [(a, first), (b, second)]) = two();
    world.choose(&first, false);
    world.tells(&a, &first, offer(Some(70)));
    assert_eq!((world.peer_record(&first).gateway, world.group_record().gateway_key), (false, None));
    world.choose(&second, true);
    assert!(world.peer_record(&second).gateway);
    world.tells(&b, &second, Some(GatewayReport { key: Some(key(71)), ..GatewayReport::default() }));
    assert_eq!(world.peer_record(&second).gateway_key(), Some(key(71)));
    world.choose(&second, false);
    assert!(world.peer_record(&second).keys.iter().all(|key| key.r#use == KeyUse::Current));
    world.tells(&b, &second, Some(GatewayReport { key: Some(key(71)), ..GatewayReport::default() }));
    world.choose(&second, true);
    assert_eq!(world.peer_record(&second).gateway_key(), Some(key(71)), "it holds the key all the time");
}

#[test]
fn only_an_agent_can_be_a_gateway() {
    let (mut world, _) = two();
    world.link("external_00000000-0000-4000-8000-000000000001", Some("phone"), None).unwrap();
    let phone = world.register("external_00000000-0000-4000-8000-000000000001", Some(9), Vec::new()).unwrap();
    let edit = GatewayEdit { chosen: Some(true), ..GatewayEdit::default() };
    let command = Command::EditGateway { group: world.group.clone(), peer: phone.peer, edit };
    assert_eq!(world.refused(command).code, Code::BadRequest);
}

#[test]
fn the_key_of_a_peer_is_no_gateway_key_nor_the_other_way_round() {
    let (mut world, [(a, first), (b, second)]) = two();
    for taken in [1, 2] {
        world.tells(&a, &first, offer(Some(taken)));
        assert_eq!(world.group_record().gateway_key, None);
    }
    world.tells(&a, &first, offer(Some(70)));
    let member = world.peer_record(&second).member;
    assert_eq!(world.refused(world.peer(&b, &member, 70)).code, Code::KeyTaken);
    world.link("external_00000000-0000-4000-8000-000000000001", Some("phone"), None).unwrap();
    let phone = world.register("external_00000000-0000-4000-8000-000000000001", Some(70), Vec::new());
    assert_eq!(phone.unwrap_err().code, Code::KeyTaken);
}

#[test]
fn a_peer_that_is_added_anew_is_still_the_gateway_it_was() {
    let (mut world, [(a, first), _]) = two();
    world.tells(&a, &first, offer(Some(70)));
    let member = world.peer_record(&first).member;
    world.ask(world.peer(&a, &member, 5)).unwrap();
    assert_eq!(world.peer_record(&first).gateway_key(), Some(key(70)));
}

/// What a gateway tells that made this key after so many rotations.
fn made(n: u8, rotations: u32) -> Option<GatewayReport> {
    Some(GatewayReport { rotations, ..offer(Some(n)).unwrap() })
}

#[test]
fn a_retired_key_counts_no_more_and_the_first_that_was_made_since_takes_its_place() {
    let (mut world, [(a, first), (b, second)]) = two();
    world.tells(&a, &first, offer(Some(70)));
    world.tells(&b, &second, offer(Some(70)));
    let group = world.group.clone();
    let rotate = |n| Command::RotateGatewayKey { group: group.clone(), key: key(n) };
    world.ask(rotate(70)).unwrap();
    assert_eq!((world.group_record().gateway_key, world.group_record().gateway_rotations), (None, 1));
    assert!([&first, &second].iter().all(|peer| world.peer_record(peer).gateway_key().is_none()));
    assert!(!world.has_effect(&rotate(70)), "a replay retires nothing");
    // One that missed it, and one that comes back from its disk: both still tell the retired key.
    world.tells(&a, &first, offer(Some(70)));
    assert_eq!(world.group_record().gateway_key, None);
    world.tells(&b, &second, made(71, 1));
    assert_eq!(world.group_record().gateway_key, Some(key(71)));
    world.tells(&a, &first, offer(Some(70)));
    assert_eq!(world.peer_record(&first).gateway_key(), None);
    world.tells(&a, &first, offer(Some(71)));
    assert_eq!(world.peer_record(&first).gateway_key(), Some(key(71)), "whenever it got that key");
    assert!(!world.has_effect(&rotate(70)), "nor does a late one");
    // A key that was retired before the last one is none either.
    world.ask(rotate(71)).unwrap();
    for retired in [offer(Some(70)), made(71, 1)] {
        world.tells(&a, &first, retired);
        assert_eq!(world.group_record().gateway_key, None);
    }
    world.tells(&a, &first, made(72, 2));
    assert_eq!(world.group_record().gateway_key, Some(key(72)));
}

#[test]
fn the_last_gateway_stays_while_plain_clients_need_it_unless_it_is_forced() {
    let (mut world, [(a, first), (b, second)]) = two();
    world.tells(&a, &first, offer(Some(70)));
    let ends = |world: &World, peer: &PeerId, force| {
        let edit = GatewayEdit { chosen: Some(false), force, ..GatewayEdit::default() };
        Command::EditGateway { group: world.group.clone(), peer: peer.clone(), edit }
    };
    world.link("external_00000000-0000-4000-8000-000000000001", Some("phone"), None).unwrap();
    world.register("external_00000000-0000-4000-8000-000000000001", Some(9), Vec::new()).unwrap();
    assert_eq!(world.refused(ends(&world, &first, false)).code, Code::LastGateway);
    // One that is to be a gateway and holds no key yet helps nobody.
    world.choose(&second, true);
    assert_eq!(world.refused(ends(&world, &first, false)).code, Code::LastGateway);
    world.tells(&b, &second, offer(Some(70)));
    world.ask(ends(&world, &first, false)).unwrap();
    assert_eq!(world.refused(ends(&world, &second, false)).code, Code::LastGateway);
    world.ask(ends(&world, &second, true)).unwrap();
    assert_eq!(world.peer_record(&second).gateway_key(), None);
}

#[test]
fn nor_is_the_last_gateway_deleted_or_its_member_unlinked_unless_that_is_forced() {
    const PHONE: &str = "external_00000000-0000-4000-8000-000000000001";
    let (mut world, [(a, first), (b, second)]) = two();
    let deletes =
        |peer: &PeerId, force| Command::RemovePeer { peer: peer.clone(), by: Remover::Owner { force } };
    let unlinks = |world: &World, peer: &PeerId, force| {
        let member = world.peer_record(peer).member;
        Command::UnlinkMember { group: world.group.clone(), member, force }
    };
    for (node, peer) in [(&a, &first), (&b, &second)] {
        world.tells(node, peer, offer(Some(70)));
    }
    world.link(PHONE, Some("phone"), None).unwrap();
    let phone = world.register(PHONE, Some(9), Vec::new()).unwrap().peer;
    world.ask(deletes(&first, false)).unwrap();
    assert_eq!(world.refused(deletes(&second, false)).code, Code::LastGateway);
    assert_eq!(world.refused(unlinks(&world, &second, false)).code, Code::LastGateway);
    world.ask(deletes(&phone, false)).unwrap();
    world.ask(unlinks(&world, &second, false)).unwrap();

    let (mut world, [(a, first), (b, second)]) = two();
    for (node, peer) in [(&a, &first), (&b, &second)] {
        world.tells(node, peer, offer(Some(70)));
    }
    world.link(PHONE, Some("phone"), None).unwrap();
    world.register(PHONE, Some(9), Vec::new()).unwrap();
    // Who runs it may always go.
    world.ask(Command::RemovePeer { peer: first, by: Remover::Node(a) }).unwrap();
    world.ask(deletes(&second, true)).unwrap();
}
