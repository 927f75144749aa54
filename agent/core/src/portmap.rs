//! A port of the gateway that leads to the tunnels' port: how it is got, kept and given back.
//!
//! ```text
//!        gateway known                    refused, or silent           silent
//! idle ───────────────▶ asking by PCP ───────────────────▶ NAT-PMP ──────────▶ UPnP ──▶ resting, then again
//!                           │ granted         │ granted                │ granted
//!                           ▼                 ▼                        ▼
//!                         held: renewed within half of its life by the same protocol, at once when the gateway
//!                         has restarted (epoch); forgotten with the gateway; removed at the end
//! ```
//! The shell hands over events ([`PortMap::handle`]), takes actions until there are none ([`PortMap::poll`]) and
//! sleeps until [`PortMap::deadline`]. Nobody waits for any of it. An outer address that is itself behind a NAT
//! leads nobody here: the mapping is kept, since it may be the home's only one, but not told.

pub mod limits;
mod natpmp;
mod pcp;
pub mod upnp;

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use self::{
    limits::{ASK_AGAIN, EPOCH_SLACK_S, LADDER, LEASE_S, MAX_CONFLICTS, MAX_RENEWAL, MIN_RENEWAL},
    upnp::Refusal,
};

/// The router that this node's packets leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its address on the inside.
    pub address: Ipv4Addr,
    /// This node's address towards it.
    pub local: Ipv4Addr,
}

/// What comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortMapEvent {
    /// The network has changed; this is the gateway now.
    Gateway(Option<Gateway>),
    /// A datagram from a gateway's port for mappings.
    Datagram {
        /// Who sent it.
        from: Ipv4Addr,
        /// What.
        payload: Vec<u8>,
    },
    /// What came of [`PortMapAction::AddByUpnp`].
    Upnp(Result<SocketAddrV4, Refusal>),
    /// The agent ends.
    Stop,
    /// Time has passed.
    Tick,
}

/// What goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortMapAction {
    /// Send this to [`limits::SERVER_PORT`] of the gateway.
    Send {
        /// The gateway.
        to: Ipv4Addr,
        /// What.
        payload: Vec<u8>,
    },
    /// Map a port by UPnP, and answer by [`PortMapEvent::Upnp`].
    AddByUpnp {
        /// Where.
        gateway: Gateway,
        /// The port outside.
        external: u16,
        /// The port inside.
        port: u16,
        /// For how long; 0 for ever.
        lease_s: u32,
    },
    /// Remove a mapping by UPnP; nobody waits for the answer.
    DeleteByUpnp {
        /// Where.
        gateway: Gateway,
        /// The port outside.
        external: u16,
    },
    /// From outside, this node is reached here now, or by no mapping any more.
    Mapped(Option<SocketAddrV4>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Pcp,
    NatPmp,
    Upnp,
}

/// A gateway's clock, and ours when it was told.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    server_s: u32,
    at: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    by: Protocol,
    external: SocketAddrV4,
    /// None where it lasts for ever.
    ends: Option<Duration>,
    renew: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing to do until then.
    Waiting { until: Option<Duration> },
    /// Questions have been sent so often; the next is due then.
    Asking { by: Protocol, sent: usize, next: Duration },
}

/// The machine. See the module's text.
#[derive(Debug)]
pub struct PortMap {
    port: u16,
    nonce: [u8; 12],
    gateway: Option<Gateway>,
    state: State,
    held: Option<Held>,
    told: Option<SocketAddrV4>,
    epoch: Option<Epoch>,
    /// The outer address by NAT-PMP, which tells it apart from the mapping.
    outer: Option<Ipv4Addr>,
    /// The mapping by NAT-PMP, while its outer address is unknown.
    mapped: Option<(u16, u32)>,
    only_permanent: bool,
    conflicts: u16,
    actions: VecDeque<PortMapAction>,
}

impl PortMap {
    /// For a UDP port of this node. The nonce is drawn by chance: who knows it may change the mapping.
    #[must_use]
    pub const fn new(port: u16, nonce: [u8; 12]) -> Self {
        Self {
            port,
            nonce,
            gateway: None,
            state: State::Waiting { until: None },
            held: None,
            told: None,
            epoch: None,
            outer: None,
            mapped: None,
            only_permanent: false,
            conflicts: 0,
            actions: VecDeque::new(),
        }
    }

