//! The parts of the relay's bench (`tests/bench/relay`), each a process of its own:
//!
//! ```text
//! bench relay ADDR                  a relay that takes tokens of the bench
//! bench bare ADDR                   the yardstick: the same system calls and nothing else
//! bench load relay|bare|turn ADDR SECONDS PID     bulk through one of them; packets, and packets per CPU-second of PID
//! bench leases ADDR COUNT PID       that many leases at a relay; bytes of memory of PID for each
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench may panic, and prints what it measures"
)]

use std::{
    env, fs,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ed25519_dalek::{Signer as _, SigningKey};
use lacis_proto::{
    ControlId, GroupId, IdentityKey, PublicKey, Signature,
    relay::{Frame, Hello, Keys, Kind, Packet, RelayAddress, RelayToken, header},
};
use lacis_relay::{Limits, RelayKey, Settings, bench::Port, start};
use x25519_dalek::{PublicKey as Point, StaticSecret};

/// Bytes of each datagram's payload.
const PAYLOAD: usize = 1_400;

/// Datagrams of a train: what one send takes at that size.
const TRAIN: usize = 44;

/// Datagrams on their way at most: so many that nobody waits, so few that no buffer is full.
const WINDOW: u64 = 8 * TRAIN as u64;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["relay", at] => relay(at.parse().unwrap()),
        ["bare", at] => Port::bind(at.parse().unwrap()).unwrap().pass_on().unwrap(),
        ["load", kind, at, seconds, pid] => {
            load(kind, at.parse().unwrap(), Duration::from_secs(seconds.parse().unwrap()), pid);
        }
        ["leases", at, count, pid] => leases(at.parse().unwrap(), count.parse().unwrap(), pid),
        _ => panic!("bench relay|bare ADDR, load KIND ADDR SECONDS PID, or leases ADDR COUNT PID"),
    }
}

fn relay(listen: SocketAddr) {
    let control = IdentityKey::try_new(control().verifying_key().to_bytes()).unwrap();
    let limits = Limits { hellos_per_second: 1_000_000, ..Limits::default() };
    let settings = Settings {
        key: RelayKey::new([7; 32]),
        controls: vec![control],
        listen,
        others: Vec::new(),
        workers: Some(1),
        limits,
        revocations: None,
    };
    let _relay = start(settings).unwrap();
    loop {
        thread::park();
    }
}

