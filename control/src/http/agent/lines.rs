//! What a watcher is told next: the scopes that concern it, from where it stands to what is published.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use lacis_control_core::{NodeState, State, confirm_within_ms, scopes_for};
use lacis_proto::{
    Answer, At, Cursor, Del, DropReason, DropScope, GroupId, Line, MAX_PUT_RECORDS, NodeId, Put, Record,
    Reset, ScopeId,
};

use crate::live::Live;

/// Size at which lines are handed on: a reader that is slow holds up this much, not a whole snapshot.
const FRAME: usize = 64 * 1024;

/// What a reader holds, by scope; `None` for a scope of which it holds nothing that counts.
pub(super) type Held = BTreeMap<ScopeId, Option<Cursor>>;

/// Lines that bring a reader from `held` to what is published now, in frames; `held` moves along.
/// `None` where the node is no longer known.
///
/// All scopes are read at one moment. What is over comes first, with the reason; then the node's own scope,
/// so that it learns of a peer before the group in which the peer is, and both are there.
pub(super) fn next(live: &Live, node: &NodeId, held: &mut Held, is_first: bool) -> Option<Vec<Bytes>> {
    let published = live.read();
    let own = published.scope(&ScopeId::from(node))?;
    let wanted = scopes_for(node, own);
    let mut frames = Frames::default();
    held.retain(|id, _| {
        let is_wanted = wanted.contains(id);
        if !is_wanted {
            let reason = Some(why_dropped(&published.state, node, id));
            frames.line(&Line::Drop(DropScope { scope: id.clone(), reason }));
        }
        is_wanted
    });
    for id in &wanted {
        let Some(scope) = published.scope(id) else { continue };
        let cursor = held.get(id).copied().flatten();
        let answer = scope.answer(cursor.as_ref());
        if is_first || !answer.is_empty() || cursor != Some(answer.at) {
            held.insert(id.clone(), Some(answer.at));
            let group = GroupId::parse(id.as_str()).ok().and_then(|id| published.state.group(&id));
            let peers = group.map_or(1, |group| group.peers.len());
            frames.answer(id, &answer, confirm_within_ms(peers, live.is_awaited(id)));
        }
    }
    Some(frames.finish())
}

/// Why a scope is none of this node's business any more.
fn why_dropped(state: &State, node: &NodeId, scope: &ScopeId) -> DropReason {
    let is_revoked = state.node(node).is_some_and(|row| row.state == NodeState::Revoked);
    let is_there = GroupId::parse(scope.as_str()).is_ok_and(|group| state.group(&group).is_some());
    match (is_revoked, is_there) {
        (true, _) => DropReason::NodeRevoked,
        (false, true) => DropReason::PeerRemoved,
        (false, false) => DropReason::GroupDeleted,
    }
}

#[derive(Default)]
struct Frames {
    done: Vec<Bytes>,
    open: BytesMut,
}

impl Frames {
    fn answer(&mut self, scope: &ScopeId, answer: &Answer<'_>, confirm_within_ms: u32) {
        if answer.reset {
            self.line(&Line::Reset(Reset { scope: scope.clone() }));
        }
        for part in answer.puts.chunks(MAX_PUT_RECORDS) {
            let records: Vec<Record> = part.iter().map(|record| (*record).clone()).collect();
            self.line(&Line::Put(Put { scope: scope.clone(), records }));
        }
        for part in answer.dels.chunks(MAX_PUT_RECORDS) {
            let ids = part.iter().map(|id| (*id).clone()).collect();
            self.line(&Line::Del(Del { scope: scope.clone(), ids }));
        }
        let (rev, digest) = (answer.at.revision, answer.at.digest);
        // The number of a removed peer is given again only once every connected agent has let go of it, and
        // receipts tell who has applied a change. A reader that has everything has told so already.
        let ack_within_ms = (!answer.is_empty()).then_some(confirm_within_ms);
        self.line(&Line::At(At { scope: scope.clone(), rev, digest, ack_within_ms }));
    }

    fn line(&mut self, line: &Line) {
        self.open.extend_from_slice(&line.encode());
        if self.open.len() >= FRAME {
            self.done.push(self.open.split().freeze());
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.done.push(self.open.freeze());
        }
        self.done
    }
}
