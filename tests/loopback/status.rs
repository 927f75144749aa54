//! What the agent tells of itself, and how waiting ends.

use lacis_agent::{ErrorKind, PingRequest, Reply, Request, Until};
use serde_json::Value;

use crate::lab::{Control, Node};

#[tokio::test(flavor = "multi_thread")]
async fn the_status_has_exactly_the_documented_fields() {
    let control = Control::start().await;
    let (a, b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    a.sees("b", |status| !status.groups[0].peers.is_empty()).await;
    let replies = a.ask(&Request::Status {}).await;
    let status = serde_json::to_value(&replies[0]).unwrap()["status"].clone();
    let (group, peer) = (&status["groups"][0], &status["groups"][0]["peers"][0]);
    check(&status, "agent alarms control degraded gone groups names node port ready relays tunnel");
    check(&status["control"], "connected last_word_s trouble url");
    check(
        group,
        "address4 address6 gateway id interface label member name peer peers resolver4 resolver6 version",
    );
    check(peer, "address4 address6 endpoint id last_handshake_s member name path rx_bytes tx_bytes via");
    drop(b);
}

#[track_caller]
fn check(value: &Value, fields: &str) {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names.join(" "), fields);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_when_it_is_so_or_when_the_time_is_over() {
    let control = Control::start().await;
    let (a, mut b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    b.answer_echoes();
    let wait = |until, timeout_ms| Request::Wait { until, timeout_ms };
    assert_eq!(a.ask(&wait(Until::Ready, 20_000)).await, [Reply::Done {}]);
    assert_eq!(a.ask(&wait(Until::Peer("b".into()), 20_000)).await, [Reply::Done {}]);
    let replies = a.ask(&wait(Until::Peer("nobody".into()), 300)).await;
    assert!(matches!(&replies[..], [Reply::Error { kind: ErrorKind::TimedOut, .. }]), "{replies:?}");
    let ping = PingRequest { target: "nobody".into(), count: 1, interval_ms: 1, timeout_ms: 1, family: None };
    let replies = a.ask(&Request::Ping(ping)).await;
    assert!(matches!(&replies[..], [Reply::Error { kind: ErrorKind::UnknownPeer, .. }]), "{replies:?}");
    drop(b);
}