fn control() -> SigningKey {
    SigningKey::from_bytes(&[42; 32])
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn unix_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

/// CPU time of a process, in seconds of 100 ticks.
fn cpu_seconds(pid: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// Resident memory of a process, in bytes.
fn memory(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

/// One member's HELLO, and its relay address.
fn hello(n: u32) -> (Vec<u8>, RelayAddress) {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    let secret = StaticSecret::from(seed);
    let relay = RelayKey::new([7; 32]).public();
    let key = PublicKey::try_new(Point::from(&secret).to_bytes()).unwrap();
    let group = GroupId::from_random([u8::try_from(n / 10_000).unwrap(); 16]);
    let shared = secret.diffie_hellman(&Point::from(*relay.as_bytes())).to_bytes();
    let keys = Keys::derive(&shared, &group, &key, &relay);
    let control = control();
    let mut token = RelayToken {
        class: 0,
        control: ControlId::of(&IdentityKey::try_new(control.verifying_key().to_bytes()).unwrap()),
        group: group.clone(),
        key,
        not_before_ms: 0,
        expires_ms: u64::MAX,
        serial: 1,
        signature: Signature([0; 64]),
    };
    token.signature = Signature(control.sign(&token.signed_bytes()).to_bytes());
    let address = RelayAddress::of(&group, &key);
    let hello = Hello { counter: unix_ms(), cookie: [0; 16], token: &token.to_bytes(), first: None };
    let mut bytes = Packet { lease: 0, address, frame: Frame::Hello(hello) }.to_bytes();
    keys.to_relay.seal(&mut bytes);
    (bytes, address)
}

/// The first datagram that comes.
fn answer(port: &mut Port) -> Vec<u8> {
    let mut answer = Vec::new();
    while answer.is_empty() {
        port.receive(|_, bytes| answer = bytes.to_vec()).unwrap();
    }
    answer
}

/// A datagram that goes from the first port through what is measured to the second.
fn prepare(kind: &str, at: SocketAddr, from: &mut Port, to: &mut Port) -> Vec<u8> {
    match kind {
        "relay" => {
            let ((one, _), (two, address)) = (hello(1), hello(2));
            from.send(at, one.len(), &one);
            let ack = answer(from);
            to.send(at, two.len(), &two);
            answer(to);
            let lease = Packet::parse(&ack).unwrap().lease;
            header(Kind::Data, lease, address).to_vec()
        }
        "bare" => {
            to.send(at, 1, &[0]);
            vec![0; 16]
        }
        "turn" => {
            // RFC 8656 §7 and §12: an allocation, and a channel from it to the other port.
            let ask = |from: &mut Port, kind: u8, attributes: &[u8]| {
                let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
                let bytes =
                    [&[0, kind][..], &length, &[0x21, 0x12, 0xA4, 0x42], &[kind; 12], attributes].concat();
                from.send(at, bytes.len(), &bytes);
                assert_eq!(answer(from)[..2], [1, kind], "coturn refuses");
            };
            ask(from, 3, &[0, 0x19, 0, 4, 17, 0, 0, 0]);
            let port = (to.addr().unwrap().port() ^ 0x2112).to_be_bytes();
            let ip = [127 ^ 0x21, 0x12, 0xA4, 1 ^ 0x42];
            let peer = [&[0, 0x12, 0, 8, 0, 1][..], &port, &ip].concat();
            ask(from, 9, &[&[0, 0x0C, 0, 4, 0x40, 0, 0, 0][..], &peer].concat());
            [&[0x40, 0][..], &u16::try_from(PAYLOAD).unwrap().to_be_bytes()].concat()
        }
        other => panic!("{other} is none of relay, bare and turn"),
    }
}

fn load(kind: &str, at: SocketAddr, time: Duration, pid: &str) {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let (mut from, mut to) = (Port::bind(any).unwrap(), Port::bind(any).unwrap());
    let mut datagram = prepare(kind, at, &mut from, &mut to);
    datagram.resize(datagram.len() + PAYLOAD, 7);
    let train = datagram.repeat(TRAIN);
    let (sent, received, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                to.receive(|_, bytes| {
                    if bytes.len() >= PAYLOAD {
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                })
                .unwrap();
            }
        });
        scope.spawn(|| {
            let mut waits = 0_u32;
            while !over.load(Ordering::Relaxed) {
                let on_the_way =
                    sent.load(Ordering::Relaxed).saturating_sub(received.load(Ordering::Relaxed));
                if on_the_way < WINDOW {
                    from.send(at, datagram.len(), &train);
                    sent.fetch_add(TRAIN as u64, Ordering::Relaxed);
                    waits = 0;
                } else {
                    thread::yield_now();
                    waits += 1;
                    // Some were lost: they are not waited for.
                    if waits > 100_000 {
                        sent.store(received.load(Ordering::Relaxed), Ordering::Relaxed);
                    }
                }
            }
        });
        let (begin, before, counted) = (now(), cpu_seconds(pid), received.load(Ordering::Relaxed));
        while begin.elapsed() < time {
            thread::park_timeout(time.saturating_sub(begin.elapsed()));
        }
        let (cpu, packets) = (cpu_seconds(pid) - before, received.load(Ordering::Relaxed) - counted);
        over.store(true, Ordering::Relaxed);
        let seconds = begin.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let packets = packets as f64;
        println!(
            "{kind} {:.0} packets/s, {:.2} CPU, {:.0} packets per CPU-second",
            packets / seconds,
            cpu / seconds,
            packets / cpu
        );
        // The receiver may wait for a datagram that nobody sends any more.
        std::process::exit(0);
    });
}

fn leases(at: SocketAddr, count: u32, pid: &str) {
    let mut port = Port::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let before = memory(pid);
    for n in 0..count {
        let (hello, _) = hello(n);
        port.send(at, hello.len(), &hello);
        let ack = answer(&mut port);
        assert!(matches!(Packet::parse(&ack).unwrap().frame, Frame::HelloAck(_)), "lease {n} was refused");
    }
    println!("{count} leases, {} bytes each", (memory(pid) - before) / u64::from(count));
}
