//! Event streams (SSE): of a whole group, of its changes, and what every one has in common.
//!
//! ```text
//! first event at once ─▶ ( the group moves ─▶ events | a beat every 2 s )* ─▶ END_OF_STREAM
//! ```
//! A stream has no queue: it waits for the group to move and reads what is published then, so that a slow
//! reader skips versions. It ends when control drains, when the group or the credential is gone, when it has
//! become old, and without a word when the reader takes nothing for a minute.

use std::{convert::Infallible, sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use lacis_control_core::{Group, api_token_by_id};
use lacis_proto::{Body as Said, Code, Cursor, MemberId, PeerId, Problem, Record, ScopeId};
use serde::Serialize;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use utoipa::ToSchema;

use super::{
    auth::OfGroup,
    problem::Refused,
    view::{self, GroupView, MemberView, PeerView},
};
use crate::{
    app::Control,
    clock,
    http::Refusal,
    live::{Place, PresenceNow, Published},
};

/// How often a silent stream says that it lives: clients of the platform wait 2.5 s.
const SILENCE: Duration = Duration::from_secs(2);

const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// One event.
pub(super) struct Event {
    kind: Option<&'static str>,
    id: Option<String>,
    data: String,
}

impl Event {
    /// An event without a name, which every client takes for a message.
    pub(super) fn message(id: String, data: &impl Serialize) -> Self {
        Self { kind: None, id: Some(id), data: json(data) }
    }

    fn named(kind: &'static str, data: &impl Serialize) -> Self {
        Self { kind: Some(kind), id: None, data: json(data) }
    }

    fn with_id(self, id: String) -> Self {
        Self { id: Some(id), ..self }
    }

    /// JSON has no line breaks, so that an event is these lines.
    fn encode(&self) -> Bytes {
        let kind = self.kind.map(|kind| format!("event: {kind}\n")).unwrap_or_default();
        let id = self.id.as_ref().map(|id| format!("id: {id}\n")).unwrap_or_default();
        format!("{kind}{id}data: {}\n\n", self.data).into()
    }
}

/// How a silent stream says that it lives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beat {
    /// By an event, as the platform's streams do.
    Event,
    /// By a comment, which readers of events never see.
    Comment,
}

impl Beat {
    fn encode(self) -> Bytes {
        match self {
            Self::Event => {
                Event::named("HEARTBEAT", &serde_json::json!({ "nowMs": clock::unix_ms() })).encode()
            }
            Self::Comment => Bytes::from_static(b": beat\n\n"),
        }
    }
}

/// A record that is new or changed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RecordPut)]
pub(super) struct PutView<'a> {
    id: &'a str,
    /// The version at which it last changed.
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<GroupView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<MemberView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<PeerView<'a>>,
}

/// Streams a group, whole, as it changes: an event at once and after each change, and heartbeats.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/stream", tag = "groups", params(OfGroup),
    responses(
        (status = 200, description = "Events of `NetworkGroup`.", body = String, content_type = "text/event-stream"),
        Refused
    )
)]
pub(super) async fn group(of: OfGroup) -> Result<Response, Refusal> {
    let (id, presence) = (of.group.clone(), of.caller.control.live.presence.clone());
    let mut told = None;
    open(of, Beat::Event, move |published| {
        let held = published.state.group(&id)?;
        if told.replace(held.row.revision) == Some(held.row.revision) {
            return Some(Vec::new());
        }
        let now = presence.now();
        Some(vec![Event::message(held.row.revision.to_string(), &view::group(held, &now))])
    })
}

/// Streams the changes of a group: `reset` before everything, `put` and `del` for each record, `at` with the
/// version that they lead to. It goes on where `Last-Event-ID` says that the reader is.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/events", tag = "groups",
    params(OfGroup, ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was taken in.")),
    responses(
        (status = 200, description = "Events of `RecordPut` and of ids.", body = String,
            content_type = "text/event-stream"),
        Refused
    )
)]
pub(super) async fn events(of: OfGroup, headers: HeaderMap) -> Result<Response, Refusal> {
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let mut cursor: Option<Cursor> = last.and_then(|id| id.parse().ok());
    let (id, presence) = (of.group.clone(), of.caller.control.live.presence.clone());
    open(of, Beat::Comment, move |published| {
        let held = published.state.group(&id)?;
        let answer = published.scope(&ScopeId::from(&id))?.answer(cursor.as_ref());
        let is_first = cursor.replace(answer.at).is_none();
        if answer.is_empty() && !is_first {
            return Some(Vec::new());
        }
        let now = presence.now();
        let mut events = Vec::new();
        if answer.reset {
            events.push(Event::named("reset", &serde_json::json!({})));
        }
        events.extend(answer.puts.iter().map(|record| Event::named("put", &put(held, record, &now))));
        events.extend(answer.dels.iter().map(|id| Event::named("del", &serde_json::json!({ "id": id }))));
        let at = serde_json::json!({ "version": answer.at.revision.0 });
        events.push(Event::named("at", &at).with_id(answer.at.to_string()));
        Some(events)
    })
}

