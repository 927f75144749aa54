//! Relays: the one in this process, and what nodes are told of relays and may do there.
//!
//! ```text
//! start ─▶ relay.key, datagrams on UDP 3478 ─▶ map ─┐
//! published peers ─▶ what a node may ─▶ tokens ─────┴▶ a line on each watch stream, when it differs from the last
//! commits ─▶ peers that went ─▶ revocations ─▶ the relay
//! ```
//! A token is made of its day alone, so that a node that connects often gets the same one. It lives for 30 days
//! (DESIGN ruling 18): a relay outside of this process serves a node for weeks without control.

mod elsewhere;
mod embedded;
mod push;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use lacis_control_core::{State, limits};
use lacis_proto::{
    GroupId, Line, NodeId, Problem, PublicKey, RelayId, Signature,
    relay::{MAX_RELAYS, RelayEntry, RelayGrant, RelayRevocation, RelayToken, Relays as Told},
};
use lacis_relay::Revocation;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use self::embedded::Embedded;
pub use self::embedded::RelayError;
use self::{elsewhere::Elsewhere, push::Push};
use crate::{
    clock,
    data::{DataError, DataFolder},
    keys::Keys,
};

/// Revocations on their way to whoever sends them, which takes microseconds for each.
const PUSHES: usize = 4_096;

/// The relays of an installation.
#[derive(Debug)]
pub(crate) struct Relays {
    own: Option<Embedded>,
    elsewhere: Mutex<Elsewhere>,
    map: watch::Sender<Arc<Vec<RelayEntry>>>,
    pushes: mpsc::Sender<Push>,
    pushed: Mutex<Option<mpsc::Receiver<Push>>>,
    /// Peers that went, and when: their tokens of before count no more.
    gone: Mutex<BTreeMap<(GroupId, PublicKey), u64>>,
}

/// What an operator says of a relay elsewhere.
#[derive(Debug)]
pub(crate) enum Naming {
    /// It is there, at these addresses.
    Put(RelayEntry),
    /// It is not to be used any more.
    Remove(RelayId),
}

/// The id of the relay with this key: a relay that lost its key is another relay.
pub(crate) fn id_of(key: &PublicKey) -> RelayId {
    let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    RelayId::from_random(*hash.first_chunk().expect("a hash has 32 bytes"))
}

/// What one node is told, before it is signed: cheap to make and to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    map: Arc<Vec<RelayEntry>>,
    /// Group, key, and from when in Unix milliseconds.
    tokens: Vec<(GroupId, PublicKey, u64)>,
}

impl Relays {
    /// With the relay of this process, or without one, and those that an operator has named.
    pub(crate) fn open(folder: &DataFolder, own: Option<Embedded>) -> Result<Self, DataError> {
        let elsewhere = Elsewhere::open(folder)?;
        let map = own.iter().map(|own| own.entry().clone()).chain(elsewhere.relays.iter().cloned()).collect();
        let (elsewhere, gone) = (Mutex::new(elsewhere), Mutex::default());
        let (pushes, pushed) = mpsc::channel(PUSHES);
        let (map, pushed) = (watch::Sender::new(Arc::new(map)), Mutex::new(Some(pushed)));
        Ok(Self { own, elsewhere, map, pushes, pushed, gone })
    }