    /// Takes in one event. `now` is the time since an origin that stays the same.
    pub fn handle(&mut self, now: Duration, event: PortMapEvent) {
        match event {
            PortMapEvent::Gateway(gateway) => self.found(now, gateway),
            PortMapEvent::Datagram { from, payload } => {
                if self.gateway.is_some_and(|gateway| gateway.address == from) {
                    self.heard(now, &payload);
                }
            }
            PortMapEvent::Upnp(outcome) => self.answered(now, outcome),
            PortMapEvent::Stop => self.release(),
            PortMapEvent::Tick => self.tick(now),
        }
    }

    /// The next action, until there is none.
    pub fn poll(&mut self) -> Option<PortMapAction> {
        self.actions.pop_front()
    }

    /// When [`PortMapEvent::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let ends = self.held.and_then(|held| held.ends);
        let next = match self.state {
            State::Waiting { until } => until,
            State::Asking { next, .. } => Some(next),
        };
        ends.into_iter().chain(next).min()
    }

    /// Where this node is reached from outside by a mapping.
    #[must_use]
    pub const fn mapped(&self) -> Option<SocketAddrV4> {
        self.told
    }

    fn found(&mut self, now: Duration, gateway: Option<Gateway>) {
        if gateway != self.gateway {
            // What was mapped there is another network's: its gateway cannot be reached any more.
            self.gateway = gateway;
            (self.held, self.epoch, self.outer, self.mapped) = (None, None, None, None);
            (self.only_permanent, self.conflicts) = (false, 0);
            self.tell();
        }
        match (gateway, self.held) {
            (None, _) => self.state = State::Waiting { until: None },
            (Some(_), Some(held)) => self.ask(now, held.by),
            (Some(_), None) => self.ask(now, Protocol::Pcp),
        }
    }

    fn tick(&mut self, now: Duration) {
        if self.held.is_some_and(|held| held.ends.is_some_and(|ends| ends <= now)) {
            self.held = None;
            self.tell();
            self.ask(now, Protocol::Pcp);
            return;
        }
        match self.state {
            State::Waiting { until: Some(until) } if until <= now => {
                self.ask(now, self.held.map_or(Protocol::Pcp, |held| held.by));
            }
            State::Asking { by, sent, next } if next <= now => self.ask_on(now, by, sent),
            State::Waiting { .. } | State::Asking { .. } => {}
        }
    }

    /// Begins to ask by a protocol.
    fn ask(&mut self, now: Duration, by: Protocol) {
        self.mapped = None;
        self.ask_on(now, by, 0);
    }

    /// Asks once more, or gives up on the protocol.
    fn ask_on(&mut self, now: Duration, by: Protocol, sent: usize) {
        let Some(gateway) = self.gateway else { return };
        match (by, LADDER.get(sent)) {
            (Protocol::Pcp | Protocol::NatPmp, Some(wait)) => {
                self.state = State::Asking { by, sent: sent + 1, next: now + *wait };
                self.send(gateway, by, LEASE_S);
            }
            (Protocol::Pcp | Protocol::NatPmp, None) => self.give_up(now, by),
            (Protocol::Upnp, _) if sent == 0 => {
                // The shell answers; should it not, nothing is lost by waiting.
                self.state = State::Asking { by, sent: 1, next: now + ASK_AGAIN };
                let external = self.wanted_port();
                let lease_s = if self.only_permanent { 0 } else { LEASE_S };
                let port = self.port;
                self.actions.push_back(PortMapAction::AddByUpnp { gateway, external, port, lease_s });
            }
            (Protocol::Upnp, _) => self.give_up(now, by),
        }
    }

    /// A protocol has failed: the next one, unless a mapping is held by it, which is renewed later.
    fn give_up(&mut self, now: Duration, by: Protocol) {
        if let Some(held) = self.held {
            let left = held.ends.map_or(ASK_AGAIN, |ends| ends.saturating_sub(now) / 2);
            self.state = State::Waiting { until: Some(now + left.max(MIN_RENEWAL)) };
            return;
        }
        match by {
            Protocol::Pcp => self.ask(now, Protocol::NatPmp),
            Protocol::NatPmp => self.ask(now, Protocol::Upnp),
            Protocol::Upnp => self.state = State::Waiting { until: Some(now + ASK_AGAIN) },
        }
    }

    /// The port outside that is asked for: the one held, else the same as inside, else others.
    fn wanted_port(&self) -> u16 {
        self.held.map_or(self.port.wrapping_add(self.conflicts).max(1), |held| held.external.port())
    }

    fn send(&mut self, gateway: Gateway, by: Protocol, lease_s: u32) {
        let to = gateway.address;
        let address = self.held.map_or(Ipv4Addr::UNSPECIFIED, |held| *held.external.ip());
        let wanted = SocketAddrV4::new(address, self.wanted_port());
        match by {
            Protocol::Pcp => {
                let payload = pcp::map(gateway.local, self.nonce, self.port, wanted, lease_s);
                self.actions.push_back(PortMapAction::Send { to, payload });
            }
            Protocol::NatPmp => {
                let ask = natpmp::ASK_ADDRESS.to_vec();
                let map = natpmp::map(self.port, wanted.port(), lease_s);
                self.actions.extend([ask, map].map(|payload| PortMapAction::Send { to, payload }));
            }
            Protocol::Upnp => {}
        }
    }

    fn heard(&mut self, now: Duration, payload: &[u8]) {
        if let Some(reply) = pcp::parse(payload) {
            let has_restarted = self.note_epoch(now, reply.epoch_s);
            match reply.kind {
                pcp::ReplyKind::Announce => self.restarted(now, has_restarted),
                pcp::ReplyKind::Refused => self.refused(now, Protocol::Pcp),
                pcp::ReplyKind::Mapped(mapped) => {
                    let is_ours = mapped.nonce == self.nonce && mapped.port == self.port;
                    if is_ours && self.is_asking(Protocol::Pcp) {
                        self.granted(now, Protocol::Pcp, mapped.external, mapped.lifetime_s);
                    }
                }
            }
            return;
        }
        match natpmp::parse(payload) {
            Some(natpmp::Reply::Address { epoch_s, address }) => {
                let has_restarted = self.note_epoch(now, epoch_s);
                self.outer = Some(address);
                self.join(now);
                self.restarted(now, has_restarted);
            }
            Some(natpmp::Reply::Mapped { epoch_s, port, external, lifetime_s }) => {
                self.note_epoch(now, epoch_s);
                if port == self.port && self.is_asking(Protocol::NatPmp) {
                    self.mapped = Some((external, lifetime_s));
                    self.join(now);
                }
            }
            // A server of NAT-PMP refuses PCP in its own words (RFC 6886 §3.5).
            Some(natpmp::Reply::Refused) if self.is_asking(Protocol::Pcp) => {
                self.refused(now, Protocol::Pcp);
            }
            Some(natpmp::Reply::Refused) => self.refused(now, Protocol::NatPmp),
            None => {}
        }
    }

    fn is_asking(&self, protocol: Protocol) -> bool {
        matches!(self.state, State::Asking { by, .. } if by == protocol)
    }

    fn refused(&mut self, now: Duration, by: Protocol) {
        if self.is_asking(by) {
            // What it no longer grants, it no longer has.
            self.held = None;
            self.tell();
            self.give_up(now, by);
        }
    }

    /// Both halves of NAT-PMP make a mapping.
    fn join(&mut self, now: Duration) {
        if let (Some(address), Some((port, lifetime_s))) = (self.outer, self.mapped) {
            self.granted(now, Protocol::NatPmp, SocketAddrV4::new(address, port), lifetime_s);
            self.mapped = None;
        }
    }

    fn granted(&mut self, now: Duration, by: Protocol, external: SocketAddrV4, lifetime_s: u32) {
        let life = Duration::from_secs(lifetime_s.into());
        let renew = now + (life / 2).clamp(MIN_RENEWAL, MAX_RENEWAL);
        self.held = Some(Held { by, external, ends: Some(now + life.max(2 * MIN_RENEWAL)), renew });
        self.settle();
    }

    fn settle(&mut self) {
        self.state = State::Waiting { until: self.held.map(|held| held.renew) };
        self.tell();
    }

    fn answered(&mut self, now: Duration, outcome: Result<SocketAddrV4, Refusal>) {
        if !self.is_asking(Protocol::Upnp) {
            return;
        }
        match outcome {
            Ok(external) if self.only_permanent => {
                // Looked after all the same: the gateway may have been reset.
                let renew = now + MAX_RENEWAL;
                self.held = Some(Held { by: Protocol::Upnp, external, ends: None, renew });
                self.settle();
            }
            Ok(external) => self.granted(now, Protocol::Upnp, external, LEASE_S),
            Err(Refusal::OnlyPermanent) if !self.only_permanent => {
                self.only_permanent = true;
                self.ask(now, Protocol::Upnp);
            }
            Err(Refusal::Conflict) if self.conflicts < MAX_CONFLICTS => {
                // The one held before has become somebody else's.
                self.held = None;
                self.conflicts += 1;
                self.tell();
                self.ask(now, Protocol::Upnp);
            }
            Err(Refusal::OnlyPermanent | Refusal::Conflict | Refusal::Other) => {
                self.give_up(now, Protocol::Upnp);
            }
        }
    }

    /// Remembers the gateway's clock, and says whether it shows a restart (RFC 6887 §8.5).
    fn note_epoch(&mut self, now: Duration, server_s: u32) -> bool {
        let before = self.epoch.replace(Epoch { server_s, at: now });
        before.is_some_and(|before| {
            let ours = now.saturating_sub(before.at).as_secs();
            let Some(theirs) = (u64::from(server_s) + 1).checked_sub(before.server_s.into()) else {
                return true;
            };
            theirs + EPOCH_SLACK_S < ours - ours / 16 || ours + EPOCH_SLACK_S < theirs - theirs / 16
        })
    }

    /// A gateway that has restarted has forgotten the mapping: it is asked for at once.
    fn restarted(&mut self, now: Duration, has_restarted: bool) {
        if let (true, State::Waiting { .. }, Some(held)) = (has_restarted, self.state, self.held) {
            self.ask(now, held.by);
        }
    }

    /// Gives the mapping back, one that was asked for and not answered yet, too.
    fn release(&mut self) {
        let asked = match self.state {
            State::Asking { by, .. } => Some((by, None)),
            State::Waiting { .. } => None,
        };
        let held = self.held.take().map(|held| (held.by, Some(held.external))).or(asked);
        if let (Some(gateway), Some((by, external))) = (self.gateway, held) {
            let to = gateway.address;
            match (by, external) {
                (Protocol::Pcp, external) => {
                    let external = external.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
                    let payload = pcp::map(gateway.local, self.nonce, self.port, external, 0);
                    self.actions.push_back(PortMapAction::Send { to, payload });
                }
                (Protocol::NatPmp, _) => {
                    let payload = natpmp::map(self.port, 0, 0);
                    self.actions.push_back(PortMapAction::Send { to, payload });
                }
                (Protocol::Upnp, Some(external)) => {
                    let external = external.port();
                    self.actions.push_back(PortMapAction::DeleteByUpnp { gateway, external });
                }
                // It may be refused, because the port is somebody else's: that would be taken from them.
                (Protocol::Upnp, None) => {}
            }
        }
        (self.gateway, self.state) = (None, State::Waiting { until: None });
        self.tell();
    }

    /// Tells where this node is reached now, where that has changed.
    fn tell(&mut self) {
        let mapped = self.held.map(|held| held.external).filter(|at| is_public(*at.ip()) && at.port() != 0);
        if mapped != self.told {
            self.told = mapped;
            self.actions.push_back(PortMapAction::Mapped(mapped));
        }
    }
}

/// Whether an address can be an outer one: not of a home or a carrier (RFC 6598), nor of nobody.
const fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let is_carriers = a == 100 && b & 0xC0 == 64;
    let is_nobodys = a == 0 || a >= 224 || address.is_loopback() || address.is_link_local();
    !address.is_private() && !is_carriers && !is_nobodys
}

#[cfg(test)]
mod tests;
