//! A member as small as it can be: gets leases at a real relay on loopback and passes packets through it.
//!
//! Every test of the whole relay is here, so that one binary has one client.

#![expect(clippy::unwrap_used, reason = "a test may panic; helpers outside of test functions are part of it")]

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ed25519_dalek::{Signer as _, SigningKey};
use lacis_proto::{
    ControlId, GroupId, IdentityKey, PublicKey, Signature,
    relay::{Ack, Frame, Hello, Keys, Kind, Packet, Refresh, RelayAddress, RelayToken, header},
    stun,
};
use lacis_relay::{Limits, Relay, RelayKey, Revocation, Settings, start};
use x25519_dalek::{PublicKey as Point, StaticSecret};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough that a frame on loopback would have come.
const SILENCE: Duration = Duration::from_millis(200);

#[expect(clippy::disallowed_methods, reason = "a member's counter is its clock")]
fn unix_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn control() -> SigningKey {
    SigningKey::from_bytes(&[42; 32])
}

fn control_key() -> IdentityKey {
    IdentityKey::try_new(control().verifying_key().to_bytes()).unwrap()
}

fn relay_with(limits: Limits, workers: usize) -> Relay {
    start(Settings {
        key: RelayKey::new([7; 32]),
        controls: vec![control_key()],
        listen: ([127, 0, 0, 1], 0).into(),
        others: vec![0],
        workers: Some(workers),
        limits,
    })
    .unwrap()
}

fn relay() -> Relay {
    relay_with(Limits::default(), 1)
}

fn group(n: u8) -> GroupId {
    GroupId::from_random([n; 16])
}

struct Client {
    socket: UdpSocket,
    group: GroupId,
    key: PublicKey,
    keys: Keys,
    token: Vec<u8>,
    counter: u64,
    lease: u32,
}

impl Client {
    /// A member with a token, which has said nothing yet.
    fn new(relay: &Relay, n: u8, group: GroupId) -> Self {
        let secret = StaticSecret::from([n; 32]);
        let key = PublicKey::try_new(Point::from(&secret).to_bytes()).unwrap();
        let shared = secret.diffie_hellman(&Point::from(*relay.public().as_bytes())).to_bytes();
        let keys = Keys::derive(&shared, &group, &key, &relay.public());
        let mut token = RelayToken {
            class: 0,
            control: ControlId::of(&control_key()),
            group: group.clone(),
            key,
            not_before_ms: unix_ms() - 1_000,
            expires_ms: unix_ms() + 60_000,
            serial: 1,
            signature: Signature([0; 64]),
        };
        token.signature = Signature(control().sign(&token.signed_bytes()).to_bytes());
        let mut client = Self {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            group,
            key,
            keys,
            token: token.to_bytes().to_vec(),
            counter: unix_ms(),
            lease: 0,
        };
        client.move_to(relay);
        client
    }

    /// A member with a lease.
    fn with_lease(relay: &Relay, n: u8, group: GroupId) -> Self {
        let mut client = Self::new(relay, n, group);
        let hello = client.hello([0; 16], None);
        client.say(&hello);
        let (ack, seen) = client.acknowledged();
        assert_eq!(seen, client.socket.local_addr().unwrap());
        client.lease = ack;
        client
    }

    /// Takes another port.
    fn move_to(&mut self, relay: &Relay) {
        self.socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        self.socket.connect(relay.addr()).unwrap();
    }

    fn address(&self) -> RelayAddress {
        RelayAddress::of(&self.group, &self.key)
    }

    fn hello(&mut self, cookie: [u8; 16], first: Option<(RelayAddress, &[u8])>) -> Vec<u8> {
        self.counter += 1;
        let token = self.token.clone();
        let hello = Hello { counter: self.counter, cookie, token: &token, first };
        self.sealed(Packet { lease: 0, address: self.address(), frame: Frame::Hello(hello) })
    }

    fn refresh(&mut self, cookie: [u8; 16]) -> Vec<u8> {
        self.counter += 1;
        let frame = Frame::Refresh(Refresh { counter: self.counter, cookie });
        self.sealed(Packet { lease: self.lease, address: self.address(), frame })
    }

    fn sealed(&self, packet: Packet<'_>) -> Vec<u8> {
        let mut bytes = packet.to_bytes();
        self.keys.to_relay.seal(&mut bytes);
        bytes
    }

    fn data(&self, to: &Self, payload: &[u8]) -> Vec<u8> {
        [&header(Kind::Data, self.lease, to.address())[..], payload].concat()
    }

    fn say(&self, frame: &[u8]) {
        self.socket.send(frame).unwrap();
    }

