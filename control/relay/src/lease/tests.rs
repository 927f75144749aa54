use ed25519_dalek::{Signer as _, SigningKey};
use lacis_proto::{Signature, relay::Hello, relay::MacKey, relay::Refresh};
use x25519_dalek::{PublicKey as Point, StaticSecret};

use super::*;
use crate::leg::Place;

const NOW: u64 = 1_795_323_600_000;

struct Lab {
    control: SigningKey,
    relay: StaticSecret,
    table: Arc<Table>,
    leases: Leases,
    now: Now,
}

struct Peer {
    secret: StaticSecret,
    group: GroupId,
    token: Vec<u8>,
    keys: Keys,
    counter: u64,
}

fn leg(n: u16) -> Leg {
    Leg::Udp(Place::of(([192, 0, 2, 1], n).into()))
}

fn group(n: u8) -> GroupId {
    GroupId::from_random([n; 16])
}

fn identity(key: &SigningKey) -> IdentityKey {
    IdentityKey::try_new(key.verifying_key().to_bytes()).unwrap()
}

fn public(secret: &StaticSecret) -> PublicKey {
    PublicKey::try_new(Point::from(secret).to_bytes()).unwrap()
}

impl Lab {
    fn new(limits: Limits) -> Self {
        let control = SigningKey::from_bytes(&[42; 32]);
        let relay = StaticSecret::from([7; 32]);
        let secret = relay.clone();
        let agree: Agree =
            Box::new(move |key| Some(secret.diffie_hellman(&Point::from(*key.as_bytes())).to_bytes()));
        let identity = Identity { controls: vec![identity(&control)], own: public(&relay), agree };
        let table = Arc::new(Table::new(1));
        let leases = Leases::new(identity, Cookies::new([1; 32]), limits, NOW - 10_000, Arc::clone(&table));
        Self { control, relay, table, leases, now: Now { since: Duration::from_secs(10), unix_ms: NOW } }
    }

    fn peer(&self, n: u8, group: GroupId) -> Peer {
        let secret = StaticSecret::from([n; 32]);
        let token = self.token(&self.control, &secret, &group, NOW - 1, NOW + 1_000_000);
        let shared = secret.diffie_hellman(&Point::from(&self.relay)).to_bytes();
        let keys = Keys::derive(&shared, &group, &public(&secret), &public(&self.relay));
        Peer { secret, group, token, keys, counter: NOW }
    }

    fn token(
        &self,
        by: &SigningKey,
        secret: &StaticSecret,
        group: &GroupId,
        from: u64,
        until: u64,
    ) -> Vec<u8> {
        let mut token = RelayToken {
            class: 0,
            control: ControlId::of(&identity(&self.control)),
            group: group.clone(),
            key: public(secret),
            not_before_ms: from,
            expires_ms: until,
            serial: 1,
            signature: Signature([0; 64]),
        };
        token.signature = Signature(by.sign(&token.signed_bytes()).to_bytes());
        token.to_bytes().to_vec()
    }

    fn take(&mut self, from: u16, bytes: &[u8]) -> Outcome {
        self.leases.take(self.now, &leg(from), bytes)
    }

    /// A lease, and the frame that got it.
    fn granted(&mut self, peer: &mut Peer, from: u16) -> (u32, Vec<u8>) {
        let hello = peer.hello([0; 16]);
        let outcome = self.take(from, &hello);
        let Outcome::Granted(ack) = outcome else { panic!("{outcome:?}") };
        assert!(peer.keys.to_member.check(&ack));
        (Packet::parse(&ack).unwrap().lease, hello)
    }

    fn leg_of(&self, id: u32) -> Option<Leg> {
        self.table.lease(id).map(|lease| lease.leg)
    }

    fn wait(&mut self, seconds: u64) {
        self.now.since += Duration::from_secs(seconds);
        self.now.unix_ms += seconds * 1_000;
        self.leases.sweep(self.now);
    }
}

impl Peer {
    fn address(&self) -> RelayAddress {
        RelayAddress::of(&self.group, &public(&self.secret))
    }

    fn hello(&mut self, cookie: Cookie) -> Vec<u8> {
        self.counter += 1;
        let hello = Hello { counter: self.counter, cookie, token: &self.token, first: None };
        self.sealed(0, self.address(), Frame::Hello(hello))
    }

    fn refresh(&mut self, lease: u32, cookie: Cookie) -> Vec<u8> {
        self.counter += 1;
        self.sealed(lease, self.address(), Frame::Refresh(Refresh { counter: self.counter, cookie }))
    }

    fn sealed(&self, lease: u32, address: RelayAddress, frame: Frame<'_>) -> Vec<u8> {
        let mut bytes = Packet { lease, address, frame }.to_bytes();
        self.keys.to_relay.seal(&mut bytes);
        bytes
    }
}