    /// Tells relays elsewhere of members that are out, until control drains.
    pub(crate) async fn push(&self, begun: CancellationToken) {
        let pushed = self.pushed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pushed) = pushed {
            push::run(pushed, begun).await;
        }
    }

    /// All relays that nodes are told of.
    pub(crate) fn all(&self) -> Arc<Vec<RelayEntry>> {
        Arc::clone(&self.map.borrow())
    }

    /// Changes what an operator has named, and tells nodes.
    pub(crate) fn name(&self, change: Naming) -> Result<(), Problem> {
        let mut elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Naming::Put(entry) => elsewhere.put(entry)?,
            Naming::Remove(id) => elsewhere.remove(&id)?,
        }
        let own = self.own.iter().map(|own| own.entry().clone());
        self.map.send_replace(Arc::new(own.chain(elsewhere.relays.iter().cloned()).collect()));
        Ok(())
    }

    /// The relay of this process.
    pub(crate) fn own(&self) -> Option<&Embedded> {
        self.own.as_ref()
    }

    /// Wakes when the map changes.
    pub(crate) fn news(&self) -> watch::Receiver<Arc<Vec<RelayEntry>>> {
        self.map.subscribe()
    }

    /// What a node is told now.
    pub(crate) fn share(&self, state: &State, node: &NodeId) -> Share {
        let day = clock::unix_ms() / limits::RELAY_TOKEN_STEP_MS * limits::RELAY_TOKEN_STEP_MS;
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = state.groups_of(node).filter_map(|group| {
            let (id, key) = (group.row.id.clone(), group.peer_of(node)?.key?);
            // A key that went and came back: its tokens of before stay worthless.
            let since = gone.get(&(id.clone(), key)).map_or(day, |went| day.max(*went));
            Some((id, key, since))
        });
        Share { tokens: tokens.collect(), map: Arc::clone(&self.map.borrow()) }
    }

    /// Takes note of peers that a commit has removed, or whose key it has replaced.
    pub(crate) fn revoke(&self, keys: &Keys, peers: Vec<(GroupId, PublicKey)>) {
        let now_ms = clock::unix_ms();
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.retain(|_, went| went.saturating_add(limits::RELAY_TOKEN_MS) > now_ms);
        gone.extend(peers.iter().map(|peer| (peer.clone(), now_ms)));
        drop(gone);
        self.push_all(keys, &peers, now_ms);
        let revocations = peers.into_iter().map(|(group, key)| Revocation {
            group,
            key,
            before_ms: now_ms,
            until_ms: now_ms.saturating_add(limits::RELAY_TOKEN_MS),
        });
        if let Some(own) = &self.own {
            own.relay().revoke(keys.control.clone(), revocations.collect());
        }
    }

    /// Hands revocations to whoever tells relays elsewhere.
    fn push_all(&self, keys: &Keys, peers: &[(GroupId, PublicKey)], now_ms: u64) {
        let elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        let relays: Vec<_> = elsewhere.relays.iter().filter_map(|relay| relay.udp.first().copied()).collect();
        drop(elsewhere);
        for (group, key) in peers.iter().filter(|_| !relays.is_empty()) {
            let mut revocation = RelayRevocation {
                control: keys.control.clone(),
                group: group.clone(),
                key: *key,
                before_ms: now_ms,
                until_ms: now_ms.saturating_add(limits::RELAY_TOKEN_MS),
                signature: Signature([0; 64]),
            };
            revocation.signature = keys.sign(&revocation.signed_bytes());
            for to in &relays {
                let push = Push { to: *to, revocation: revocation.clone() };
                if self.pushes.try_send(push).is_err() {
                    tracing::warn!(relay = %to, "too many members are out at once; a relay is not told of all");
                }
            }
        }
    }

    /// Tells members to go elsewhere.
    pub(crate) fn say_farewell(&self) {
        if let Some(own) = &self.own {
            own.relay().say_farewell();
        }
    }

    /// Ends the relay of this process.
    pub(crate) fn stop(&self) {
        if let Some(own) = &self.own {
            own.relay().stop();
        }
    }
}

impl Share {
    /// The line for the node.
    pub(crate) fn line(&self, keys: &Keys) -> Line {
        let tokens = self.tokens.iter().map(|(group, key, since)| RelayGrant {
            group: group.clone(),
            token: token(keys, group, *key, *since),
        });
        Line::Relays(Told {
            relays: self.map.iter().take(MAX_RELAYS).cloned().collect(),
            tokens: tokens.collect(),
        })
    }
}

fn token(keys: &Keys, group: &GroupId, key: PublicKey, since: u64) -> RelayToken {
    let mut token = RelayToken {
        class: 0,
        control: keys.control.clone(),
        group: group.clone(),
        key,
        not_before_ms: since,
        expires_ms: since.saturating_add(limits::RELAY_TOKEN_MS),
        serial: since,
        signature: Signature([0; 64]),
    };
    token.signature = keys.sign(&token.signed_bytes());
    token
}
