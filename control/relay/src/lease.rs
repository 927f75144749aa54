//! Who has a lease: admission, keeping, moving, ending. Pure; the desk gives it time and bytes and does what it answers.
//!
//! ```text
//! HELLO ─▶ token: form, control, time, revoked? ─▶ known? its keys : signature, X25519 ─▶ MAC ─▶ counter ─▶ place
//! REFRESH, BLOCK ─▶ lease? ─▶ MAC ─▶ counter ─▶ place
//! ```
//! Invariants: a lease's counter only grows; a frame with a counter that is not larger changes nothing; a lease moves to
//! another source only by a frame that bears a cookie for it; what [`Table`] says is what stands here.

mod revoked;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use lacis_proto::{
    ControlId, GroupId, IdentityKey, PublicKey,
    relay::{
        Ack, Block, Cookie, Frame, GoAway, Keys, LEASE_LIFETIME, Packet, REVOCATION_BYTES, RelayAddress,
        RelayRevocation, RelayToken, Retry, mac_of,
    },
};

use crate::{
    clock::Now,
    cookie::Cookies,
    leg::Leg,
    limits::{self, Limits},
    table::{self, PLACE, Table},
};
pub use revoked::Revocation;
use revoked::Revoked;

/// Computes X25519 with the relay's key; `None` for a point of small order.
pub(crate) type Agree = Box<dyn Fn(&PublicKey) -> Option<[u8; 32]> + Send>;

/// What came of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The lease is new.
    Granted(Vec<u8>),
    /// It is kept.
    Kept(Vec<u8>),
    /// It is kept, at another source.
    Moved(Vec<u8>),
    /// The sender shall come again with a cookie.
    Retry(Vec<u8>),
    /// It has no such lease.
    NotBound(Vec<u8>),
    /// A control's word was taken: the answer, for when it is kept, and whether it was news.
    Known(Vec<u8>, bool),
    /// Nothing is answered; the word is for the log.
    Refused(&'static str),
    /// Done, and nothing to say.
    Silent,
}

/// A lease beyond what the data path knows of it.
#[derive(Clone)]
struct Member {
    id: u32,
    group: u32,
    key: PublicKey,
    keys: Keys,
    counter: u64,
    /// Since the relay's start.
    ends: Duration,
    token_expires_ms: u64,
    blocked: Vec<(RelayAddress, Duration)>,
}

/// Bytes of a lease here, beside its slot and its entry in the index.
#[cfg(test)]
pub(crate) const MEMBER_BYTES: usize = size_of::<Option<Member>>();

struct Group {
    number: u32,
    leases: u32,
}

/// All leases of a relay.
pub(crate) struct Leases {
    controls: Vec<(ControlId, IdentityKey)>,
    own: PublicKey,
    agree: Agree,
    cookies: Cookies,
    limits: Limits,
    started_ms: u64,
    table: Arc<Table>,
    members: Vec<Option<Member>>,
    /// Places that are free, with the generation that comes next, in the order in which they became free.
    free: VecDeque<(u32, u32)>,
    count: u32,
    groups: HashMap<(ControlId, GroupId), Group>,
    /// Groups without leases leave their number to others.
    free_groups: Vec<u32>,
    names: Vec<Option<(ControlId, GroupId)>>,
    revoked: Revoked,
}

/// What a relay is.
pub(crate) struct Identity {
    pub(crate) controls: Vec<IdentityKey>,
    pub(crate) own: PublicKey,
    pub(crate) agree: Agree,
}

