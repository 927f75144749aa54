//! What the gateways of a group do together: share the key, tell one another where clients are, take over.
//!
//! ```text
//!  may be one, no key in the group ─▶ MakeKey        may be one, key of the group not held ─▶ Want ─▶ a fellow: Key
//!  the key was retired: the group has none, and the one that is held is older than that ─▶ MakeKey
//!  serves ─ every second ─▶ Beat: my clients, where they are, how long ago they were heard ─▶ fellows
//!  a fellow is silent ─▶ the living gateway of the lowest host number calls the clients that were there
//! ```
//! They talk over the overlay, from address to address: WireGuard between the two peer keys seals what is said and
//! tells who said it, so that control has no part in it, and they go on while control is away. The shell opens the
//! port, hands datagrams over with the address they came from, and acts.
//!
//! Invariants: the key goes to a peer that may be a gateway and whose node has signed its WireGuard key, to nobody else;
//! it is taken only where it is the group's; a client is with the gateway that heard it last.

mod message;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use lacis_proto::{GroupId, Host, PeerId, Proof, PublicKey};

pub use self::message::GatewaySecret;
use self::message::{Claim, Message};
use crate::{
    Local, Netmap,
    limits::{GATEWAY_BEAT, GATEWAY_CLAIMS, GATEWAY_DATAGRAMS, GATEWAY_SILENT},
};

