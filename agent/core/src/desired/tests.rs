use lacis_proto::{Body, Change, PeerRecord};

use super::*;
use crate::fixtures::*;

#[test]
fn an_interface_name_fits_the_operating_system_and_follows_from_the_group() {
    let name = interface_name(&group(1));
    assert_eq!(name.len(), 11);
    assert!(name.starts_with("lcs") && name[3..].bytes().all(|b| b.is_ascii_hexdigit()));
    assert_ne!(name, interface_name(&group(2)));
}

#[test]
fn a_group_becomes_an_interface_with_everybody_but_oneself() {
    let want = desired(3, &netmaps(&[(1, &small_group(1))]), &local(&[1]));
    let interface = &want.interfaces[&group(1)];
    assert_eq!((want.revision, interface.mtu, interface.revision), (3, 1400, Revision(6)));
    assert_eq!(interface.own.v4.to_string(), "10.1.0.5");
    assert_eq!(interface.resolver.v4.to_string(), "10.1.0.1");
    let routes: Vec<_> = interface.routes.iter().map(|route| (route.to.to_string(), route.from)).collect();
    assert_eq!(routes[0], ("10.1.0.0/16".into(), interface.own.v4.into()));
    assert_eq!(routes[1].1, IpAddr::from(interface.own.v6));
    assert_eq!(interface.peers.keys().copied().collect::<Vec<_>>(), [key(6), key(7)]);
    let allowed: Vec<_> = interface.peers[&key(7)].allowed.iter().map(ToString::to_string).collect();
    assert_eq!(allowed.len(), 2);
    assert_eq!(allowed[0], "10.1.0.7/32");
    assert!(allowed[1].ends_with("::7/128"), "{}", allowed[1]);
}

#[test]
fn another_peer_of_this_node_is_no_tunnel_peer() {
    let neighbour = PeerRecord { node: Some(node(5)), ..peer_record(6, "web") };
    let scope = scope([put_group(1), put_peer(5, "web"), put_record(6, neighbour), put_peer(7, "db")]);
    let want = desired(1, &netmaps(&[(1, &scope)]), &local(&[1]));
    assert_eq!(want.interfaces[&group(1)].peers.keys().copied().collect::<Vec<_>>(), [key(7)]);
}

#[test]
fn a_group_without_the_own_peer_has_no_interface() {
    let scope = scope([put_group(1), put_peer(6, "web")]);
    assert!(desired(1, &netmaps(&[(1, &scope)]), &local(&[1])).interfaces.is_empty());
    assert!(desired(1, &netmaps(&[(1, &small_group(1))]), &local(&[])).interfaces.is_empty());
}

#[test]
fn of_two_groups_that_overlap_the_one_joined_first_stays() {
    let Change::Put(_, Body::Group(record)) = put_group(1) else { unreachable!() };
    let id = lacis_proto::RecordId::from(&group(2));
    let overlapping = scope([Change::Put(id, Body::Group(record)), put_peer(5, "web")]);
    let netmaps = netmaps(&[(1, &small_group(1)), (2, &overlapping), (3, &small_group(3))]);
    for (order, winner, loser) in [([1, 2, 3], 1, 2), ([2, 3, 1], 2, 1)] {
        let want = desired(1, &netmaps, &local(&order));
        assert!(want.interfaces.contains_key(&group(winner)));
        assert!(want.interfaces.contains_key(&group(3)));
        assert_eq!(want.conflicts, [Conflict { group: group(loser), with: group(winner) }]);
    }
}

#[test]
fn endpoints_come_best_first_and_without_those_that_cannot_be() {
    let published = [
        "unknown 192.0.2.1:1",
        "host 192.0.2.2:1",
        "host 0.0.0.0:1",
        "host 192.0.2.3:0",
        "reflexive [2001:db8::4]:1",
        "static 192.0.2.5:1",
        "portmap 192.0.2.6:1",
        "reflexive 192.0.2.2:1",
        "host 224.0.0.1:1",
    ];
    let best = best_first(&published.map(endpoint));
    let best: Vec<_> = best.iter().map(|endpoint| endpoint.addr.to_string()).collect();
    assert_eq!(best, ["192.0.2.5:1", "192.0.2.6:1", "[2001:db8::4]:1", "192.0.2.2:1", "192.0.2.1:1"]);
    let many: Vec<_> = (1..20).map(|n| endpoint(&format!("host 192.0.2.{n}:1"))).collect();
    assert_eq!(best_first(&many).len(), MAX_ENDPOINTS);
}

