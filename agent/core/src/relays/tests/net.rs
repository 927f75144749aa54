//! Relays that are played, and the network between them and the lease client.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use lacis_proto::{
    RelayHome, RelayId, Signature,
    relay::{
        Ack, Frame, GoAway, Keys, Packet, RelayAddress, RelayEntry, RelayGrant, RelayToken,
        Relays as RelayMap, Retry, mac_of,
    },
    stun::Request,
};
use zeroize::Zeroizing;

use super::super::{RelayAction, RelayEvent, RelayLease, Relays, RelaysBoot};
use crate::{
    fixtures::{group, key},
    path::{NatSummary, Shared},
};

const SHARED: [u8; 32] = [7; 32];

pub(super) fn relay(n: u8) -> RelayId {
    RelayId::parse(&format!("relay_00000000-0000-4000-8000-0000000000{n:02}")).unwrap()
}

/// Where a relay takes frames; STUN is one port higher.
pub(super) fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, n], 3478))
}

fn stun_at(n: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, n], 3479))
}

pub(super) fn bridge(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, n], 9))
}

pub(super) fn seen_address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// One relay.
#[derive(Debug, Default)]
pub(super) struct Played {
    number: u8,
    pub(super) rtt: Duration,
    lease: Option<(u32, SocketAddr)>,
    granted: u32,
    counter: u64,
    /// How often it was measured.
    pub(super) measured: usize,
    pub(super) is_dead: bool,
    pub(super) wants_cookie: bool,
    pub(super) never_content: bool,
    /// It seals with a key that is not its own.
    pub(super) other_key: bool,
}

impl Played {
    fn keys(&self) -> Keys {
        let shared = if self.other_key { [1; 32] } else { SHARED };
        Keys::derive(&shared, &group(1), &key(1), &key(100 + self.number))
    }

    pub(super) fn source(&self) -> Option<SocketAddr> {
        self.lease.map(|(_, source)| source)
    }

    pub(super) fn forget(&mut self) {
        self.lease = None;
    }

    pub(super) fn not_bound(&self) -> Vec<u8> {
        let packet = Packet { lease: self.granted, address: own_address(), frame: Frame::NotBound };
        packet.to_bytes()
    }

    /// It does not know a peer, as far as a lease with this number is concerned.
    pub(super) fn peer_unknown(lease: u32) -> Vec<u8> {
        Packet { lease, address: RelayAddress(7), frame: Frame::PeerUnknown }.to_bytes()
    }

    pub(super) fn go_away(&self, within_ms: u32) -> Vec<u8> {
        self.sealed(self.granted, Frame::GoAway(GoAway { counter: self.counter, within_ms }))
    }

    fn sealed(&self, lease: u32, frame: Frame<'_>) -> Vec<u8> {
        let mut bytes = Packet { lease, address: own_address(), frame }.to_bytes();
        self.keys().to_member.seal(&mut bytes);
        bytes
    }

    /// What it answers to a frame from there.
    fn answer(&mut self, source: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
        let packet = Packet::parse(bytes).unwrap();
        let (counter, cookie, is_hello) = match packet.frame {
            Frame::Hello(hello) => {
                assert_eq!(RelayToken::parse(hello.token).unwrap().group, group(1));
                (hello.counter, hello.cookie, true)
            }
            Frame::Refresh(refresh) => (refresh.counter, refresh.cookie, false),
            Frame::Probe => {
                self.measured += 1;
                let frame = Frame::ProbeAck(source);
                return Some(Packet { lease: 0, address: packet.address, frame }.to_bytes());
            }
            other @ (Frame::Data(_)
            | Frame::HelloAck(_)
            | Frame::HelloRetry(_)
            | Frame::RefreshAck(_)
            | Frame::NotBound
            | Frame::PeerUnknown
            | Frame::ProbeAck(_)
            | Frame::GoAway(_)
            | Frame::Block(_)
            | Frame::Revoke(_)
            | Frame::RevokeAck) => panic!("the client sent {other:?}"),
        };
        assert_eq!(packet.address, own_address());
        assert!(self.other_key || self.keys().to_relay.check(bytes));
        assert!(counter > self.counter, "counters grow");
        self.counter = counter;
        let moves = self.lease.is_some_and(|(_, bound)| bound != source);
        if self.never_content || ((self.wants_cookie || moves) && cookie == [0; 16]) {
            let retry = Retry { echo: mac_of(bytes).unwrap(), cookie: [5; 16] };
            return Some(
                Packet { lease: 0, address: own_address(), frame: Frame::HelloRetry(retry) }.to_bytes(),
            );
        }
        let ack = Ack { counter, observed: source, lifetime_s: 120 };
        match (is_hello, self.lease) {
            (false, Some((id, _))) if id == packet.lease => {
                self.lease = Some((id, source));
                Some(self.sealed(id, Frame::RefreshAck(ack)))
            }
            (false, _) => Some(self.not_bound()),
            (true, _) => {
                self.granted += 1;
                self.lease = Some((self.granted, source));
                Some(self.sealed(self.granted, Frame::HelloAck(ack)))
            }
        }
    }
}

