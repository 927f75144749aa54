//! Forgets what ended long ago, now and then. The rules are the core's.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lacis_control_core::{Command, Kept};
use lacis_proto::NodeId;

use crate::{app::Control, clock, config::Keep};

/// How long after the start the first time comes: twice the longest wait of an agent that seeks its control, so that
/// whoever lives is connected.
const FIRST: Duration = Duration::from_secs(10 * 60);

/// How often from then on: what ended stays at most so much longer than asked.
const EVERY: Duration = Duration::from_secs(60 * 60);

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

/// Forgets once.
pub(crate) async fn forget(control: &Control, keep: Keep) {
    let now_ms = clock::unix_ms();
    let since = |kept: Duration| now_ms.saturating_sub(u64::try_from(kept.as_millis()).unwrap_or(u64::MAX));
    let nodes =
        || -> BTreeSet<NodeId> { control.live.read().state.nodes().map(|node| node.id.clone()).collect() };
    let before = nodes();
    let connected = before.iter().filter(|id| control.live.presence.seen(id).is_some()).cloned().collect();
    let kept =
        Kept { audit_since_ms: keep.audit.map(since), ended_since_ms: keep.ended.map(since), connected };
    if let Err(error) = control.writer.ask(Command::Forget(kept)).await {
        tracing::warn!(%error, "what ended long ago is not forgotten; the next time comes in an hour");
        return;
    }
    let after = nodes();
    control.live.presence.forget(before.difference(&after));
    let gone = before.difference(&after).count();
    if gone > 0 {
        tracing::info!(gone, "forgot nodes that ended long ago");
    }
}