impl Leases {
    pub(crate) fn new(
        identity: Identity,
        cookies: Cookies,
        limits: Limits,
        started_ms: u64,
        table: Arc<Table>,
    ) -> Self {
        Self {
            controls: identity.controls.iter().map(|key| (ControlId::of(key), *key)).collect(),
            own: identity.own,
            agree: identity.agree,
            cookies,
            limits,
            started_ms,
            table,
            members: Vec::new(),
            free: VecDeque::new(),
            count: 0,
            groups: HashMap::new(),
            free_groups: Vec::new(),
            names: Vec::new(),
            revoked: Revoked::default(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Takes one frame that is not DATA.
    pub(crate) fn take(&mut self, now: Now, from: &Leg, bytes: &[u8]) -> Outcome {
        let Ok(packet) = Packet::parse(bytes) else { return Outcome::Refused("no frame") };
        match packet.frame {
            Frame::Hello(hello) => {
                let token = match self.check_token(now, hello.token) {
                    Ok(token) => token,
                    Err(why) => return Outcome::Refused(why),
                };
                let shown = Shown { counter: hello.counter, cookie: hello.cookie };
                self.hello(now, from, bytes, &token, shown)
            }
            Frame::Refresh(refresh) => {
                let shown = Shown { counter: refresh.counter, cookie: refresh.cookie };
                self.refresh(now, from, bytes, &packet, shown)
            }
            Frame::Block(block) => self.block(now, from, bytes, &packet, block),
            Frame::Revoke(said) => self.told(said, &packet),
            Frame::Data(_)
            | Frame::HelloAck(_)
            | Frame::HelloRetry(_)
            | Frame::RefreshAck(_)
            | Frame::NotBound
            | Frame::PeerUnknown
            | Frame::Probe
            | Frame::ProbeAck(_)
            | Frame::GoAway(_)
            | Frame::RevokeAck => Outcome::Refused("not for a relay"),
        }
    }

    /// Ends leases whose time is over, and blocks whose time is.
    pub(crate) fn sweep(&mut self, now: Now) {
        for place in 0..self.members.len() {
            let Some(member) = &mut self.members[place] else { continue };
            if member.ends <= now.since
                || member.token_expires_ms.saturating_add(limits::TOKEN_SLACK_MS) <= now.unix_ms
            {
                self.end(place);
            } else if member.blocked.iter().any(|(_, until)| *until <= now.since) {
                member.blocked.retain(|(_, until)| *until > now.since);
                publish_blocked(&self.table, member);
            }
        }
        self.revoked.forget(now.unix_ms);
    }

    /// Takes revocations of one control, and ends the leases that they name.
    /// Returns whether any of it was news.
    pub(crate) fn revoke(&mut self, control: &ControlId, revocations: &[Revocation]) -> bool {
        let is_news = self.revoked.add(control, revocations);
        for revocation in revocations {
            let Some(group) = self.groups.get(&(control.clone(), revocation.group.clone())) else { continue };
            let address = RelayAddress::of(&revocation.group, &revocation.key);
            if let Some(lease) = self.table.find(group.number, address) {
                self.end((lease.id & PLACE) as usize);
            }
        }
        is_news
    }

    /// Takes a revocation that a control has sent, where it has signed it.
    fn told(&mut self, said: &[u8; REVOCATION_BYTES], packet: &Packet<'_>) -> Outcome {
        let Some(said) = RelayRevocation::parse(said) else { return Outcome::Refused("no revocation") };
        let control = self.controls.iter().find(|(id, _)| *id == said.control);
        if control.is_none_or(|(_, key)| said.check(key).is_err()) {
            return Outcome::Refused("a revocation of a control that is not known here");
        }
        let RelayRevocation { control, group, key, before_ms, until_ms, signature: _ } = said;
        let is_news = self.revoke(&control, &[Revocation { group, key, before_ms, until_ms }]);
        Outcome::Known(Packet { frame: Frame::RevokeAck, ..*packet }.to_bytes(), is_news)
    }

    /// Ends the leases that are bound to a stream which has ended.
    pub(crate) fn close(&mut self, leg: &Leg) {
        for place in 0..self.members.len() {
            let lease = self.members[place].as_ref().and_then(|member| self.table.lease(member.id));
            if lease.is_some_and(|lease| lease.is_at(leg)) {
                self.end(place);
            }
        }
    }

    /// A farewell for every lease.
    pub(crate) fn farewells(&self) -> impl Iterator<Item = (Leg, Vec<u8>)> + '_ {
        let within_ms = u32::try_from(limits::COME_BACK.as_millis()).unwrap_or(u32::MAX);
        self.members.iter().flatten().filter_map(move |member| {
            let lease = self.table.lease(member.id)?;
            let frame = Frame::GoAway(GoAway { counter: member.counter, within_ms });
            let bytes = sealed(member, Packet { lease: lease.id, address: lease.address, frame });
            Some((lease.leg, bytes))
        })
    }

    fn check_token(&self, now: Now, bytes: &[u8]) -> Result<RelayToken, &'static str> {
        let token = RelayToken::parse(bytes).map_err(|_| "no token")?;
        if !self.controls.iter().any(|(id, _)| *id == token.control) {
            return Err("a token of a control that is not known here");
        }
        if self.revoked.contains(&token) {
            return Err("a revoked token");
        }
        let is_valid = now.unix_ms.saturating_add(limits::TOKEN_SLACK_MS) >= token.not_before_ms
            && now.unix_ms < token.expires_ms.saturating_add(limits::TOKEN_SLACK_MS);
        if is_valid { Ok(token) } else { Err("a token outside of its time") }
    }

    fn hello(&mut self, now: Now, from: &Leg, bytes: &[u8], token: &RelayToken, shown: Shown) -> Outcome {
        let address = RelayAddress::of(&token.group, &token.key);
        let group = self.groups.get(&(token.control.clone(), token.group.clone())).map(|group| group.number);
        let known = group.and_then(|group| self.table.find(group, address));
        let Some(known) = known else { return self.first(now, from, bytes, token, shown) };
        let place = (known.id & PLACE) as usize;
        let Some(Some(member)) = self.members.get(place) else { return Outcome::Refused("no member") };
        if member.key != token.key {
            return Outcome::Refused("another member has this relay address");
        }
        if !member.keys.to_relay.check(bytes) {
            return Outcome::Refused("a HELLO with a wrong MAC");
        }
        let renewed = token.expires_ms != member.token_expires_ms || token.class != known.class;
        if renewed && self.verify(token).is_err() {
            return Outcome::Refused("a token with a wrong signature");
        }
        let known = table::Lease { class: token.class, ..known };
        let outcome = self.keep(now, from, bytes, place, known, shown, Frame::HelloAck);
        if renewed
            && matches!(outcome, Outcome::Kept(_) | Outcome::Moved(_))
            && let Some(Some(member)) = self.members.get_mut(place)
        {
            member.token_expires_ms = token.expires_ms;
        }
        outcome
    }

    fn first(&mut self, now: Now, from: &Leg, bytes: &[u8], token: &RelayToken, shown: Shown) -> Outcome {
        if self.verify(token).is_err() {
            return Outcome::Refused("a token with a wrong signature");
        }
        let Some(shared) = (self.agree)(&token.key) else { return Outcome::Refused("a key of small order") };
        let keys = Keys::derive(&shared, &token.group, &token.key, &self.own);
        if !keys.to_relay.check(bytes) {
            return Outcome::Refused("a HELLO with a wrong MAC");
        }
        // Its counter is its clock: one from long ago, or from before this start, may be a replay.
        let fresh =
            shown.counter.abs_diff(now.unix_ms) <= limits::FRESH_MS && shown.counter >= self.started_ms;
        if !fresh && !self.cookies.knows(now.since, from, &shown.cookie) {
            return self.retry(now, from, bytes);
        }
        let Some((id, group)) = self.make_room(token) else { return Outcome::Refused("no room for a lease") };
        let (class, address) = (token.class, RelayAddress::of(&token.group, &token.key));
        let lease = table::Lease { id, group, address, class, leg: *from };
        let member = Member {
            id,
            group,
            key: token.key,
            keys,
            counter: shown.counter,
            ends: now.since + LEASE_LIFETIME,
            token_expires_ms: token.expires_ms,
            blocked: Vec::new(),
        };
        let answer = acknowledge(&member, &lease, Frame::HelloAck);
        if let Some(place) = self.members.get_mut((id & PLACE) as usize) {
            *place = Some(member);
        }
        self.table.put(lease);
        Outcome::Granted(answer)
    }

    fn refresh(&mut self, now: Now, from: &Leg, bytes: &[u8], packet: &Packet<'_>, shown: Shown) -> Outcome {
        let Some(lease) = self.table.lease(packet.lease).filter(|lease| lease.address == packet.address)
        else {
            let refusal = Packet { frame: Frame::NotBound, ..*packet };
            return Outcome::NotBound(refusal.to_bytes());
        };
        let place = (lease.id & PLACE) as usize;
        match self.members.get(place) {
            Some(Some(member)) if member.keys.to_relay.check(bytes) => {
                self.keep(now, from, bytes, place, lease, shown, Frame::RefreshAck)
            }
            Some(_) | None => Outcome::Refused("a REFRESH with a wrong MAC"),
        }
    }

    /// Keeps a lease for an authentic frame, where it is or at another source.
    #[expect(clippy::too_many_arguments, reason = "all of them are parts of one frame and its lease")]
    fn keep(
        &mut self,
        now: Now,
        from: &Leg,
        bytes: &[u8],
        place: usize,
        lease: table::Lease,
        shown: Shown,
        ack: fn(Ack) -> Frame<'static>,
    ) -> Outcome {
        let Some(Some(member)) = self.members.get_mut(place) else { return Outcome::Refused("no member") };
        let at_home = lease.is_at(from);
        if shown.counter == member.counter && at_home {
            // The answer was lost, and the frame sent again.
            return Outcome::Kept(acknowledge(member, &lease, ack));
        }
        if shown.counter <= member.counter {
            return Outcome::Refused("a frame that was seen before");
        }
        if !at_home && !self.cookies.knows(now.since, from, &shown.cookie) {
            return self.retry(now, from, bytes);
        }
        member.counter = shown.counter;
        member.ends = now.since + LEASE_LIFETIME;
        let lease = table::Lease { leg: *from, ..lease };
        self.table.put(lease);
        let answer = acknowledge(member, &lease, ack);
        if at_home { Outcome::Kept(answer) } else { Outcome::Moved(answer) }
    }

    fn block(&mut self, now: Now, from: &Leg, bytes: &[u8], packet: &Packet<'_>, block: Block) -> Outcome {
        let Some(lease) = self.table.lease(packet.lease) else { return Outcome::Refused("no such lease") };
        let Some(Some(member)) = self.members.get_mut((lease.id & PLACE) as usize) else {
            return Outcome::Refused("no member");
        };
        if !member.keys.to_relay.check(bytes) {
            return Outcome::Refused("a BLOCK with a wrong MAC");
        }
        if !lease.is_at(from) || block.counter <= member.counter {
            return Outcome::Refused("a frame that was seen before");
        }
        member.counter = block.counter;
        member.blocked.retain(|(address, _)| *address != packet.address);
        if block.for_s > 0 {
            member.blocked.truncate(limits::BLOCKS - 1);
            let until = now.since + Duration::from_secs(block.for_s.into());
            member.blocked.insert(0, (packet.address, until));
        }
        publish_blocked(&self.table, member);
        Outcome::Silent
    }

    fn retry(&self, now: Now, from: &Leg, bytes: &[u8]) -> Outcome {
        retry(&self.cookies, now.since, from, bytes).map_or(Outcome::Refused("no frame"), Outcome::Retry)
    }

    fn verify(&self, token: &RelayToken) -> Result<(), &'static str> {
        let control = self.controls.iter().find(|(id, _)| *id == token.control);
        let (_, key) = control.ok_or("a token of a control that is not known here")?;
        lacis_proto::verify(key, &token.signed_bytes(), &token.signature).map_err(|_| "a wrong signature")
    }

