//! Who peers are: their keys are stated and signed by their nodes, and what was seen first is remembered.
//!
//! ```text
//! handshake, or a record that differs from what is remembered ─▶ wanted ─▶ asked of control ─▶ judged
//!      ┌── remembered: the proof ◀───────── signed, by the identity known before or never seen ──────┤
//!      └── alarm ◀── another identity, another key without a statement, an older statement ◀────────┘
//! ```
//! With [`Proofs::Warn`] a peer is used while it is asked about, and an alarm tells of what does not fit. With
//! [`Proofs::Require`] a peer that has an agent is used once its proof is there and fits. A peer without an agent
//! has no identity and states nothing: its key is control's word, as its owner gave it.
//!
//! Invariants: what is remembered changes only by a statement that the remembered identity signed; one question
//! is under way at a time; a peer that is in no netmap is neither wanted nor an alarm.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use lacis_proto::{GroupId, IdentityKey, MAX_PROOFS, NodeId, PeerId, PeerStatement, Proof};

use crate::{
    Netmap, Peer,
    limits::{MAX_PINS, MAX_PINS_GONE, PROOF_AGAIN, PROOF_AGAIN_MAX, PROOF_PAUSE, PROOF_TRIES},
};

/// How strictly peers must prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proofs {
    /// A peer is used while it is asked about; an alarm tells of what does not fit.
    #[default]
    Warn,
    /// A peer is used once its proof is there and fits.
    Require,
}

/// A peer that is not who it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The group.
    pub group: GroupId,
    /// The peer.
    pub peer: PeerId,
    /// What does not fit.
    pub doubt: Doubt,
    /// Whether the peer is not used for it.
    pub refused: bool,
}

/// What does not fit about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Doubt {
    /// Nothing is stated, or the statement is about another key than control's.
    #[error("control names a key for it that its node has not signed")]
    Unproven,
    /// The statement is not signed by the identity that control names.
    #[error("its statement is not signed by its node")]
    Unsigned,
    /// Another identity than the one remembered.
    #[error("control names another identity for its node than the one seen first")]
    OtherIdentity,
    /// The statement is older than the one remembered, or says another thing under the same number.
    #[error("control shows a statement older than the one seen before")]
    Outdated,
    /// The statement is about another address.
    #[error("control gives it another address than its node has signed")]
    OtherAddress,
}

impl Doubt {
    /// Whether time may settle it: a key that has just changed is stated a moment later.
    const fn is_passing(self) -> bool {
        match self {
            Self::Unproven => true,
            Self::Unsigned | Self::OtherIdentity | Self::Outdated | Self::OtherAddress => false,
        }
    }
}

#[derive(Debug)]
struct Wanted {
    group: GroupId,
    tries: u32,
    at: Duration,
}

#[derive(Debug)]
pub(super) struct Guard {
    policy: Proofs,
    pins: BTreeMap<PeerId, Proof>,
    wanted: BTreeMap<PeerId, Wanted>,
    under_way: bool,
    /// Until when control asked to be left alone.
    not_before: Duration,
    pub(super) alarms: BTreeMap<PeerId, Alarm>,
    refused: BTreeSet<PeerId>,
}

/// What an answer came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// What is remembered changed.
    pub(super) pinned: bool,
    /// Which peers may be used may have changed.
    pub(super) admitted: bool,
    /// Alarms that are new.
    pub(super) alarms: Vec<Alarm>,
}

impl Guard {
    pub(super) fn new(policy: Proofs, pins: BTreeMap<PeerId, Proof>) -> Self {
        let (wanted, alarms, refused) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { policy, pins, wanted, under_way: false, not_before: Duration::ZERO, alarms, refused }
    }

    pub(super) fn entries(&self) -> usize {
        self.pins.len() + self.wanted.len() + self.alarms.len() + self.refused.len()
    }

    pub(super) const fn pins(&self) -> &BTreeMap<PeerId, Proof> {
        &self.pins
    }

    /// Peers that must not be used.
    pub(super) const fn refused(&self) -> &BTreeSet<PeerId> {
        &self.refused
    }

