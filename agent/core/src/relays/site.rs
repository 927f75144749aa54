//! One relay: how it is reached, and the leases that are held there.
//!
//! ```text
//! HELLO to all its UDP addresses ─ an answer ─▶ that address
//!          │ 300 ms of silence                        ▲ a PROBE is answered; TLS stays for another minute
//!          └─▶ OpenTls ─ TlsUp ─▶ HELLO over TLS ─────┘
//! ```
//! A connection over TLS looks like an address, too: a bridge of the shell stands there.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use lacis_proto::{
    GroupId, PublicKey,
    relay::{Frame, Keys, Packet, RelayAddress, RelayEntry, RelayToken},
};

use super::{
    event::{RelayAction, RelayLease},
    lease::{Bound, Lease},
    limits::{
        LEAVE_WITHIN, LOST_AFTER, MAX_ADDRESSES, MAX_ASKED, REFRESH_EVERY, REFRESH_SPREAD, TLS_AFTER,
        TLS_KEPT, TLS_REFRESH_EVERY, UDP_AGAIN,
    },
};
use crate::random::Random;

/// What all relays share while they are dealt with.
pub(super) struct Hands<'a> {
    pub(super) now: Duration,
    pub(super) own: &'a BTreeMap<GroupId, PublicKey>,
    pub(super) tokens: &'a BTreeMap<GroupId, RelayToken>,
    pub(super) random: &'a mut Random,
    pub(super) counter: &'a mut u64,
    /// Unix milliseconds at the origin of `now`.
    pub(super) epoch_ms: u64,
    pub(super) actions: &'a mut VecDeque<RelayAction>,
}

/// The connection over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    /// There is none, and none is begun before then.
    Closed { until: Duration, failures: u32 },
    /// It is being made.
    Opening { failures: u32 },
    /// It stands, with its bridge at this address.
    Up(SocketAddr),
}

impl Tls {
    const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Up(at) => Some(at),
            Self::Closed { .. } | Self::Opening { .. } => None,
        }
    }
}

/// What a frame of a relay came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing.
    Nothing,
    /// Nobody has this relay address at the relay, as far as a lease of ours is concerned.
    PeerUnknown { lease: u32, address: u64 },
    /// This node was seen from outside, by this address of the relay.
    Seen { by: SocketAddr, at: SocketAddr },
    /// The relay is about to stop.
    Leaving,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) entry: RelayEntry,
    /// The UDP address that answers.
    udp: Option<SocketAddr>,
    tls: Tls,
    leases: BTreeMap<GroupId, Lease>,
    /// Since when UDP has been tried without an answer.
    silent_since: Option<Duration>,
    /// When UDP is looked for beside TLS.
    udp_again: Option<Duration>,
    /// When TLS is given up beside UDP.
    tls_until: Option<Duration>,
    heard: Option<Duration>,
    probes: VecDeque<(u64, SocketAddr, Duration)>,
    /// Round trip of the last probe that was answered, and when that was.
    probed: Option<(Duration, Duration)>,
    /// The relay goes away; it is tried again from then on.
    leaving: Option<Duration>,
    trouble: Option<String>,
}

impl Site {
    pub(super) fn new(mut entry: RelayEntry) -> Self {
        entry.udp.truncate(MAX_ADDRESSES);
        Self {
            entry,
            udp: None,
            tls: Tls::Closed { until: Duration::ZERO, failures: 0 },
            leases: BTreeMap::new(),
            silent_since: None,
            udp_again: None,
            tls_until: None,
            heard: None,
            probes: VecDeque::new(),
            probed: None,
            leaving: None,
            trouble: None,
        }
    }

    /// Whether an address is this relay's.
    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        self.entry.udp.contains(&address) || self.tls == Tls::Up(address)
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Leases that are held here.
    pub(super) fn bound(&self) -> impl Iterator<Item = RelayLease> {
        self.leases.iter().filter_map(|(group, lease)| {
            let bound = lease.bound()?;
            Some(RelayLease {
                relay: self.entry.id.clone(),
                group: group.clone(),
                remote: bound.at,
                lease: bound.id,
                rtt: lease.rtt(),
                tls: self.tls == Tls::Up(bound.at),
                doubtful: self.leaving.is_some() || !lease.is_sound(),
            })
        })
    }

    /// The round trip, where the relay has answered since `since`, or holds a lease of ours.
    pub(super) fn distance(&self, since: Duration) -> Option<Duration> {
        if self.leaving.is_some() {
            return None;
        }
        let probed = self.probed.filter(|(_, at)| *at >= since).map(|(rtt, _)| rtt);
        let sound = self.leases.values().filter(|lease| lease.is_sound());
        sound.filter_map(Lease::rtt).min().or(probed)
    }

