//! The machine as a whole.

use std::time::Duration;

use lacis_proto::{Endpoint, EndpointKind, RecordId};

use super::{PathAction, PathEvent, Paths, PathsBoot, RelayWay, RemotePeer};
use crate::{
    fixtures::{group, key, peer},
    way::Way,
};

fn remote(endpoints: &[(EndpointKind, &str)]) -> PathEvent {
    PathEvent::Peer(RemotePeer {
        group: group(1),
        own: key(1),
        key: key(2),
        peer: peer(2),
        address: 7,
        endpoints: endpoints
            .iter()
            .map(|(kind, addr)| Endpoint { kind: *kind, addr: addr.parse().unwrap() })
            .collect(),
        relays: Vec::new(),
    })
}

fn greeted(paths: &mut Paths) -> Vec<Way> {
    paths.handle(Duration::ZERO, PathEvent::Wanted { group: group(1), key: key(2) });
    let actions: Vec<PathAction> = std::iter::from_fn(|| paths.poll()).collect();
    let [PathAction::Agree { .. }, PathAction::SetWays { ways, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    ways.greet.clone()
}

#[test]
fn without_a_relay_every_endpoint_is_greeted() {
    let mut paths = Paths::new(PathsBoot::default());
    paths.handle(
        Duration::ZERO,
        remote(&[(EndpointKind::Host, "10.9.9.9:1"), (EndpointKind::Static, "192.0.2.1:2")]),
    );
    let expected = ["192.0.2.1:2", "10.9.9.9:1"].map(|addr| Way::direct(addr.parse().unwrap()));
    assert_eq!(greeted(&mut paths), expected);
}

#[test]
fn with_a_relay_a_private_address_of_elsewhere_is_not_greeted() {
    let mut paths = Paths::new(PathsBoot::default());
    let relay = RelayWay {
        relay: RecordId::parse("relay_1").unwrap(),
        group: group(1),
        remote: "198.51.100.1:3478".parse().unwrap(),
        lease: 5,
        rtt: None,
        tls: false,
    };
    paths.handle(Duration::ZERO, PathEvent::Relays(vec![relay]));
    paths.handle(Duration::ZERO, remote(&[(EndpointKind::Host, "10.9.9.9:1")]));
    assert_eq!(greeted(&mut paths), [Way::relayed("198.51.100.1:3478".parse().unwrap(), 5, 7)]);
}
