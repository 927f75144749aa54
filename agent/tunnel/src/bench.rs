//! Doors for `cargo bench`: the steps of a packet's way, each as something to repeat. Not part of the interface.

mod line;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::checksum;
use crate::clock;
use crate::index::Indices;
use crate::limits;
use crate::part::Part;
use crate::route::Routes;
use crate::timers::Wheel;
use crate::tun::coalesce::Coalescer;
use crate::tun::split::Splitter;
use crate::tun::vnet::{Gso, Vnet};
use crate::tunnel::{Core, Gate, Memory, Opened, PrivateKey, Protocol};

/// Peers in look-ups and timers.
const PEERS: u32 = 10_000;
/// Segments of a train, and the payload of each at an MTU of 1420 with timestamps.
const SEGMENTS: usize = 45;
const MSS: usize = 1368;
const HEADERS: usize = 52;

/// One thing to measure.
pub struct Case {
    /// What it is.
    pub name: &'static str,
    /// How many of its kind one call does.
    pub per_call: u32,
    /// Bytes one call works on; zero where that means nothing.
    pub bytes: usize,
    /// Does it.
    pub call: Box<dyn FnMut()>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Returns all there is to measure.
#[must_use]
pub fn cases() -> Vec<Case> {
    vec![
        checksum_of("checksum of 64 B", 64),
        checksum_of("checksum of 1,420 B", 1420),
        checksum_of("checksum of 64 KiB", 65_536),
        split(),
        coalesce(),
        seal(Core::Boringtun, "seal 1,420 B, boringtun"),
        seal(Core::Own, "seal 1,420 B, own core"),
        seal_and_open(Core::Boringtun, "seal and open 1,420 B, boringtun"),
        seal_and_open(Core::Own, "seal and open 1,420 B, own core"),
        line::from_device_to_device("a train of 45, all of its way", false),
        line::from_device_to_device("a train of 45, relayed", true),
        find_index(),
        find_route(),
        timers(),
    ]
}

fn checksum_of(name: &'static str, bytes: usize) -> Case {
    let data = vec![0x5a; bytes];
    let call = move || {
        black_box(checksum::partial(black_box(&data)));
    };
    Case { name, per_call: 1, bytes, call: Box::new(call) }
}

/// A TCP super-packet of 45 segments and the header that says so.
fn train() -> (Vnet, Vec<u8>) {
    let length = HEADERS + SEGMENTS * MSS;
    let mut packet = vec![0x5a; length];
    packet[..HEADERS].fill(0);
    packet[..2].copy_from_slice(&[0x45, 0]);
    packet[2..4].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    packet[6..10].copy_from_slice(&[0x40, 0, 64, 6]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    packet[20..24].copy_from_slice(&[0x10, 0, 0, 80]);
    packet[32..36].copy_from_slice(&[0x80, 0x10, 0x20, 0]);
    packet[40..52].copy_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    let header = [(HEADERS, 2), (MSS, 4), (20, 6), (16, 8)];
    let mut vnet = [0; 10];
    vnet[..2].copy_from_slice(&[1, 1]);
    for (value, at) in header {
        vnet[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap_or(0).to_ne_bytes());
    }
    let vnet = Vnet::parse(&vnet).filter(|vnet| vnet.gso == Gso::Tcp4);
    (vnet.expect("the header is that of a TCP super-packet"), packet)
}

fn split() -> Case {
    let (vnet, mut packet) = train();
    let (bytes, header) = (packet.len(), packet[..HEADERS].to_vec());
    let call = move || {
        packet[..HEADERS].copy_from_slice(&header);
        let mut splitter = Splitter::new(&vnet, &mut packet).expect("a kernel makes such a packet");
        while let Some(range) = splitter.next(&mut packet) {
            black_box(range);
        }
    };
    Case { name: "split a train of 45, a segment", per_call: 45, bytes, call: Box::new(call) }
}

fn coalesce() -> Case {
    let (vnet, mut packet) = train();
    let mut splitter = Splitter::new(&vnet, &mut packet).expect("a kernel makes such a packet");
    let (mut arena, mut places) = (Vec::new(), Vec::new());
    while let Some(range) = splitter.next(&mut packet) {
        places.push((arena.len(), range.len()));
        arena.extend_from_slice(&packet[range]);
        arena.resize(arena.len().next_multiple_of(16), 0);
    }
    let (bytes, header) = (packet.len(), arena[..HEADERS].to_vec());
    let mut coalescer = Coalescer::new();
    let call = move || {
        arena[..HEADERS].copy_from_slice(&header);
        for (offset, length) in &places {
            coalescer.push(0, &arena, *offset, *length);
        }
        let mut writes = 0;
        coalescer.flush(&mut arena, |_, _, pieces| writes += usize::from(pieces.count == 45));
        assert_eq!(writes, 1, "the train leaves whole");
    };
    Case { name: "coalesce a train of 45, a segment", per_call: 45, bytes, call: Box::new(call) }
}

/// Both ends of a session.
fn session(core: Core) -> (Protocol, Protocol) {
    let now = clock::now();
    let [a, b] = [PrivateKey::generate(), PrivateKey::generate()];
    let (gate_a, gate_b) = (Gate::new(&a, core), Gate::new(&b, core));
    let mut one = Protocol::new(&gate_a, &b.public(), None, None, (1, Memory::default()));
    let mut two = Protocol::new(&gate_b, &a.public(), None, None, (2, Memory::default()));
    let (mut message, mut reply) = ([0; 256], [0; 256]);
    let mut length = one.initiate(now, &mut message).expect("a handshake can begin");
    for step in 0..3 {
        let end = if step == 1 { &mut one } else { &mut two };
        match end.open(now, nowhere(), &message[..length], &mut reply) {
            Opened::Reply(next) => (length, message) = (next, reply),
            Opened::Empty | Opened::Packet(_) | Opened::Refused(_) => {}
        }
    }
    (one, two)
}

fn nowhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
}

/// A packet of 1,420 bytes, as long as its header says.
fn packet() -> Vec<u8> {
    let mut packet = vec![0x5a; 1420];
    packet[..4].copy_from_slice(&[0x45, 0, 0x05, 0x8c]);
    packet
}

fn seal(core: Core, name: &'static str) -> Case {
    let ((mut one, _), packet, now) = (session(core), packet(), clock::now());
    let mut sealed = vec![0; packet.len() + limits::SEAL_OVERHEAD];
    let call = move || {
        assert!(one.seal(now, &packet, &mut sealed).is_some(), "the session stands");
    };
    Case { name, per_call: 1, bytes: 1420, call: Box::new(call) }
}

fn seal_and_open(core: Core, name: &'static str) -> Case {
    let ((mut one, mut two), packet, now) = (session(core), packet(), clock::now());
    let mut sealed = vec![0; packet.len() + limits::SEAL_OVERHEAD];
    let mut opened = sealed.clone();
    let call = move || {
        let length = one.seal(now, &packet, &mut sealed).unwrap_or(0);
        let found = two.open(now, nowhere(), &sealed[..length], &mut opened);
        assert_eq!(found, Opened::Packet(1420), "what was sealed can be opened");
    };
    Case { name, per_call: 1, bytes: 1420, call: Box::new(call) }
}

fn find_index() -> Case {
    let mut indices = Indices::new(7, Part::WHOLE);
    let taken: Vec<u32> = (0..PEERS).filter_map(|owner| indices.take(owner)).collect();
    let mut at = 0;
    let call = move || {
        at = (at + 7919) % taken.len();
        black_box(indices.owner(black_box(taken[at] << 8)));
    };
    Case { name: "find one index of 10,000", per_call: 1, bytes: 0, call: Box::new(call) }
}

fn address(peer: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + peer))
}

fn find_route() -> Case {
    let mut routes = Routes::default();
    for peer in 0..PEERS {
        routes.insert(IpNetwork::from(address(peer)), peer);
    }
    let mut at = 0;
    let call = move || {
        at = (at + 7919) % PEERS;
        black_box(routes.peer_for(black_box(address(at))));
    };
    Case { name: "find one route of 10,000", per_call: 1, bytes: 0, call: Box::new(call) }
}

/// Ten thousand tunnels whose second has come, each entered for the next one.
fn timers() -> Case {
    let mut now = clock::now();
    let mut wheel = Wheel::new(now);
    for peer in 0..PEERS {
        wheel.schedule(peer, now);
    }
    let mut due = Vec::new();
    let call = move || {
        now += Duration::from_secs(1);
        wheel.collect(now, &mut due);
        assert_eq!(due.len(), PEERS as usize, "every tunnel is due");
        for (peer, _) in due.drain(..) {
            wheel.schedule(peer, now + Duration::from_millis(500));
        }
    };
    Case { name: "a timer, 10,000 due at once", per_call: PEERS, bytes: 0, call: Box::new(call) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn everything_that_is_measured_works() {
        for mut case in super::cases() {
            (0..3).for_each(|_| (case.call)());
        }
    }
}
