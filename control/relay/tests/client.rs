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
    relay::{
        Ack, Frame, Hello, Keys, Kind, Packet, Refresh, RelayAddress, RelayRevocation, RelayToken, header,
    },
    stun,
};
use lacis_relay::{ClassRate, Limits, Relay, RelayKey, Revocation, Settings, StartError, start};
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

fn settings() -> Settings {
    Settings {
        key: RelayKey::new([7; 32]),
        controls: vec![control_key()],
        listen: ([127, 0, 0, 1], 0).into(),
        others: Vec::new(),
        workers: Some(1),
        limits: Limits::default(),
        revocations: None,
    }
}

fn relay_with(limits: Limits, workers: usize) -> Relay {
    start(Settings { others: vec![0], workers: Some(workers), limits, ..settings() }).unwrap()
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
        Self::of_class(relay, n, group, 0)
    }

    /// The same with a token of a rate class.
    fn of_class(relay: &Relay, n: u8, group: GroupId, class: u8) -> Self {
        let secret = StaticSecret::from([n; 32]);
        let key = PublicKey::try_new(Point::from(&secret).to_bytes()).unwrap();
        let shared = secret.diffie_hellman(&Point::from(*relay.public().as_bytes())).to_bytes();
        let keys = Keys::derive(&shared, &group, &key, &relay.public());
        let mut token = RelayToken {
            class,
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
        Self::new(relay, n, group).leased()
    }

    /// The same once it has a lease.
    fn leased(self) -> Self {
        let mut client = self;
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
fn a_member_that_claims_anothers_address_gets_its_own_and_takes_nothing() {
    let relay = relay();
    let [mut a, b, mut thief] = [1, 2, 3].map(|n| Client::with_lease(&relay, n, group(1)));
    // It asks for a lease under the address of another, with its own token and a MAC that is right.
    thief.counter += 1;
    let (counter, token) = (thief.counter, thief.token.clone());
    let hello = Hello { counter, cookie: [0; 16], token: &token, first: None };
    let claim = thief.sealed(Packet { lease: 0, address: b.address(), frame: Frame::Hello(hello) });
    thief.say(&claim);
    assert_eq!(thief.acknowledged().0, thief.lease, "the token says who it is");
    // It refreshes the lease of another, and its own under another's address.
    for (lease, address) in [(b.lease, b.address()), (thief.lease, b.address())] {
        thief.counter += 1;
        let frame = Frame::Refresh(Refresh { counter: thief.counter, cookie: [0; 16] });
        thief.say(&thief.sealed(Packet { lease, address, frame }));
    }
    assert_eq!(thief.hear(), header(Kind::NotBound, thief.lease, b.address()));
    // It shows another's token, which it has heard.
    thief.counter += 1;
    let hello = Hello { counter: thief.counter, cookie: [0; 16], token: &b.token, first: None };
    thief.say(&thief.sealed(Packet { lease: 0, address: b.address(), frame: Frame::Hello(hello) }));
    a.say(&a.data(&b, b"for b"));
    b.hears(b"for b", &a);
    // It sends in another's name.
    thief.say(&[&header(Kind::Data, b.lease, a.address())[..], b"not from b"].concat());
    assert_eq!(thief.hear(), header(Kind::NotBound, b.lease, a.address()));
    assert_eq!((a.hear_within(SILENCE), thief.hear_within(SILENCE)), (None, None));
    let refresh = a.refresh([0; 16]);
    a.say(&refresh);
    a.acknowledged();
    assert_eq!((relay.leases(), relay.figures().moved, relay.figures().forged), (3, 0, 2));
}

#[test]
fn a_token_that_is_over_or_of_another_control_is_worth_nothing() {
    let relay = relay();
    for (n, not_before, expires, by) in [
        (1, 0, unix_ms() - 6 * 60_000, control()),
        (2, unix_ms() + 6 * 60_000, u64::MAX, control()),
        (3, 0, u64::MAX, SigningKey::from_bytes(&[43; 32])),
    ] {
        let mut member = Client::new(&relay, n, group(1));
        let mut token = RelayToken::parse(&member.token).unwrap();
        (token.not_before_ms, token.expires_ms) = (not_before, expires);
        token.signature = Signature(by.sign(&token.signed_bytes()).to_bytes());
        member.token = token.to_bytes().to_vec();
        let hello = member.hello([0; 16], None);
        member.say(&hello);
        assert_eq!(member.hear_within(SILENCE), None, "member {n}");
    }
    assert_eq!((relay.leases(), relay.figures().forged), (0, 3));
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

/// Sends 400 packets of 1,000 bytes, then a last one from somebody else; how many of them came before that.
fn forwarded(greedy: &Client, last: &Client, to: &Client) -> usize {
    let mut came = 0;
    for _ in 0..20 {
        for _ in 0..20 {
            greedy.say(&greedy.data(to, &[0; 984]));
        }
        // The kernel holds only so many for a socket.
        came += std::iter::from_fn(|| to.hear_within(Duration::from_millis(1))).count();
    }
    last.say(&last.data(to, b"last"));
    came + std::iter::from_fn(|| Some(to.hear())).take_while(|frame| frame.len() > 100).count()
}

#[test]
fn a_token_of_a_class_sends_at_the_rate_of_its_class() {
    let class =
        |kilobytes: u64| Some(ClassRate { bytes_per_second: kilobytes * 1_000, group_bytes_per_second: 0 });
    let mut limits = Limits { bytes_per_second: 100_000, ..Limits::default() };
    limits.classes[..2].copy_from_slice(&[class(300), class(0)]);
    let relay = relay_with(limits, 1);
    // Bursts last 300 ms; the rest is what a slow machine takes to send them.
    for (class, expected) in [(0, 30..130), (1, 90..250), (2, 400..401), (3, 30..130), (255, 30..130)] {
        let n = 10 + class / 10 + class % 10 * 3;
        let greedy = Client::of_class(&relay, n, group(n), class).leased();
        let others = [n + 1, n + 2].map(|n| Client::with_lease(&relay, n, greedy.group.clone()));
        let came = forwarded(&greedy, &others[0], &others[1]);
        assert!(expected.contains(&came), "class {class}: {came} of 400 packets");
    }
}

#[test]
fn a_greedy_lease_and_a_greedy_group_take_nothing_from_others() {
    let limits = Limits { bytes_per_second: 100_000, group_bytes_per_second: 150_000, ..Limits::default() };
    let relay = relay_with(limits, 1);
    let [greedy, second, modest, sink] = [1, 2, 3, 4].map(|n| Client::with_lease(&relay, n, group(1)));
    let [a, b] = [5, 6].map(|n| Client::with_lease(&relay, n, group(2)));
    let came = forwarded(&greedy, &modest, &sink);
    assert!((30..130).contains(&came), "{came} of one lease");
    // Two that are greedy empty what their group may send, and another group does not notice.
    for _ in 0..400 {
        greedy.say(&greedy.data(&sink, &[0; 984]));
        second.say(&second.data(&sink, &[0; 984]));
    }
    for n in 0..20 {
        a.say(&a.data(&b, &[n; 984]));
        b.hears(&[n; 984], &a);
    }
    assert!(relay.figures().over_rate > 300, "{:?}", relay.figures());
}

#[test]
fn whoever_is_out_is_refused_by_a_relay_that_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked");
    let start = || start(Settings { revocations: Some(path.clone()), ..settings() });
    let relay = start().unwrap();
    let [a, mut b] = [1, 2].map(|n| Client::with_lease(&relay, n, group(1)));
    let mut said = RelayRevocation {
        control: ControlId::of(&control_key()),
        group: group(1),
        key: b.key,
        before_ms: unix_ms(),
        until_ms: unix_ms() + 60_000,
        signature: Signature([0; 64]),
    };
    said.signature = Signature(control().sign(&said.signed_bytes()).to_bytes());
    let bytes = said.to_bytes();
    for number in [RelayAddress(77), RelayAddress(78)] {
        a.say(&Packet { lease: 0, address: number, frame: Frame::Revoke(&bytes) }.to_bytes());
        assert_eq!(a.hear(), header(Kind::RevokeAck, 0, number), "said twice, answered twice");
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "before it is answered");
    drop(relay);
    let relay = start().unwrap();
    b.move_to(&relay);
    let hello = b.hello([0; 16], None);
    b.say(&hello);
    let mut c = Client::new(&relay, 3, group(1));
    // What came of one frame is counted before the next is answered.
    for _ in 0..2 {
        let hello = c.hello([0; 16], None);
        c.say(&hello);
        c.acknowledged();
    }
    assert_eq!((relay.leases(), relay.figures().forged, relay.damaged_revocations()), (1, 1, 0));
}

#[test]
fn a_relay_that_cannot_keep_revocations_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing can be written there.
    let path = folder.path().join("revoked");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("revoked.new")).unwrap();
    let refused = start(Settings { revocations: Some(path), ..settings() });
    assert!(matches!(refused, Err(StartError::Revocations { .. })), "{refused:?}");
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

#[test]
fn members_behind_tls_are_as_many_as_there_are_places_for() {
    let relay = relay();
    let from = ([192, 0, 2, 1], 443).into();
    // A little less than the connections that its control takes.
    let mut legs: Vec<_> = (0..8_000).map(|_| relay.connect(from).expect("there is a place")).collect();
    assert!(relay.connect(from).is_none());
    legs.pop();
    assert!(relay.connect(from).is_some(), "one has left its place");
}
