//! One node: its path agent, and a tunnel that behaves as the real one promises.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use lacis_agent_core::{
    Auxiliary, BirthdayState, Candidate, CandidateKind, Mapping, Nat64Prefix, NatSummary, PathAction,
    PathEvent, Paths, PathsBoot, PeerWays, RelayWay, RemotePeer, Seed, Shared, Way,
};
use lacis_proto::{GroupId, PeerId, PublicKey, RecordId};
use support::Random;

use super::{nat::Nat, world::Relay};

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A path frame.
    Frame(Vec<u8>),
    /// WireGuard's first message, its answer, and data with a number.
    Initiation {
        from: usize,
    },
    Response {
        from: usize,
    },
    Data {
        from: usize,
        number: u64,
        length: u16,
    },
}

/// What a node wants sent.
#[derive(Debug)]
pub(crate) enum Out {
    Send { way: Way, packet: Packet, ttl: Option<u8> },
    Signal { to: PeerId, payload: Vec<u8> },
}

/// MTU of the overlay; every packet of data is as long as may be.
pub(crate) const MTU: u16 = 1_400;

/// An initiation without an answer is repeated after this (WireGuard paper §6.1).
const REKEY: Duration = Duration::from_secs(5);

/// A session is void after this (WireGuard paper §6.1).
const REJECT: Duration = Duration::from_secs(180);

/// Auxiliary sockets have the ports behind this one.
const FIRST_AUXILIARY: u16 = 10_000;

/// Bytes that a packet of the application counts for.
const PACKET: u64 = 1_000;

/// Most packets that wait for a session.
const MAX_QUEUED: usize = 256;

/// The tunnel to one peer.
#[derive(Debug, Default)]
pub(crate) struct Tunnel {
    pub(crate) ways: PeerWays,
    also_left: u32,
    has_session: bool,
    talked_at: Option<Duration>,
    initiated_at: Option<Duration>,
    queue: VecDeque<u64>,
    next: u64,
    told_sending: Option<Duration>,
    told_silent: Option<Duration>,
    told_unanswered: Option<Duration>,
    sent_since: u32,
    /// Since when data has found no answer.
    unanswered: Option<Duration>,
    received_at: Option<Duration>,
    heard_way: Option<Way>,
    /// Numbers that arrived, and when each first did.
    pub(crate) arrived: BTreeMap<u64, Duration>,
    pub(crate) sent_at: BTreeMap<u64, Duration>,
    /// Addresses that something authentic came from.
    proven: BTreeSet<SocketAddr>,
    /// When the primary became direct.
    pub(crate) direct_at: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) key: PublicKey,
    pub(crate) peer: PeerId,
    pub(crate) host: SocketAddr,
    pub(crate) nat: Nat,
    /// It has IPv6 alone, and its NAT is a NAT64 with this prefix.
    pub(crate) nat64: Option<Nat64Prefix>,
    pub(crate) paths: Paths,
    pub(crate) tunnels: BTreeMap<usize, Tunnel>,
    pub(crate) out: Vec<Out>,
    /// Datagrams that left, of any kind, and path frames among them.
    pub(crate) left: u64,
    pub(crate) frames: u64,
    /// Flows are to be opened and counted.
    pub(crate) count_flows: bool,
    /// It is off: nothing reaches it, and no relay knows it.
    pub(crate) is_away: bool,
    /// Whether it takes part in birthday probing, from its next start on.
    pub(crate) birthday: bool,
    /// Auxiliary sockets that are open, how many were opened, and the most that were open at once.
    pub(crate) sockets: BTreeSet<Auxiliary>,
    opened: u32,
    pub(crate) most_sockets: usize,
    /// It has descriptors for so many sockets.
    pub(crate) descriptors: usize,
    /// Frames that left straight to some address, and when.
    pub(crate) straight: Vec<(Duration, SocketAddr)>,
    boot: u64,
    others: BTreeMap<PublicKey, usize>,
}