    /// A number for a lease, and the number of its group.
    fn make_room(&mut self, token: &RelayToken) -> Option<(u32, u32)> {
        let name = (token.control.clone(), token.group.clone());
        if self.count >= self.limits.leases
            || self.groups.get(&name).is_some_and(|group| group.leases >= self.limits.leases_of_group)
        {
            return None;
        }
        let (place, generation) = match self.free.pop_front() {
            Some(free) => free,
            None => {
                let place = u32::try_from(self.members.len()).ok().filter(|place| *place <= PLACE)?;
                self.members.push(None);
                (place, 1)
            }
        };
        let (free, names) = (&mut self.free_groups, &mut self.names);
        let group = self.groups.entry(name.clone()).or_insert_with(|| {
            let number = free.pop().unwrap_or_else(|| {
                names.push(None);
                u32::try_from(names.len() - 1).unwrap_or(u32::MAX)
            });
            names[number as usize] = Some(name);
            Group { number, leases: 0 }
        });
        group.leases += 1;
        self.count += 1;
        Some((generation << limits::PLACE_BITS | place, group.number))
    }

    fn end(&mut self, place: usize) {
        let Some(member) = self.members.get_mut(place).and_then(Option::take) else { return };
        if let Some(lease) = self.table.lease(member.id) {
            self.table.remove(&lease);
        }
        self.count -= 1;
        let generation = (member.id >> limits::PLACE_BITS) + 1;
        let generation = if generation >> (32 - limits::PLACE_BITS) == 0 { generation } else { 1 };
        self.free.push_back((member.id & PLACE, generation));
        let Some(name) = self.names.get(member.group as usize).cloned().flatten() else { return };
        let Some(group) = self.groups.get_mut(&name) else { return };
        group.leases -= 1;
        if group.leases == 0 {
            self.free_groups.push(group.number);
            self.names[group.number as usize] = None;
            self.groups.remove(&name);
        }
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").field("count", &self.count).finish_non_exhaustive()
    }
}

