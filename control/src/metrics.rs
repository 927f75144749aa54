//! Control's figures: counted where things happen, told as Prometheus reads them.
//!
//! They are told on a listener of their own (`--metrics ADDR:PORT`, off by default) and on the admin socket, never
//! on the public listener (DESIGN ruling 28).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::http::header;
use axum::{Router, extract::State, response::IntoResponse, routing::get};
use lacis_proto::{Code, EXPOSITION_TYPE, Exposition, Figure};
use lacis_relay::Relay;
use tokio::net::TcpListener;

use crate::{
    app::Control,
    http, limits,
    listener::{self, Bounds, Drain},
};

/// Upper ends of the classes of commit times, in seconds: a disk flush takes one millisecond to some tens.
const COMMIT_CLASSES: [f64; 8] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

/// What is counted while control runs.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Frames made for watchers.
    pub(crate) frames_built: AtomicU64,
    /// Frames that a watcher's connection took.
    pub(crate) frames_sent: AtomicU64,
    /// Bytes of those.
    pub(crate) bytes_sent: AtomicU64,
    commits: Mutex<Commits>,
    refusals: Mutex<BTreeMap<String, u64>>,
}

#[derive(Debug, Default)]
struct Commits {
    /// How many took at most so long, by class; the last are those beyond.
    classes: [u64; COMMIT_CLASSES.len() + 1],
    seconds: f64,
    failures: u64,
    /// Whether the last one failed. Why is for the log: whoever asks may be anybody.
    trouble: bool,
}

/// Something that does not work, though control goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Degraded {
    /// What kind of thing; programs may rely on it.
    pub(crate) kind: &'static str,
    /// What, and what to do.
    pub(crate) text: String,
}

impl Metrics {
    /// A commit has ended.
    pub(crate) fn committed(&self, took: Duration) {
        let mut commits = lock(&self.commits);
        let seconds = took.as_secs_f64();
        let class = COMMIT_CLASSES.iter().position(|end| seconds <= *end).unwrap_or(COMMIT_CLASSES.len());
        commits.classes[class] += 1;
        commits.seconds += seconds;
        commits.trouble = false;
    }

    /// A commit has failed.
    pub(crate) fn not_committed(&self) {
        let mut commits = lock(&self.commits);
        commits.failures += 1;
        commits.trouble = true;
    }

    /// A request was refused.
    pub(crate) fn refused(&self, code: Code) {
        let name = serde_json::to_value(code).ok().and_then(|name| name.as_str().map(str::to_owned));
        *lock(&self.refusals).entry(name.unwrap_or_default()).or_default() += 1;
    }

    /// What does not work.
    pub(crate) fn degraded(&self) -> Vec<Degraded> {
        let store = lock(&self.commits).trouble.then(|| Degraded {
            kind: "store_not_written",
            text: "nothing can be written, tunnels and streams go on; make room on the disk of the data folder, \
                   and make it writable; the log says more"
                .to_owned(),
        });
        let descriptors = limits::descriptors().filter(|limit| *limit < limits::DESCRIPTORS).map(|limit| Degraded {
            kind: "descriptors_few",
            text: format!("only {limit} file descriptors, for as many agents less a hundred; raise LimitNOFILE of the service, or ulimit -n"),
        });
        store.into_iter().chain(descriptors).collect()
    }
}

/// `GET /metrics`.
pub(crate) fn routes() -> Router<Arc<Control>> {
    Router::new().route("/metrics", get(tell))
}

async fn tell(State(control): State<Arc<Control>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, EXPOSITION_TYPE)], text(&control))
}

/// What is answered on a listener of its own.
pub(crate) fn alone(control: &Arc<Control>) -> Router {
    http::finish(routes().with_state(Arc::clone(control)), control)
}

/// What `/readyz` says of a program that takes requests.
pub(crate) fn ready(degraded: &[Degraded]) -> String {
    let lines = degraded.iter().map(|degraded| format!("degraded: {}: {}\n", degraded.kind, degraded.text));
    std::iter::once("ready\n".to_owned()).chain(lines).collect()
}

/// Answers over plain HTTP until the drain begins.
pub(crate) async fn accept(listener: TcpListener, routes: Router, drain: Drain) {
    let places = Bounds::LOCAL.places();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = drain.begun.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let served = listener::serve(stream, (), routes.clone(), drain.begun.clone(), Bounds::LOCAL);
                drain.tasks.spawn(async {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for figures");
                tokio::time::sleep(listener::STARVED).await;
            }
        }
    }
}

