//! Forgets what ended long ago, now and then, by commits that others hardly wait for. The rules are the core's.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lacis_control_core::{Command, Kept, Reply};
use lacis_proto::{NodeId, Problem};

use crate::{app::Control, clock, config::Keep};

/// How long after the start the first time comes: twice the longest wait of an agent that seeks its control, so that
/// whoever lives is connected.
const FIRST: Duration = Duration::from_secs(10 * 60);

/// How often from then on: what ended stays at most so much longer than asked.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Between two commits of one time: five times as long as one takes, so that most of the writer is others'.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs until control drains.
pub(crate) async fn run(control: Arc<Control>, keep: Keep) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = control.drain.begun.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = EVERY;
        forget(&control, keep).await;
    }
}

/// Forgets all that is due.
pub(crate) async fn forget(control: &Control, keep: Keep) {
    let nodes =
        || -> BTreeSet<NodeId> { control.live.read().state.nodes().map(|node| node.id.clone()).collect() };
    let before = nodes();
    loop {
        match forget_some(control, keep, &before).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(%error, "what ended long ago is not forgotten; the next time comes in an hour");
                break;
            }
        }
        tokio::select! {
            () = control.drain.begun.cancelled() => break,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
    let after = nodes();
    control.live.presence.forget(before.difference(&after));
    let gone = before.difference(&after).count();
    if gone > 0 {
        tracing::info!(gone, "forgot nodes that ended long ago");
    }
}

/// Forgets as much as one commit takes; tells whether there is more.
async fn forget_some(control: &Control, keep: Keep, nodes: &BTreeSet<NodeId>) -> Result<bool, Problem> {
    let now_ms = clock::unix_ms();
    let since = |kept: Duration| now_ms.saturating_sub(u64::try_from(kept.as_millis()).unwrap_or(u64::MAX));
    let connected = nodes.iter().filter(|id| control.live.presence.seen(id).is_some()).cloned().collect();
    let audit_since_ms = keep.audit.map(since);
    let kept = Kept { audit_since_ms, ended_since_ms: keep.ended.map(since), connected };
    let reply = control.writer.ask(Command::Forget(kept)).await?;
    if matches!(reply, Reply::Forgot { more: true }) {
        return Ok(true);
    }
    let Some(since_ms) = audit_since_ms else { return Ok(false) };
    // What cannot be read now is looked at the next time.
    Ok(control.audit.has_before(since_ms).await.unwrap_or(false))
}
