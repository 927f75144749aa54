//! Gateways of one group, joined in memory.

use lacis_proto::{
    Body, Change, GroupRecord, KeyUse, PeerKey, PeerRecord, PeerStatement, Signature, SignedStatement,
};

use super::*;
use crate::fixtures::*;

/// The group's gateway key.
const KEY: u8 = 99;

/// Peers 5, 6 and 7 may be gateways; 9 is a plain client.
struct Lab {
    now: Duration,
    nodes: BTreeMap<u8, Node>,
    group_key: Option<PublicKey>,
    rotations: u32,
    dead: BTreeSet<u8>,
}

#[derive(Default)]
struct Node {
    machine: Gateways,
    held: Option<PublicKey>,
    rotations: u32,
    /// What the shell was asked to do, beside talking.
    done: Vec<GatewayAction>,
}

impl Lab {
    fn new(nodes: &[u8]) -> Self {
        let nodes = nodes.iter().map(|n| (*n, Node::default())).collect();
        Self { now: Duration::from_secs(1), nodes, group_key: None, rotations: 0, dead: BTreeSet::new() }
    }

    /// Three gateways that hold the key.
    fn serving() -> Self {
        let mut lab = Self::new(&[5, 6, 7]);
        lab.group_key = Some(key(KEY));
        lab.nodes.values_mut().for_each(|node| node.held = Some(key(KEY)));
        lab.look(true);
        lab.pass(Duration::from_secs(1));
        lab
    }

