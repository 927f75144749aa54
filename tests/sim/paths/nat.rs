//! NATs and firewalls as RFC 4787 takes them apart: mapping, filtering, choice of ports.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use lacis_agent_core::Mapping;
use support::Random;

/// The kinds of the laboratory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Public address, nothing in between.
    P,
    /// Stateful firewall without NAT.
    F,
    /// Full cone.
    Fc,
    /// Address-restricted cone.
    Ar,
    /// Port-restricted cone: the usual router at home.
    Pr,
    /// The same, but strangers get as far as the router itself, and take a mapping there.
    Lk,
    /// Another port for each address.
    Ad,
    /// The next port for each flow.
    Ss,
    /// Any port for each flow.
    Sr,
    /// No UDP.
    Ub,
}

impl Kind {
    pub(crate) const ALL: [Self; 10] =
        [Self::P, Self::F, Self::Fc, Self::Ar, Self::Pr, Self::Lk, Self::Ad, Self::Ss, Self::Sr, Self::Ub];

    /// Whether the host has a public address.
    pub(crate) const fn is_public(self) -> bool {
        matches!(self, Self::P | Self::F)
    }

    pub(crate) const fn mapping(self) -> Mapping {
        match self {
            Self::P | Self::F | Self::Fc | Self::Ar | Self::Pr | Self::Lk => Mapping::EndpointIndependent,
            Self::Ad => Mapping::AddressDependent,
            Self::Ss | Self::Sr => Mapping::AddressAndPortDependent,
            Self::Ub => Mapping::Unknown,
        }
    }
}

/// Linux forgets a flow without an answer after this, and one with answers later.
const UNANSWERED: Duration = Duration::from_secs(30);
const ANSWERED: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug)]
struct Flow {
    port: u16,
    used: Duration,
    answered: bool,
}

impl Flow {
    fn lives(&self, now: Duration) -> bool {
        now < self.used + if self.answered { ANSWERED } else { UNANSWERED }
    }
}

/// What stands between one host and the rest.
#[derive(Debug)]
pub(crate) struct Nat {
    pub(crate) kind: Kind,
    pub(crate) outside: IpAddr,
    own_port: u16,
    /// By the host's own port and by destination.
    flows: BTreeMap<(u16, SocketAddr), Flow>,
    /// Strangers that got as far as the router: a flow to them cannot keep its port.
    clashes: BTreeMap<SocketAddr, Duration>,
    next_port: u16,
    /// Flows a second that others open behind it, and until when they have been counted.
    pub(crate) bustle: usize,
    counted: Duration,
    /// A port that is forwarded to the host, whoever sends there.
    pub(crate) mapped: Option<u16>,
}

impl Nat {
    pub(crate) fn new(kind: Kind, outside: IpAddr, own_port: u16, random: &mut Random) -> Self {
        let next_port = 20_000 + u16::try_from(random.below(10_000)).unwrap();
        let (flows, clashes) = (BTreeMap::new(), BTreeMap::new());
        let (bustle, counted, mapped) = (0, Duration::ZERO, None);
        Self { kind, outside, own_port, flows, clashes, next_port, bustle, counted, mapped }
    }

    /// It restarts, or its uplink changed: every flow is forgotten.
    pub(crate) fn reboot(&mut self, random: &mut Random) {
        self.flows.clear();
        self.clashes.clear();
        self.next_port = 20_000 + u16::try_from(random.below(10_000)).unwrap();
    }

    /// A datagram leaves the host's port `from`; returns the source it has outside.
    pub(crate) fn out(
        &mut self,
        now: Duration,
        from: u16,
        to: SocketAddr,
        random: &mut Random,
    ) -> Option<SocketAddr> {
        if self.kind == Kind::Ub {
            return None;
        }
        let living = self.flows.get(&(from, to)).filter(|flow| flow.lives(now)).copied();
        let (port, answered) = match living {
            Some(flow) => (flow.port, flow.answered),
            None => (self.choose(now, from, to, random), false),
        };
        self.flows.insert((from, to), Flow { port, used: now, answered });
        Some(SocketAddr::new(self.outside, port))
    }

