//! What the agent tells of itself, and how waiting ends.

use lacis_agent::{ErrorKind, PingRequest, Reply, Request, Until};
use serde_json::{Value, json};

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
    check(
        peer,
        "address4 address6 endpoint id instance last_handshake_s member name path rx_bytes tx_bytes via",
    );
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

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_one_member_are_told_apart() {
    let control = Control::start().await;
    let (shared, _) = control.new_token(&control.group, json!({ "member": "app_1" })).await;
    let watcher = Node::join("watcher", &control.token).await;
    let (first, second) = (Node::join("east", &shared).await, Node::join("west", &shared).await);
    watcher.sees("both", |status| instances(status) == ["east", "west"]).await;
    let names: Vec<_> = watcher.status().await.groups.remove(0).peers;
    assert_eq!(names[0].name, names[1].name, "the name is the member's");
    let third = Node::join("west", &shared).await;
    let id = |node: &lacis_agent::Status| node.groups[0].peer.to_string();
    let mut expected = vec!["east".to_owned(), id(&second.status().await), id(&third.status().await)];
    expected.sort();
    watcher
        .sees("the ids of two that call themselves the same", |status| instances(status) == expected)
        .await;
    drop(first);
}

/// What the peers of the first group are told apart by, sorted.
fn instances(status: &lacis_agent::Status) -> Vec<String> {
    let mut found: Vec<String> = status.groups[0].peers.iter().map(|peer| peer.instance.clone()).collect();
    found.sort();
    found
}