/// The cookie of an answer, which must be to this frame.
#[track_caller]
fn cookie(outcome: Outcome, to: &[u8]) -> Cookie {
    let Outcome::Retry(bytes) = outcome else { panic!("no retry: {outcome:?}") };
    assert!(bytes.len() <= to.len(), "an answer is never larger than what it answers");
    let Frame::HelloRetry(retry) = Packet::parse(&bytes).unwrap().frame else { panic!("another frame") };
    assert_eq!(Some(retry.echo), mac_of(to));
    retry.cookie
}

#[test]
fn a_member_gets_a_lease_at_once_and_is_told_where_it_comes_from() {
    let mut lab = Lab::new(Limits::default());
    let mut peer = lab.peer(1, group(1));
    let hello = peer.hello([0; 16]);
    let Outcome::Granted(ack) = lab.take(4000, &hello) else { panic!("refused") };
    assert!(peer.keys.to_member.check(&ack) && ack.len() <= hello.len());
    let packet = Packet::parse(&ack).unwrap();
    let told = Ack { counter: peer.counter, observed: ([192, 0, 2, 1], 4000).into(), lifetime_s: 120 };
    assert_eq!((packet.address, packet.frame), (peer.address(), Frame::HelloAck(told)));
    assert_eq!(lab.leg_of(packet.lease), Some(leg(4000)));
    assert_eq!(lab.take(4000, &hello), Outcome::Kept(ack), "sent again, answered again");
}

#[test]
fn a_bad_token_or_a_wrong_mac_gets_no_lease_and_no_answer() {
    let mut lab = Lab::new(Limits::default());
    let other = SigningKey::from_bytes(&[43; 32]);
    let good = lab.peer(1, group(1));
    let thief = lab.peer(2, group(1));
    for (why, token) in [
        ("expired", lab.token(&lab.control, &good.secret, &group(1), 0, NOW - limits::TOKEN_SLACK_MS)),
        ("not yet valid", lab.token(&lab.control, &good.secret, &group(1), NOW + 600_000, NOW + 900_000)),
        ("signed by another", lab.token(&other, &good.secret, &group(1), 0, NOW + 1_000)),
        ("stolen from another member", thief.token.clone()),
        ("of another group", lab.peer(1, group(2)).token),
        ("cut", good.token[1..].to_vec()),
        ("none", Vec::new()),
    ] {
        let mut peer = Peer { token, ..lab.peer(1, group(1)) };
        let hello = peer.hello([0; 16]);
        let outcome = lab.take(1, &hello);
        assert!(matches!(outcome, Outcome::Refused(_)), "{why}: {outcome:?}");
    }
    let mut forged = lab.peer(1, group(1)).hello([0; 16]);
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(lab.take(1, &forged), Outcome::Refused(_)));
    assert_eq!(lab.leases.count(), 0);
}

#[test]
fn a_peer_cannot_claim_the_relay_address_of_another() {
    let mut lab = Lab::new(Limits::default());
    let (mut owner, mut thief) = (lab.peer(1, group(1)), lab.peer(2, group(1)));
    let (lease, _) = lab.granted(&mut owner, 1);
    // The header says the owner's address; the relay computes its own.
    thief.counter += 1;
    let hello = Hello { counter: thief.counter, cookie: [0; 16], token: &thief.token, first: None };
    let claim = thief.sealed(0, owner.address(), Frame::Hello(hello));
    let Outcome::Granted(ack) = lab.take(2, &claim) else { panic!("a member may have its own lease") };
    assert_eq!(Packet::parse(&ack).unwrap().address, thief.address());
    // Its own keys do not open the owner's lease.
    let refresh = Refresh { counter: u64::MAX, cookie: [0; 16] };
    let claim = thief.sealed(lease, owner.address(), Frame::Refresh(refresh));
    assert!(matches!(lab.take(2, &claim), Outcome::Refused(_)));
    assert_eq!(lab.leg_of(lease), Some(leg(1)));
}

#[test]
fn a_lease_moves_with_a_larger_counter_and_a_cookie_only() {
    let mut lab = Lab::new(Limits::default());
    let mut peer = lab.peer(1, group(1));
    let (lease, hello) = lab.granted(&mut peer, 1);
    let refresh = peer.refresh(lease, [0; 16]);
    let first = cookie(lab.take(2, &refresh), &refresh);
    assert_eq!(lab.leg_of(lease), Some(leg(1)), "not before it can read there");
    let other_source = peer.refresh(lease, first);
    cookie(lab.take(3, &other_source), &other_source);
    let moved = peer.refresh(lease, first);
    assert!(matches!(lab.take(2, &moved), Outcome::Moved(_)));
    assert_eq!(lab.leg_of(lease), Some(leg(2)));
    // Whatever was said before changes nothing, from wherever it comes.
    for replay in [&hello, &refresh, &other_source, &moved] {
        for from in [1, 3] {
            let outcome = lab.take(from, replay);
            assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        }
    }
    assert_eq!(lab.leg_of(lease), Some(leg(2)));
    // A HELLO moves it in the same way.
    let hello = peer.hello([0; 16]);
    let cookie = cookie(lab.take(4, &hello), &hello);
    let hello = peer.hello(cookie);
    assert!(matches!(lab.take(4, &hello), Outcome::Moved(_)));
    assert_eq!((lab.leg_of(lease), lab.leases.count()), (Some(leg(4)), 1));
}