pub(crate) fn group() -> GroupId {
    GroupId::from_random([7; 16])
}

pub(crate) fn key_of(index: usize) -> PublicKey {
    PublicKey::try_new([u8::try_from(index).unwrap() + 1; 32]).unwrap()
}

pub(crate) fn peer_of(index: usize) -> PeerId {
    PeerId::from_random([u8::try_from(index).unwrap() + 1; 16])
}

impl Node {
    pub(crate) fn new(index: usize, host: SocketAddr, nat: Nat, random: &mut Random) -> Self {
        Self {
            index,
            key: key_of(index),
            peer: peer_of(index),
            host,
            nat,
            nat64: None,
            paths: Paths::new(boot(1, false, random)),
            tunnels: BTreeMap::new(),
            out: Vec::new(),
            left: 0,
            frames: 0,
            count_flows: false,
            is_away: false,
            birthday: false,
            sockets: BTreeSet::new(),
            opened: 0,
            most_sockets: 0,
            descriptors: 1_000,
            straight: Vec::new(),
            boot: 1,
            others: BTreeMap::new(),
        }
    }

    /// The program restarts: tunnels and paths are gone, a later start begins.
    pub(crate) fn restart(&mut self, random: &mut Random) {
        self.boot += 1;
        self.paths = Paths::new(boot(self.boot, self.birthday, random));
        self.sockets.clear();
        let others = std::mem::take(&mut self.tunnels);
        for (other, tunnel) in others {
            let fresh = Tunnel {
                next: tunnel.next,
                sent_at: tunnel.sent_at,
                arrived: tunnel.arrived,
                ..Tunnel::default()
            };
            self.tunnels.insert(other, fresh);
        }
    }

    /// Makes another node known.
    pub(crate) fn meets(&mut self, now: Duration, other: usize) {
        self.others.insert(key_of(other), other);
        self.tunnels.entry(other).or_default();
        let remote = RemotePeer {
            group: group(),
            own: self.key,
            key: key_of(other),
            peer: peer_of(other),
            address: other as u64,
            endpoints: Vec::new(),
            relays: Vec::new(),
        };
        self.handle(now, PathEvent::Peer(remote));
    }

    /// Tells the path agent what observers see: where this node is, and what its NAT is like.
    pub(crate) fn observe(&mut self, now: Duration, observers: &[SocketAddr], random: &mut Random) {
        let mut own = vec![Candidate { kind: CandidateKind::Host, addr: self.host }];
        let seen: Vec<SocketAddr> = observers
            .iter()
            .filter_map(|observer| self.nat.out(now, self.host.port(), *observer, random))
            .collect();
        let mapping = if seen.is_empty() { Mapping::Unknown } else { self.nat.kind.mapping() };
        let is_same = seen.windows(2).all(|pair| pair[0] == pair[1]);
        if let Some(seen) = seen.first().filter(|seen| is_same && **seen != self.host) {
            own.push(Candidate { kind: CandidateKind::Reflexive, addr: *seen });
        }
        if let Some(port) = self.nat.mapped {
            let addr = SocketAddr::new(self.nat.outside, port);
            own.push(Candidate { kind: CandidateKind::Portmap, addr });
        }
        let step = |pair: &[SocketAddr]| i32::from(pair[1].port()) - i32::from(pair[0].port());
        let steps: BTreeSet<i32> = seen.windows(2).map(step).collect();
        let step = steps.first().filter(|step| steps.len() == 1 && **step != 0);
        let nat = NatSummary {
            mapping,
            seen: seen.last().copied(),
            step: step.and_then(|step| i16::try_from(*step).ok()),
            udp: !seen.is_empty(),
            ..NatSummary::default()
        };
        self.handle(now, PathEvent::Nat(nat));
        self.handle(now, PathEvent::OwnCandidates(own));
        self.handle(now, PathEvent::Nat64(self.nat64));
    }

