//! The text, whole, for each kind of peer.

use lacis_proto::{GroupId, Host, MemberId, NodeId, PeerId, PublicKey, Revision, prefix6_of};

use super::*;
use crate::{GatewayRow, GroupRow};

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
        gateway_key: None,
        gateway_rotations: 0,
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
        relays: Vec::new(),
        gateway: GatewayRow::default(),
        revision: Revision(1),
        node_revision: Revision(0),
    }
}

fn with(mut group: Group, peers: &[PeerRow]) -> Group {
    group.peers.extend(peers.iter().map(|peer| (peer.id.clone(), peer.clone())));
    group
}

#[test]
fn of_many_whom_a_client_does_not_reach_some_are_named_and_the_others_counted() {
    let group = group();
    let own = peer(&group, 200, false, &[]);
    let unreached = 3 + u8::try_from(MAX_NAMED).unwrap();
    let peers: Vec<PeerRow> = (1..=unreached).map(|host| peer(&group, host, true, &[])).collect();
    let text = wg_quick(&with(group, &peers), &own);
    assert_eq!(text.matches("it has no endpoint to dial").count(), MAX_NAMED);
    assert!(text.ends_with("#   and 3 more\n"), "{text}");
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

/// An agent that is a gateway.
fn gateway(group: &Group, host: u8, endpoints: &[&str]) -> PeerRow {
    let key = Some(PublicKey::try_new([99; 32]).unwrap());
    let gateway = GatewayRow { offered: true, key, ..GatewayRow::default() };
    PeerRow { gateway, ..peer(group, host, true, endpoints) }
}

#[test]
fn where_there_is_a_gateway_the_text_names_it_alone_whoever_else_comes() {
    let group = group();
    let own = peer(&group, 7, false, &[]);
    let gate = gateway(&group, 5, &["192.0.2.5:47820"]);
    let prefix6 = group.row.prefix6;
    let group = with(group, &[own.clone(), gate]);
    let text = wg_quick(&group, &own);
    let peers = text.split_once("[Peer]").unwrap().1;
    assert_eq!(
        peers,
        format!(
            "\n# The gateway of the group. It passes everything on, and so sees it in clear\n\
             PublicKey = {}\n\
             Endpoint = 192.0.2.5:47820\n\
             AllowedIPs = 10.9.0.0/16, {prefix6}\n\
             PersistentKeepalive = 25\n",
            PublicKey::try_new([99; 32]).unwrap()
        )
    );
    let more: Vec<_> = (10..30).map(|host| peer(&group, host, host % 2 == 0, &["192.0.2.9:1"])).collect();
    assert_eq!(wg_quick(&with(group, &more), &own), text);
}

#[test]
fn a_gateway_that_holds_no_key_or_cannot_be_dialled_is_not_named() {
    let group = group();
    let own = peer(&group, 7, false, &[]);
    let keyless = PeerRow {
        gateway: GatewayRow { offered: true, ..GatewayRow::default() },
        ..peer(&group, 5, true, &["192.0.2.5:47820"])
    };
    let unreachable = gateway(&group, 6, &[]);
    let denied = PeerRow {
        gateway: GatewayRow { chosen: Some(false), ..gateway(&group, 8, &[]).gateway },
        ..gateway(&group, 8, &["192.0.2.8:47820"])
    };
    let group = with(group, &[own.clone(), keyless.clone(), unreachable, denied]);
    assert!(
        wg_quick(&group, &own)
            .contains(&format!("PublicKey = {}\nEndpoint = 192.0.2.5", keyless.key.unwrap()))
    );
}

#[test]
fn the_address_that_was_said_stands_whichever_gateway_said_it() {
    let group = group();
    let own = peer(&group, 7, false, &[]);
    let first = gateway(&group, 5, &["192.0.2.5:47820"]);
    let mut second = gateway(&group, 6, &["192.0.2.6:47820"]);
    second.gateway.told_endpoint = Some("gate.example.net:47820".parse().unwrap());
    let named = with(group.clone(), &[own.clone(), first, second.clone()]);
    assert!(wg_quick(&named, &own).contains("Endpoint = gate.example.net:47820\n"));
    second.gateway.endpoint = Some("192.0.2.100:47820".parse().unwrap());
    let chosen = with(group, &[own.clone(), second]);
    assert!(wg_quick(&chosen, &own).contains("Endpoint = 192.0.2.100:47820\n"));
}
