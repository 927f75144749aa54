//! Two machines with one identity: a copied image beside the machine that it was made from.
//!
//! ```text
//! watch by another process of the node, while a stream is open
//!   ─▶ rollcall on that stream ─┬▶ a report of its process within 3 s: it is alive, the newcomer is refused
//!                               └▶ none: it is gone without a word, the newcomer takes its place
//! ```
//! A restart closes its stream, and a machine that lost power does not answer: neither is taken for a copy. Whoever
//! was there first goes on; both are told, and calls of a refused process are refused until the first is gone, so
//! that a copy that is cleaned up does not take the first one's peers away.

use std::{net::SocketAddr, time::Duration};

use lacis_proto::{Code, CopySeen, Line, NodeId, Problem, Rollcall, Run};

use super::Presence;
use crate::clock;

/// How long the process that is there has to answer: a report over a bad line takes two seconds. Less than what the
/// newcomer waits for its first line.
const ROLLCALL: Duration = Duration::from_secs(3);

/// A process that was refused because another with its identity is there.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) run: Run,
    pub(crate) from: SocketAddr,
    pub(crate) at_ms: u64,
}

impl Presence {
    /// Refuses a process of a node beside another that is alive; asks that one where it must.
    pub(crate) async fn admit(&self, node: &NodeId, run: &Run, from: SocketAddr) -> Result<(), Problem> {
        let Some((mut answers, first)) = self.other(node, run) else { return Ok(()) };
        answers.mark_unchanged();
        self.say(node, Line::Rollcall(Rollcall {}));
        if !matches!(tokio::time::timeout(ROLLCALL, answers.changed()).await, Ok(Ok(()))) {
            return Ok(());
        }
        let copy = Copy { run: run.clone(), from, at_ms: clock::unix_ms() };
        tracing::warn!(%node, first = first.host, second = run.host, %from, "two machines have one identity");
        self.refuse(node, copy);
        self.say(node, Line::Copy(CopySeen { host: run.host.clone(), from }));
        Err(in_use(node, &first, run, from))
    }

    /// Refuses calls of a process that was found to be a copy, as long as the first is there.
    pub(crate) fn check_copy(&self, node: &NodeId, run: &Run, from: SocketAddr) -> Result<(), Problem> {
        match self.other(node, run) {
            Some((_, first)) if self.is_refused(node, run) => Err(in_use(node, &first, run, from)),
            Some(_) | None => Ok(()),
        }
    }
}

fn in_use(node: &NodeId, first: &Run, second: &Run, from: SocketAddr) -> Problem {
    let message = format!(
        "{node} is already running as host {:?}; this is host {:?} at {from}. Two machines must not share an identity: \
         if this one is a copy, stop its agent, delete its state folder and join with a token; if the node has moved \
         here, stop the agent on the other",
        first.host, second.host
    );
    Problem::new(Code::IdentityInUse, message)
}

#[cfg(test)]
mod tests;