    pub(crate) fn use_relays(&mut self, now: Duration, relays: &[Relay]) {
        let usable = relays.iter().enumerate().filter(|(_, relay)| relay.is_up);
        let ways = usable.map(|(at, relay)| RelayWay {
            relay: RecordId::parse(&format!("relay_{at}")).unwrap(),
            group: group(),
            remote: self.nat64.map_or(relay.addr, |prefix| prefix.lead_to(relay.addr)),
            lease: u32::try_from(self.index).unwrap(),
            rtt: Some(relay.leg * 2),
            tls: self.nat.kind == super::nat::Kind::Ub,
        });
        let ways = ways.collect();
        self.handle(now, PathEvent::Relays(ways));
    }

    pub(crate) fn handle(&mut self, now: Duration, event: PathEvent) {
        self.paths.handle(now, event);
        while let Some(action) = self.paths.poll() {
            match action {
                PathAction::Send { way, payload, ttl, .. } => {
                    if way.is_direct() {
                        self.straight.push((now, way.remote));
                    }
                    self.send(way, Packet::Frame(payload), ttl);
                }
                PathAction::OpenSockets { group, key, count } => {
                    let sockets = self.open(count);
                    self.paths.handle(now, PathEvent::SocketsOpened { group, key, sockets });
                }
                PathAction::CloseSockets(sockets) => {
                    for socket in sockets {
                        assert!(self.sockets.remove(&socket), "{socket:?} is closed twice");
                    }
                }
                PathAction::Signal { to, payload, .. } => self.out.push(Out::Signal { to, payload }),
                PathAction::SetWays { key, ways, .. } => self.set_ways(now, self.others[&key], ways),
                PathAction::Agree { group, key } => {
                    let shared = Some(shared(&self.key, &key));
                    self.paths.handle(now, PathEvent::Agreed { group, key, shared });
                }
                PathAction::Initiate { key, .. } => self.initiate(now, self.others[&key]),
                PathAction::CountFlows => self.count_flows = true,
                PathAction::NeedRelay { .. } | PathAction::KeepLastGood | PathAction::Moved { .. } => {}
            }
        }
    }

    fn open(&mut self, count: usize) -> Vec<Auxiliary> {
        let count = count.min(self.descriptors.saturating_sub(self.sockets.len()));
        let opened = (0..count).map(|_| {
            self.opened += 1;
            Auxiliary(self.opened)
        });
        let opened: Vec<Auxiliary> = opened.collect();
        self.sockets.extend(&opened);
        self.most_sockets = self.most_sockets.max(self.sockets.len());
        opened
    }

    /// The port of this host that a way leaves from; none if the socket is closed.
    pub(crate) fn port_of(&self, way: Way) -> Option<u16> {
        let Some(socket) = way.auxiliary else { return Some(self.host.port()) };
        self.sockets.contains(&socket).then(|| FIRST_AUXILIARY + u16::try_from(socket.0).unwrap())
    }

    /// The way by which something came from an address to one of this host's ports; none if the socket is closed.
    pub(crate) fn way_in(&self, port: u16, from: SocketAddr) -> Option<Way> {
        if port == self.host.port() {
            return Some(Way::direct(from));
        }
        let socket = Auxiliary(u32::from(port.checked_sub(FIRST_AUXILIARY)?));
        self.sockets.contains(&socket).then(|| Way::from_auxiliary(from, socket))
    }

    /// A way as this node's NAT64 knows it outside; none where nothing of this node's network leads there.
    pub(crate) fn outside(&self, way: Way) -> Option<Way> {
        let Some(prefix) = self.nat64 else { return Some(way).filter(|way| way.remote.is_ipv4()) };
        let IpAddr::V6(ip) = way.remote.ip() else { return None };
        Some(Way { remote: SocketAddr::new(prefix.embedded(ip)?.into(), way.remote.port()), ..way })
    }

    /// The same for a way by which something comes in.
    pub(crate) fn inside(&self, way: Way) -> Way {
        Way { remote: self.nat64.map_or(way.remote, |prefix| prefix.lead_to(way.remote)), ..way }
    }