/// All figures, as of now.
fn text(control: &Control) -> String {
    let mut all = Exposition::default();
    let metrics = &control.live.metrics;
    let info = [("version", env!("CARGO_PKG_VERSION")), ("control", control.keys.control.as_str())];
    all.family(Figure::Gauge, "lacis_control_info", "Control.").sample(&info, 1);
    {
        let published = control.live.read();
        let (mut groups, mut peers) = (0u64, 0);
        for group in published.state.groups() {
            groups += 1;
            peers += group.peers.len();
        }
        all.one(Figure::Gauge, "lacis_control_groups", "Network groups.", groups);
        all.one(Figure::Gauge, "lacis_control_peers", "Peers of all groups.", peers);
        all.one(Figure::Gauge, "lacis_control_nodes", "Nodes.", published.state.nodes().count());
    }
    let watchers = control.live.presence.connected();
    all.one(Figure::Gauge, "lacis_control_watchers", "Agents that are connected.", watchers);
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let built = load(&metrics.frames_built);
    all.one(Figure::Counter, "lacis_control_frames_built_total", "Frames made for watchers.", built);
    let sent = load(&metrics.frames_sent);
    all.one(Figure::Counter, "lacis_control_frames_sent_total", "Frames taken by watchers.", sent);
    let bytes = load(&metrics.bytes_sent);
    all.one(Figure::Counter, "lacis_control_frame_bytes_sent_total", "Bytes of those frames.", bytes);
    let waiting = control.writer.waiting();
    all.one(Figure::Gauge, "lacis_control_writer_queue", "Commands that wait to be written.", waiting);
    commits(&mut all, &lock(&metrics.commits));
    let mut refusals =
        all.family(Figure::Counter, "lacis_control_refusals_total", "Requests refused, by reason.");
    for (code, count) in lock(&metrics.refusals).iter() {
        refusals.sample(&[("code", code)], count);
    }
    let mut degraded =
        all.family(Figure::Gauge, "lacis_control_degraded", "Things that do not work, by kind.");
    for Degraded { kind, .. } in metrics.degraded() {
        degraded.sample(&[("kind", kind)], 1);
    }
    let untold = control.relays.untold();
    let help = "Revocations that relays elsewhere have not acknowledged.";
    all.one(Figure::Gauge, "lacis_control_relay_untold", help, untold);
    if let Some(own) = control.relays.own() {
        relay(&mut all, own.relay());
    }
    if let Some(limit) = limits::descriptors() {
        all.one(Figure::Gauge, "process_max_fds", "File descriptors that may be open.", limit);
    }
    all.into_text()
}

/// The figures of a relay.
pub(crate) fn relay(all: &mut Exposition, relay: &Relay) {
    let seen = relay.figures();
    all.one(Figure::Gauge, "lacis_relay_leases", "Leases held at the relay.", relay.leases());
    all.one(Figure::Counter, "lacis_relay_packets_total", "Frames forwarded.", seen.packets);
    all.one(Figure::Counter, "lacis_relay_bytes_total", "Bytes of those, with headers.", seen.bytes);
    let mut dropped = all.family(Figure::Counter, "lacis_relay_dropped_total", "Frames dropped, by reason.");
    for (reason, count) in [
        ("over_rate", seen.over_rate),
        ("blocked", seen.blocked),
        ("unknown", seen.unknown),
        ("not_bound", seen.not_bound),
        ("refused", seen.refused),
        ("malformed", seen.malformed),
        ("flooded", seen.flooded),
        ("forged", seen.forged),
    ] {
        dropped.sample(&[("reason", reason)], count);
    }
    all.one(Figure::Gauge, "lacis_relay_streams", "Members connected over TLS.", relay.streams());
    let slow = relay.slow_drops();
    all.one(Figure::Counter, "lacis_relay_slow_total", "Frames dropped for members slow to read TLS.", slow);
    all.one(Figure::Counter, "lacis_relay_granted_total", "Leases granted.", seen.granted);
    all.one(Figure::Counter, "lacis_relay_moved_total", "Leases that moved to another source.", seen.moved);
    all.one(Figure::Counter, "lacis_relay_retried_total", "Members asked for a cookie.", seen.retried);
    all.one(Figure::Counter, "lacis_relay_probes_total", "STUN requests and probes answered.", seen.probes);
}

fn commits(all: &mut Exposition, commits: &Commits) {
    let mut times =
        all.family(Figure::Histogram, "lacis_control_commit_seconds", "Time that a commit takes.");
    let mut count = 0;
    for (class, end) in commits.classes.iter().zip(COMMIT_CLASSES) {
        count += class;
        times.sample_of("_bucket", &[("le", &end.to_string())], count);
    }
    let all_of_them: u64 = commits.classes.iter().sum();
    times.sample_of("_bucket", &[("le", "+Inf")], all_of_them);
    times.sample_of("_sum", &[], commits.seconds);
    times.sample_of("_count", &[], all_of_them);
    all.one(Figure::Counter, "lacis_control_commit_failures_total", "Commits that failed.", commits.failures);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_fall_into_classes_and_a_success_ends_the_trouble() {
        let metrics = Metrics::default();
        for ms in [1, 4, 30, 9_000] {
            metrics.committed(Duration::from_millis(ms));
        }
        metrics.not_committed();
        assert!(metrics.degraded().iter().any(|degraded| degraded.kind == "store_not_written"));
        let mut all = Exposition::default();
        commits(&mut all, &lock(&metrics.commits));
        let text = all.into_text();
        for line in [
            "commit_seconds_bucket{le=\"0.001\"} 1\n",
            "commit_seconds_bucket{le=\"0.005\"} 2\n",
            "commit_seconds_bucket{le=\"2.5\"} 3\n",
            "commit_seconds_bucket{le=\"+Inf\"} 4\n",
            "commit_seconds_count 4\n",
            "commit_failures_total 1\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        metrics.committed(Duration::ZERO);
        assert!(metrics.degraded().iter().all(|degraded| degraded.kind != "store_not_written"));
    }
}
