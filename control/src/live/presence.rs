//! Presence: which agents are connected, and what they have applied. In memory only, never a revision
//! (DESIGN ruling 8).
//!
//! Invariant: a node has at most one stream; a newer one ends the older, and an older one that ends late
//! does not end the newer.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lacis_proto::{NodeId, Revision, ScopeId};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// Who is connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    nodes: Arc<Mutex<BTreeMap<NodeId, Known>>>,
}

/// What people may see of a connected agent.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) since_ms: u64,
    pub(crate) agent: String,
    pub(crate) underlay: SocketAddr,
    pub(crate) applied: BTreeMap<ScopeId, Revision>,
}

#[derive(Debug, Default)]
struct Known {
    stream: u64,
    seen: Option<Seen>,
    /// When the last stream ended, in Unix milliseconds.
    last_seen_ms: Option<u64>,
    replaced: CancellationToken,
    last_seq: Option<u64>,
}

/// A node's stream; dropping it is its end.
#[derive(Debug)]
pub(crate) struct Connection {
    presence: Presence,
    node: NodeId,
    stream: u64,
    /// Cancelled when a newer stream takes this one's place.
    pub(crate) replaced: CancellationToken,
}

impl Presence {
    /// A node has opened a stream. Its reports count anew: it may have been started again.
    pub(crate) fn connect(&self, node: &NodeId, seen: Seen) -> Connection {
        let mut nodes = self.lock();
        let known = nodes.entry(node.clone()).or_default();
        known.replaced.cancel();
        known.replaced = CancellationToken::new();
        known.stream += 1;
        known.seen = Some(seen);
        known.last_seq = None;
        let (stream, replaced) = (known.stream, known.replaced.clone());
        Connection { presence: self.clone(), node: node.clone(), stream, replaced }
    }

    /// Whether a report is newer than those before.
    pub(crate) fn is_news(&self, node: &NodeId, seq: u64) -> bool {
        self.lock().get(node).and_then(|known| known.last_seq).is_none_or(|last| seq > last)
    }

    /// A report has been taken in.
    pub(crate) fn reported(&self, node: &NodeId, seq: u64, applied: BTreeMap<ScopeId, Revision>) {
        let mut nodes = self.lock();
        let known = nodes.entry(node.clone()).or_default();
        known.last_seq = known.last_seq.max(Some(seq));
        if let Some(seen) = &mut known.seen {
            for (scope, revision) in applied {
                let held = seen.applied.entry(scope).or_default();
                *held = revision.max(*held);
            }
        }
    }

    /// The lowest revision of a scope among the connected ones of these nodes; `None` where none is.
    pub(crate) fn lowest_applied<'a>(
        &self,
        scope: &ScopeId,
        nodes: impl Iterator<Item = &'a NodeId>,
    ) -> Option<Revision> {
        let known = self.lock();
        let seen = nodes.filter_map(|node| known.get(node)?.seen.as_ref());
        seen.map(|seen| seen.applied.get(scope).copied().unwrap_or_default()).min()
    }

    /// A connected node.
    pub(crate) fn seen(&self, node: &NodeId) -> Option<Seen> {
        self.lock().get(node)?.seen.clone()
    }

    /// When the last stream of a node that is not connected ended, as far back as this process remembers.
    pub(crate) fn last_seen_ms(&self, node: &NodeId) -> Option<u64> {
        self.lock().get(node)?.last_seen_ms
    }

    /// How many agents are connected.
    pub(crate) fn connected(&self) -> usize {
        self.lock().values().filter(|known| known.seen.is_some()).count()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Known>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut nodes = self.presence.lock();
        if let Some(known) = nodes.get_mut(&self.node).filter(|known| known.stream == self.stream) {
            known.seen = None;
            known.last_seen_ms = Some(clock::unix_ms());
        }
    }
}
