//! Tokens that must not work, and pools without room.

use std::{collections::BTreeMap, fs, path::Path};

use lacis_proto::{JoinToken, TokenError};
use serde_json::json;

use crate::lab::{Control, DEADLINE, LOOK, Node};

#[test]
fn text_that_is_no_token_says_what_is_wrong() {
    let token = JoinToken {
        id: lacis_proto::TokenId::from_bytes([1; 8]),
        secret: lacis_proto::Secret::new([2; 32]),
        pins: vec![lacis_proto::Pin::try_new([3; 32]).unwrap()],
        urls: vec!["https://control.example".into()],
    };
    let text = token.to_string();
    let refused = |text: &str| text.parse::<JoinToken>().unwrap_err();
    assert!(matches!(refused("hello"), TokenError::Prefix { .. }));
    assert!(matches!(refused(&text[..text.len() - 8]), TokenError::Damaged));
    assert!(matches!(refused(&format!("{}!", &text[..40])), TokenError::Characters));
    let swapped = text.replacen("lacis_join_AQ", "lacis_join_AR", 1);
    assert!(matches!(refused(&swapped), TokenError::Damaged), "{swapped}");
}

/// What the agent answers to a token, after checking that nothing but the identity is left on disk.
async fn refusal(name: &str, token: &str) -> String {
    let mut node = Node::new(name);
    let error = node.up(Some(token)).await.expect_err("the token must not work");
    let left = files(&node.folder.path().join("state"));
    let names: Vec<&str> = left.keys().map(String::as_str).collect();
    assert_eq!(names, ["identity.key", "lock"], "{error}");
    error.to_string()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            files.insert(name, fs::read(path).unwrap());
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_ended_are_refused_with_what_to_do() {
    let control = Control::start().await;
    let before = control.version().await;
    let (revoked, id) = control.new_token(&control.group, json!({})).await;
    let path = format!("/{}/join-tokens/{id}", control.group);
    assert_eq!(control.call("DELETE", &path, None).await.0, 204);
    let error = refusal("revoked", &revoked).await;
    assert!(error.contains("was revoked; ask for a new one"), "{error}");

    let (expired, _) = control.new_token(&control.group, json!({ "expiresInS": 0 })).await;
    let error = refusal("expired", &expired).await;
    assert!(error.contains("has expired; ask for a new one"), "{error}");

    let mut unknown: JoinToken = control.token.parse().unwrap();
    unknown.secret = lacis_proto::Secret::new([9; 32]);
    let error = refusal("unknown", &unknown.to_string()).await;
    assert!(error.contains("knows no such join token") && error.contains("token create"), "{error}");
    assert_eq!(control.version().await, before, "refusals spend no revision");

    let (once, _) = control.new_token(&control.group, json!({ "maxUses": 1 })).await;
    let mut first = Node::join("first", &once).await;
    let error = refusal("second", &once).await;
    assert!(error.contains("has been used by all 1 nodes") && error.contains("ask for a new one"), "{error}");
    first.down().await;
    first.up(Some(&once)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_control_is_refused_before_any_secret_leaves() {
    let (control, other) = (Control::start().await, Control::start().await);
    let mut token: JoinToken = control.token.parse().unwrap();
    token.urls = other.token.parse::<JoinToken>().unwrap().urls;
    let error = refusal("wrong", &token.to_string()).await;
    assert!(error.contains("not the control that made this token"), "{error}");
    let mut node = Node::join("known", &control.token).await;
    node.down().await;
    let before = files(&node.folder.path().join("state"));
    let error = node.up(Some(&other.token)).await.expect_err("another control").to_string();
    assert!(error.contains("belongs to another control") && error.contains("--state DIR"), "{error}");
    assert_eq!(files(&node.folder.path().join("state")), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_that_nobody_reaches_is_named_with_its_addresses() {
    let mut control = Control::start().await;
    control.stop().await;
    let error = refusal("lonely", &control.token).await;
    assert!(error.contains(&control.addr.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_says_so_and_has_room_again_once_a_peer_is_gone_everywhere() {
    let control = Control::start().await;
    let wanted = json!({ "label": "tiny", "networkIp": "172.30.7.0/29" });
    let (status, made) = control.call("POST", "", Some(wanted)).await;
    assert_eq!(status, 202, "{made}");
    let group = made["id"].as_str().unwrap();
    let (token, _) = control.new_token(group, json!({})).await;
    let (a, b) = (Node::join("a", &token).await, Node::join("b", &token).await);
    for node in [&a, &b] {
        node.sees("the other", |status| status.control.connected && !status.groups[0].peers.is_empty()).await;
    }
    let mut c = Node::new("c");
    let error = c.up(Some(&token)).await.expect_err("there is no room").to_string();
    assert!(error.contains("has no free address") && error.contains("172.30.7.0/29"), "{error}");

    let peer = a.peer("b").await.unwrap();
    assert_eq!(control.call("DELETE", &format!("/{group}/peers/{}", peer.id), None).await.0, 204);
    // The number rests until cached names are forgotten and every connected agent has let go of it.
    let begin = tokio::time::Instant::now();
    while let Err(error) = c.up(Some(&token)).await {
        assert!(begin.elapsed() < DEADLINE, "{error}");
        tokio::time::sleep(LOOK).await;
    }
    println!("room again after {:?}", begin.elapsed());
    c.ready().await;
    assert_eq!(c.address(4).await, std::net::IpAddr::from(peer.address4), "the only free number");
}
