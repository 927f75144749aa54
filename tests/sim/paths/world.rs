//! The network between the nodes: delays, losses, NATs, relays and control, on a virtual clock.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use lacis_agent_core::{Nat64Prefix, PathEvent, Way};
use support::Random;

use super::{
    nat::{Kind, Nat},
    node::{Node, Out, Packet, group},
};

/// Where whoever plays recorded frames again sits.
pub(crate) const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66)), 666);

/// A relay with the one-way delay between it and any node.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    pub(crate) leg: Duration,
    pub(crate) is_up: bool,
    /// Whether nodes have been told that it is down; a relay that dies does not say so.
    pub(crate) forwards: bool,
    /// Of a hundred datagrams so many are dropped.
    pub(crate) drops_percent: usize,
}

#[derive(Debug)]
enum Happening {
    /// A datagram reaches the outside of a node's NAT.
    Outside {
        to: usize,
        port: u16,
        from: SocketAddr,
        packet: Packet,
    },
    /// A datagram reaches a host.
    Inside {
        to: usize,
        way: Way,
        packet: Packet,
    },
    /// A recorded frame is played again, from a stranger's address.
    Replay {
        to: usize,
        payload: Vec<u8>,
    },
    /// A relay says that it does not know the other end.
    Unknown {
        to: usize,
        way: Way,
    },
    Signal {
        to: usize,
        payload: Vec<u8>,
    },
    Talk {
        from: usize,
        to: usize,
        every: Duration,
        until: Duration,
    },
    Wake {
        node: usize,
    },
    Observe {
        node: usize,
    },
    Counted {
        node: usize,
        seen: Vec<SocketAddr>,
    },
}

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// One-way delay between two sites.
    pub(crate) delay: Duration,
    /// Most that a datagram is late, in microseconds; late ones are overtaken.
    pub(crate) jitter_us: u64,
    pub(crate) loss_percent: usize,
}

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) random: Random,
    pub(crate) nodes: Vec<Node>,
    pub(crate) relays: Vec<Relay>,
    pub(crate) weather: Weather,
    pub(crate) has_control: bool,
    /// Direct datagrams are lost.
    pub(crate) cut: bool,
    /// Direct datagrams longer than this are dropped without a word.
    pub(crate) widest: usize,
    /// Every frame is recorded and played again, at once and later, by a stranger.
    pub(crate) has_replayer: bool,
    pub(crate) replays: u64,
    /// Datagrams that went to the stranger.
    pub(crate) to_stranger: u64,
    heap: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    order: u64,
    is_told: bool,
}

impl World {
    /// Nodes behind these kinds of NAT, each at the site with this number.
    pub(crate) fn new(seed: u64, sites: &[(Kind, u8)], weather: Weather, is_told: bool) -> Self {
        let mut random = Random::new(seed);
        let relay = |n: u8, leg| Relay {
            addr: SocketAddr::new(Ipv4Addr::new(198, 51, 100, n).into(), 3_478),
            leg,
            is_up: true,
            forwards: true,
            drops_percent: 0,
        };
        let relays = vec![relay(10, weather.delay), relay(11, weather.delay * 2)];
        let nodes: Vec<Node> = (0..sites.len()).map(|index| node(index, sites[index], &mut random)).collect();
        let mut world = Self {
            now: Duration::from_secs(1_000),
            random,
            nodes,
            relays,
            weather,
            has_control: true,
            cut: false,
            widest: usize::MAX,
            has_replayer: false,
            replays: 0,
            to_stranger: 0,
            heap: BinaryHeap::new(),
            happenings: Vec::new(),
            order: 0,
            is_told,
        };
        for index in 0..world.nodes.len() {
            world.start(index);
        }
        world
    }