    /// How birthday probing stands with another node.
    pub(crate) fn birthday_with(&self, other: usize) -> Option<BirthdayState> {
        self.paths.view().into_iter().find(|view| view.key == key_of(other))?.birthday
    }

    fn send(&mut self, way: Way, packet: Packet, ttl: Option<u8>) {
        self.left += 1;
        self.frames += u64::from(matches!(packet, Packet::Frame(_)));
        self.out.push(Out::Send { way, packet, ttl });
    }

    fn set_ways(&mut self, now: Duration, other: usize, ways: PeerWays) {
        let tunnel = self.tunnels.get_mut(&other).unwrap();
        for way in [ways.primary, ways.also].into_iter().flatten().filter(Way::is_direct) {
            assert!(
                tunnel.proven.contains(&way.remote),
                "data for {other} would go to {way}, which never answered"
            );
        }
        let is_direct = ways.primary.is_some_and(|way| way.is_direct());
        match (is_direct, tunnel.direct_at) {
            (true, None) => tunnel.direct_at = Some(now),
            (false, Some(_)) => tunnel.direct_at = None,
            (true, Some(_)) | (false, None) => {}
        }
        tunnel.also_left = ways.also_for;
        let is_waiting = !tunnel.has_session && !tunnel.queue.is_empty();
        let gets_more = ways.greet.iter().any(|way| !tunnel.ways.greet.contains(way));
        tunnel.ways = ways;
        if is_waiting && gets_more {
            self.initiate(now, other);
        }
        self.flush(now, other);
    }

    fn initiate(&mut self, now: Duration, other: usize) {
        let tunnel = self.tunnels.get_mut(&other).unwrap();
        tunnel.initiated_at = Some(now);
        let ways = tunnel.ways.clone();
        let greeted = if ways.primary.is_none() { ways.greet } else { Vec::new() };
        // Handshakes go the other way, too, however much data has gone there.
        let targets: BTreeSet<Way> = [ways.primary, ways.also].into_iter().flatten().chain(greeted).collect();
        for way in targets {
            self.send(way, Packet::Initiation { from: self.index }, None);
        }
    }

    /// The application hands over a packet.
    pub(crate) fn talk(&mut self, now: Duration, other: usize) {
        let tunnel = self.tunnels.get_mut(&other).unwrap();
        if tunnel.talked_at.replace(now).is_some_and(|at| now >= at + REJECT) {
            tunnel.has_session = false;
            tunnel.initiated_at = None;
        }
        let number = tunnel.next;
        tunnel.next += 1;
        tunnel.sent_at.insert(number, now);
        if tunnel.queue.len() < MAX_QUEUED {
            tunnel.queue.push_back(number);
        }
        let (group, key) = (group(), key_of(other));
        let (had_session, has_way) = (tunnel.has_session, tunnel.ways.primary.is_some());
        if had_session && has_way {
            self.flush(now, other);
        } else if tunnel.initiated_at.is_none_or(|at| now >= at + REKEY) {
            self.initiate(now, other);
            if !had_session {
                self.handle(now, PathEvent::Wanted { group, key });
            }
        }
    }