/// What a frame shows beside its MAC.
#[derive(Clone, Copy)]
struct Shown {
    counter: u64,
    cookie: Cookie,
}

/// The frame that asks for the same again with a cookie; `None` where what it answers has no MAC.
pub(crate) fn retry(cookies: &Cookies, since: Duration, from: &Leg, bytes: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::parse(bytes).ok()?;
    let retry = Retry { echo: mac_of(bytes)?, cookie: cookies.make(since, from) };
    Some(Packet { frame: Frame::HelloRetry(retry), ..packet }.to_bytes())
}

fn acknowledge(member: &Member, lease: &table::Lease, ack: fn(Ack) -> Frame<'static>) -> Vec<u8> {
    let lifetime_s = u16::try_from(LEASE_LIFETIME.as_secs()).unwrap_or(u16::MAX);
    let frame = ack(Ack { counter: member.counter, observed: lease.leg.observed(), lifetime_s });
    sealed(member, Packet { lease: lease.id, address: lease.address, frame })
}

fn sealed(member: &Member, packet: Packet<'_>) -> Vec<u8> {
    let mut bytes = packet.to_bytes();
    member.keys.to_member.seal(&mut bytes);
    bytes
}

fn publish_blocked(table: &Table, member: &Member) {
    let blocked: Vec<_> = member.blocked.iter().map(|(address, _)| *address).collect();
    table.set_blocked(member.id, &blocked);
}

#[cfg(test)]
mod tests;