#[test]
fn a_lease_ends_without_refresh_and_its_hello_cannot_be_replayed() {
    let mut lab = Lab::new(Limits::default());
    let mut peer = lab.peer(1, group(1));
    let (lease, hello) = lab.granted(&mut peer, 1);
    lab.wait(119);
    let refresh = peer.refresh(lease, [0; 16]);
    assert!(matches!(lab.take(1, &refresh), Outcome::Kept(_)));
    lab.wait(119);
    assert!(lab.leg_of(lease).is_some());
    lab.wait(1);
    assert_eq!((lab.leg_of(lease), lab.leases.count()), (None, 0));
    cookie(lab.take(9, &hello), &hello);
    let late = peer.refresh(lease, [0; 16]);
    let Outcome::NotBound(told) = lab.take(1, &late) else { panic!("not told") };
    assert!(told.len() <= late.len());
    // With its clock, which is not far off, it comes back at once, under another number.
    peer.counter = lab.now.unix_ms;
    assert_ne!(lab.granted(&mut peer, 1).0, lease);
}

#[test]
fn a_clock_that_is_off_costs_a_cookie_and_nothing_more() {
    let mut lab = Lab::new(Limits::default());
    for counter in [1, NOW - 10_002, NOW + limits::FRESH_MS + 1] {
        let mut peer = Peer { counter, ..lab.peer(1, group(1)) };
        let hello = peer.hello([0; 16]);
        let cookie = cookie(lab.take(1, &hello), &hello);
        let hello = peer.hello(cookie);
        assert!(matches!(lab.take(1, &hello), Outcome::Granted(_)), "{counter}");
        lab.wait(121);
        lab.now = Now { since: lab.now.since, unix_ms: NOW };
    }
}

#[test]
fn a_revoked_member_loses_its_lease_and_a_later_token_is_good() {
    let mut lab = Lab::new(Limits::default());
    let (mut peer, mut other) = (lab.peer(1, group(1)), lab.peer(2, group(1)));
    let (lease, _) = lab.granted(&mut peer, 1);
    let (kept, _) = lab.granted(&mut other, 2);
    let control = ControlId::of(&identity(&lab.control));
    let revocation =
        Revocation { group: group(1), key: public(&peer.secret), before_ms: NOW, until_ms: NOW + 1_000_000 };
    lab.leases.revoke(&ControlId::from_bytes([9; 16]), std::slice::from_ref(&revocation));
    assert!(lab.leg_of(lease).is_some(), "another control has no say");
    lab.leases.revoke(&control, &[revocation]);
    assert_eq!((lab.leg_of(lease), lab.leg_of(kept)), (None, Some(leg(2))));
    let hello = peer.hello([0; 16]);
    assert_eq!(lab.take(1, &hello), Outcome::Refused("a revoked token"));
    peer.token = lab.token(&lab.control, &peer.secret, &group(1), NOW, NOW + 1_000_000);
    lab.granted(&mut peer, 1);
}

#[test]
fn a_revocation_from_elsewhere_counts_when_control_has_signed_it() {
    let mut lab = Lab::new(Limits::default());
    let mut peer = lab.peer(1, group(1));
    let (lease, _) = lab.granted(&mut peer, 1);
    let mut said = RelayRevocation {
        control: ControlId::of(&identity(&lab.control)),
        group: group(1),
        key: public(&peer.secret),
        before_ms: NOW,
        until_ms: NOW + 1_000_000,
        signature: Signature([0; 64]),
    };
    let frame = |said: &RelayRevocation| {
        let bytes = said.to_bytes();
        Packet { lease: 0, address: RelayAddress(77), frame: Frame::Revoke(&bytes) }.to_bytes()
    };
    for by in [&SigningKey::from_bytes(&[43; 32]), &lab.control.clone()] {
        assert!(lab.leg_of(lease).is_some());
        said.signature = Signature(by.sign(&said.signed_bytes()).to_bytes());
        let outcome = lab.take(9, &frame(&said));
        let is_ours = *by == lab.control;
        assert_eq!(matches!(outcome, Outcome::Known(_, true)), is_ours, "{outcome:?}");
    }
    assert_eq!(lab.leg_of(lease), None);
    let again = lab.take(9, &frame(&said));
    let ack = lacis_proto::relay::header(lacis_proto::relay::Kind::RevokeAck, 0, RelayAddress(77));
    assert_eq!(again, Outcome::Known(ack.to_vec(), false), "said twice, answered twice");
}

