//! Whole trains on their way: two engines with a session between them, whose sockets and devices are memory.

use std::net::IpAddr;

use super::{Case, SEGMENTS, nowhere, train};
use crate::clock;
use crate::ecn::Ecn;
use crate::engine::{Engine, Errand, NetworkSettings, Output};
use crate::mailbox::{Event, NetworkId, PeerConfig};
use crate::path::Endpoint;
use crate::tun::coalesce::Pieces;
use crate::tun::vnet::{self, Vnet};
use crate::tunnel::PrivateKey;
use crate::udp::raw::Manner;
use crate::udp::receive::Message;
use crate::udp::train::{Datagrams, Sent};
use crate::way::{Hop, Lease, Way, Ways};

const NET: NetworkId = NetworkId(1);
/// What a relay would rewrite is the same in both directions here.
const HOP: Hop = Hop { lease: 1, address: 2 };

/// Keeps what an engine sends in buffers that are used again, and counts what it delivers.
#[derive(Debug, Default)]
struct Ends {
    sent: Vec<(usize, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    delivered: u32,
}

impl Output for Ends {
    fn transmit(&mut self, _: &Endpoint, Datagrams { stride, bytes, .. }: Datagrams<'_>) -> Sent {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(bytes);
        self.sent.push((stride, copy));
        Sent::Whole
    }

    fn transmit_raw(&mut self, _: &Endpoint, _: &[u8], _: Manner) {}

    fn payload_room(&mut self, _: &Endpoint) -> Option<usize> {
        None
    }

    fn deliver(&mut self, _: u32, _: u8, _: &Vnet, pieces: Pieces<'_>) {
        self.delivered += pieces.count;
    }

    fn event(&mut self, _: Event) {}

    fn pass(&mut self, _: u8, _: Errand) {}

    fn pass_message(&mut self, _: u8, _: &Message<'_>) {}
}

/// One engine and its ends.
struct Side {
    engine: Engine,
    ends: Ends,
}

fn overlay(side: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, side])
}

fn private(side: u8) -> PrivateKey {
    PrivateKey::from([side; 32])
}

impl Side {
    fn new(own: u8, other: u8, way: Way) -> Self {
        let now = clock::now();
        let (mut engine, mut ends) = (Engine::new(now, own.into(), 64), Ends::default());
        let settings = NetworkSettings {
            id: NET,
            private_key: private(own),
            addresses: vec![overlay(own)],
            accepted: Vec::new(),
            pools: Vec::new(),
            mtu: 1420,
        };
        engine.add_network(now, settings);
        engine.set_leases(&[Lease { relay: nowhere(), lease: HOP.lease, network: NET }]);
        let key = private(other).public();
        let config = PeerConfig {
            network: NET,
            key,
            allowed: vec![overlay(other).into()],
            candidates: Vec::new(),
            keepalive: None,
            preshared_key: None,
            initiate: false,
        };
        engine.set_peer(now, config, &mut ends);
        engine.set_ways(now, NET, &key, Ways { primary: Some(way), ..Ways::default() }, &mut ends);
        Self { engine, ends }
    }

    /// Takes what the other side sent.
    fn take(&mut self, from: &mut Self) {
        for (stride, bytes) in from.ends.sent.drain(..) {
            let message = Message {
                from: nowhere(),
                to: None,
                auxiliary: None,
                ecn: Ecn::NotCapable,
                stride,
                bytes: &bytes,
            };
            self.engine.on_wire(clock::now(), &message, &mut self.ends);
            from.ends.spare.push(bytes);
        }
        self.engine.flush(&mut self.ends);
    }
}

/// Splits a super-packet, seals it, opens it and merges it again.
pub(super) fn from_device_to_device(name: &'static str, relay: bool) -> Case {
    let way = Way { relay: relay.then_some(HOP), ..Way::straight(nowhere()) };
    let (mut a, mut b) = (Side::new(1, 2, way), Side::new(2, 1, way));
    let (header, packet) = train();
    let mut frame = [&header.encode()[..], &packet, &[0; 16]].concat();
    let (length, kept) = (frame.len() - 16, frame[..vnet::LEN + 80].to_vec());
    let bytes = packet.len();
    let mut call = move || {
        let before = b.ends.delivered;
        frame[..kept.len()].copy_from_slice(&kept);
        let slot = a.engine.slot(NET).unwrap_or(0);
        let elsewhere = a.engine.on_tun(clock::now(), slot, &mut frame, length, &mut a.ends);
        a.engine.flush(&mut a.ends);
        while !(a.ends.sent.is_empty() && b.ends.sent.is_empty()) {
            b.take(&mut a);
            a.take(&mut b);
        }
        let delivered = b.ends.delivered - before;
        assert!(
            elsewhere.is_none() && delivered == u32::try_from(SEGMENTS).unwrap_or(0),
            "{delivered} packets"
        );
    };
    // The first call brings the session about.
    call();
    Case { name, per_call: 45, bytes, call: Box::new(call) }
}
