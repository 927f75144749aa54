//! Doors for fuzzers and tests: the parsers and the engine, fed with any bytes. Not part of the interface.

use std::net::SocketAddr;

use crate::aead;
use crate::clock;
use crate::ecn::Ecn;
use crate::engine::{Engine, Errand, NetworkSettings, Output};
use crate::limits;
use crate::mailbox::{Event, NetworkId, PeerConfig};
use crate::noise::Secret;
use crate::packet;
use crate::path::Endpoint;
use crate::tun::coalesce::{Coalescer, Pieces};
use crate::tun::split::Splitter;
use crate::tun::vnet::{self, Vnet};
use crate::tunnel::{self, Core, PrivateKey};
use crate::uapi::{self, Request};
use crate::udp::raw::Manner;
use crate::udp::receive::Message;
use crate::udp::train::{Datagrams, Sent};
use crate::way::Lease;
use crate::wire;

mod forward;
pub(crate) mod nodes;
#[cfg(test)]
pub(crate) mod samples;

pub use forward::forward;

/// Splits a frame: virtio header and packet.
pub fn split(frame: &[u8]) {
    let mut frame = frame.to_vec();
    let Some(vnet) = Vnet::parse(&frame) else { return };
    let packet = &mut frame[vnet::LEN..];
    let Some(mut splitter) = Splitter::new(&vnet, packet) else { return };
    while let Some(range) = splitter.next(packet) {
        assert!(range.end <= packet.len() && !range.is_empty(), "segments lie within the packet");
    }
}

/// Coalesces packets cut from `bytes`, each preceded by its length in two bytes.
pub fn coalesce(bytes: &[u8]) {
    let mut arena = bytes.to_vec();
    let (mut coalescer, mut at, mut pushed) = (Coalescer::new(), 0, 0);
    while let Some(length) = arena.get(at..at + 2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]]))) {
        if at + 2 + length > arena.len() || coalescer.is_full() {
            break;
        }
        coalescer.push(0, &arena, at + 2, length);
        (at, pushed) = (at + 2 + length, pushed + 1);
    }
    let mut written = 0;
    coalescer.flush(&mut arena, |_, _, pieces| written += pieces.count);
    assert_eq!(written, pushed, "every packet leaves exactly once");
}

/// Seals a packet with every implementation of the cipher, which must agree. Key and nonce come first, then a byte
/// that says which bit to flip.
pub fn cipher(bytes: &[u8]) {
    let Some((key, rest)) = bytes.split_first_chunk::<32>() else { return };
    let Some((nonce, rest)) = rest.split_first_chunk() else { return };
    let Some((flip, plain)) = rest.split_first() else { return };
    aead::compare(&Secret::new(*key), nonce, plain, usize::from(*flip) * 7);
}

/// Classifies a datagram.
pub fn wire(datagram: &[u8]) {
    let _ = wire::classify(datagram);
}

/// Reads requests as from the control socket of `lacis-tunnel`.
pub fn uapi(bytes: &[u8]) {
    let mut input = bytes;
    while let Ok(Some(request)) = uapi::read(&mut input, &|name| (name == "eth0").then_some(1)) {
        if let Ok(Request::Set(changes)) = request {
            assert!(changes.peers.len() <= bytes.len() / 64, "a peer is made by its key alone");
        }
    }
}

/// Gives an engine a message from the wire and the same bytes as a frame from its device.
pub fn receive(bytes: &[u8]) {
    receive_with(Core::Boringtun, bytes);
    receive_with(Core::Own, bytes);
}

