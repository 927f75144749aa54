//! Bad input gets a clear answer and changes nothing.

use ::http::Method;
use lacis_proto::{Code, MAX_BODY_BYTES, Signer, WatchRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::client::{Client, DEADLINE, peer, start};
use crate::admin::{self, Call, Made};

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let token = running.ready.join_token.clone().unwrap();
    let mut a = Client::new(&running, 1);
    let join = a.join(&token).await;
    let watch = |protocol| WatchRequest { protocol, agent: String::new(), watch: true, have: [].into() };

    assert_eq!(a.call(Method::POST, "/nope", &()).await.problem().code, Code::NotFound);
    assert_eq!(a.call(Method::GET, "/agent/v1/join", &()).await.problem().code, Code::MethodNotAllowed);
    assert_eq!(a.call(Method::POST, "/agent/v1/watch", &()).await.problem().code, Code::BadRequest);
    let old = a.call(Method::POST, "/agent/v1/watch", &watch([7, 9])).await.problem();
    assert_eq!((old.status, old.code), (426, Code::AgentTooOld));

    let foreign = (Signer::Node(join.node.clone()), "ff".repeat(16));
    let body = serde_json::to_vec(&watch([1, 1])).unwrap();
    let refused = a.send(Method::POST, "/agent/v1/watch", body.clone(), foreign).await.problem();
    assert_eq!(refused.code, Code::BadSignature, "signed for another installation");
    let stranger = Signer::Node(lacis_proto::NodeId::from_random([9; 16]));
    let refused = a.send(Method::POST, "/agent/v1/watch", body.clone(), (stranger, String::new())).await;
    assert_eq!(refused.problem().code, Code::UnknownNode);
    let identity = (Signer::Identity(a.identity()), String::new());
    let refused = a.send(Method::POST, "/agent/v1/watch", body, identity).await.problem();
    assert_eq!(refused.code, Code::Unauthorized);

    for skew_ms in [-130_000, 130_000] {
        a.skew_ms = skew_ms;
        let refused = a.call(Method::POST, "/agent/v1/watch", &watch([1, 1])).await.problem();
        assert_eq!(refused.code, Code::ClockSkew);
        let offset = refused.now_ms.unwrap().abs_diff(crate::clock::unix_ms());
        assert!(offset < 20_000, "tells its own time");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut a = Client::new(&running, 1);
    a.join(running.ready.join_token.as_ref().unwrap()).await;
    let body = vec![b' '; MAX_BODY_BYTES + 1];
    let refused = a.send(Method::POST, "/agent/v1/report", body, a.signer()).await.problem();
    assert_eq!((refused.status, refused.code), (413, Code::TooLarge));
    running.shutdown().await;
}

#[tokio::test]
async fn random_bytes_on_the_port_harm_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut a = Client::new(&running, 1);
    for length in [1usize, 5, 300, 70_000] {
        let mut stream = TcpStream::connect(running.addr).await.unwrap();
        let bytes: Vec<u8> = (0..=u8::MAX).rev().cycle().take(length).collect();
        // The other side may have hung up in the middle, which is its right.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.unwrap();
    }
    a.join(running.ready.join_token.as_ref().unwrap()).await;
    running.shutdown().await;
}

#[tokio::test]
async fn tokens_that_have_ended_say_so_and_lost_answers_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let first = running.ready.join_token.clone().unwrap();
    let once = make(&folder, 1, None).await;
    let (mut a, b) = (Client::new(&running, 1), Client::new(&running, 2));
    let join = a.join(&once.token).await;
    let again = a.join(&once.token).await;
    assert_eq!((join.grant, join.grant_signature), (again.grant, again.grant_signature));
    let used_up = b.try_join(&once.token, "web").await.problem();
    assert_eq!((used_up.status, used_up.code), (401, Code::TokenUsedUp));
    let expired = make(&folder, 0, Some(0)).await;
    assert_eq!(b.try_join(&expired.token, "web").await.problem().code, Code::TokenExpired);
    call(&folder, Call::RevokeJoinToken { id: once.entry.id.clone() }).await;
    assert_eq!(a.try_join(&once.token, "web").await.problem().code, Code::TokenRevoked);
    let bad = b.try_join(&first, "a\u{0}b").await.problem();
    assert_eq!((bad.code, bad.field.as_deref()), (Code::BadRequest, Some("host_name")));

    let other_folder = tempfile::tempdir().unwrap();
    let other = start(&other_folder).await;
    let unknown = Client::new(&other, 1).try_join(&first, "web").await.problem();
    assert_eq!(unknown.code, Code::TokenUnknown);
    other.shutdown().await;
    running.shutdown().await;
}

#[tokio::test]
async fn a_full_pool_names_group_and_pool() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = running.ready.api_token.clone().unwrap();
    let client = Client::new(&running, 9);
    let base = format!("/v4/networkgroups/organisations/{}/networkgroups", running.ready.owner);
    let body = r#"{"label":"tiny","networkIp":"10.9.0.0/29"}"#;
    client.manage(Method::POST, &base, &api, body).await.ok::<serde_json::Value>();
    let call =
        Call::CreateJoinToken { group: Some("tiny".to_owned()), member: None, uses: 0, lifetime_ms: None };
    let made: Made = admin::read(super::refusals::call(&folder, call).await).unwrap();
    for seed in [1, 2] {
        let mut node = Client::new(&running, seed);
        let join = node.join(&made.token).await;
        node.add_peer(&join, seed).await;
    }
    let mut third = Client::new(&running, 3);
    let join = third.join(&made.token).await;
    let full = third.call(Method::POST, "/agent/v1/peers", &peer(&join, 3)).await.problem();
    assert_eq!((full.status, full.code), (409, Code::PoolExhausted));
    assert!(full.message.contains("tiny") && full.message.contains("10.9.0.0/29"), "{full}");
    running.shutdown().await;
}

async fn make(folder: &tempfile::TempDir, uses: u32, lifetime_ms: Option<u64>) -> Made {
    let call = Call::CreateJoinToken { group: None, member: None, uses, lifetime_ms };
    admin::read(super::refusals::call(folder, call).await).unwrap()
}

/// A call over the admin socket, as the command line makes it.
pub(super) async fn call(folder: &tempfile::TempDir, call: Call) -> serde_json::Value {
    crate::cli::ask_for_tests(&folder.path().join("data"), call).await
}