fn own_address() -> RelayAddress {
    RelayAddress::of(&group(1), &key(1))
}

/// The lease client and all that it can reach.
pub(super) struct Net {
    pub(super) relays: Relays,
    now: Duration,
    played: BTreeMap<u8, Played>,
    /// Answers on their way.
    pub(super) flying: Vec<(Duration, SocketAddr, Vec<u8>)>,
    opening: BTreeSet<RelayId>,
    /// What the client told last.
    pub(super) leases: Vec<RelayLease>,
    pub(super) outside: Vec<SocketAddr>,
    pub(super) nat: NatSummary,
    homes: Option<Vec<RelayHome>>,
    pub(super) sent: usize,
    /// How often a relay was believed not to know a peer.
    pub(super) unknown: usize,
    pub(super) udp_is_blocked: bool,
    pub(super) is_symmetric: bool,
    /// Where the client's datagrams seem to come from.
    pub(super) source: SocketAddr,
}

impl Net {
    /// Relays by number, with their round trips in milliseconds.
    pub(super) fn new(relays: &[(u8, u64)]) -> Self {
        let played = |(number, rtt): &(u8, u64)| {
            (*number, Played { number: *number, rtt: Duration::from_millis(*rtt), ..Played::default() })
        };
        Self {
            relays: Relays::new(RelaysBoot { seed: 1, epoch_ms: 1_795_323_600_000 }),
            now: Duration::ZERO,
            played: relays.iter().map(played).collect(),
            flying: Vec::new(),
            opening: BTreeSet::new(),
            leases: Vec::new(),
            outside: Vec::new(),
            nat: NatSummary::default(),
            homes: None,
            sent: 0,
            unknown: 0,
            udp_is_blocked: false,
            is_symmetric: false,
            source: seen_address(5),
        }
    }

    /// The client learns who it is and which relays there are.
    fn start(&mut self) {
        self.tell(RelayEvent::Own([(group(1), key(1))].into()));
        if !self.played.is_empty() {
            self.tell_map(&self.played.keys().copied().collect::<Vec<_>>());
        }
    }

    pub(super) fn tell_map(&mut self, relays: &[u8]) {
        let entry = |n: &u8| RelayEntry {
            id: relay(*n),
            label: n.to_string(),
            key: key(100 + n),
            udp: vec![at(*n)],
            stun: vec![stun_at(*n)],
            tls: vec!["wss://relay.example/relay/v1".to_owned()],
            pins: Vec::new(),
        };
        let token = RelayToken {
            class: 0,
            control: lacis_proto::ControlId::parse(&"0".repeat(32)).unwrap(),
            group: group(1),
            key: key(1),
            not_before_ms: 0,
            expires_ms: u64::MAX,
            serial: 1,
            signature: Signature([0; 64]),
        };
        let tokens = vec![RelayGrant { group: group(1), token }];
        self.tell(RelayEvent::Map(RelayMap { relays: relays.iter().map(entry).collect(), tokens }));
    }

