//! The machine as a whole.

use std::{net::SocketAddr, time::Duration};

use lacis_proto::{Endpoint, EndpointKind, PublicKey, RecordId};
use proptest::prelude::*;

use super::{PathAction, PathEvent, Paths, PathsBoot, RelayWay, RemotePeer, fuzz, limits::MAX_GREET_RELAYS};
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

/// A lease at a relay, so far away.
fn lease(n: u8, rtt: Option<Duration>) -> RelayWay {
    RelayWay {
        relay: RecordId::parse(&format!("relay_{n}")).unwrap(),
        group: group(1),
        remote: SocketAddr::from(([198, 51, 100, n], 3478)),
        lease: n.into(),
        rtt,
        tls: false,
    }
}

fn relayed(n: u8) -> Way {
    Way::relayed(SocketAddr::from(([198, 51, 100, n], 3478)), n.into(), 7)
}

#[test]
fn with_a_relay_a_private_address_of_elsewhere_is_not_greeted() {
    let mut paths = Paths::new(PathsBoot::default());
    paths.handle(Duration::ZERO, PathEvent::Relays(vec![lease(1, None)]));
    paths.handle(Duration::ZERO, remote(&[(EndpointKind::Host, "10.9.9.9:1")]));
    assert_eq!(greeted(&mut paths), [relayed(1)]);
}

#[test]
fn of_many_relays_the_nearest_few_are_greeted() {
    let mut paths = Paths::new(PathsBoot::default());
    let leases = (1..=9).map(|n| lease(n, Some(Duration::from_millis(100 - u64::from(n)))));
    paths.handle(Duration::ZERO, PathEvent::Relays(leases.collect()));
    paths.handle(Duration::ZERO, remote(&[]));
    let ways = greeted(&mut paths);
    assert_eq!(ways.len(), MAX_GREET_RELAYS);
    assert_eq!(ways, [relayed(9), relayed(8)]);
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