    /// A node begins: it knows the others, its relays, and what they see of it.
    pub(crate) fn start(&mut self, index: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != index) {
            self.nodes[index].meets(self.now, other);
        }
        self.nodes[index].use_relays(self.now, &self.relays);
        self.observe(index);
        self.collect(index);
    }

    /// The three ports of a relay tell a node where it is. Whose NAT still has a flow there is told nothing new.
    pub(crate) fn observe(&mut self, index: usize) {
        let observers: Vec<SocketAddr> =
            (0..3).map(|n| SocketAddr::new(self.relays[0].addr.ip(), 3_478 + n)).collect();
        self.nodes[index].observe(self.now, &observers, &mut self.random);
        self.collect(index);
    }

    /// `from` talks to `to`, at this rhythm.
    pub(crate) fn talk(&mut self, from: usize, to: usize, every: Duration, lasts: Duration) {
        self.push(self.now, Happening::Talk { from, to, every, until: self.now + lasts });
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, _, slot))) = self.heap.peek().copied()
            && at <= end
        {
            self.heap.pop();
            self.now = self.now.max(at);
            let happening = self.happenings[slot].take().unwrap();
            self.happen(happening);
        }
        self.now = end;
    }

    /// The clock of everybody jumps, as after a sleep.
    pub(crate) fn sleep(&mut self, node: usize, time: Duration) {
        self.now += time;
        self.nodes[node].handle(self.now, PathEvent::Resumed { asleep: time });
        self.collect(node);
    }

    /// A node is in a network that has IPv6 alone; its NAT is a NAT64.
    pub(crate) fn lose_v4(&mut self, index: usize) {
        let IpAddr::V4(ip) = self.nodes[index].host.ip() else { return };
        let host = Ipv6Addr::from_segments([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(ip.octets()[3])]);
        let known = [Ipv6Addr::from_segments([0x64, 0xff9b, 0, 0, 0, 0, 0xc000, 0xaa])];
        self.nodes[index].host.set_ip(host.into());
        self.nodes[index].nat64 = Nat64Prefix::found_in(&known);
        self.start(index);
    }

    /// A node appears elsewhere: behind another NAT, with another address.
    pub(crate) fn roam(&mut self, index: usize, kind: Kind, site: u8) {
        let (host, outside) = addresses(index, site, kind);
        self.nodes[index].host = host;
        self.nodes[index].nat = Nat::new(kind, outside, host.port(), &mut self.random);
        self.tell(index, PathEvent::NetworkChanged);
        let at = self.now + self.relays[0].leg * 2;
        self.push(at, Happening::Observe { node: index });
    }

    /// A node's program restarts, with nothing left of what it knew.
    pub(crate) fn restart(&mut self, index: usize) {
        self.nodes[index].restart(&mut self.random);
        self.start(index);
    }

    /// A NAT forgets every flow.
    pub(crate) fn reboot(&mut self, index: usize) {
        self.nodes[index].nat.reboot(&mut self.random);
        let at = self.now + Duration::from_secs(25);
        self.push(at, Happening::Observe { node: index });
    }

    /// Nodes hear which relays are up.
    pub(crate) fn tell_relays(&mut self) {
        for index in 0..self.nodes.len() {
            self.nodes[index].use_relays(self.now, &self.relays);
            self.collect(index);
        }
    }

    pub(crate) fn tell(&mut self, index: usize, event: PathEvent) {
        self.nodes[index].handle(self.now, event);
        self.collect(index);
    }

    fn push(&mut self, at: Duration, happening: Happening) {
        self.order += 1;
        self.happenings.push(Some(happening));
        self.heap.push(Reverse((at, self.order, self.happenings.len() - 1)));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Outside { to, port, from, packet } => {
                let admitted = self.nodes[to].nat.admits(self.now, port, from);
                if let Some(way) = admitted.and_then(|port| self.nodes[to].way_in(port, from)) {
                    let way = self.nodes[to].inside(way);
                    self.nodes[to].receive(self.now, way, packet);
                    self.collect(to);
                }
            }
            Happening::Inside { to, way, packet } => {
                let way = self.nodes[to].inside(way);
                self.nodes[to].receive(self.now, way, packet);
                self.collect(to);
            }
            Happening::Replay { to, payload } => {
                self.tell(to, PathEvent::Frame { way: Way::direct(STRANGER), payload });
            }
            Happening::Unknown { to, way } => {
                let way = self.nodes[to].inside(way);
                self.tell(to, PathEvent::PeerUnknown { way });
            }
            Happening::Signal { to, payload } => {
                self.tell(to, PathEvent::Signal { group: group(), payload });
            }
            Happening::Talk { from, to, every, until } => {
                if !self.nodes[from].is_away {
                    self.nodes[from].talk(self.now, to);
                    self.collect(from);
                }
                if self.now + every < until {
                    self.push(self.now + every, Happening::Talk { from, to, every, until });
                }
            }
            Happening::Wake { node } => {
                if self.nodes[node].paths.deadline().is_some_and(|at| at <= self.now) {
                    self.tell(node, PathEvent::Tick);
                }
            }
            Happening::Observe { node } => self.observe(node),
            Happening::Counted { node, seen } => self.tell(node, PathEvent::Counted { seen }),
        }
    }

    /// Puts on the way what a node wants sent, and notes when it wants to be woken.
    fn collect(&mut self, index: usize) {
        for out in std::mem::take(&mut self.nodes[index].out) {
            match out {
                Out::Send { way, packet, ttl } => self.send(index, way, packet, ttl),
                Out::Signal { to, payload } => {
                    let found = self.nodes.iter().position(|node| node.peer == to);
                    if let Some(to) = found.filter(|to| self.has_control && !self.nodes[*to].is_away) {
                        let at = self.now + self.random.ms(20, 60);
                        self.push(at, Happening::Signal { to, payload });
                    }
                }
            }
        }
        if std::mem::take(&mut self.nodes[index].count_flows) {
            self.count_flows(index);
        }
        if let Some(at) = self.nodes[index].paths.deadline() {
            self.push(at.max(self.now), Happening::Wake { node: index });
        }
    }

    /// Flows to a relay from another socket of a node, and what the relay says of them.
    fn count_flows(&mut self, node: usize) {
        let (nat, random) = (&mut self.nodes[node].nat, &mut self.random);
        let seen = (0..3).filter_map(|_| nat.other_socket(self.now, random)).collect();
        let at = self.now + self.late(self.relays[0].leg * 2);
        if !self.is_lost() {
            self.push(at, Happening::Counted { node, seen });
        }
    }

    fn send(&mut self, index: usize, way: Way, packet: Packet, ttl: Option<u8>) {
        if self.is_told && !matches!(packet, Packet::Data { .. }) {
            println!("{:?} node {index} sends {} by {way}", self.now, named(&packet));
        }
        if way.remote == STRANGER {
            assert!(matches!(packet, Packet::Frame(_)), "a stranger gets {}", named(&packet));
            self.to_stranger += 1;
        }
        if let Packet::Frame(payload) = &packet
            && self.has_replayer
            && way.remote != STRANGER
        {
            for later in [30, 700, 20_000] {
                let (to, payload) = (1 - index, payload.clone());
                self.replays += 1;
                self.push(self.now + Duration::from_millis(later), Happening::Replay { to, payload });
            }
        }
        let Some(way) = self.nodes[index].outside(way) else { return };
        match way.relay {
            Some(hop) => self.relay(index, way.remote, usize::try_from(hop.address).unwrap(), packet),
            None => {
                if let Some(port) = self.nodes[index].port_of(way) {
                    self.direct((index, port), way.remote, packet, ttl);
                }
            }
        }
    }

    fn relay(&mut self, from: usize, remote: SocketAddr, to: usize, packet: Packet) {
        let Some(relay) = self.relays.iter().find(|relay| relay.addr == remote && relay.forwards) else {
            return;
        };
        let (leg, addr, drops) = (relay.leg, relay.addr, relay.drops_percent);
        if self.is_lost() || self.random.chance(drops) {
            return;
        }
        if self.nodes[to].is_away {
            let way = Way::relayed(addr, u32::try_from(from).unwrap(), to as u64);
            self.push(self.now + leg * 2, Happening::Unknown { to: from, way });
            return;
        }
        let way = Way::relayed(addr, u32::try_from(to).unwrap(), from as u64);
        for _ in 0..self.copies() {
            let (at, packet) = (self.now + self.late(leg * 2), packet.clone());
            self.push(at, Happening::Inside { to, way, packet });
        }
    }

    fn direct(&mut self, (from, port): (usize, u16), to: SocketAddr, packet: Packet, ttl: Option<u8>) {
        let site = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => [ip.octets()[0], ip.octets()[1], ip.octets()[2]],
            IpAddr::V6(_) => [0; 3],
        };
        let host = self.nodes[from].host;
        let neighbour = self.nodes.iter().position(|node| {
            node.host == to && site(node.host.ip()) == site(host.ip()) && !node.nat.kind.is_public()
        });
        if let Some(to) = neighbour {
            let at = self.now + Duration::from_micros(300);
            self.push(at, Happening::Inside { to, way: Way::direct(host), packet });
            return;
        }
        let Some(source) = self.nodes[from].nat.out(self.now, port, to, &mut self.random) else { return };
        if ttl.is_some() || self.cut || length(&packet) > self.widest || self.is_lost() {
            return;
        }
        let reached: Vec<usize> = (0..self.nodes.len())
            .filter(|other| *other != from && self.nodes[*other].nat.outside == to.ip())
            .collect();
        for to_node in reached.into_iter().filter(|node| !self.nodes[*node].is_away).collect::<Vec<_>>() {
            for _ in 0..self.copies() {
                let (at, port) = (self.now + self.late(self.weather.delay), to.port());
                let packet = packet.clone();
                self.push(at, Happening::Outside { to: to_node, port, from: source, packet });
            }
        }
    }

    /// How often a datagram arrives: bad networks double some.
    fn copies(&mut self) -> usize {
        let doubles = self.weather.loss_percent > 0 && self.random.chance(self.weather.loss_percent);
        if doubles { 2 } else { 1 }
    }

    fn is_lost(&mut self) -> bool {
        self.weather.loss_percent > 0 && self.random.chance(self.weather.loss_percent)
    }

    fn late(&mut self, delay: Duration) -> Duration {
        delay + Duration::from_micros(self.random.next() % (self.weather.jitter_us + 1))
    }

    /// Whether data of both goes straight to the other.
    pub(crate) fn is_direct(&self, one: usize, other: usize) -> bool {
        let goes = |from: usize, to: usize| {
            self.nodes[from].tunnels[&to].ways.primary.is_some_and(|way| way.is_direct())
        };
        goes(one, other) && goes(other, one)
    }

    /// The longest time since `since` in which no new data of `from` reached `to`.
    pub(crate) fn gap(&self, from: usize, to: usize, since: Duration) -> Duration {
        let mut arrived: Vec<Duration> = self.nodes[to].tunnels[&from].arrived.values().copied().collect();
        arrived.extend([since, self.now]);
        arrived.retain(|at| *at >= since);
        arrived.sort_unstable();
        arrived.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Data packets that never arrived, of those sent between two moments.
    pub(crate) fn lost(&self, from: usize, to: usize, since: Duration, until: Duration) -> Vec<Duration> {
        let sent = &self.nodes[from].tunnels[&to].sent_at;
        let arrived = &self.nodes[to].tunnels[&from].arrived;
        let gone = sent
            .iter()
            .filter(|(number, at)| **at >= since && **at < until && !arrived.contains_key(*number));
        gone.map(|(_, at)| *at).collect()
    }
}