fn put<'a>(held: &'a Group, record: &'a Record, now: &'a PresenceNow<'_>) -> PutView<'a> {
    let mut put =
        PutView { id: record.id.as_str(), version: record.rev.0, group: None, member: None, peer: None };
    match &record.body {
        Said::Group(_) => put.group = Some(view::group(held, now).without_contents()),
        Said::Member(_) => {
            let id = MemberId::parse(record.id.as_str()).ok();
            put.member = id.and_then(|id| held.members.get(&id)).map(view::member);
        }
        Said::Peer(_) => {
            let id = PeerId::parse(record.id.as_str()).ok();
            put.peer = id.and_then(|id| held.peers.get(&id)).map(|row| view::peer(held, row, now));
        }
        Said::Assignment(_) | Said::Node(_) | Said::Unknown(_) => {}
    }
    put
}

/// Opens a stream about a group. `next` gives the events that lead to what is published now, none where the
/// reader is there already; `None` ends the stream.
pub(super) fn open(
    of: OfGroup,
    beat: Beat,
    next: impl FnMut(&Published) -> Option<Vec<Event>> + Send + Sync + 'static,
) -> Result<Response, Refusal> {
    let control = Arc::clone(&of.caller.control);
    let full =
        || Problem::new(Code::Busy, "too many event streams are open; close some, or come again later");
    let place = control.streams.take(&of.caller.token.id).ok_or_else(full)?;
    let (out, frames) = mpsc::channel(1);
    let stream = Stream { of, beat, next, out, _place: place };
    control.drain.tasks.spawn(stream.run());
    let frames = stream::unfold(frames, async |mut frames| {
        frames.recv().await.map(|frame: Bytes| (Ok::<_, Infallible>(frame), frames))
    });
    let mut response = Body::from_stream(frames).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

struct Stream<F> {
    of: OfGroup,
    beat: Beat,
    next: F,
    out: mpsc::Sender<Bytes>,
    _place: Place,
}

/// The reader is gone or stuck.
struct Ended;

impl<F: FnMut(&Published) -> Option<Vec<Event>>> Stream<F> {
    async fn run(mut self) {
        if let Ok(reason) = self.follow().await {
            let last = Event::named("END_OF_STREAM", &serde_json::json!({ "endedBy": reason }));
            // A reader that is gone needs no last word.
            let _ = self.tell(&last).await;
        }
    }

    /// Runs until there is a reason to end.
    async fn follow(&mut self) -> Result<&'static str, Ended> {
        let control = Arc::clone(&self.of.caller.control);
        let end = clock::later(clock::around(control.max_age, 20));
        loop {
            // Subscribed before the group is read, so that no version falls in between.
            let mut moved = control.live.subscribe(&ScopeId::from(&self.of.group));
            let Some(events) = self.read(&control) else { return Ok("gone") };
            for event in events {
                self.tell(&event).await?;
            }
            loop {
                if self.wait(&control, &mut moved).await? {
                    break;
                }
                if control.drain.begun.is_cancelled() {
                    return Ok("drain");
                }
                if clock::now() >= end {
                    return Ok("age");
                }
                if !self.is_allowed(&control) {
                    return Ok("credential");
                }
                self.send(self.beat.encode()).await?;
            }
        }
    }

    fn read(&mut self, control: &Control) -> Option<Vec<Event>> {
        (self.next)(&control.live.read())
    }

    /// Whether the group has moved before it was time for a heartbeat.
    async fn wait(
        &self,
        control: &Control,
        moved: &mut watch::Receiver<lacis_proto::Revision>,
    ) -> Result<bool, Ended> {
        tokio::select! {
            _ = moved.changed() => Ok(true),
            () = tokio::time::sleep(SILENCE) => Ok(false),
            () = control.drain.begun.cancelled() => Ok(false),
            () = self.out.closed() => Err(Ended),
        }
    }

    /// Whether the token that opened the stream still shows the group.
    fn is_allowed(&self, control: &Control) -> bool {
        let published = control.live.read();
        let token = api_token_by_id(&published.state, &self.of.caller.token.id, clock::unix_ms());
        token.is_some_and(|token| token.sees(&self.of.group))
    }

    async fn tell(&self, event: &Event) -> Result<(), Ended> {
        self.send(event.encode()).await
    }

    async fn send(&self, frame: Bytes) -> Result<(), Ended> {
        match timeout(self.of.caller.control.stuck, self.out.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ended),
        }
    }
}

fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("every event has a JSON form")
}