fn receive_with(core: Core, bytes: &[u8]) {
    let now = clock::now();
    let (mut engine, mut out) = (Engine::new(now, 1, 64).with_core(core), Recorder::default());
    let settings = NetworkSettings {
        id: NetworkId(1),
        private_key: PrivateKey::from([1; 32]),
        addresses: vec![[10, 0, 0, 1].into()],
        accepted: Vec::new(),
        pools: "10.0.0.0/8".parse().into_iter().collect(),
        mtu: 1420,
    };
    let network = engine.add_network(now, settings);
    let from = SocketAddr::from(([192, 0, 2, 1], 51820));
    let peer = PeerConfig {
        network: NetworkId(1),
        key: tunnel::public_key(&[2; 32]),
        allowed: "10.0.0.2/32".parse().into_iter().collect(),
        candidates: vec![from],
        keepalive: None,
        preshared_key: None,
        initiate: false,
    };
    engine.set_peer(now, peer, &mut out);
    engine.set_leases(&[Lease { relay: from, lease: 1, network: NetworkId(1) }]);
    let stride = bytes.first().map_or(1, |first| usize::from(*first) * 6 + 1);
    engine.on_wire(
        now,
        &Message { from, to: None, auxiliary: None, ecn: Ecn::NotCapable, stride, bytes },
        &mut out,
    );
    let mut frame = bytes.to_vec();
    frame.resize(bytes.len() + 16, 0);
    let elsewhere = engine.on_tun(now, network, &mut frame, bytes.len(), &mut out);
    assert!(elsewhere.is_none(), "a single engine has all peers");
    engine.flush(&mut out);
    engine.on_tick(now, &mut out);
    for train in &out.sent {
        assert!(train.to == from && train.stride > 0, "datagrams go to known places alone");
        assert!(train.bytes.len() <= limits::UDP_PAYLOAD, "a train fits one send");
        assert!(train.ecn == Ecn::NotCapable, "what answers a stranger carries no mark");
    }
    for event in &out.events {
        if let Event::Datagram { way, payload, .. } = event {
            assert!(
                way.remote == from && way.relay.is_none_or(|hop| hop.lease == 1),
                "ways are those of the lease"
            );
            assert!((4..=limits::RAW_DATAGRAM).contains(&payload.len()), "such datagrams are limited");
        }
    }
    for frame in &out.delivered {
        assert!(
            (frame.network, frame.queue) == (network, 0) && frame.vnet == Vnet::default(),
            "only answers of our own are delivered"
        );
        assert!(packet::addresses(&frame.packet).is_some(), "what is delivered is an IP packet");
    }
}

/// A train that an engine sent.
#[derive(Clone, Debug)]
pub(crate) struct SentTrain {
    pub(crate) to: SocketAddr,
    pub(crate) stride: usize,
    pub(crate) ecn: Ecn,
    pub(crate) bytes: Vec<u8>,
}

/// A frame that an engine wrote to a device.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) network: u32,
    pub(crate) queue: u8,
    pub(crate) vnet: Vnet,
    pub(crate) packet: Vec<u8>,
}

/// Keeps what an engine puts out.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) sent: Vec<SentTrain>,
    pub(crate) delivered: Vec<Frame>,
    pub(crate) events: Vec<Event>,
    /// Datagrams of the control side that were sent.
    pub(crate) raw: Vec<(SocketAddr, Vec<u8>, Manner)>,
    /// What is for other engines, and for which.
    pub(crate) errands: Vec<(u8, Errand)>,
    /// Messages for other engines, with the size of their datagrams.
    pub(crate) messages: Vec<(u8, usize, Vec<u8>)>,
    /// Largest payload of the way, when it is known; trains of larger datagrams leave one by one.
    pub(crate) room: Option<usize>,
    /// Whether trains leave one by one for another reason.
    pub(crate) no_segmentation: bool,
}

impl Output for Recorder {
    fn transmit(&mut self, to: &Endpoint, Datagrams { stride, ecn, bytes }: Datagrams<'_>) -> Sent {
        self.sent.push(SentTrain { to: to.remote, stride, ecn, bytes: bytes.to_vec() });
        if bytes.len() <= stride {
            return Sent::Whole;
        }
        match self.room {
            Some(room) if stride > room => Sent::Narrow,
            _ if self.no_segmentation => Sent::Singly,
            _ => Sent::Whole,
        }
    }

    fn transmit_raw(&mut self, to: &Endpoint, datagram: &[u8], manner: Manner) {
        self.raw.push((to.remote, datagram.to_vec(), manner));
    }

    fn payload_room(&mut self, _: &Endpoint) -> Option<usize> {
        self.room
    }

    fn deliver(&mut self, network: u32, queue: u8, vnet: &Vnet, pieces: Pieces<'_>) {
        self.delivered.push(Frame {
            network,
            queue,
            vnet: *vnet,
            packet: pieces.flatten().copied().collect(),
        });
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn pass(&mut self, to: u8, errand: Errand) {
        self.errands.push((to, errand));
    }

    fn pass_message(&mut self, to: u8, message: &Message<'_>) {
        self.messages.push((to, message.stride, message.bytes.to_vec()));
    }
}
