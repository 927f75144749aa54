//! `POST /agent/v1/watch`: the stream that keeps a node's scopes up to date.
//!
//! ```text
//! hello ─▶ relays ─▶ what the reader lacks ─▶ ( wait for a revision ─▶ what it lacks | beat | relays )* ─▶ bye
//! ```
//! The stream ends with `bye` when control drains, when a newer stream of the node takes its place, when it
//! has become old, and when the node was revoked, after it has been told that its peers are gone; without one
//! when the reader is gone or takes nothing for a minute. There is no queue: the stream holds cursors, and the
//! channel one frame.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
};

use ::http::{HeaderName, HeaderValue, header};
use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{future::select_all, stream};
use lacis_control_core::NodeState;
use lacis_proto::{Beat, Bye, Hello, Line, NodeId, Revision, ScopeId, WatchRequest, relay::RelayEntry};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    auth,
    join::common_protocol,
    lines::{self, Held},
    report::revisions,
};
use crate::{
    app::Control,
    clock,
    http::{self, Refusal},
    live::{Connection, Seen},
    relays::Share,
};

/// How soon an agent should be back after a drain: time for a restart of control, and spread over it.
const BACK_WITHIN_S: u32 = 10;

const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) async fn watch(
    State(control): State<Arc<Control>>,
    request: Request,
) -> Result<Response, Refusal> {
    let signed = auth::signed(&control, request).await?;
    let asked: WatchRequest = http::parse(&signed.body)?;
    let protocol = common_protocol(asked.protocol)?;
    let held: Held = asked.have.iter().map(|(id, text)| (id.clone(), text.parse().ok())).collect();
    let hello = Line::Hello(Hello {
        protocol,
        control: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: control.live.epoch,
        now_ms: clock::unix_ms(),
        beat_s: u32::try_from(control.beat.as_secs()).unwrap_or(u32::MAX).max(1),
        urls: control.urls.clone(),
    });
    let hello = Bytes::from(hello.encode());
    if !asked.watch {
        return Ok(once(&control, &signed.node, held, &hello));
    }
    let (out, frames) = mpsc::channel(1);
    let seen = Seen {
        since_ms: clock::unix_ms(),
        agent: asked.agent.chars().filter(|c| !c.is_control()).take(64).collect(),
        underlay: signed.from(),
        applied: revisions(&asked.have, control.live.epoch),
        clients: BTreeMap::new(),
    };
    if let Some(run) = &signed.run {
        control.live.presence.admit(&signed.node, run, signed.from()).await?;
    }
    let connection = control.live.presence.connect(&signed.node, seen, signed.run);
    tracing::debug!(node = %signed.node, "watch begins");
    let relays = control.relays.news();
    let stream = Stream {
        node: signed.node,
        connection,
        held,
        out,
        relays,
        share: None,
        control: Arc::clone(&control),
    };
    control.drain.tasks.spawn(stream.run(hello));
    let frames = stream::unfold(frames, async |mut frames| {
        frames.recv().await.map(|frame: Bytes| (Ok::<_, Infallible>(frame), frames))
    });
    Ok(answer(Body::from_stream(frames)))
}

fn once(control: &Control, node: &NodeId, mut held: Held, hello: &Bytes) -> Response {
    let relays = control.relays.share(&control.live.read().state, node).line(&control.keys);
    let lines = lines::next(&control.live, node, &mut held, true).unwrap_or_default();
    let all: Vec<u8> = [hello.to_vec(), relays.encode()]
        .into_iter()
        .chain(lines.into_iter().map(|line| line.to_vec()))
        .flatten()
        .collect();
    answer(Body::from(all))
}

fn answer(body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    response
}

struct Stream {
    control: Arc<Control>,
    node: NodeId,
    connection: Connection,
    held: Held,
    out: mpsc::Sender<Bytes>,
    relays: watch::Receiver<Arc<Vec<RelayEntry>>>,
    /// What the node was last told of relays.
    share: Option<Share>,
}

type Changes = BTreeMap<ScopeId, watch::Receiver<Revision>>;

/// The reader is gone or stuck.
struct Ended;

