//! Readers that take nothing, on streams that never went over a wire.

use std::{sync::Arc, time::Duration};

use ::http::{Method, Request, header};
use axum::{body::Body, response::Response};
use ed25519_dalek::{Signer as _, SigningKey};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use lacis_control_core::{Command, Reply};
use lacis_proto::{Authorization, IdentityKey, NodeId, Signature, Signer, request_bytes};

use super::client::DEADLINE;
use crate::{
    app::{self, Stopped},
    clock,
};

/// A control that does not listen, with one node in it, whose key is this.
async fn with_a_node(folder: &tempfile::TempDir, key: &SigningKey) -> (Stopped, NodeId) {
    let opened = app::open(&folder.path().join("data"), &["lacis.internal".to_owned()]).await.unwrap();
    let stopped = opened.without_listening().await.unwrap();
    let group = stopped.control.live.read().state.groups().next().unwrap().row.id.clone();
    let make = Command::CreateJoinToken { group, member: None, max_uses: 0, lifetime_ms: None };
    let Reply::JoinToken(row, secret) = stopped.control.writer.ask(make).await.unwrap() else {
        panic!("a token is answered");
    };
    let identity = IdentityKey::try_new(key.verifying_key().to_bytes()).unwrap();
    let (host_name, agent) = ("web".to_owned(), "lacis".to_owned());
    let join = Command::Join { token: row.id, secret, identity, host_name, agent };
    let Reply::Joined { node, .. } = stopped.control.writer.ask(join).await.unwrap() else {
        panic!("a node is let in");
    };
    (stopped, node)
}

/// The beginning of the answer to a watch request.
async fn watch(stopped: &Stopped, node: &NodeId, key: &SigningKey) -> Response {
    let (path, unix_ms) = ("/agent/v1/watch", clock::unix_ms());
    let body = serde_json::json!({"protocol": [1, 1], "agent": "test", "watch": true, "have": {}});
    let body = body.to_string();
    let audience = stopped.control.keys.control.as_str();
    let signed = key.sign(&request_bytes("POST", path, unix_ms, body.as_bytes(), audience));
    let (signer, signature) = (Signer::Node(node.clone()), Signature(signed.to_bytes()));
    let authorization = Authorization { signer, unix_ms, signature }.to_string();
    let request = Request::builder().method(Method::POST).uri(path);
    let request = request.header(header::AUTHORIZATION, authorization).body(Body::from(body)).unwrap();
    let routes = TowerToHyperService::new(crate::http::routes(&stopped.control));
    let answer = routes.call(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

#[tokio::test]
async fn a_stream_that_nobody_reads_ends() {
    let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::from_bytes(&[1; 32]));
    let (mut stopped, node) = with_a_node(&folder, &key).await;
    let (stuck, beat) = (Duration::from_millis(300), Duration::from_millis(10));
    let settings = Arc::get_mut(&mut stopped.control).unwrap();
    (settings.stuck, settings.beat) = (stuck, beat);
    let begin = clock::now();
    let answer = watch(&stopped, &node, &key).await;
    let presence = &stopped.control.live.presence;
    assert!(presence.seen(&node).is_some());
    while presence.seen(&node).is_some() {
        assert!(begin.elapsed() < DEADLINE, "it goes on");
        tokio::time::sleep(beat).await;
    }
    assert!(begin.elapsed() >= stuck, "a slow reader gets its time");
    let left = tokio::time::timeout(DEADLINE, axum::body::to_bytes(answer.into_body(), usize::MAX)).await;
    let left = String::from_utf8(left.expect("it has ended").unwrap().to_vec()).unwrap();
    assert!(left.starts_with("{\"hello\"") && !left.contains("\"bye\""), "{left}");
}
