//! Control at another address: agents that heard of it follow, and nobody joins again.

use std::{fs, net::TcpListener};

use crate::lab::{Control, Node, passes};

fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What the node keeps of control's addresses.
fn kept(node: &Node) -> Vec<String> {
    let path = node.folder.path().join("state/enrolment.json");
    let enrolment: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    serde_json::from_value(enrolment["urls"].clone()).unwrap()
}

async fn hears_from(node: &Node, control: &str) {
    node.sees(control, |status| status.control.connected && status.control.url.as_deref() == Some(control))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_follow_control_to_the_address_that_it_told_and_back() {
    let mut control = Control::start().await;
    let (mut a, b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    let (old, new) = (control.addr.port(), free_port());
    let before = control.version().await;
    control.stop().await;
    control.restart_at(old, &[url(new), url(old)]).await;
    for node in [&a, &b] {
        hears_from(node, &url(old)).await;
        assert_eq!(kept(node), [url(new), url(old)]);
    }
    control.stop().await;
    control.restart_at(new, &[url(new)]).await;
    hears_from(&a, &url(new)).await;
    hears_from(&b, &url(new)).await;
    a.down().await;
    a.up(None).await.unwrap();
    a.ready().await;
    hears_from(&a, &url(new)).await;
    passes(&a, &b, 4, "after the move").await;
    assert_eq!(control.version().await, before, "nobody has joined again");

    // The former address stays the last resort.
    control.stop().await;
    control.restart_at(old, &[url(old)]).await;
    hears_from(&a, &url(old)).await;
    hears_from(&b, &url(old)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_at_an_address_of_control_is_not_taken_for_control() {
    let (mut control, stranger) = (Control::start().await, Control::start().await);
    let a = Node::join("a", &control.token).await;
    let (ours, theirs) = (control.addr.port(), stranger.addr.port());
    control.stop().await;
    control.restart_at(ours, &[url(theirs), url(ours)]).await;
    hears_from(&a, &url(ours)).await;
    control.stop().await;
    a.sees("whom it does not trust", |status| {
        let trouble = status.control.trouble.as_deref().unwrap_or_default();
        trouble.contains(&url(theirs)) && trouble.contains("differs from the pin")
    })
    .await;
    assert_eq!(a.status().await.groups.len(), 1, "nothing else changes");
    control.restart_at(ours, &[]).await;
    hears_from(&a, &url(ours)).await;
}
