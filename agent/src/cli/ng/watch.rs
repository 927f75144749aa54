//! What happens in a group, as it happens and as it was recorded.

use serde_json::{Value, json};

use super::{Failure, Session, print, show};
use crate::{
    config::{
        Format,
        ng::{AuditArgs, WatchArgs},
    },
    management::{AuditEntry, Event},
    overlay::report,
};

/// Most times in a row that a stream may end without a word before watching is given up.
const EMPTY_STREAMS: u32 = 5;

/// Says that a connection lives, or that it ends: nothing of the group.
const OF_THE_STREAM: [&str; 2] = ["HEARTBEAT", "END_OF_STREAM"];

/// Prints events until somebody interrupts, or so many versions have come. A stream that ends is taken up
/// where it ended.
pub(super) async fn watch(session: &Session, args: WatchArgs) -> Result<(), Failure> {
    let group = session.group(&args.group.group).await?;
    let path = session.of_group(&group.id, "/events");
    let (mut place, mut left, mut empty) = (args.since, args.count, 0);
    while empty < EMPTY_STREAMS {
        let mut events = session.client.events(&path, place.as_deref()).await?;
        empty += 1;
        loop {
            let event = match events.next().await {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(error = report(&error), "the stream of events broke");
                    break;
                }
            };
            empty = 0;
            print_event(session, &event);
            if event.kind != "at" {
                continue;
            }
            place.clone_from(&event.id);
            left = left.map(|left| left.saturating_sub(1));
            if left == Some(0) {
                return Ok(());
            }
        }
    }
    Err(Failure::Failed("control ends the stream of events again and again".to_owned()))
}

fn print_event(session: &Session, event: &Event) {
    if OF_THE_STREAM.contains(&event.kind.as_str()) {
        return;
    }
    let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| json!(event.data));
    let place = event.id.as_deref().filter(|_| event.kind == "at");
    match session.format {
        Format::Json => print::json(&json!({"event": event.kind, "place": place, "data": data})),
        Format::Human => {
            if let Some(text) = show::event(&event.kind, place, &data) {
                print::line(&text);
            }
        }
    }
}

pub(super) async fn audit(session: &Session, args: AuditArgs) -> Result<(), Failure> {
    let group = session.group(&args.group.group).await?;
    let path = session.of_group(&group.id, &format!("/audit?limit={}&offset={}", args.limit, args.offset));
    let value = session.client.get(&path).await?;
    match session.format {
        Format::Json => print::json(&value),
        Format::Human => show::audit(&session.client.read::<Vec<AuditEntry>>(&value)?),
    }
    Ok(())
}