    /// Tells everybody how things are; `proven`: whether the nodes have signed their peers' keys.
    fn look(&mut self, proven: bool) {
        let Change::Put(id, Body::Group(record)) = put_group(1) else { unreachable!() };
        let gated = GroupRecord { gateway_key: self.group_key, gateway_rotations: self.rotations, ..record };
        let mut changes = vec![Change::Put(id, Body::Group(gated))];
        for (n, node) in &self.nodes {
            let serving = node.held.filter(|_| node.held == self.group_key);
            let serving = serving.map(|key| PeerKey { r#use: KeyUse::Gateway, key });
            let current = PeerKey { r#use: KeyUse::Current, key: key(*n) };
            let keys = [current].into_iter().chain(serving).collect();
            changes.push(put_record(*n, PeerRecord { keys, gateway: true, ..peer_record(*n, "gate") }));
        }
        changes.push(put_record(9, PeerRecord { node: None, ..peer_record(9, "phone") }));
        let netmaps = netmaps(&[(1, &scope(changes))]);
        let pins: BTreeMap<_, _> =
            [5, 6, 7].into_iter().filter(|_| proven).map(|n| (peer(n), proof(n))).collect();
        for (n, node) in &mut self.nodes {
            let hosted = crate::Hosted {
                peer: peer(*n),
                host: Host((*n).into()),
                gateway_key: node.held,
                gateway_rotations: node.rotations,
                ..hosted(*n)
            };
            let local = Local { hosted: BTreeMap::from([(group(1), hosted)]), ..local(&[1]) };
            node.machine.look(self.now, &netmaps, &local, &pins);
        }
    }

    fn event(&mut self, n: u8, event: GatewayEvent) {
        self.nodes.get_mut(&n).unwrap().machine.handle(self.now, event);
        self.carry();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(100);
            for n in self.nodes.keys().copied().collect::<Vec<_>>() {
                if !self.dead.contains(&n) {
                    self.event(n, GatewayEvent::Tick);
                }
            }
        }
    }

    fn carry(&mut self) {
        let mut said = Vec::new();
        for (n, node) in &mut self.nodes {
            while let Some(action) = node.machine.poll() {
                let from: IpAddr = [10, 1, 0, *n].into();
                match action {
                    GatewayAction::Say { to, bytes, .. } => said.push((from, to, bytes)),
                    GatewayAction::GiveKey { to, .. } => {
                        said.push((from, to, GatewaySecret::new([KEY; 32]).message()));
                    }
                    done @ (GatewayAction::MakeKey { .. }
                    | GatewayAction::TellKey { .. }
                    | GatewayAction::TakeKey { .. }
                    | GatewayAction::Prefer { .. }
                    | GatewayAction::Expect { .. }) => node.done.push(done),
                }
            }
        }
        for (from, to, bytes) in said {
            let number = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.octets()[3],
                IpAddr::V6(_) => panic!("the least address is enough"),
            };
            if self.dead.contains(&number(to)) || self.dead.contains(&number(from)) {
                continue;
            }
            let event = GatewayEvent::Said { group: group(1), from, bytes };
            if let Some(node) = self.nodes.get_mut(&number(to)) {
                node.machine.handle(self.now, event);
                self.carry();
            }
        }
    }

    fn at(&mut self, n: u8, endpoint: &str) {
        let endpoint = endpoint.parse().unwrap();
        self.event(n, GatewayEvent::PeerAt { group: group(1), key: key(9), endpoint });
    }

    fn done(&mut self, n: u8) -> Vec<GatewayAction> {
        std::mem::take(&mut self.nodes.get_mut(&n).unwrap().done)
    }
}

fn proof(n: u8) -> Proof {
    let statement =
        PeerStatement { group: group(1), peer: peer(n), host: Host(n.into()), key: key(n), serial: 1 };
    let identity = lacis_proto::IdentityKey::try_new([n; 32]).unwrap();
    Proof { node: node(n), identity, said: SignedStatement { statement, signature: Signature([0; 64]) } }
}

fn expect(at: &str, call: bool) -> GatewayAction {
    GatewayAction::Expect { group: group(1), client: key(9), at: at.parse().unwrap(), call }
}

fn prefer(via: u8) -> GatewayAction {
    GatewayAction::Prefer { group: group(1), client: key(9), via: key(via) }
}

#[test]
fn the_first_gateway_makes_the_key_once_and_a_later_one_is_given_it() {
    let mut lab = Lab::new(&[5]);
    lab.look(true);
    lab.pass(Duration::from_secs(3));
    assert_eq!(lab.done(5), [GatewayAction::MakeKey { group: group(1), rotations: 0 }]);
    lab.nodes.get_mut(&5).unwrap().held = Some(key(KEY));
    lab.look(true);
    lab.pass(Duration::from_secs(3));
    let told = GatewayAction::TellKey { group: group(1), key: key(KEY), rotations: 0 };
    assert_eq!(lab.done(5), [told], "control may have forgotten it");
    lab.group_key = Some(key(KEY));
    lab.nodes.insert(6, Node::default());
    lab.look(true);
    lab.pass(Duration::from_secs(1));
    let secret = GatewaySecret::new([KEY; 32]);
    let taken = GatewayAction::TakeKey { group: group(1), public: key(KEY), secret, rotations: 0 };
    assert_eq!(lab.done(6)[0], taken);
    assert_eq!(lab.done(5), []);
}

#[test]
fn a_retired_key_is_told_by_nobody_and_another_one_is_made_once_for_each_time() {
    let mut lab = Lab::serving();
    (lab.group_key, lab.rotations) = (None, 1);
    lab.look(true);
    lab.pass(Duration::from_secs(3));
    let made = |rotations| GatewayAction::MakeKey { group: group(1), rotations };
    for n in [5, 6, 7] {
        assert_eq!(lab.done(n), [made(1)]);
    }
    // One has made it, another is asked for before anybody was told of it.
    let node = lab.nodes.get_mut(&5).unwrap();
    (node.held, node.rotations) = (Some(key(71)), 1);
    lab.rotations = 2;
    lab.look(true);
    lab.pass(Duration::from_secs(3));
    assert_eq!(lab.done(5), [made(2)]);
    // What was made since is told, also to a control that was set back.
    let node = lab.nodes.get_mut(&5).unwrap();
    (node.held, node.rotations) = (Some(key(72)), 2);
    let told = || GatewayAction::TellKey { group: group(1), key: key(72), rotations: 2 };
    for rotations in [2, 0] {
        lab.rotations = rotations;
        lab.look(true);
        lab.pass(Duration::from_secs(3));
        assert_eq!(lab.done(5), [told()], "after {rotations} rotations");
    }
}

#[test]
fn a_fellow_whose_key_nobody_has_signed_is_given_nothing() {
    let mut lab = Lab::new(&[5, 6]);
    lab.group_key = Some(key(KEY));
    lab.nodes.get_mut(&5).unwrap().held = Some(key(KEY));
    lab.look(false);
    lab.pass(Duration::from_secs(3));
    assert_eq!(lab.done(6), []);
    lab.look(true);
    lab.pass(Duration::from_secs(1));
    assert!(matches!(lab.done(6)[0], GatewayAction::TakeKey { .. }));
}

#[test]
fn a_key_that_nobody_asked_for_and_bytes_of_strangers_are_passed_over() {
    let mut lab = Lab::serving();
    for from in [[10, 1, 0, 6], [10, 1, 0, 9], [192, 0, 2, 1]] {
        for bytes in [GatewaySecret::new([7; 32]).message(), vec![2], vec![1, 2, 3], Vec::new()] {
            let is_fellow_asking = from == [10, 1, 0, 6] && bytes == [2];
            let event = GatewayEvent::Said { group: group(1), from: from.into(), bytes };
            lab.nodes.get_mut(&5).unwrap().machine.handle(lab.now, event);
            let action = lab.nodes.get_mut(&5).unwrap().machine.poll();
            assert_eq!(matches!(action, Some(GatewayAction::GiveKey { .. })), is_fellow_asking);
        }
    }
    assert_eq!(lab.done(5), []);
}

#[test]
fn fellows_hear_at_once_where_a_client_is_and_keep_to_the_latest_word() {
    let mut lab = Lab::serving();
    lab.at(5, "192.0.2.9:1");
    assert_eq!(lab.done(6), [prefer(5), expect("192.0.2.9:1", false)]);
    lab.pass(Duration::from_secs(2));
    assert_eq!(lab.done(6), [], "what was said before says nothing new");
    lab.at(6, "192.0.2.9:2");
    assert_eq!(lab.done(5), [prefer(6), expect("192.0.2.9:2", false)]);
    lab.pass(Duration::from_secs(2));
    assert_eq!((lab.done(5), lab.done(6)), (vec![], vec![]));
    assert_eq!(
        lab.done(7),
        [prefer(5), expect("192.0.2.9:1", false), prefer(6), expect("192.0.2.9:2", false)]
    );
}

#[test]
fn of_those_that_live_the_first_calls_the_clients_of_one_that_died() {
    let mut lab = Lab::serving();
    lab.at(5, "192.0.2.9:1");
    lab.done(6);
    lab.done(7);
    lab.dead.insert(5);
    lab.pass(Duration::from_secs(4));
    assert_eq!(lab.done(6), [expect("192.0.2.9:1", true)]);
    assert_eq!(lab.done(7), []);
    lab.at(6, "192.0.2.9:1");
    lab.dead.insert(6);
    lab.pass(Duration::from_secs(4));
    assert_eq!(lab.done(7).last(), Some(&expect("192.0.2.9:1", true)));
}

#[test]
fn a_pause_shorter_than_three_seconds_is_no_death() {
    let mut lab = Lab::serving();
    lab.at(5, "192.0.2.9:1");
    lab.done(6);
    lab.dead.insert(5);
    lab.pass(Duration::from_millis(2_000));
    lab.dead.remove(&5);
    lab.pass(Duration::from_secs(5));
    assert_eq!(lab.done(6), []);
}

#[test]
fn a_beat_tells_of_so_many_clients_and_all_of_them_have_their_turn() {
    let at = "192.0.2.9:1".parse().unwrap();
    let mut set = Set::new(Host(5));
    let most = GATEWAY_CLAIMS * GATEWAY_DATAGRAMS;
    let all: BTreeSet<_> = (1..=250).map(key).collect();
    for client in &all {
        set.places.insert(*client, Place { by: None, at, since: Duration::ZERO, called: false });
    }
    let mut told = BTreeSet::new();
    for _ in 0..all.len().div_ceil(most) {
        let turn = set.next_claims(Duration::from_secs(1));
        assert_eq!(turn.len(), most);
        told.extend(turn.into_iter().map(|claim| claim.client));
    }
    assert_eq!(told, all);
    let datagram = Message::Beat(set.next_claims(Duration::ZERO)[..GATEWAY_CLAIMS].to_vec()).encode();
    assert!(datagram.len() <= 1_280 - 48, "it fits the least MTU of IPv6");
}