/// What happened.
#[derive(Debug)]
pub enum GatewayEvent {
    /// A datagram came to the port of gateways.
    Said {
        /// In this group.
        group: GroupId,
        /// From this overlay address.
        from: IpAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// A peer proved its keys, or comes from elsewhere.
    PeerAt {
        /// In this group.
        group: GroupId,
        /// Its key.
        key: PublicKey,
        /// Where it is.
        endpoint: SocketAddr,
    },
    /// The deadline has come.
    Tick,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum GatewayAction {
    /// Make the group's gateway key and keep it, in place of one that is held.
    MakeKey {
        /// The group.
        group: GroupId,
        /// How often its key was retired.
        rotations: u32,
    },
    /// Tell control of the gateway key that is held: the group has none.
    TellKey {
        /// The group.
        group: GroupId,
        /// The key.
        key: PublicKey,
        /// How often the group's key had been retired when this one was made.
        rotations: u32,
    },
    /// Keep this key as the group's gateway key.
    TakeKey {
        /// The group.
        group: GroupId,
        /// Public half of the group's key; another one is not to be kept.
        public: PublicKey,
        /// What a fellow gave.
        secret: GatewaySecret,
        /// How often the group's key was retired.
        rotations: u32,
    },
    /// Give the group's gateway key to a fellow: what to say is made by [`GatewaySecret::message`].
    GiveKey {
        /// The group.
        group: GroupId,
        /// The fellow.
        peer: PeerId,
        /// Its overlay address.
        to: IpAddr,
    },
    /// Send a datagram to the port of gateways.
    Say {
        /// In this group.
        group: GroupId,
        /// To this overlay address.
        to: IpAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Send what is for a client through a fellow, until it is heard elsewhere.
    Prefer {
        /// The group.
        group: GroupId,
        /// The client's key.
        client: PublicKey,
        /// The fellow's key.
        via: PublicKey,
    },
    /// A client may be at this endpoint.
    Expect {
        /// The group.
        group: GroupId,
        /// The client's key.
        client: PublicKey,
        /// Where.
        at: SocketAddr,
        /// Whether to call it at once: its gateway is gone.
        call: bool,
    },
}

/// The gateways of all groups of this node, as far as they concern it. See the module's text.
#[derive(Debug, Default)]
pub struct Gateways {
    groups: BTreeMap<GroupId, Set>,
    actions: VecDeque<GatewayAction>,
    next_beat: Option<Duration>,
}

/// The gateways of one group.
#[derive(Debug)]
struct Set {
    host: Host,
    /// The group's key, and the one that is held.
    key: Option<PublicKey>,
    held: Option<PublicKey>,
    /// How often the group's key was retired, and had been when this process came by the one that is held.
    rotations: u32,
    held_rotations: u32,
    /// A key was asked for, since the group has none.
    asked: bool,
    fellows: BTreeMap<IpAddr, Fellow>,
    clients: BTreeSet<PublicKey>,
    places: BTreeMap<PublicKey, Place>,
    /// The client that was told of last in turn.
    told: Option<PublicKey>,
}

/// Another peer that is a gateway, or may be one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fellow {
    peer: PeerId,
    host: Host,
    key: PublicKey,
    serves: bool,
    proven: bool,
    /// When it was last heard, or began to be expected.
    heard: Duration,
    silent: bool,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The fellow that heard it last; `None` for this node.
    by: Option<IpAddr>,
    at: SocketAddr,
    since: Duration,
    /// It was called since its gateway is gone.
    called: bool,
}

impl Gateways {
    /// Looks at the netmaps after they changed, or what is known of peers.
    pub fn look(
        &mut self,
        now: Duration,
        netmaps: &BTreeMap<GroupId, Arc<Netmap>>,
        local: &Local,
        pins: &BTreeMap<PeerId, Proof>,
    ) {
        let mut before = std::mem::take(&mut self.groups);
        for (group, netmap) in netmaps {
            let Some(hosted) = local.hosted.get(group) else { continue };
            if !netmap.peers.get(&hosted.peer).is_some_and(|own| own.may_gateway) {
                continue;
            }
            let mut set = before.remove(group).unwrap_or_else(|| Set::new(hosted.host));
            let before = (set.held, set.rotations);
            (set.host, set.key, set.held) = (hosted.host, netmap.gateway_key, hosted.gateway_key);
            (set.rotations, set.held_rotations) = (netmap.gateway_rotations, hosted.gateway_rotations);
            set.asked &= set.key.is_none() && (set.held, set.rotations) == before;
            set.look(now, netmap, &hosted.peer, pins);
            set.bury(group, &mut self.actions);
            self.groups.insert(group.clone(), set);
        }
        self.next_beat = if self.groups.is_empty() { None } else { self.next_beat.or(Some(now)) };
    }

    /// Takes in one event.
    pub fn handle(&mut self, now: Duration, event: GatewayEvent) {
        match event {
            GatewayEvent::Said { group, from, bytes } => {
                let Some(set) = self.groups.get_mut(&group) else { return };
                let Some(message) = Message::parse(&bytes) else { return };
                set.said(now, &group, from, message, &mut self.actions);
            }
            GatewayEvent::PeerAt { group, key, endpoint } => {
                let Some(set) = self.groups.get_mut(&group).filter(|set| set.serves()) else { return };
                if !set.clients.contains(&key) {
                    return;
                }
                set.places.insert(key, Place { by: None, at: endpoint, since: now, called: false });
                let claim = Claim { client: key, at: endpoint, age: Duration::ZERO };
                set.tell(&group, &[claim], &mut self.actions);
            }
            GatewayEvent::Tick => {}
        }
        if self.next_beat.is_some_and(|at| at <= now) {
            self.next_beat = Some(now + GATEWAY_BEAT);
            for (group, set) in &mut self.groups {
                set.beat(now, group, &mut self.actions);
            }
        }
    }

    /// The next action, until there is none.
    pub fn poll(&mut self) -> Option<GatewayAction> {
        self.actions.pop_front()
    }

    /// When [`GatewayEvent::Tick`] is due.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        self.next_beat
    }

    /// The overlay addresses of those who may be gateways of a group beside this node, where it may be one.
    pub fn fellows(&self, group: &GroupId) -> impl Iterator<Item = IpAddr> {
        self.groups.get(group).into_iter().flat_map(|set| set.fellows.keys().copied())
    }

    /// How many clients are with this node, by the groups where it is a gateway.
    #[must_use]
    pub fn all_clients(&self) -> BTreeMap<GroupId, u32> {
        let count =
            |group: &GroupId| self.clients(group).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        self.groups.keys().filter_map(|group| Some((group.clone(), count(group)?))).collect()
    }

    /// How many clients of a group are with this gateway, as far as it knows; `None` where it is none.
    #[must_use]
    pub fn clients(&self, group: &GroupId) -> Option<usize> {
        let set = self.groups.get(group).filter(|set| set.serves())?;
        Some(set.places.values().filter(|place| place.by.is_none()).count())
    }
}

impl Set {
    fn new(host: Host) -> Self {
        Self {
            host,
            key: None,
            held: None,
            rotations: 0,
            held_rotations: 0,
            asked: false,
            fellows: BTreeMap::new(),
            clients: BTreeSet::new(),
            places: BTreeMap::new(),
            told: None,
        }
    }

