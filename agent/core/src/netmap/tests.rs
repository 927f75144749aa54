use lacis_proto::{Body, Change, KeyUse, Scope};

use super::*;
use crate::fixtures::*;

/// What was left out, one per line.
fn odd(netmap: &Netmap) -> String {
    netmap.odd.iter().map(|(id, why)| format!("{id}: {why}\n")).collect()
}

#[track_caller]
fn check_odd(scope: &Scope, expected: &[(String, &str)]) -> Netmap {
    let netmap = netmap(1, scope);
    let expected: String = expected.iter().map(|(id, why)| format!("{id}: {why}\n")).collect();
    assert_eq!(odd(&netmap), expected);
    netmap
}

#[test]
fn a_group_scope_becomes_members_and_peers_with_addresses() {
    let netmap = check_odd(&small_group(1), &[]);
    assert_eq!(netmap.revision, Revision(6));
    assert_eq!(netmap.members.len(), 2);
    let web = &netmap.peers[&peer(5)];
    assert_eq!(web.addrs.v4.to_string(), "10.1.0.5");
    assert_eq!(u128::from(web.addrs.v6), u128::from(netmap.prefix6.network()) | 5);
    assert_eq!(netmap.resolver.v4.to_string(), "10.1.0.1");
    assert_eq!(netmap.peer_with_key(&key(6)).unwrap().0, &peer(6));
    assert_eq!(netmap.peer_with_addr("10.1.0.7".parse().unwrap()).unwrap().0, &peer(7));
}

#[test]
fn without_a_usable_group_record_there_is_no_netmap() {
    assert_eq!(Netmap::read(&group(1), &scope([put_peer(5, "web")])), None);
    assert_eq!(Netmap::read(&group(1), &scope([put_group(2)])), None);
    let Change::Put(id, Body::Group(record)) = put_group(1) else { unreachable!() };
    let public = GroupRecord { pool: "8.8.0.0/16".parse().unwrap(), ..record.clone() };
    assert_eq!(Netmap::read(&group(1), &scope([Change::Put(id.clone(), Body::Group(public))])), None);
    let wide = GroupRecord { prefix6: "fd00::/48".parse().unwrap(), ..record };
    assert_eq!(Netmap::read(&group(1), &scope([Change::Put(id, Body::Group(wide))])), None);
}

#[test]
fn of_two_peers_with_one_key_or_host_the_older_stays() {
    let same_key = PeerRecord { keys: peer_record(5, "web").keys, ..peer_record(8, "web") };
    let same_host = PeerRecord { host: Host(5), ..peer_record(9, "web") };
    let scope = scope([put_group(1), put_record(9, same_host.clone()), put_peer(5, "web")]);
    check_odd(&scope, &[(peer(5).to_string(), "its host number belongs to an older peer")]);
    let scope = crate::fixtures::scope([
        put_group(1),
        put_peer(5, "web"),
        put_record(8, same_key),
        put_record(9, same_host),
    ]);
    let netmap = check_odd(
        &scope,
        &[
            (peer(8).to_string(), "its key belongs to an older peer"),
            (peer(9).to_string(), "its host number belongs to an older peer"),
        ],
    );
    assert_eq!(netmap.peers.len(), 1);
}

#[test]
fn peers_that_cannot_be_are_left_out() {
    let mut without_key = peer_record(5, "web");
    without_key.keys[0].r#use = KeyUse::Next;
    let outside = PeerRecord { host: Host(70_000), ..peer_record(6, "web") };
    let reserved = PeerRecord { host: Host(1), ..peer_record(7, "web") };
    let misnamed = Change::Put(RecordId::from(&member("x")), Body::Peer(peer_record(8, "web")));
    let scope = scope([
        put_group(1),
        put_record(5, without_key),
        put_record(6, outside),
        put_record(7, reserved),
        misnamed,
    ]);
    let netmap = check_odd(
        &scope,
        &[
            (peer(5).to_string(), "it has no current key"),
            (peer(6).to_string(), "its host number is outside the group's pool"),
            (peer(7).to_string(), "its host number is reserved"),
            ("app_x".into(), "its id is no peer id"),
        ],
    );
    assert!(netmap.peers.is_empty());
}

#[test]
fn a_route_may_not_cover_the_group_and_belongs_to_one_peer() {
    let mut first = peer_record(5, "web");
    first.routes = vec![route("192.168.7.0/24"), route("10.0.0.0/8"), route("::/0")];
    let mut second = peer_record(6, "web");
    second.routes = vec![route("192.168.7.0/24"), route("192.168.8.0/24")];
    let scope = scope([put_group(1), put_record(5, first), put_record(6, second)]);
    let covers = "a route of it covers the group's own addresses";
    let netmap = check_odd(
        &scope,
        &[
            (peer(5).to_string(), covers),
            (peer(5).to_string(), covers),
            (peer(6).to_string(), "a route of it belongs to an older peer"),
        ],
    );
    assert_eq!(netmap.peers[&peer(5)].routes, BTreeSet::from([route("192.168.7.0/24")]));
    assert_eq!(netmap.peers[&peer(6)].routes, BTreeSet::from([route("192.168.8.0/24")]));
}

#[test]
fn a_peer_outlives_a_member_record_that_cannot_be_read() {
    let unknown = Change::Put(RecordId::from(&member("web")), Body::Unknown(Default::default()));
    let scope = scope([put_group(1), unknown, put_peer(5, "web"), put_assignment(1, 9, "web"), put_group(2)]);
    let netmap = netmap(1, &scope);
    assert_eq!(netmap.odd.len(), 3);
    assert_eq!(netmap.peers.len(), 1);
}

#[test]
fn a_flood_of_odd_records_is_named_up_to_a_limit() {
    let mut scope = scope([put_group(1)]);
    scope.commit((0..100).map(|n| {
        Change::Put(RecordId::parse(&format!("rule_{n}")).unwrap(), Body::Unknown(Default::default()))
    }));
    assert_eq!(netmap(1, &scope).odd.len(), MAX_ODD);
}