enum Wake {
    Changed,
    Beat,
    Relays,
    Say(Line),
    Bye(&'static str),
}

impl Stream {
    async fn run(mut self, hello: Bytes) {
        let is_gone = self.follow(hello).await.is_err();
        tracing::debug!(node = %self.node, is_gone, "watch ends");
    }

    async fn follow(&mut self, hello: Bytes) -> Result<(), Ended> {
        self.tell(hello).await?;
        let end = clock::later(clock::around(self.control.max_age, 20));
        let mut is_first = true;
        loop {
            // Subscribed before the scopes are read, so that no revision falls in between.
            let mut changes = self.subscribe();
            let Some(frames) = lines::next(&self.control.live, &self.node, &mut self.held, is_first) else {
                return Ok(());
            };
            is_first = false;
            self.tell_relays().await?;
            let built = frames.len() as u64;
            self.control.live.metrics.frames_built.fetch_add(built, Ordering::Relaxed);
            for frame in frames {
                self.tell(frame).await?;
            }
            if self.is_revoked() {
                return self.bye("revoked").await;
            }
            if !self.held.keys().eq(changes.keys()) {
                // The node's groups have changed: listen to those of now before waiting.
                continue;
            }
            let mut beat = clock::later(clock::around(self.control.beat, 10));
            loop {
                match self.wait(&mut changes, beat, end).await? {
                    Wake::Changed => break,
                    Wake::Beat => {
                        let line = Line::Beat(Beat { now_ms: clock::unix_ms() });
                        self.tell(line.encode().into()).await?;
                        // A new day has new tokens.
                        self.tell_relays().await?;
                        beat = clock::later(clock::around(self.control.beat, 10));
                    }
                    Wake::Relays => self.tell_relays().await?,
                    Wake::Say(line) => self.tell(line.encode().into()).await?,
                    Wake::Bye(reason) => return self.bye(reason).await,
                }
            }
        }
    }

    fn subscribe(&self) -> Changes {
        let own = ScopeId::from(&self.node);
        let ids = self.held.keys().chain([&own]);
        ids.map(|id| (id.clone(), self.control.live.subscribe(id))).collect()
    }

    async fn wait(&mut self, changes: &mut Changes, beat: Instant, end: Instant) -> Result<Wake, Ended> {
        let changed = select_all(changes.values_mut().map(|change| Box::pin(change.changed())));
        tokio::select! {
            _ = changed => Ok(Wake::Changed),
            Ok(()) = self.relays.changed() => Ok(Wake::Relays),
            Some(line) = self.connection.lines.recv() => Ok(Wake::Say(line)),
            () = sleep_until(beat) => Ok(Wake::Beat),
            () = sleep_until(end) => Ok(Wake::Bye("age")),
            () = self.connection.replaced.cancelled() => Ok(Wake::Bye("replaced")),
            () = self.control.drain.begun.cancelled() => Ok(Wake::Bye("drain")),
            () = self.out.closed() => Err(Ended),
        }
    }

    /// Tells of relays and of the node's tokens, unless it knows.
    async fn tell_relays(&mut self) -> Result<(), Ended> {
        let share = self.control.relays.share(&self.control.live.read().state, &self.node);
        if self.share.as_ref() == Some(&share) {
            return Ok(());
        }
        let line = share.line(&self.control.keys);
        self.share = Some(share);
        self.tell(line.encode().into()).await
    }

    async fn bye(&self, reason: &str) -> Result<(), Ended> {
        let within_s = if reason == "drain" { BACK_WITHIN_S } else { 1 };
        let line = Line::Bye(Bye { reason: reason.to_owned(), within_s });
        self.tell(line.encode().into()).await
    }

    async fn tell(&self, frame: Bytes) -> Result<(), Ended> {
        let length = frame.len() as u64;
        match timeout(self.control.stuck, self.out.send(frame)).await {
            Ok(Ok(())) => {
                let metrics = &self.control.live.metrics;
                metrics.frames_sent.fetch_add(1, Ordering::Relaxed);
                metrics.bytes_sent.fetch_add(length, Ordering::Relaxed);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(Ended),
        }
    }

    fn is_revoked(&self) -> bool {
        let published = self.control.live.read();
        published.state.node(&self.node).is_none_or(|row| row.state == NodeState::Revoked)
    }
}