    /// Whether this node is a gateway with the group's key.
    fn serves(&self) -> bool {
        self.held.is_some() && self.held == self.key
    }

    fn look(&mut self, now: Duration, netmap: &Netmap, own: &PeerId, pins: &BTreeMap<PeerId, Proof>) {
        let plain = netmap.peers.values().filter(|peer| peer.is_plain());
        self.clients = plain.map(|peer| peer.key).collect();
        let clients = &self.clients;
        self.places.retain(|client, _| clients.contains(client));
        let before = std::mem::take(&mut self.fellows);
        for (id, peer) in netmap.peers.iter().filter(|(id, peer)| *id != own && peer.may_gateway) {
            let is_signed = |proof: &Proof| {
                proof.said.statement.key == peer.key && peer.node.as_ref() == Some(&proof.node)
            };
            let known = before.get(&IpAddr::from(peer.addrs.v4));
            let fellow = Fellow {
                peer: id.clone(),
                host: peer.host,
                key: peer.key,
                serves: peer.is_gateway,
                proven: pins.get(id).is_some_and(is_signed),
                heard: known.filter(|known| known.serves).map_or(now, |known| known.heard),
                silent: known.is_some_and(|known| known.silent),
            };
            self.fellows.insert(peer.addrs.v4.into(), fellow);
        }
    }

    fn said(
        &mut self,
        now: Duration,
        group: &GroupId,
        from: IpAddr,
        message: Message,
        actions: &mut VecDeque<GatewayAction>,
    ) {
        let (serves, wanted) = (self.serves(), self.key.filter(|key| self.held != Some(*key)));
        let Some(fellow) = self.fellows.get_mut(&from) else { return };
        match message {
            Message::Beat(claims) if fellow.serves && serves => {
                (fellow.heard, fellow.silent) = (now, false);
                let via = fellow.key;
                for claim in claims {
                    self.claimed(now, group, (from, via), &claim, actions);
                }
            }
            Message::Want if serves && fellow.proven => {
                actions.push_back(GatewayAction::GiveKey {
                    group: group.clone(),
                    peer: fellow.peer.clone(),
                    to: from,
                });
            }
            Message::Key(secret) if fellow.serves => {
                let Some(public) = wanted else { return };
                let (group, rotations) = (group.clone(), self.rotations);
                actions.push_back(GatewayAction::TakeKey { group, public, secret, rotations });
            }
            Message::Beat(_) | Message::Want | Message::Key(_) => {}
        }
    }

    /// A fellow says that a client is with it: believed where it was heard there last.
    fn claimed(
        &mut self,
        now: Duration,
        group: &GroupId,
        (from, via): (IpAddr, PublicKey),
        claim: &Claim,
        actions: &mut VecDeque<GatewayAction>,
    ) {
        let Claim { client, at, age } = *claim;
        if !self.clients.contains(&client) {
            return;
        }
        let place = Place { by: Some(from), at, since: now.saturating_sub(age), called: false };
        let known = self.places.get(&client).copied();
        if known.is_some_and(|known| known.by != place.by && known.since >= place.since) {
            return;
        }
        self.places.insert(client, place);
        if known.map(|known| known.by) != Some(place.by) {
            actions.push_back(GatewayAction::Prefer { group: group.clone(), client, via });
        }
        if known.map(|known| known.at) != Some(at) {
            actions.push_back(GatewayAction::Expect { group: group.clone(), client, at, call: false });
        }
    }

