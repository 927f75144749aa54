//! An agent of a newer version: what it says beyond what this control knows is passed over, and both go on with
//! what both know.

use ::http::Method;
use lacis_proto::{JoinToken, Line, Signer, version};
use serde_json::{Value, json};

use super::client::{Client, peer, start};

/// A body with what a later version adds to it.
fn newer(body: &impl serde::Serialize) -> Value {
    let mut body = serde_json::to_value(body).unwrap();
    body["colour"] = json!({"of": ["a", "later", "version"]});
    body
}

#[tokio::test]
async fn a_newer_agent_is_served_as_far_as_both_know() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let token: JoinToken = running.ready.join_token.as_ref().unwrap().parse().unwrap();
    let mut a = Client::new(&running, 1);
    let later = version::RANGE[1] + 8;
    let body = json!({
        "token": token.id, "secret": token.secret, "identity": a.identity(), "host_name": "newer",
        "agent": "9.0.0", "protocol": [version::RANGE[0], later], "colour": "blue",
    });
    let signed = (Signer::Identity(a.identity()), token.id.to_string());
    let join: lacis_proto::JoinReply =
        a.send(Method::POST, "/agent/v1/join", serde_json::to_vec(&body).unwrap(), signed).await.ok();
    a.node = Some(join.node.clone());
    a.audience = join.grant.control.to_string();

    let mut body = newer(&peer(&join, 7));
    body["endpoints"] = json!([{"kind": "teleport", "addr": "192.0.2.7:47820", "beam": 3}]);
    let made: lacis_proto::PeerReply = a.call(Method::POST, "/agent/v1/peers", &body).await.ok();

    let watch = json!({"protocol": [version::RANGE[0], later], "agent": "9.0.0", "watch": false, "have": {}, "zip": true});
    let answer = a.call(Method::POST, "/agent/v1/watch", &watch).await;
    assert!(answer.status.is_success(), "{answer:?}");
    let mut lines = answer.body.split(|byte| *byte == b'\n');
    let Ok(Line::Hello(hello)) = Line::parse(lines.next().unwrap()) else { panic!("{answer:?}") };
    assert_eq!(hello.protocol, version::RANGE[1], "the newest that both speak");
    assert!(lines.any(|line| String::from_utf8_lossy(line).contains(made.peer.as_str())), "the peer is told");

    let report = json!({"seq": 1, "agent": "9.0.0", "endpoints": {}, "applied": {}, "mood": "fine"});
    let answer = a.call(Method::POST, "/agent/v1/report", &report).await;
    assert!(answer.status.is_success(), "{answer:?}");
    running.shutdown().await;
}