    /// The next datagram.
    #[track_caller]
    fn hear(&self) -> Vec<u8> {
        self.hear_within(PATIENCE).expect("an answer")
    }

    fn hear_within(&self, wait: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut bytes = vec![0; 2_000];
        let length = self.socket.recv(&mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }

    /// The lease of an authentic acknowledgement, and the source that it tells.
    #[track_caller]
    fn acknowledged(&self) -> (u32, SocketAddr) {
        let bytes = self.hear();
        assert!(self.keys.to_member.check(&bytes), "{bytes:?}");
        let packet = Packet::parse(&bytes).unwrap();
        let (Frame::HelloAck(ack) | Frame::RefreshAck(ack)) = packet.frame else { panic!("{packet:?}") };
        let Ack { counter, observed, lifetime_s } = ack;
        assert_eq!((counter, lifetime_s, packet.address), (self.counter, 120, self.address()));
        (packet.lease, observed)
    }

    #[track_caller]
    fn cookie(&self) -> [u8; 16] {
        let bytes = self.hear();
        let Frame::HelloRetry(retry) = Packet::parse(&bytes).unwrap().frame else {
            panic!("no retry: {bytes:?}")
        };
        retry.cookie
    }

    /// Hears this payload from another.
    #[track_caller]
    fn hears(&self, payload: &[u8], from: &Self) {
        let bytes = self.hear();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(
            packet,
            Packet { lease: self.lease, address: from.address(), frame: Frame::Data(payload) }
        );
    }
}

#[test]
fn two_members_pass_packets_both_ways() {
    for workers in [1, 2] {
        let relay = relay_with(Limits::default(), workers);
        let [a, b] = [1, 2].map(|n| Client::with_lease(&relay, n, group(1)));
        for length in [0, 1, 148, 1_400] {
            let payload = vec![u8::try_from(length % 251).unwrap(); length];
            a.say(&a.data(&b, &payload));
            b.hears(&payload, &a);
            b.say(&b.data(&a, &payload));
            a.hears(&payload, &b);
        }
        relay.stop();
        let figures = relay.figures();
        assert_eq!((figures.packets, figures.granted), (8, 2));
    }
}

#[test]
fn a_hello_carries_the_first_packet() {
    let relay = relay();
    let b = Client::with_lease(&relay, 2, group(1));
    let mut a = Client::new(&relay, 1, group(1));
    let hello = a.hello([0; 16], Some((b.address(), b"first")));
    a.say(&hello);
    a.lease = a.acknowledged().0;
    b.hears(b"first", &a);
    let nobody = Client::new(&relay, 3, group(1));
    let hello = a.hello([0; 16], Some((nobody.address(), b"first")));
    a.say(&hello);
    a.acknowledged();
    assert_eq!(a.hear(), header(Kind::PeerUnknown, a.lease, nobody.address()));
}

#[test]
fn members_of_different_groups_do_not_reach_each_other() {
    let relay = relay();
    let [a, b] = [1, 2].map(|n| Client::with_lease(&relay, n, group(n)));
    a.say(&a.data(&b, b"x"));
    assert_eq!(a.hear(), header(Kind::PeerUnknown, a.lease, b.address()));
    assert_eq!(b.hear_within(SILENCE), None);
}

#[test]
fn a_member_that_moved_is_told_and_comes_back_with_a_cookie() {
    let relay = relay();
    let [mut a, b] = [1, 2].map(|n| Client::with_lease(&relay, n, group(1)));
    let old = a.socket.try_clone().unwrap();
    a.move_to(&relay);
    let frame = a.data(&b, b"x");
    a.say(&frame);
    assert_eq!(a.hear(), header(Kind::NotBound, a.lease, b.address()));
    let refresh = a.refresh([0; 16]);
    a.say(&refresh);
    let cookie = a.cookie();
    let refresh = a.refresh(cookie);
    a.say(&refresh);
    assert_eq!(a.acknowledged(), (a.lease, a.socket.local_addr().unwrap()));
    a.say(&frame);
    b.hears(b"x", &a);
    // Whoever has the old port now, or hears and repeats what was said, gets nothing.
    for frame in [&frame, &refresh] {
        old.send(frame).unwrap();
    }
    b.say(&b.data(&a, b"y"));
    a.hears(b"y", &b);
    assert_eq!((b.hear_within(SILENCE), relay.figures().moved), (None, 1));
}

#[test]
fn what_is_forged_replayed_cut_or_foreign_changes_nothing_for_others() {
    let relay = relay();
    let [mut a, b] = [1, 2].map(|n| Client::with_lease(&relay, n, group(1)));
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(relay.addr()).unwrap();
    let good = [a.hello([0; 16], None), a.refresh([0; 16]), a.data(&b, b"stolen")];
    let mut bad = vec![Vec::new(), vec![0x0E], vec![1; 148], vec![0x0D; 100], vec![0xFF; 1_500]];
    for frame in &good {
        bad.extend((1..frame.len()).step_by(7).map(|cut| frame[..cut].to_vec()));
        bad.extend((0..frame.len()).step_by(5).map(|at| {
            let mut frame = frame.clone();
            frame[at] ^= 0x55;
            frame
        }));
    }
    for frame in &bad {
        stranger.send(frame).unwrap();
    }
    // What a stranger repeats gets cookies and refusals at most, none larger than what it sent.
    for frame in &good {
        stranger.send(frame).unwrap();
    }
    a.say(&a.data(&b, b"still here"));
    b.hears(b"still here", &a);
    assert_eq!(relay.leases(), 2);
    assert_eq!(relay.figures().moved, 0);
}

#[test]
fn a_flood_of_hellos_leaves_others_unaffected() {
    let relay = relay();
    let [a, b] = [1, 2].map(|n| Client::with_lease(&relay, n, group(1)));
    let flood = UdpSocket::bind("127.0.0.2:0").unwrap();
    let mut member = Client::new(&relay, 3, group(1));
    let hellos: Vec<_> = (0..100).map(|_| member.hello([0; 16], None)).collect();
    for round in 0..50 {
        for hello in &hellos {
            flood.send_to(hello, relay.addr()).unwrap();
        }
        a.say(&a.data(&b, &[round]));
        b.hears(&[round], &a);
    }
    let mut late = Client::new(&relay, 4, group(1));
    let hello = late.hello([0; 16], None);
    late.say(&hello);
    late.acknowledged();
    assert!(relay.figures().flooded > 1_000, "{:?}", relay.figures());
}

#[test]
fn refusals_are_rare_and_never_larger_than_what_caused_them() {
    let relay = relay();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(relay.addr()).unwrap();
    stranger.set_read_timeout(Some(SILENCE)).unwrap();
    for n in 0..1_000 {
        stranger.send(&header(Kind::Data, n, RelayAddress(1))).unwrap();
    }
    let mut bytes = [0; 2_000];
    let answers: Vec<usize> = std::iter::from_fn(|| stranger.recv(&mut bytes).ok()).collect();
    assert!(!answers.is_empty() && answers.len() < 60, "{} answers", answers.len());
    assert!(answers.iter().all(|length| *length == 16));
}

#[test]
fn the_relay_tells_a_host_its_address() {
    let relay = relay();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(relay.addr()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let own = socket.local_addr().unwrap();
    let mut bytes = [0; 100];
    socket.send(&stun::request([5; 12])).unwrap();
    let length = socket.recv(&mut bytes).unwrap();
    assert_eq!(stun::Response::parse(&bytes[..length]), Some(stun::Response { id: [5; 12], observed: own }));
    let probe = Packet { lease: 0, address: RelayAddress(77), frame: Frame::Probe };
    socket.send(&probe.to_bytes()).unwrap();
    let length = socket.recv(&mut bytes).unwrap();
    let answer = Packet { frame: Frame::ProbeAck(own), ..probe };
    assert_eq!(Packet::parse(&bytes[..length]), Ok(answer));
}

#[test]
fn a_rate_is_kept_for_each_lease() {
    let relay = relay_with(Limits { bytes_per_second: 100_000, ..Limits::default() }, 1);
    let [a, b, c] = [1, 2, 3].map(|n| Client::with_lease(&relay, n, group(1)));
    for _ in 0..200 {
        a.say(&a.data(&b, &[0; 984]));
    }
    c.say(&c.data(&b, b"last"));
    let mut received = 0;
    while b.hear().len() > 20 {
        received += 1;
    }
    assert!((30..100).contains(&received), "{received} of 200 packets, at a rate of 100 per second");
}

#[test]
fn members_are_told_when_the_relay_stops_and_when_they_are_out() {
    let relay = relay();
    let [a, b] = [1, 2].map(|n| Client::with_lease(&relay, n, group(1)));
    let revocation = Revocation { group: group(1), key: b.key, before_ms: unix_ms(), until_ms: u64::MAX };
    relay.revoke(ControlId::of(&control_key()), vec![revocation]);
    relay.say_farewell();
    let farewell = a.hear();
    assert!(a.keys.to_member.check(&farewell));
    assert!(matches!(Packet::parse(&farewell).unwrap().frame, Frame::GoAway(_)));
    a.say(&a.data(&b, b"x"));
    assert_eq!(a.hear(), header(Kind::PeerUnknown, a.lease, b.address()));
    assert_eq!(b.hear_within(SILENCE), None, "who is out is told nothing");
}