    /// Whether a lease is held that nothing speaks against.
    pub(super) fn is_sound(&self) -> bool {
        self.leaving.is_none() && self.leases.values().any(Lease::is_sound)
    }

    /// When this relay is to be dealt with next.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let opening = match self.tls {
            Tls::Closed { until, .. } if !self.entry.tls.is_empty() => {
                self.silent_since.map(|since| (since + TLS_AFTER).max(until))
            }
            Tls::Closed { .. } | Tls::Opening { .. } | Tls::Up(_) => None,
        };
        let leases = self.leases.values().filter_map(Lease::due);
        [opening, self.udp_again, self.tls_until, self.leaving].into_iter().flatten().chain(leases).min()
    }

    /// Lets go of everything: the relay is not used any more.
    pub(super) fn release(&mut self, hands: &mut Hands<'_>) {
        self.leases.clear();
        (self.udp, self.silent_since, self.udp_again, self.leaving) = (None, None, None, None);
        self.close_tls(hands);
    }

    /// Does what is due, for a relay where leases are wanted.
    pub(super) fn run(&mut self, hands: &mut Hands<'_>) {
        self.match_leases(hands);
        if self.leaving.take_if(|at| *at <= hands.now).is_some() {
            self.udp = None;
            self.leases.values_mut().for_each(|lease| lease.lose(hands.now));
        }
        self.run_tls(hands);
        if self.udp_again.is_some_and(|at| at <= hands.now) {
            self.udp_again = Some(hands.now + UDP_AGAIN);
            self.probe(hands);
        }
        let due: Vec<GroupId> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.due().is_some_and(|due| due <= hands.now))
            .map(|(group, _)| group.clone())
            .collect();
        for group in due {
            self.ask(&group, hands);
        }
    }

    /// This node's peer of a group has another key, or there is none any more: what is held is another's.
    pub(super) fn forget(&mut self, group: &GroupId) {
        self.leases.remove(group);
    }

    /// One lease for each peer of this node that has a token.
    fn match_leases(&mut self, hands: &mut Hands<'_>) {
        let wanted = |group: &GroupId| hands.own.contains_key(group) && hands.tokens.contains_key(group);
        self.leases.retain(|group, _| wanted(group));
        for (group, own) in hands.own.iter().filter(|(group, _)| wanted(group)) {
            if !self.leases.contains_key(group) {
                self.leases.insert(group.clone(), Lease::new(hands.now, RelayAddress::of(group, own)));
                let (group, relay) = (group.clone(), self.entry.key);
                hands.actions.push_back(RelayAction::Agree { group, relay });
            }
        }
    }

    fn run_tls(&mut self, hands: &mut Hands<'_>) {
        if self.tls_until.is_some_and(|until| until <= hands.now) {
            self.close_tls(hands);
        }
        let Tls::Closed { until, failures } = self.tls else { return };
        let silent = self.silent_since.is_some_and(|since| since + TLS_AFTER <= hands.now);
        if silent && until <= hands.now && !self.entry.tls.is_empty() {
            self.tls = Tls::Opening { failures };
            let RelayEntry { id: relay, tls: urls, pins, .. } = self.entry.clone();
            hands.actions.push_back(RelayAction::OpenTls { relay, urls, pins });
        }
    }

    fn close_tls(&mut self, hands: &mut Hands<'_>) {
        self.tls_until = None;
        if !matches!(self.tls, Tls::Closed { .. }) {
            self.tls = Tls::Closed { until: hands.now, failures: 0 };
            hands.actions.push_back(RelayAction::CloseTls { relay: self.entry.id.clone() });
        }
    }

    /// Sends what a lease is due to send.
    fn ask(&mut self, group: &GroupId, hands: &mut Hands<'_>) {
        let Some((lease, token)) = self.leases.get_mut(group).zip(hands.tokens.get(group)) else { return };
        if lease.is_lost() {
            lease.lose(hands.now);
            if self.heard.is_none_or(|heard| heard + LOST_AFTER <= hands.now) {
                self.udp = None;
            }
        }
        let tls = self.tls.address();
        let known = self.udp.or(tls);
        let is_unanswered = lease.is_unanswered();
        lease.begin_round(hands.now);
        let kept = lease.kept_at().filter(|at| Some(*at) == known);
        if kept.is_some()
            && let Some((to, payload)) = lease.refresh(hands.now, next_counter(hands))
        {
            hands.actions.push_back(RelayAction::Send { to, payload });
        }
        // Without an answer, the relay may be there at another of its addresses.
        let all = self.entry.udp.iter().copied().chain(tls).filter(|at| Some(*at) != kept);
        let greeted: Vec<SocketAddr> = match (kept, known) {
            (Some(_), _) if !is_unanswered => Vec::new(),
            (None, Some(known)) if !is_unanswered => vec![known],
            (Some(_) | None, _) => all.collect(),
        };
        for to in greeted {
            if let Some(payload) = lease.hello(hands.now, to, token, next_counter(hands)) {
                hands.actions.push_back(RelayAction::Send { to, payload });
            }
        }
        if is_unanswered || known.is_none() {
            self.silent_since.get_or_insert(hands.now);
        }
    }

    /// A peer of this node and the relay have a secret.
    pub(super) fn agreed(&mut self, group: &GroupId, own: &PublicKey, shared: &[u8; 32], now: Duration) {
        if let Some(lease) = self.leases.get_mut(group).filter(|lease| !lease.has_keys()) {
            lease.set_keys(now, Keys::derive(shared, group, own, &self.entry.key));
        }
    }

    /// Measures the way to the relay.
    pub(super) fn probe(&mut self, hands: &mut Hands<'_>) {
        let known = self.udp.map_or_else(|| self.entry.udp.clone(), |udp| vec![udp]);
        for to in known {
            let number = hands.random.next();
            let packet = Packet { lease: 0, address: RelayAddress(number), frame: Frame::Probe };
            if self.probes.len() >= MAX_ASKED {
                self.probes.pop_front();
            }
            self.probes.push_back((number, to, hands.now));
            hands.actions.push_back(RelayAction::Send { to, payload: packet.to_bytes() });
        }
    }

    /// A frame came from an address of this relay.
    pub(super) fn frame(&mut self, from: SocketAddr, bytes: &[u8], hands: &mut Hands<'_>) -> Told {
        let Ok(packet) = Packet::parse(bytes) else { return Told::Nothing };
        match packet.frame {
            Frame::HelloAck(ack) | Frame::RefreshAck(ack) => {
                let next = self.next_refresh(from, hands);
                let acked = self
                    .leases
                    .values_mut()
                    .any(|lease| lease.acked(hands.now, from, bytes, (packet.lease, &ack), next).is_some());
                if acked { self.answered(from, ack.observed, hands) } else { Told::Nothing }
            }
            Frame::HelloRetry(retry) => {
                let is_wanted = self.udp.or(self.tls.address()) == Some(from);
                let again: Option<GroupId> = self
                    .leases
                    .iter_mut()
                    .find_map(|(group, lease)| lease.retried(from, &retry, is_wanted).then(|| group.clone()));
                if let Some(group) = again {
                    self.ask_again(&group, from, hands);
                }
                Told::Nothing
            }
            Frame::NotBound => {
                self.leases.values_mut().for_each(|lease| lease.not_bound(hands.now, from, packet.lease));
                Told::Nothing
            }
            Frame::PeerUnknown => {
                // Nobody seals it: it counts only where it answers what this node can have sent.
                let bound = Some(Bound { at: from, id: packet.lease });
                let is_ours = self.leases.values().any(|lease| lease.bound() == bound);
                let told = Told::PeerUnknown { lease: packet.lease, address: packet.address.0 };
                if is_ours { told } else { Told::Nothing }
            }
            Frame::ProbeAck(observed) => self.measured(from, packet.address.0, observed, hands),
            Frame::GoAway(away) => {
                let told = |lease: &Lease| lease.is_told_to_go(from, bytes, away.counter);
                if self.leaving.is_some() || !self.leases.values().any(told) {
                    return Told::Nothing;
                }
                let within = Duration::from_millis(away.within_ms.into()).min(LEAVE_WITHIN);
                self.leaving = Some(hands.now + hands.random.between(Duration::ZERO, within));
                Told::Leaving
            }
            Frame::Data(_)
            | Frame::Hello(_)
            | Frame::Refresh(_)
            | Frame::Probe
            | Frame::Block(_)
            | Frame::Revoke(_)
            | Frame::RevokeAck => Told::Nothing,
        }
    }

    /// A frame of ours was answered from there.
    fn answered(&mut self, from: SocketAddr, observed: SocketAddr, hands: &mut Hands<'_>) -> Told {
        self.heard = Some(hands.now);
        if self.tls == Tls::Up(from) {
            if self.udp.is_none() {
                self.udp_again.get_or_insert(hands.now + UDP_AGAIN);
            }
            return Told::Nothing;
        }
        self.use_udp(from, hands);
        Told::Seen { by: from, at: observed }
    }

    /// The relay is there over UDP, at this address: leases that are elsewhere move.
    fn use_udp(&mut self, at: SocketAddr, hands: &mut Hands<'_>) {
        (self.silent_since, self.udp_again) = (None, None);
        if self.udp == Some(at) {
            return;
        }
        self.udp = Some(at);
        if !matches!(self.tls, Tls::Closed { .. }) {
            self.tls_until = Some(hands.now + TLS_KEPT);
        }
        let elsewhere = |lease: &&mut Lease| lease.bound().is_some_and(|bound| bound.at != at);
        self.leases.values_mut().filter(elsewhere).for_each(|lease| lease.hurry(hands.now));
    }

    fn measured(
        &mut self,
        from: SocketAddr,
        number: u64,
        observed: SocketAddr,
        hands: &mut Hands<'_>,
    ) -> Told {
        let asked = self.probes.iter().position(|(asked, to, _)| *asked == number && *to == from);
        let Some((_, _, at)) = asked.and_then(|at| self.probes.remove(at)) else { return Told::Nothing };
        self.probed = Some((hands.now.saturating_sub(at), hands.now));
        if self.udp.is_none() && !self.leases.is_empty() {
            self.use_udp(from, hands);
        }
        Told::Seen { by: from, at: observed }
    }

    /// Asks with the cookie that came.
    fn ask_again(&mut self, group: &GroupId, from: SocketAddr, hands: &mut Hands<'_>) {
        let Some((lease, token)) = self.leases.get_mut(group).zip(hands.tokens.get(group)) else { return };
        let counter = next_counter(hands);
        let frame = match lease.kept_at().filter(|at| *at == from) {
            Some(_) => lease.refresh(hands.now, counter).map(|(_, payload)| payload),
            None => lease.hello(hands.now, from, token, counter),
        };
        if let Some(payload) = frame {
            hands.actions.push_back(RelayAction::Send { to: from, payload });
        }
    }

    fn next_refresh(&self, from: SocketAddr, hands: &mut Hands<'_>) -> Duration {
        let every = if self.tls == Tls::Up(from) { TLS_REFRESH_EVERY } else { REFRESH_EVERY };
        hands.now + hands.random.between(every - REFRESH_SPREAD, every)
    }

    /// A connection over TLS stands.
    pub(super) fn tls_up(&mut self, at: SocketAddr, now: Duration) {
        self.tls = Tls::Up(at);
        self.trouble = None;
        if self.udp.is_some() {
            self.tls_until = Some(now + TLS_KEPT);
        }
        if self.silent_since.is_some() {
            self.udp = None;
            self.leases.values_mut().for_each(|lease| lease.hurry(now));
        }
    }

    /// The connection over TLS is over. It is tried again after a wait that doubles.
    pub(super) fn tls_down(&mut self, why: String, now: Duration) -> bool {
        let (was, failures) = match self.tls {
            Tls::Closed { .. } => return false,
            Tls::Opening { failures } => (None, failures + 1),
            Tls::Up(at) => (Some(at), 1),
        };
        let wait = (TLS_AFTER * 2u32.pow(failures.min(16))).min(UDP_AGAIN);
        self.tls = Tls::Closed { until: now + wait, failures };
        self.trouble = Some(why);
        self.udp_again = None;
        self.tls_until = None;
        let on_it = |lease: &&mut Lease| lease.bound().is_some_and(|bound| Some(bound.at) == was);
        self.leases.values_mut().filter(on_it).for_each(|lease| lease.lose(now));
        true
    }

    /// Finds out at once whether the leases still stand: this node moved, or its peers are silent.
    pub(super) fn doubt(&mut self, moved: bool, now: Duration) {
        if moved && self.udp.is_some() {
            self.silent_since = Some(now);
        }
        // Who only suspects does so again and again: a question under way is not begun anew.
        let asked = |lease: &&mut Lease| moved || !lease.is_unanswered();
        self.leases.values_mut().filter(asked).for_each(|lease| lease.hurry(now));
    }

    /// The network refuses to carry datagrams to this address.
    pub(super) fn refused(&mut self, to: SocketAddr, now: Duration) {
        if self.udp == Some(to) && self.silent_since.is_none() {
            self.doubt(true, now);
        }
    }
}

/// A counter larger than every one before it, and near the time of the relay's clock where ours is right.
fn next_counter(hands: &mut Hands<'_>) -> u64 {
    let ms = u64::try_from(hands.now.as_millis()).unwrap_or(u64::MAX);
    *hands.counter = (*hands.counter + 1).max(hands.epoch_ms.saturating_add(ms));
    *hands.counter
}
