//! Proves that a shard with a session allocates nothing per packet, with an allocator that counts.
#![expect(unsafe_code, reason = "a counting allocator has to be one")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lacis_tunnel::{
    Command, Config, Core, Device, Hop, Lease, MemoryTun, NetworkConfig, NetworkId, PeerConfig, Port,
    PrivateKey, Shards, Tunnel, Way, Ways, public_key,
};

/// Allocations by threads other than the test's own.
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_TEST: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// SAFETY: all requests go to the system's allocator unchanged; counting touches an atomic and a constant-initialised
// thread-local, neither of which allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !IS_TEST.try_with(Cell::get).unwrap_or(true) {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promises are the system allocator's demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NET: NetworkId = NetworkId(1);
const PATIENCE: Duration = Duration::from_secs(20);
/// Private keys of peers that belong to the second of two shards.
const ONE: [u8; 32] = [3; 32];
const TWO: [u8; 32] = [6; 32];
/// Payload of one segment, as at an MTU of 1420 with a header of 28.
const SEGMENT: usize = 1392;

fn node(core: Core, shards: Shards, private: [u8; 32], own: Ipv4Addr) -> (Tunnel, MemoryTun) {
    let config = Config::new(Port::Prefer(0), Box::new(|_| {}));
    let tunnel = Tunnel::start(Config { ipv6: false, core, shards, ..config }).unwrap();
    let (device, host) = Device::memory().unwrap();
    let network = NetworkConfig {
        id: NET,
        device,
        private_key: PrivateKey::from(private),
        addresses: vec![own.into()],
        accepted: Vec::new(),
        pools: Vec::new(),
        mtu: 1420,
    };
    tunnel.deliver(Command::AddNetwork(Box::new(network))).unwrap();
    (tunnel, host)
}

fn introduce(to: &Tunnel, private: [u8; 32], address: Ipv4Addr, port: u16) {
    let peer = PeerConfig {
        network: NET,
        key: public_key(&private),
        allowed: vec![ipnetwork::IpNetwork::from(std::net::IpAddr::from(address))],
        candidates: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
        keepalive: None,
        preshared_key: None,
        initiate: false,
    };
    to.deliver(Command::SetPeer(Box::new(peer))).unwrap();
}

/// A UDP packet, super or not, and the header that says so.
fn frame(from: Ipv4Addr, to: Ipv4Addr, segments: usize) -> ([u8; 10], Vec<u8>) {
    let length = 28 + segments * SEGMENT;
    let mut packet = vec![0; length];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    packet[6..10].copy_from_slice(&[0x40, 0, 64, 17]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    packet[20..24].copy_from_slice(&[0x10, 0, 0x20, 0]);
    packet[24..26].copy_from_slice(&u16::try_from(length - 20).unwrap().to_be_bytes());
    let mut header = [0; 10];
    header[..2].copy_from_slice(&[1, 5]);
    for (at, value) in [(2, 28), (4, SEGMENT), (6, 20), (8, 6)] {
        header[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap().to_ne_bytes());
    }
    (header, packet)
}

/// A relay for two nodes, whose leases and relay addresses there are 0 and 1.
struct Relay {
    place: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Relay {
    fn between(nodes: [&Tunnel; 2]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (place, ports) = (socket.local_addr().unwrap(), nodes.map(Tunnel::port));
        let ended = Arc::new(AtomicBool::new(false));
        let ending = ended.clone();
        let thread = std::thread::spawn(move || {
            IS_TEST.set(true);
            let (mut frame, mut forwarded) = ([0; 2048], 0);
            while !ending.load(Ordering::Relaxed) {
                let Ok(length) = socket.recv(&mut frame) else { continue };
                // The last bytes of both fields: whose lease it is, and whom it is for.
                frame.swap(7, 15);
                let to = (Ipv4Addr::LOCALHOST, ports[usize::from(frame[7])]);
                socket.send_to(&frame[..length], to).unwrap();
                forwarded += 1;
            }
            forwarded
        });
        Self { place, ended, thread }
    }

    /// Ends it; returns how many datagrams it forwarded.
    fn stop(self) -> usize {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Has a node reach its only peer through the relay alone.
fn steer(node: &Tunnel, peer: [u8; 32], relay: &Relay, lease: u32) {
    node.deliver(Command::SetLeases(vec![Lease { relay: relay.place, lease, network: NET }])).unwrap();
    let hop = Hop { lease, address: u64::from(1 - lease) };
    let ways = Ways { primary: Some(Way::relayed(relay.place, hop)), ..Ways::default() };
    node.deliver(Command::SetWays { network: NET, key: public_key(&peer), ways }).unwrap();
}

#[test]
fn a_session_carries_trains_without_allocating() {
    IS_TEST.set(true);
    for core in [Core::Boringtun, Core::Own] {
        carry(core, Shards::Exactly(1), false);
        carry(core, Shards::Exactly(1), true);
    }
    // The device has one queue, which the first shard reads: what is for the other shard's peer is handed over.
    assert_eq!([ONE, TWO].map(|private| public_key(&private)[0] % 2), [1, 1]);
    carry(Core::Own, Shards::Exactly(2), false);
}

fn carry(core: Core, shards: Shards, relayed: bool) {
    let (ours, theirs) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let (a, host_a) = node(core, shards, ONE, ours);
    let (b, host_b) = node(core, shards, TWO, theirs);
    introduce(&a, TWO, theirs, b.port());
    introduce(&b, ONE, ours, a.port());
    let relay = relayed.then(|| Relay::between([&a, &b]));
    if let Some(relay) = &relay {
        steer(&a, TWO, relay, 0);
        steer(&b, ONE, relay, 1);
    }
    let (header, packet) = frame(ours, theirs, 40);
    let round = || {
        host_a.send_frame(&header, &packet).unwrap();
        let mut missing = 40 * SEGMENT;
        while missing > 0 {
            let found = host_b.receive(PATIENCE).unwrap().expect("every byte arrives");
            missing -= found.len() - 28;
        }
    };
    (0..20).for_each(|_| round());
    let before = COUNT.load(Ordering::Relaxed);
    (0..200).for_each(|_| round());
    let allocations = COUNT.load(Ordering::Relaxed) - before;
    if let Some(relay) = relay {
        assert!(relay.stop() > 200 * 40, "all went through the relay");
    }
    // The timer wheel may still find its size; eight thousand packets must not show.
    assert!(allocations <= 16, "{core:?}, {shards} shards: {allocations} allocations for 8,000 packets");
}
