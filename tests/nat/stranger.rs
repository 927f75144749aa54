//! The same range of addresses in two homes, and a stranger in one of them who has the address of a node in the other:
//! whatever points at him, he gets probes and what a session begins with, and never data.

use std::{io::ErrorKind, net::UdpSocket, time::Duration};

use crate::{
    bars::PATIENCE,
    kind::Kind,
    matrix::HALF,
    mesh::{Mesh, Node},
    pair::{Class, Watch},
    site::Site,
};

/// How path frames begin: probes, and what is said of addresses.
const FRAME: u8 = 0x0d;

/// How WireGuard's first message begins, which may go to an address of the own network at once.
const INITIATION: u8 = 1;

/// Initiations are sent again after five seconds; a session has begun by then.
const MOST_INITIATIONS: usize = 4;

/// Probes of one candidate in one round, and of what is sent at the beginning.
const MOST: usize = 24;

#[test]
#[ignore = "one of several networks: tests/nat-matrix runs it"]
fn a_stranger_with_a_peers_inner_address_gets_probes_alone() {
    let mut mesh = Mesh::new(HALF);
    let [mut near, far] =
        [1, 2].map(|number| Site::with_lan(&mut mesh.internet, number, [192, 168, 1], Kind::PortRestricted));
    near.add_client();
    assert_eq!(near.inner(0), far.inner(0), "the stranger has the address of the node far away");
    let options = ["--dns", "off", "--no-portmap"];
    let nodes = [mesh.joined(&near.clients[1], "one", &options), mesh.joined(far.client(), "two", &options)];
    let port = u16::try_from(nodes[1].status()["port"].as_u64().unwrap()).unwrap();
    let stranger = near.client().within(|| UdpSocket::bind(("0.0.0.0", port)).unwrap());
    stranger.set_nonblocking(true).unwrap();
    nodes[0].knows("two");
    nodes[1].knows("one");
    nodes.iter().for_each(Node::has_a_relay);

    let mut watch = Watch::start(&mesh, &nodes[0], &[near.outer(1)], &nodes[1]);
    watch.until(Class::Direct, PATIENCE).expect("the path becomes direct");
    support::pause(Duration::from_secs(1));
    let report = watch.end();
    assert!(report.is_whole(), "{report:?}");
    let mut buffer = [0; 2_048];
    let got: Vec<(u8, usize)> = std::iter::from_fn(|| match stranger.recv(&mut buffer) {
        Ok(length) => Some((buffer[0], length)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    })
    .collect();
    let of = |kind: u8| got.iter().filter(|(first, _)| *first == kind).count();
    let (probes, initiations) = (of(FRAME), of(INITIATION));
    let data = got.len() - probes - initiations;
    println!(
        "a stranger at a candidate's address got {probes} probes, {initiations} initiations; {data} of data, the bar is 0"
    );
    assert!(probes > 0, "nobody asked the stranger: this laboratory shows nothing");
    assert_eq!(data, 0, "{got:?}");
    assert!(probes <= MOST && initiations <= MOST_INITIATIONS, "{got:?}");
}