    /// Looks at the netmaps after they changed; `own` is this node.
    pub(super) fn look(&mut self, now: Duration, netmaps: &BTreeMap<GroupId, Arc<Netmap>>, own: &NodeId) {
        let peers: BTreeMap<&PeerId, (&GroupId, &Peer)> = netmaps
            .iter()
            .flat_map(|(group, netmap)| netmap.peers.iter().map(move |(id, peer)| (id, (group, peer))))
            .filter(|(_, (_, peer))| peer.node.as_ref() != Some(own))
            .collect();
        let pins = &self.pins;
        let in_doubt = |id: &PeerId| peers.get(id).is_some_and(|(_, peer)| !is_known(pins, id, peer));
        self.wanted.retain(|id, _| in_doubt(id));
        self.alarms.retain(|id, _| in_doubt(id));
        self.refused.clear();
        for (id, (group, peer)) in peers {
            let is_new = !self.pins.contains_key(id);
            let must = match self.policy {
                Proofs::Warn => !is_new,
                Proofs::Require => !is_new || peer.node.is_some(),
            };
            if !must || is_known(&self.pins, id, peer) {
                continue;
            }
            // A key that replaces a known one is stated with its record. A new peer's statement comes with its first report.
            self.want(if is_new { now + PROOF_PAUSE } else { now }, id, group);
            if self.policy == Proofs::Require {
                self.refused.insert(id.clone());
            }
        }
    }

    /// A peer answered a handshake: who it is, is found out once.
    pub(super) fn met(&mut self, now: Duration, group: &GroupId, id: &PeerId, peer: &Peer) {
        if peer.node.is_some() && !is_known(&self.pins, id, peer) {
            self.want(now + PROOF_PAUSE, id, group);
        }
    }

    fn want(&mut self, at: Duration, id: &PeerId, group: &GroupId) {
        let fresh = || Wanted { group: group.clone(), tries: 0, at };
        self.wanted.entry(id.clone()).or_insert_with(fresh);
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let first = self.wanted.values().map(|wanted| wanted.at.max(self.not_before)).min();
        first.filter(|_| !self.under_way)
    }