    fn beat(&mut self, now: Duration, group: &GroupId, actions: &mut VecDeque<GatewayAction>) {
        match self.key {
            None if !self.asked => {
                self.asked = true;
                let (group, rotations) = (group.clone(), self.held_rotations);
                // One that was made before the last rotation is retired: it must not be told again.
                let action = match self.held.filter(|_| rotations >= self.rotations) {
                    Some(key) => GatewayAction::TellKey { group, key, rotations },
                    None => GatewayAction::MakeKey { group, rotations: self.rotations },
                };
                actions.push_back(action);
            }
            Some(key) if self.held != Some(key) => {
                for to in self.fellows.iter().filter(|(_, fellow)| fellow.serves).map(|(to, _)| *to) {
                    let bytes = Message::Want.encode();
                    actions.push_back(GatewayAction::Say { group: group.clone(), to, bytes });
                }
            }
            Some(_) | None => {}
        }
        if !self.serves() {
            return;
        }
        let claims = self.next_claims(now);
        if claims.is_empty() {
            self.tell(group, &[], actions);
        }
        for some in claims.chunks(GATEWAY_CLAIMS) {
            self.tell(group, some, actions);
        }
        for fellow in self.fellows.values_mut().filter(|fellow| fellow.serves) {
            fellow.silent |= now.saturating_sub(fellow.heard) >= GATEWAY_SILENT;
        }
        self.bury(group, actions);
    }

    /// The clients that are told of in this turn: those that are here, so many, one after another.
    fn next_claims(&mut self, now: Duration) -> Vec<Claim> {
        let own = |(client, place): (&PublicKey, &Place)| {
            let age = now.saturating_sub(place.since);
            place.by.is_none().then_some(Claim { client: *client, at: place.at, age })
        };
        let behind: Vec<Claim> = self.places.iter().filter_map(own).collect();
        let start = self.told.map_or(0, |told| behind.partition_point(|claim| claim.client <= told));
        let turn =
            behind.iter().cycle().skip(start).take(behind.len().min(GATEWAY_CLAIMS * GATEWAY_DATAGRAMS));
        let turn: Vec<Claim> = turn.copied().collect();
        self.told = turn.last().map(|claim| claim.client);
        turn
    }

    fn tell(&self, group: &GroupId, claims: &[Claim], actions: &mut VecDeque<GatewayAction>) {
        for to in self.fellows.iter().filter(|(_, fellow)| fellow.serves).map(|(to, _)| *to) {
            let bytes = Message::Beat(claims.to_vec()).encode();
            actions.push_back(GatewayAction::Say { group: group.clone(), to, bytes });
        }
    }

    /// Calls the clients of gateways that are silent or gone, if this is the living one of the lowest host number.
    fn bury(&mut self, group: &GroupId, actions: &mut VecDeque<GatewayAction>) {
        let lives = |fellow: &Fellow| fellow.serves && !fellow.silent;
        let is_first =
            self.fellows.values().filter(|fellow| lives(fellow)).all(|fellow| self.host < fellow.host);
        if !self.serves() || !is_first {
            return;
        }
        for (client, place) in &mut self.places {
            let Some(by) = place.by else { continue };
            if place.called || self.fellows.get(&by).is_some_and(lives) {
                continue;
            }
            place.called = true;
            let (group, at) = (group.clone(), place.at);
            actions.push_back(GatewayAction::Expect { group, client: *client, at, call: true });
        }
    }
}

#[cfg(test)]
mod tests;
