//! Relays: the one in this process, and what nodes are told of relays and may do there.
//!
//! ```text
//! start ─▶ relay.key, datagrams on UDP 3478 ─▶ map ─┐
//! published peers ─▶ what a node may ─▶ tokens ─────┴▶ a line on each watch stream, when it differs from the last
//! commits, and the start ─▶ keys that are out ─▶ revocations ─▶ the relay, and relays elsewhere
//! ```
//! A token is made of its day alone, so that a node that connects often gets the same one. It lives for 30 days
//! (DESIGN ruling 18): a relay outside of this process serves a node for weeks without control.

mod elsewhere;
mod embedded;
mod key;
mod push;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lacis_control_core::{DepartedRow, State, limits};
use lacis_proto::{
    GroupId, Line, NodeId, Problem, PublicKey, RelayId, Signature,
    relay::{MAX_RELAYS, RelayEntry, RelayGrant, RelayRevocation, RelayToken, Relays as Told},
};
use lacis_relay::Revocation;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use self::embedded::Embedded;
pub(crate) use self::key::{KEY, key_in_file};
use self::{
    elsewhere::Elsewhere,
    push::{Push, Untold},
};
pub use self::{embedded::RelayError, key::KeyFileError};
use crate::{
    clock,
    data::{DataError, DataFolder},
    keys::Keys,
};

/// The relays of an installation.
#[derive(Debug)]
pub(crate) struct Relays {
    own: Option<Embedded>,
    elsewhere: Mutex<Elsewhere>,
    map: watch::Sender<Arc<Vec<RelayEntry>>>,
    untold: Untold,
    /// The rate class of tokens.
    class: u8,
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
    class: u8,
}

impl Relays {
    /// With the relay of this process, or without one, and those that an operator has named. Tokens are of this class.
    pub(crate) fn open(folder: &DataFolder, own: Option<Embedded>, class: u8) -> Result<Self, DataError> {
        let elsewhere = Elsewhere::open(folder)?;
        let map = own.iter().map(|own| own.entry().clone()).chain(elsewhere.relays.iter().cloned()).collect();
        let (elsewhere, map) = (Mutex::new(elsewhere), watch::Sender::new(Arc::new(map)));
        Ok(Self { own, elsewhere, map, untold: Untold::default(), class })
    }

    /// Tells relays elsewhere of members that are out, until control drains.
    pub(crate) async fn push(&self, begun: CancellationToken) {
        push::run(&self.untold, begun).await;
    }

    /// Revocations that relays elsewhere have not acknowledged.
    pub(crate) fn untold(&self) -> usize {
        self.untold.count()
    }

    /// All relays that nodes are told of.
    pub(crate) fn all(&self) -> Arc<Vec<RelayEntry>> {
        Arc::clone(&self.map.borrow())
    }

    /// Changes what an operator has named, and tells nodes. A relay that was not there learns who is out.
    pub(crate) fn name(
        &self,
        change: Naming,
        keys: &Keys,
        departed: Vec<DepartedRow>,
    ) -> Result<(), Problem> {
        let mut elsewhere = self.elsewhere();
        match change {
            Naming::Put(entry) => {
                elsewhere.put(entry.clone())?;
                self.tell(keys, &[entry], departed.into_iter());
            }
            Naming::Remove(id) => elsewhere.remove(&id)?,
        }
        let named: Vec<_> = elsewhere.relays.iter().filter_map(|relay| relay.udp.first().copied()).collect();
        self.untold.keep(&named);
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
        let tokens = state.groups_of(node).filter_map(|group| {
            let (id, key) = (group.row.id.clone(), group.peer_of(node)?.key?);
            // A key that went and came back: its tokens of before stay worthless.
            let since = state.departed_at(&id, &key).map_or(day, |went| day.max(went));
            Some((id, key, since))
        });
        Share { tokens: tokens.collect(), class: self.class, map: Arc::clone(&self.map.borrow()) }
    }

    /// Puts out keys that a commit has taken away, or all that are kept.
    pub(crate) fn revoke(&self, keys: &Keys, departed: impl Iterator<Item = DepartedRow> + Clone) {
        let elsewhere = self.elsewhere().relays.clone();
        self.tell(keys, &elsewhere, departed.clone());
        if let Some(own) = &self.own {
            let revocations = departed.map(|DepartedRow { group, key, at_ms }| Revocation {
                group,
                key,
                before_ms: at_ms,
                until_ms: last_token_ends(at_ms),
            });
            own.relay().revoke(keys.control.clone(), revocations.collect());
        }
    }

    /// Has relays elsewhere told of keys that are out.
    fn tell(&self, keys: &Keys, relays: &[RelayEntry], departed: impl Iterator<Item = DepartedRow>) {
        let relays: Vec<_> = relays.iter().filter_map(|relay| relay.udp.first().copied()).collect();
        if relays.is_empty() {
            return;
        }
        let pushes = departed.flat_map(|row| {
            let revocation = revocation(keys, row).to_bytes();
            relays.iter().map(move |to| Push { to: *to, revocation })
        });
        self.untold.add(pushes);
    }

    fn elsewhere(&self) -> MutexGuard<'_, Elsewhere> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
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
            token: token(keys, group, *key, *since, self.class),
        });
        Line::Relays(Told {
            relays: self.map.iter().take(MAX_RELAYS).cloned().collect(),
            tokens: tokens.collect(),
        })
    }
}

/// When the last token has ended that was made before a moment.
const fn last_token_ends(at_ms: u64) -> u64 {
    at_ms.saturating_add(limits::RELAY_TOKEN_MS)
}

fn revocation(keys: &Keys, row: DepartedRow) -> RelayRevocation {
    let mut revocation = RelayRevocation {
        control: keys.control.clone(),
        group: row.group,
        key: row.key,
        before_ms: row.at_ms,
        until_ms: last_token_ends(row.at_ms),
        signature: Signature([0; 64]),
    };
    revocation.signature = keys.sign(&revocation.signed_bytes());
    revocation
}

fn token(keys: &Keys, group: &GroupId, key: PublicKey, since: u64, class: u8) -> RelayToken {
    let mut token = RelayToken {
        class,
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
