//! What happens in a group, as it happens and as it was recorded.

use serde_json::{Value, json};

use super::{Failure, Session, print, show};
use crate::{
    config::{
        Format,
        ng::{AuditArgs, WatchArgs},
    },
    management::Event,
    overlay::report,
};

/// Most times in a row that a stream may end without an event before watching is given up.
const EMPTY_STREAMS: u32 = 5;

/// Prints events until somebody interrupts, or so many have come. A stream that ends is taken up after
/// the last event.
pub(super) async fn watch(session: &Session, args: WatchArgs) -> Result<(), Failure> {
    let group = session.group(&args.group.group).await?;
    let path = session.of_group(&group.id, "/events");
    let (mut last, mut left, mut empty) = (args.since, args.count, 0);
    loop {
        let mut events = session.client.events(&path, last.as_deref()).await?;
        empty += 1;
        loop {
            match events.next().await {
                Ok(Some(event)) => {
                    empty = 0;
                    last.clone_from(&event.id);
                    show_event(session, &event);
                    left = left.map(|left| left.saturating_sub(1));
                    if left == Some(0) {
                        return Ok(());
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(error = report(&error), "the stream of events broke");
                    break;
                }
            }
        }
        if empty >= EMPTY_STREAMS {
            return Err(Failure::Failed("control ends the stream of events again and again".to_owned()));
        }
    }
}

fn show_event(session: &Session, event: &Event) {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| json!(event.data));
    match session.format {
        Format::Json => print::json(&json!({"id": event.id, "event": event.kind, "data": data})),
        Format::Human => print::line(&format!(
            "{:>6}  {}  {}",
            event.id.as_deref().unwrap_or_default(),
            event.kind,
            show::short(&data)
        )),
    }
}

pub(super) async fn audit(session: &Session, args: AuditArgs) -> Result<(), Failure> {
    let group = session.group(&args.group.group).await?;
    let path = session.of_group(&group.id, &format!("/audit?limit={}", args.limit));
    let value = session.client.get(&path).await?;
    match session.format {
        Format::Json => print::json(&value),
        Format::Human => show::records(&value),
    }
    Ok(())
}
