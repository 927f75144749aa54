//! Presence: which agents are connected, and what they have applied. In memory only, never a revision
//! (DESIGN ruling 8).
//!
//! Invariants: a node has at most one stream; a newer one ends the older, and an older one that ends late
//! does not end the newer. A report counts only from the process whose stream is or was the last, and only if it
//! is newer than those before, so that one that was held up on its way brings nothing back.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lacis_proto::{Line, NodeId, PeerId, Revision, Run, ScopeId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::copies::Copy;
use crate::clock;

/// Who is connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    nodes: Arc<Mutex<BTreeMap<NodeId, Known>>>,
    /// Counts what agents have told to have applied, and their comings and goings.
    news: Arc<watch::Sender<u64>>,
}

/// Presence at one moment.
pub(crate) struct Now<'a>(MutexGuard<'a, BTreeMap<NodeId, Known>>);

/// What people may see of a connected agent.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) since_ms: u64,
    pub(crate) agent: String,
    pub(crate) underlay: SocketAddr,
    pub(crate) applied: BTreeMap<ScopeId, Revision>,
    /// How many plain clients each of its peers that is a gateway has heard last, as it told.
    pub(crate) clients: BTreeMap<PeerId, u32>,
}

#[derive(Debug, Default)]
struct Known {
    stream: u64,
    seen: Option<Seen>,
    /// When the last stream ended, in Unix milliseconds.
    last_seen_ms: Option<u64>,
    replaced: CancellationToken,
    /// The process of the last stream.
    run: Option<Run>,
    last_seq: Option<u64>,
    /// To the stream that is open.
    lines: Option<mpsc::Sender<Line>>,
    /// Counts signs of life of the process whose stream is open.
    signs: watch::Sender<u64>,
    /// Processes that were refused beside that one.
    copies: Vec<Copy>,
}

/// Most copies of one node that are remembered; the oldest is forgotten first.
pub(super) const MAX_COPIES: usize = 8;

/// Lines that wait for a stream: signals of 2 KB each from as many peers that call at once, and a word on a copy. More
/// are left out: who signals tries again.
pub(super) const LINES: usize = 64;

/// A node's stream; dropping it is its end.
#[derive(Debug)]
pub(crate) struct Connection {
    presence: Presence,
    node: NodeId,
    stream: u64,
    /// Cancelled when a newer stream takes this one's place.
    pub(crate) replaced: CancellationToken,
    /// Lines for this stream from elsewhere.
    pub(crate) lines: mpsc::Receiver<Line>,
}

impl Presence {
    /// A node has opened a stream. Reports of another process than the last count anew: its clock may have gone back.
    pub(crate) fn connect(&self, node: &NodeId, seen: Seen, run: Option<Run>) -> Connection {
        let (to_stream, lines) = mpsc::channel(LINES);
        let mut nodes = self.lock();
        let known = nodes.entry(node.clone()).or_default();
        known.replaced.cancel();
        known.replaced = CancellationToken::new();
        known.stream += 1;
        known.seen = Some(seen);
        known.lines = Some(to_stream);
        if run.is_none() || known.run != run {
            known.last_seq = None;
            known.copies.clear();
        }
        known.run = run;
        let (stream, replaced) = (known.stream, known.replaced.clone());
        drop(nodes);
        self.tell();
        Connection { presence: self.clone(), node: node.clone(), stream, replaced, lines }
    }

    /// Whether a report of this process is newer than those before; that it came is a sign of life.
    pub(crate) fn is_news(&self, node: &NodeId, run: Option<&Run>, seq: u64) -> bool {
        let nodes = self.lock();
        let Some(known) = nodes.get(node) else { return true };
        if run != known.run.as_ref() {
            return run.is_none() || known.run.is_none();
        }
        known.signs.send_modify(|signs| *signs += 1);
        known.last_seq.is_none_or(|last| seq > last)
    }

    /// The process whose stream is open, where it is another than this one, and its signs of life.
    pub(super) fn other(&self, node: &NodeId, run: &Run) -> Option<(watch::Receiver<u64>, Run)> {
        let nodes = self.lock();
        let known = nodes.get(node).filter(|known| known.seen.is_some())?;
        let first = known.run.as_ref().filter(|first| first.id != run.id)?;
        Some((known.signs.subscribe(), first.clone()))
    }

    /// Says something on a node's open stream, if there is one and it keeps up.
    pub(crate) fn say(&self, node: &NodeId, line: Line) {
        if let Some(lines) = self.lock().get(node).and_then(|known| known.lines.as_ref()) {
            let _ = lines.try_send(line);
        }
    }

    /// Remembers a process that was refused.
    pub(super) fn refuse(&self, node: &NodeId, copy: Copy) {
        let mut nodes = self.lock();
        let known = nodes.entry(node.clone()).or_default();
        known.copies.retain(|held| held.run.id != copy.run.id);
        known.copies.push(copy);
        let over = known.copies.len().saturating_sub(MAX_COPIES);
        known.copies.drain(..over);
    }

    /// Whether a process was refused beside the one whose stream is open.
    pub(super) fn is_refused(&self, node: &NodeId, run: &Run) -> bool {
        self.copies(node).iter().any(|copy| copy.run.id == run.id)
    }

    /// Processes that were refused beside the one of the last stream.
    pub(crate) fn copies(&self, node: &NodeId) -> Vec<Copy> {
        self.lock().get(node).map(|known| known.copies.clone()).unwrap_or_default()
    }

    /// A report has been taken in.
    pub(crate) fn reported(
        &self,
        node: &NodeId,
        seq: u64,
        applied: BTreeMap<ScopeId, Revision>,
        clients: BTreeMap<PeerId, u32>,
    ) {
        let mut nodes = self.lock();
        let known = nodes.entry(node.clone()).or_default();
        known.last_seq = known.last_seq.max(Some(seq));
        if let Some(seen) = &mut known.seen {
            seen.clients = clients;
            for (scope, revision) in applied {
                let held = seen.applied.entry(scope).or_default();
                *held = revision.max(*held);
            }
        }
        drop(nodes);
        self.tell();
    }

    /// Wakes when an agent comes, goes, or has applied something.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Presence at this moment; nothing changes while it is held.
    pub(crate) fn now(&self) -> Now<'_> {
        Now(self.lock())
    }

    /// These nodes are no more.
    pub(crate) fn forget<'a>(&self, nodes: impl Iterator<Item = &'a NodeId>) {
        let mut known = self.lock();
        for node in nodes {
            known.remove(node);
        }
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
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

impl Now<'_> {
    /// A connected node.
    pub(crate) fn seen(&self, node: &NodeId) -> Option<&Seen> {
        self.0.get(node)?.seen.as_ref()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut nodes = self.presence.lock();
        if let Some(known) = nodes.get_mut(&self.node).filter(|known| known.stream == self.stream) {
            known.seen = None;
            known.lines = None;
            known.last_seen_ms = Some(clock::unix_ms());
        }
        drop(nodes);
        self.presence.tell();
    }
}
