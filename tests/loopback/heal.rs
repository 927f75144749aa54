//! Controls and agents that go and come again.

use std::{fs, path::PathBuf};

use lacis_agent::Clock;

use crate::lab::{Control, Node, passes};

#[tokio::test(flavor = "multi_thread")]
async fn agents_start_and_talk_without_control_and_control_comes_back_to_no_change() {
    let mut control = Control::start().await;
    let (mut a, mut b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    for node in [&a, &b] {
        node.sees("the other", |status| status.control.connected && !status.groups[0].peers.is_empty()).await;
    }
    passes(&a, &b, 4, "before").await;
    let before = control.version().await;
    let copies = copies(&a);
    control.stop().await;
    a.down().await;
    b.down().await;
    for node in [&mut a, &mut b] {
        node.up(Some(&control.token)).await.unwrap();
        node.ready().await;
    }
    for version in [4, 6] {
        passes(&a, &b, version, "without control").await;
        passes(&b, &a, version, "without control").await;
    }
    assert!(!a.status().await.control.connected);
    control.restart().await;
    a.sees("control", |status| status.control.connected).await;
    b.sees("control", |status| status.control.connected).await;
    assert_eq!(control.version().await, before, "coming back spends no revision");
    assert_eq!(self::copies(&a), copies, "the cursors were continued, nothing was written again");
}

/// Names and times of the copies of scopes: a copy that is written again has a new time.
fn copies(node: &Node) -> Vec<(PathBuf, std::time::SystemTime)> {
    let folder = fs::read_dir(node.folder.path().join("state/scopes")).unwrap();
    let mut files: Vec<_> =
        folder.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), modified(&path))).collect();
    files.sort();
    files
}

fn modified(path: &std::path::Path) -> std::time::SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_copies_of_scopes_are_had_again() {
    let control = Control::start().await;
    let (a, mut b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    b.sees("a", |status| status.control.connected && !status.groups[0].peers.is_empty()).await;
    b.down().await;
    let before = control.version().await;
    let copies = copies(&b);
    assert_eq!(copies.len(), 2);
    for (path, _) in &copies {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    b.up(None).await.unwrap();
    b.ready().await;
    b.sees("a", |status| !status.groups[0].peers.is_empty()).await;
    passes(&b, &a, 4, "all again").await;
    assert_eq!(control.version().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_removed_before_its_node_heard_of_it_comes_back_with_the_token() {
    let control = Control::start().await;
    let (a, mut b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    a.sees("b", |status| !status.groups[0].peers.is_empty()).await;
    let peer = a.peer("b").await.unwrap();
    b.down().await;
    assert_eq!(control.call("DELETE", &format!("/{}/peers/{}", control.group, peer.id), None).await.0, 204);
    // As if the agent had been killed before the answer to its call came.
    let path = b.folder.path().join("state/enrolment.json");
    let mut enrolment: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    enrolment["peers"] = serde_json::json!([]);
    fs::write(&path, enrolment.to_string()).unwrap();
    fs::remove_dir_all(b.folder.path().join("state/scopes")).unwrap();
    let error = b.up(Some(&control.token)).await.expect_err("there is no grant any more").to_string();
    assert!(error.contains("join with a token of that group first"), "{error}");
    b.up(Some(&control.token)).await.unwrap();
    b.ready().await;
    passes(&b, &a, 4, "back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_hours_off_may_join_and_work() {
    let control = Control::start().await;
    let hours = 3 * 3_600_000;
    let mut nodes = Vec::new();
    for (name, offset) in [("early", -hours), ("late", hours)] {
        let mut node = Node::new(name);
        let mut options = node.options(Some(&control.token));
        options.clock = Clock::start_with_offset(offset);
        node.up_with(options).await.unwrap();
        node.ready().await;
        nodes.push(node);
    }
    nodes[0].sees("late", |status| status.control.connected && !status.groups[0].peers.is_empty()).await;
    nodes[1].sees("control", |status| status.control.connected).await;
    for (node, way) in nodes.iter().zip(["behind", "ahead"]) {
        let said = node.status().await.degraded.into_iter().find(|degraded| degraded.kind == "clock_wrong");
        let said = said.unwrap_or_else(|| panic!("nothing is said of a clock that is {way}"));
        // On a busy machine the time of control is a second or two old when it is read.
        let near = (10_797..=10_803).any(|seconds| said.what.contains(&format!("{seconds} s")));
        assert!(near && said.what.contains(way), "{}", said.what);
    }
    passes(&nodes[0], &nodes[1], 4, "on time").await;
}