    fn choose(&mut self, now: Duration, from: u16, to: SocketAddr, random: &mut Random) -> u16 {
        match self.kind {
            Kind::P | Kind::F | Kind::Fc | Kind::Ar | Kind::Pr | Kind::Ub => from,
            Kind::Lk if self.clashes.get(&to).is_some_and(|at| now < *at + UNANSWERED) => {
                40_000 + u16::try_from(random.below(20_000)).unwrap()
            }
            Kind::Lk => from,
            Kind::Ad => {
                let same = self
                    .flows
                    .iter()
                    .find(|((own, other), flow)| *own == from && other.ip() == to.ip() && flow.lives(now));
                let same = same.map(|(_, flow)| flow.port);
                same.unwrap_or_else(|| 30_000 + u16::try_from(random.below(10_000)).unwrap())
            }
            Kind::Ss => self.count(now, random),
            Kind::Sr => loop {
                let port = 1_024 + u16::try_from(random.below(64_000)).unwrap();
                let is_taken = |((_, other), flow): (&(u16, SocketAddr), &Flow)| {
                    *other == to && flow.port == port && flow.lives(now)
                };
                if !self.flows.iter().any(is_taken) {
                    return port;
                }
            },
        }
    }

    /// The outside port of the next flow where flows are counted.
    fn count(&mut self, now: Duration, random: &mut Random) -> u16 {
        let passed = now.saturating_sub(self.counted).min(Duration::from_secs(60));
        self.counted = now;
        let usual = self.bustle * usize::try_from(passed.as_micros()).unwrap();
        // So many on average, never fewer than none; a rest is made up for by chance.
        let most = 2 * usual / 1_000_000;
        let by_chance = random.below(1_000_000) < 2 * usual % 1_000_000 && random.chance(50);
        let others = random.below(most + 1) + usize::from(by_chance);
        self.next_port += 1 + u16::try_from(others).unwrap();
        self.next_port
    }

    /// A datagram leaves from another socket of the host; returns the outside port of its flow.
    pub(crate) fn other_socket(&mut self, now: Duration, random: &mut Random) -> Option<SocketAddr> {
        let port = match self.kind {
            Kind::Ub => return None,
            Kind::Ss => self.count(now, random),
            Kind::P | Kind::F | Kind::Fc | Kind::Ar | Kind::Pr | Kind::Lk | Kind::Ad | Kind::Sr => {
                1_024 + u16::try_from(random.below(64_000)).unwrap()
            }
        };
        Some(SocketAddr::new(self.outside, port))
    }

    /// A datagram arrives at one of the outside ports; returns the host's port that it reaches, if it does.
    pub(crate) fn admits(&mut self, now: Duration, port: u16, from: SocketAddr) -> Option<u16> {
        let mut living = self.flows.iter().filter(|(_, flow)| flow.port == port && flow.lives(now));
        let own = |flow: (&(u16, SocketAddr), &Flow)| flow.0.0;
        let admitted = match self.kind {
            Kind::P => (port == self.own_port).then_some(port),
            Kind::Fc => living.next().map(own),
            Kind::Ar => living.find(|((_, to), _)| to.ip() == from.ip()).map(own),
            Kind::F | Kind::Pr | Kind::Lk | Kind::Ad | Kind::Ss | Kind::Sr => {
                living.find(|((_, to), _)| *to == from).map(own)
            }
            Kind::Ub => None,
        };
        if self.mapped == Some(port) {
            // What answers leaves by the same port.
            self.flows.insert((self.own_port, from), Flow { port, used: now, answered: true });
            return Some(self.own_port);
        }
        let mut living = self.flows.iter_mut().filter(|(_, flow)| flow.port == port && flow.lives(now));
        match living.find(|((_, to), _)| *to == from) {
            Some((_, flow)) => {
                flow.used = now;
                flow.answered = true;
            }
            None if self.kind == Kind::Lk && admitted.is_none() && port == self.own_port => {
                self.clashes.insert(from, now);
            }
            None => {}
        }
        admitted
    }
}