    pub(super) fn tell(&mut self, event: RelayEvent) {
        self.relays.handle(self.now, event);
        while let Some(action) = self.relays.poll() {
            match action {
                RelayAction::Send { to, payload } => self.carry(to, &payload),
                RelayAction::Agree { group, relay } => {
                    let shared = Some(Shared(Zeroizing::new(SHARED)));
                    self.relays.handle(self.now, RelayEvent::Agreed { group, relay, shared });
                }
                RelayAction::OpenTls { relay, urls, pins: _ } => {
                    assert_eq!(urls.len(), 1);
                    assert!(self.opening.insert(relay), "one connection at a time");
                }
                RelayAction::CloseTls { relay } => assert!(self.opening.remove(&relay)),
                RelayAction::Leases(leases) => self.leases = leases,
                RelayAction::Outside { addresses, nat } => (self.outside, self.nat) = (addresses, nat),
                RelayAction::Home(homes) => self.homes = Some(homes),
                RelayAction::PeerUnknown { .. } => self.unknown += 1,
            }
        }
    }

    /// Carries a datagram of the client to whom it is for, and the answer back.
    fn carry(&mut self, to: SocketAddr, payload: &[u8]) {
        self.sent += 1;
        let is_bridged = to.ip().is_loopback();
        let source = match (is_bridged, self.is_symmetric) {
            (true, _) => to,
            (false, false) => self.source,
            (false, true) => seen_address(self.source.port() + to.port()),
        };
        if self.udp_is_blocked && !is_bridged {
            return;
        }
        let reached = |number: &u8| [at(*number), stun_at(*number), bridge(*number)].contains(&to);
        let Some((_, played)) = self.played.iter_mut().find(|(number, _)| reached(number)) else {
            panic!("the client sent to {to}")
        };
        if played.is_dead {
            return;
        }
        let answer = match Request::parse(payload) {
            Some(request) => Some(request.answer(source)),
            None => played.answer(source, payload),
        };
        self.flying.extend(answer.map(|answer| (self.now + played.rtt, to, answer)));
    }

    /// A relay says something of its own accord.
    pub(super) fn forge(&mut self, number: u8, what: impl FnOnce(&Played) -> Vec<u8>) {
        let played = &self.played[&number];
        self.flying.push((self.now + played.rtt / 2, at(number), what(played)));
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        if self.now == Duration::ZERO {
            self.start();
        }
        loop {
            let flying = self.flying.iter().map(|(at, ..)| *at);
            let next = self.relays.deadline().into_iter().chain(flying).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            assert!(self.relays.deadline().is_none_or(|at| at > self.now) || next == self.now);
            self.now = self.now.max(next);
            let (here, later) =
                std::mem::take(&mut self.flying).into_iter().partition(|(at, ..)| *at <= self.now);
            self.flying = later;
            let arrived: Vec<(Duration, SocketAddr, Vec<u8>)> = here;
            for (_, from, payload) in arrived {
                self.tell(RelayEvent::Frame { from, payload });
            }
            self.tell(RelayEvent::Tick);
        }
        self.now = end;
    }

    pub(super) fn relay(&mut self, number: u8) -> &mut Played {
        self.played.get_mut(&number).unwrap()
    }

    pub(super) fn is_opening(&self, number: u8) -> bool {
        self.opening.contains(&relay(number))
    }

    pub(super) fn open_tls(&mut self, number: u8) {
        self.tell(RelayEvent::TlsUp { relay: relay(number), at: bridge(number) });
    }

    pub(super) fn close_tls(&mut self, number: u8) {
        self.opening.remove(&relay(number));
        self.tell(RelayEvent::TlsDown { relay: relay(number), why: "it broke".to_owned() });
    }

    pub(super) fn homes(&self) -> Vec<RelayId> {
        let homes = self.homes.iter().flatten();
        homes.map(|home| RelayId::parse(home.relay.as_str()).unwrap()).collect()
    }

    /// Whether homes were ever told.
    pub(super) fn tells_homes(&self) -> bool {
        self.homes.is_some()
    }
}