/// Bytes of a datagram of IPv4.
fn length(packet: &Packet) -> usize {
    28 + match packet {
        Packet::Frame(payload) => payload.len(),
        Packet::Initiation { .. } | Packet::Response { .. } => 148,
        Packet::Data { length, .. } => usize::from(*length) + 32,
    }
}

fn named(packet: &Packet) -> &'static str {
    match packet {
        Packet::Frame(_) => "a frame",
        Packet::Initiation { .. } => "an initiation",
        Packet::Response { .. } => "a response",
        Packet::Data { .. } => "data",
    }
}

fn node(index: usize, (kind, site): (Kind, u8), random: &mut Random) -> Node {
    let (host, outside) = addresses(index, site, kind);
    let nat = Nat::new(kind, outside, host.port(), random);
    Node::new(index, host, nat, random)
}

/// Where a host is, and how it looks from outside, at one site. Each host there has a port of its own.
fn addresses(index: usize, site: u8, kind: Kind) -> (SocketAddr, IpAddr) {
    let host = u8::try_from(index).unwrap() + 2;
    let outside = IpAddr::from(Ipv4Addr::new(203, 0, 113, site));
    let inside = IpAddr::from(Ipv4Addr::new(10, 0, site, host));
    let port = 51_820 + u16::from(host);
    (SocketAddr::new(if kind.is_public() { outside } else { inside }, port), outside)
}