    /// The peers to ask about by now.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<PeerId> {
        if self.deadline().is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.under_way = true;
        let due = self.wanted.iter().filter(|(_, wanted)| wanted.at <= now);
        due.take(MAX_PROOFS).map(|(id, _)| id.clone()).collect()
    }

    /// The question was lost: it is asked again, not before `wait` is over, nor is another one asked before.
    pub(super) fn lost(&mut self, now: Duration, asked: &[PeerId], wait: Duration) {
        self.under_way = false;
        self.not_before = now + wait;
        for id in asked {
            if let Some(wanted) = self.wanted.get_mut(id) {
                wanted.at = now + PROOF_AGAIN;
            }
        }
    }

    /// The stream is over, and a question under way with it.
    pub(super) const fn disconnected(&mut self) {
        self.under_way = false;
    }

    /// Control answered.
    pub(super) fn answered(
        &mut self,
        now: Duration,
        asked: &[PeerId],
        proofs: &[Proof],
        netmaps: &BTreeMap<GroupId, Arc<Netmap>>,
    ) -> Judged {
        self.under_way = false;
        let mut judged = Judged::default();
        for id in asked {
            let Some(group) = self.wanted.get(id).map(|wanted| wanted.group.clone()) else { continue };
            let Some(peer) = netmaps.get(&group).and_then(|netmap| netmap.peers.get(id)) else { continue };
            let proof = proofs.iter().find(|proof| proof.said.statement.peer == *id);
            match judge(&group, id, peer, self.known_of(id, peer), self.pins.get(id), proof) {
                Ok(pin) => {
                    self.wanted.remove(id);
                    self.alarms.remove(id);
                    judged.admitted |= self.refused.remove(id);
                    judged.pinned |= self.pin(id.clone(), pin, netmaps);
                }
                Err(doubt) => judged.alarms.extend(self.doubts(now, id, group, doubt)),
            }
        }
        if judged.pinned {
            self.forget_gone(netmaps);
        }
        judged
    }

    /// Forgets who left their group, those with the oldest statements first, until few enough are remembered.
    fn forget_gone(&mut self, netmaps: &BTreeMap<GroupId, Arc<Netmap>>) {
        let is_gone = |id: &PeerId, pin: &Proof| {
            netmaps.get(&pin.said.statement.group).is_some_and(|netmap| !netmap.peers.contains_key(id))
        };
        let gone = self.pins.iter().filter(|(id, pin)| is_gone(id, pin));
        let gone: BTreeSet<(u64, PeerId)> =
            gone.map(|(id, pin)| (pin.said.statement.serial, id.clone())).collect();
        let too_many = gone.len().saturating_sub(MAX_PINS_GONE);
        for (_, id) in gone.iter().take(too_many) {
            self.pins.remove(id);
        }
    }

    /// The identity that is remembered of a peer's node, by any of its peers.
    fn known_of(&self, id: &PeerId, peer: &Peer) -> Option<IdentityKey> {
        let own = self.pins.get(id).map(|pin| pin.identity);
        let node = peer.node.as_ref();
        own.or_else(|| self.pins.values().find(|pin| Some(&pin.node) == node).map(|pin| pin.identity))
    }

    fn pin(&mut self, id: PeerId, pin: Proof, netmaps: &BTreeMap<GroupId, Arc<Netmap>>) -> bool {
        if self.pins.len() >= MAX_PINS && !self.pins.contains_key(&id) {
            let is_there = |id: &PeerId| netmaps.values().any(|netmap| netmap.peers.contains_key(id));
            self.pins.retain(|id, _| is_there(id));
        }
        self.pins.len() < MAX_PINS && self.pins.insert(id, pin.clone()) != Some(pin)
    }

    /// Takes note of a doubt; an alarm where it is new and time does not settle it.
    fn doubts(&mut self, now: Duration, id: &PeerId, group: GroupId, doubt: Doubt) -> Option<Alarm> {
        let wanted = self.wanted.get_mut(id)?;
        wanted.tries += 1;
        wanted.at = now + (PROOF_AGAIN * (1 << wanted.tries.min(16))).min(PROOF_AGAIN_MAX);
        if doubt.is_passing() && wanted.tries < PROOF_TRIES {
            return None;
        }
        let is_new = !self.pins.contains_key(id);
        if is_new && doubt == Doubt::Unproven && self.policy == Proofs::Warn {
            // An agent from before there were statements: asked about again when it is met again.
            self.wanted.remove(id);
            return None;
        }
        let refused = self.policy == Proofs::Require;
        let alarm = Alarm { group, peer: id.clone(), doubt, refused };
        (self.alarms.insert(id.clone(), alarm.clone()).as_ref() != Some(&alarm)).then_some(alarm)
    }
}

/// Whether the record of a peer says what is remembered.
fn is_known(pins: &BTreeMap<PeerId, Proof>, id: &PeerId, peer: &Peer) -> bool {
    let says = |pin: &Proof| pin.said.statement.key == peer.key && peer.node.as_ref() == Some(&pin.node);
    pins.get(id).is_some_and(says)
}

/// What to remember of a peer, by its record, what was known of it, and the proof that control shows.
fn judge(
    group: &GroupId,
    id: &PeerId,
    peer: &Peer,
    identity: Option<IdentityKey>,
    pin: Option<&Proof>,
    proof: Option<&Proof>,
) -> Result<Proof, Doubt> {
    let proof = proof.ok_or(Doubt::Unproven)?;
    let Proof { node, identity: theirs, said } = proof;
    if identity.is_some_and(|known| known != *theirs) {
        return Err(Doubt::OtherIdentity);
    }
    said.check(theirs).map_err(|_| Doubt::Unsigned)?;
    let stated = &said.statement;
    let is_outdated = |before: &PeerStatement| {
        stated.serial < before.serial || (stated.serial == before.serial && stated.key != before.key)
    };
    if pin.is_some_and(|pin| is_outdated(&pin.said.statement)) {
        return Err(Doubt::Outdated);
    }
    if stated.key != peer.key || peer.node.as_ref() != Some(node) {
        return Err(Doubt::Unproven);
    }
    if stated.group != *group || stated.peer != *id || stated.host != peer.host {
        return Err(Doubt::OtherAddress);
    }
    Ok(proof.clone())
}