    fn flush(&mut self, now: Duration, other: usize) {
        let index = self.index;
        let tunnel = self.tunnels.get_mut(&other).unwrap();
        let (true, Some(primary)) = (tunnel.has_session, tunnel.ways.primary) else { return };
        let mut sends = Vec::new();
        while let Some(number) = tunnel.queue.pop_front() {
            sends.push((primary, number));
            if let Some(also) = tunnel.ways.also.filter(|_| tunnel.also_left > 0) {
                tunnel.also_left -= u32::from(tunnel.also_left != u32::MAX);
                sends.push((also, number));
            }
        }
        if sends.is_empty() {
            return;
        }
        tunnel.sent_since += u32::try_from(sends.len()).unwrap();
        let tells = tunnel.told_sending.is_none_or(|at| now >= at + Duration::from_secs(2));
        if tells {
            tunnel.told_sending = Some(now);
        }
        let length = tunnel.ways.packet.unwrap_or(MTU);
        let second = Duration::from_secs(1);
        let is_silent = tunnel.sent_since >= 5
            && tunnel.received_at.is_some_and(|at| now >= at + second)
            && tunnel.told_silent.is_none_or(|at| now >= at + second);
        if is_silent {
            tunnel.told_silent = Some(now);
        }
        let since = *tunnel.unanswered.get_or_insert(now);
        let is_unanswered =
            now >= since + second && tunnel.told_unanswered.is_none_or(|at| now >= at + second);
        if is_unanswered {
            tunnel.told_unanswered = Some(now);
        }
        for (way, number) in sends {
            self.send(way, Packet::Data { from: index, number, length }, None);
        }
        let (group, key) = (group(), key_of(other));
        if tells {
            let tunnel = &self.tunnels[&other];
            let carried = PACKET * (tunnel.next + tunnel.arrived.len() as u64);
            self.handle(now, PathEvent::Sending { group: group.clone(), key, carried });
        }
        if is_silent {
            self.handle(now, PathEvent::Silent { group, key });
        } else if is_unanswered {
            self.handle(now, PathEvent::Unanswered { group, key });
        }
    }

    /// A datagram arrived.
    pub(crate) fn receive(&mut self, now: Duration, way: Way, packet: Packet) {
        let from = match packet {
            Packet::Frame(payload) => {
                // Who sent it shows in what the path agent makes of it; here only where it came from counts.
                if way.is_direct() {
                    for tunnel in self.tunnels.values_mut() {
                        tunnel.proven.insert(way.remote);
                    }
                }
                self.handle(now, PathEvent::Frame { way, payload });
                return;
            }
            Packet::Initiation { from } | Packet::Response { from } | Packet::Data { from, .. } => from,
        };
        let Some(tunnel) = self.tunnels.get_mut(&from) else { return };
        tunnel.proven.insert(way.remote);
        let (group, key) = (group(), key_of(from));
        match packet {
            Packet::Initiation { .. } => {
                self.handle(now, PathEvent::Wanted { group, key });
                self.send(way, Packet::Response { from: self.index }, None);
            }
            Packet::Response { .. } => self.session(now, from, way),
            Packet::Data { number, .. } => {
                tunnel.arrived.entry(number).or_insert(now);
                tunnel.received_at = Some(now);
                tunnel.sent_since = 0;
                tunnel.unanswered = None;
                let before = tunnel.heard_way.replace(way);
                if !tunnel.has_session {
                    self.session(now, from, way);
                } else if before != Some(way) {
                    self.handle(now, PathEvent::Heard { group, key, way });
                }
            }
            Packet::Frame(_) => {}
        }
    }

    fn session(&mut self, now: Duration, other: usize, way: Way) {
        let tunnel = self.tunnels.get_mut(&other).unwrap();
        if tunnel.has_session && tunnel.ways.primary.is_some() {
            return;
        }
        tunnel.has_session = true;
        self.handle(now, PathEvent::Handshake { group: group(), key: key_of(other), way });
        self.flush(now, other);
    }
}

fn boot(number: u64, birthday: bool, random: &mut Random) -> PathsBoot {
    let mut seed = Seed::default();
    seed.0.copy_from_slice(&random.bytes::<32>());
    PathsBoot { seed, boot: number, mtu: MTU, last_good: Vec::new(), birthday }
}

/// Stands for the agreement of two static keys: both ends get the same out of it.
fn shared(one: &PublicKey, other: &PublicKey) -> Shared {
    let mut shared = Shared(Default::default());
    for (at, byte) in shared.0.iter_mut().enumerate() {
        *byte = one.as_bytes()[at] ^ other.as_bytes()[at];
    }
    shared
}