#[test]
fn a_lease_ends_with_its_token_unless_a_new_one_is_shown() {
    let mut lab = Lab::new(Limits::default());
    let mut peer = lab.peer(1, group(1));
    let until = NOW + 60_000;
    peer.token = lab.token(&lab.control, &peer.secret, &group(1), NOW - 1, until);
    let (lease, _) = lab.granted(&mut peer, 1);
    lab.now.unix_ms = until + limits::TOKEN_SLACK_MS - 1;
    lab.leases.sweep(lab.now);
    assert!(lab.leg_of(lease).is_some());
    peer.token = lab.token(&lab.control, &peer.secret, &group(1), NOW - 1, until + 60_000);
    let hello = peer.hello([0; 16]);
    assert!(matches!(lab.take(1, &hello), Outcome::Kept(_)));
    lab.now.unix_ms += 30_000;
    lab.leases.sweep(lab.now);
    assert!(lab.leg_of(lease).is_some(), "the new token counts");
    lab.now.unix_ms += 60_000;
    lab.leases.sweep(lab.now);
    assert_eq!(lab.leg_of(lease), None);
}

#[test]
fn limits_hold_for_the_relay_and_for_a_group() {
    let mut lab = Lab::new(Limits { leases: 3, leases_of_group: 2, ..Limits::default() });
    let grant = |lab: &mut Lab, n, of| {
        let mut peer = lab.peer(n, group(of));
        let hello = peer.hello([0; 16]);
        matches!(lab.take(n.into(), &hello), Outcome::Granted(_))
    };
    assert!(grant(&mut lab, 1, 1) && grant(&mut lab, 2, 1));
    assert!(!grant(&mut lab, 3, 1), "the group is full");
    assert!(grant(&mut lab, 4, 2));
    assert!(!grant(&mut lab, 5, 2), "the relay is full");
    lab.wait(121);
    lab.now.unix_ms = NOW;
    assert!(grant(&mut lab, 3, 1) && lab.leases.count() == 1);
}

#[test]
fn a_block_counts_for_its_time_and_from_its_owner() {
    let mut lab = Lab::new(Limits::default());
    let (mut peer, other) = (lab.peer(1, group(1)), lab.peer(2, group(1)));
    let (lease, _) = lab.granted(&mut peer, 1);
    let block = |peer: &mut Peer, key: &MacKey, for_s| {
        peer.counter += 1;
        let frame = Frame::Block(Block { counter: peer.counter, for_s });
        let mut bytes = Packet { lease, address: other.address(), frame }.to_bytes();
        key.seal(&mut bytes);
        bytes
    };
    let own = peer.keys.to_relay;
    let forged = block(&mut peer, &other.keys.to_relay, 60);
    assert!(matches!(lab.take(1, &forged), Outcome::Refused(_)));
    let good = block(&mut peer, &own, 60);
    assert!(matches!(lab.take(2, &good), Outcome::Refused(_)), "not from where it is");
    assert_eq!(lab.take(1, &good), Outcome::Silent);
    assert!(lab.table.blocks(lease, other.address()));
    lab.wait(61);
    assert!(!lab.table.blocks(lease, other.address()));
}

#[test]
fn a_farewell_is_sealed_for_every_lease() {
    let mut lab = Lab::new(Limits::default());
    let mut peers = [lab.peer(1, group(1)), lab.peer(2, group(2))];
    let ids: Vec<u32> = peers.iter_mut().zip([1, 2]).map(|(peer, from)| lab.granted(peer, from).0).collect();
    let farewells: Vec<_> = lab.leases.farewells().collect();
    for ((peer, id), (to, bytes)) in peers.iter().zip(ids).zip(farewells) {
        let packet = Packet::parse(&bytes).unwrap();
        assert!(peer.keys.to_member.check(&bytes) && packet.lease == id && Some(to) == lab.leg_of(id));
        assert_eq!(packet.frame, Frame::GoAway(GoAway { counter: peer.counter, within_ms: 3_000 }));
    }
}

#[test]
fn a_lease_costs_less_than_its_bar() {
    // Twice its entry in the index, whose smaller tables stay; the index is at most half full.
    let index = 16 * 2 * 2 * 2;
    let bytes = MEMBER_BYTES + table::SLOT_BYTES + index;
    assert!(bytes <= 450, "{bytes}");
}
