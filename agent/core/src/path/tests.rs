//! The machine as a whole.

use std::time::Duration;

use lacis_proto::{Endpoint, EndpointKind, PublicKey, RecordId};
use proptest::prelude::*;

use super::{PathAction, PathEvent, Paths, PathsBoot, RelayWay, RemotePeer, fuzz};
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

proptest! {
    #[test]
    fn whatever_a_peer_and_the_tunnel_say_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::machine(&bytes);
    }
}

#[test]
fn a_peer_that_nobody_uses_takes_at_most_300_bytes() {
    let endpoints = 2 * size_of::<Endpoint>();
    // A key in the roster and one behind its tag; nodes of a tree are two thirds full on average.
    let entries = size_of::<super::roster::Known>() + size_of::<PublicKey>() + 8 + size_of::<PublicKey>();
    assert!(entries * 4 / 3 + endpoints <= 300, "{} bytes", entries * 4 / 3 + endpoints);
}

#[test]
fn a_thousand_peers_that_nobody_uses_cost_nothing() {
    let mut paths = Paths::new(PathsBoot::default());
    for n in 0..1_000_u32 {
        let mut bytes = [1; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        let PathEvent::Peer(remote) = remote(&[(EndpointKind::Static, "192.0.2.1:2")]) else { return };
        let key = PublicKey::try_new(bytes).unwrap();
        paths.handle(Duration::from_secs(1), PathEvent::Peer(RemotePeer { key, ..remote }));
    }
    paths.handle(Duration::from_secs(2), PathEvent::NetworkChanged);
    assert_eq!((paths.poll(), paths.deadline()), (None, None));
}
