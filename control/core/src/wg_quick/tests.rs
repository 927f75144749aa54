//! The text, whole, for each kind of peer.

use lacis_proto::{GroupId, Host, MemberId, NodeId, PeerId, PublicKey, Revision, prefix6_of};

use super::*;
use crate::GroupRow;

fn group() -> Group {
    let id = GroupId::from_random([1; 16]);
    let prefix6 = prefix6_of(&id);
    Group::new(GroupRow {
        id,
        owner: lacis_proto::OwnerId::from_random([1; 16]),
        label: "shop".to_owned(),
        description: String::new(),
        tags: Vec::new(),
        pool: "10.9.0.0/16".parse().unwrap(),
        prefix6,
        suffixes: vec!["lacis.internal".to_owned()],
        revision: Revision(1),
        record_revision: Revision(1),
        floor: Revision(0),
        next_host: Host(5),
        created_ms: 0,
    })
}

/// A peer by its host number; agents have nodes.
fn peer(group: &Group, host: u8, is_agent: bool, endpoints: &[&str]) -> PeerRow {
    let endpoints =
        endpoints.iter().map(|addr| Endpoint { kind: EndpointKind::Host, addr: addr.parse().unwrap() });
    PeerRow {
        id: PeerId::from_random([host; 16]),
        group: group.row.id.clone(),
        member: MemberId::parse(&format!("app_{host}")).unwrap(),
        node: is_agent.then(|| NodeId::from_random([host; 16])),
        instance: host.to_string(),
        host: Host(host.into()),
        key: Some(PublicKey::try_new([host; 32]).unwrap()),
        label: format!("peer {host}"),
        hostname: None,
        parent_event: None,
        endpoints: endpoints.collect(),
        revision: Revision(1),
        node_revision: Revision(0),
    }
}

fn with(mut group: Group, peers: &[PeerRow]) -> Group {
    group.peers.extend(peers.iter().map(|peer| (peer.id.clone(), peer.clone())));
    group
}

#[test]
fn a_client_dials_whom_it_can_and_is_told_of_the_rest() {
    let group = group();
    let own = peer(&group, 7, false, &[]);
    let ipv6_first = ["[2001:db8::5]:47820", "192.0.2.5:47820"];
    let peers = [
        peer(&group, 6, true, &[]),
        peer(&group, 5, true, &ipv6_first),
        PeerRow { key: None, ..peer(&group, 8, false, &[]) },
        peer(&group, 9, true, &["127.0.0.1:1"]),
        own.clone(),
    ];
    let group = with(group, &peers);
    let prefix = group.row.prefix6.network().to_string();
    let text = wg_quick(&group, &own);
    let expected = format!(
        "# peer 7 ({}) in network group shop ({})\n\n[Interface]\n\
         # The private key of {}, which only its owner has\nPrivateKey = <%PrivateKey%>\n\
         Address = 10.9.0.7/16, {prefix}7/64\nDNS = 10.9.0.1, {prefix}1\nMTU = 1400\n\n\
         [Peer]\n# peer 5 (app_5)\nPublicKey = {}\nEndpoint = 192.0.2.5:47820\n\
         AllowedIPs = 10.9.0.5/32, {prefix}5/128, 10.9.0.1/32, {prefix}1/128\nPersistentKeepalive = 25\n\n\
         # Not reachable from here, since the group has no gateway:\n\
         #   peer 6 (app_6): it has no endpoint to dial\n#   peer 8 (app_8): it has no public key yet\n\
         #   peer 9 (app_9): it has no endpoint to dial\n",
        own.id,
        group.row.id,
        own.key.unwrap(),
        peers[1].key.unwrap(),
    );
    assert_eq!(text, expected);
}

#[test]
fn a_server_has_all_that_come_to_it() {
    let group = group();
    let own = peer(&group, 7, false, &["198.51.100.7:51820"]);
    let group = with(group.clone(), &[own.clone(), peer(&group, 5, true, &[])]);
    let text = wg_quick(&group, &own);
    assert!(text.contains("ListenPort = 51820\n"), "{text}");
    assert!(
        text.contains("[Peer]") && !text.contains("Endpoint") && !text.contains("Not reachable"),
        "{text}"
    );
}

#[test]
fn a_label_stays_in_its_line() {
    let group = group();
    let own = PeerRow { label: "x\n[Peer]\nPublicKey = y".to_owned(), ..peer(&group, 7, false, &[]) };
    let group = with(group, std::slice::from_ref(&own));
    let text = wg_quick(&group, &own);
    assert!(text.lines().all(|line| line != "[Peer]"), "{text}");
    assert!(text.contains("No agent can be reached"), "{text}");
}