#[test]
fn a_peer_without_an_agent_is_dialled_where_it_has_an_endpoint_and_waited_for_where_not() {
    let server = PeerRecord {
        node: None,
        endpoints: vec![endpoint("static 192.0.2.9:51820")],
        ..peer_record(6, "web")
    };
    let client = PeerRecord { node: None, endpoints: Vec::new(), ..peer_record(7, "db") };
    let scope = scope([put_group(1), put_peer(5, "web"), put_record(6, server), put_record(7, client)]);
    let want = desired(1, &netmaps(&[(1, &scope)]), &local(&[1]));
    let peers = &want.interfaces[&group(1)].peers;
    assert_eq!(peers[&key(6)].endpoints, [endpoint("static 192.0.2.9:51820")]);
    assert_eq!(peers[&key(7)].endpoints, []);
    assert_eq!(peers[&key(7)].allowed.len(), 2, "its addresses are routed to it once it has come");
}

/// Peer `n` as a gateway with key 99.
fn gateway(n: u8) -> Change {
    let current = lacis_proto::PeerKey { r#use: lacis_proto::KeyUse::Current, key: key(n) };
    let keys = vec![current, lacis_proto::PeerKey { r#use: lacis_proto::KeyUse::Gateway, key: key(99) }];
    put_record(n, PeerRecord { keys, gateway: true, ..peer_record(n, "gate") })
}

/// Group 1 with gateway key 99.
fn put_gated_group() -> Change {
    let Change::Put(id, Body::Group(record)) = put_group(1) else { unreachable!() };
    Change::Put(id, Body::Group(lacis_proto::GroupRecord { gateway_key: Some(key(99)), ..record }))
}

fn plain(n: u8) -> Change {
    put_record(n, PeerRecord { node: None, endpoints: Vec::new(), ..peer_record(n, "phone") })
}

#[test]
fn behind_gateways_a_plain_client_is_reached_through_all_of_them_and_is_no_peer() {
    let scope =
        scope([put_gated_group(), put_peer(5, "web"), gateway(6), gateway(7), put_peer(8, "db"), plain(9)]);
    let want = desired(1, &netmaps(&[(1, &scope)]), &local(&[1]));
    let interface = &want.interfaces[&group(1)];
    assert_eq!(
        (interface.gateway, interface.peers.keys().copied().collect::<Vec<_>>()),
        (None, vec![key(6), key(7), key(8)])
    );
    let shared = |n: u8| interface.peers[&key(n)].shared.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((shared(6).len(), shared(6)[0].as_str(), shared(8).len()), (2, "10.1.0.9/32", 0));
    assert_eq!(shared(6), shared(7));
    assert_eq!(interface.peers[&key(6)].allowed.len(), 2);
}

#[test]
fn a_gateway_has_the_plain_clients_and_shares_them_with_the_others() {
    let scope = scope([put_gated_group(), gateway(5), gateway(6), put_peer(8, "db"), plain(9)]);
    let mut local = local(&[1]);
    local.hosted.get_mut(&group(1)).unwrap().gateway_key = Some(key(99));
    let want = desired(1, &netmaps(&[(1, &scope)]), &local);
    let interface = &want.interfaces[&group(1)];
    assert_eq!(interface.gateway, Some(key(99)));
    let client = &interface.peers[&key(9)];
    assert!(client.client && client.allowed.is_empty());
    assert_eq!(client.shared, interface.peers[&key(6)].shared);
    assert!(interface.peers[&key(8)].shared.is_empty());
}

#[test]
fn a_gateway_without_the_groups_key_is_none() {
    let scope = scope([put_gated_group(), gateway(5), plain(9)]);
    let mut local = local(&[1]);
    for held in [None, Some(key(98))] {
        local.hosted.get_mut(&group(1)).unwrap().gateway_key = held;
        let want = desired(1, &netmaps(&[(1, &scope)]), &local);
        let interface = &want.interfaces[&group(1)];
        assert_eq!((interface.gateway, interface.peers[&key(9)].client), (None, false));
        assert_eq!(interface.peers[&key(9)].allowed.len(), 2);
    }
}
