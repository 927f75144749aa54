//! Who speaks: statements of keys, two machines with one identity, reports that were held up.

use ed25519_dalek::Signer as _;
use http::Method;
use lacis_proto::{
    Code, Endpoint, EndpointKind, Follower, JoinReply, Line, PeerId, PeerReply, PeerReport, PeerStatement,
    ProofsReply, ProofsRequest, PublicKey, ReportReply, ReportRequest, Run, Signature, SignedStatement,
};

use super::client::{Client, start};

/// What a node states of its peer.
fn statement(client: &Client, join: &JoinReply, peer: &PeerReply, key: u8, serial: u64) -> SignedStatement {
    let statement = PeerStatement {
        group: join.grant.group.clone(),
        peer: peer.peer.clone(),
        host: peer.host,
        key: PublicKey::try_new([key; 32]).unwrap(),
        serial,
    };
    let signature = Signature(client.key.sign(&statement.signed_bytes()).to_bytes());
    SignedStatement { statement, signature }
}

fn report(seq: u64, peers: Vec<PeerReport>) -> ReportRequest {
    ReportRequest { seq, agent: "test".into(), peers, applied: [].into() }
}

async fn states(client: &Client, seq: u64, said: SignedStatement) {
    let peer = said.statement.peer.clone();
    let peers =
        vec![PeerReport { peer, endpoints: Vec::new(), relays: None, statement: Some(said), gateway: None }];
    client.call(Method::POST, "/agent/v1/report", &report(seq, peers)).await.ok::<ReportReply>();
}

async fn proofs(client: &Client, peers: &[PeerId]) -> ProofsReply {
    let body = ProofsRequest { peers: peers.to_vec() };
    client.call(Method::POST, "/agent/v1/proofs", &body).await.ok()
}

#[tokio::test]
async fn what_a_node_states_is_passed_on_to_those_who_share_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let token = running.ready.join_token.clone().unwrap();
    let (mut a, mut b, mut c) =
        (Client::new(&running, 1), Client::new(&running, 2), Client::new(&running, 3));
    let (join_a, join_b) = (a.join(&token).await, b.join(&token).await);
    let (peer_a, peer_b) = (a.add_peer(&join_a, 1).await, b.add_peer(&join_b, 2).await);
    c.join(&token).await;
    let asked = [peer_b.peer.clone(), peer_a.peer.clone()];
    assert!(proofs(&a, &asked).await.proofs.is_empty());

    let said = statement(&b, &join_b, &peer_b, 2, 7);
    states(&b, 1, said.clone()).await;
    let shown = proofs(&a, &asked).await.proofs;
    assert_eq!((shown.len(), &shown[0].said, &shown[0].node), (1, &said, &join_b.node));
    shown[0].said.check(&shown[0].identity).unwrap();
    assert!(proofs(&c, &asked).await.proofs.is_empty(), "it has no peer in the group yet");

    // What is older, about another key, or another's word changes nothing.
    states(&b, 2, statement(&b, &join_b, &peer_b, 2, 6)).await;
    states(&b, 3, statement(&b, &join_b, &peer_b, 9, 8)).await;
    states(&b, 4, statement(&a, &join_b, &peer_b, 2, 9)).await;
    states(&a, 1, statement(&a, &join_b, &peer_b, 2, 9)).await;
    assert_eq!(proofs(&a, &asked).await.proofs[0].said, said);
    let many = ProofsRequest { peers: vec![peer_b.peer.clone(); lacis_proto::MAX_PROOFS + 1] };
    assert_eq!(a.call(Method::POST, "/agent/v1/proofs", &many).await.problem().code, Code::BadRequest);

    // It outlives a restart, and goes with the peer.
    running.shutdown().await;
    let running = start(&folder).await;
    (a.addr, b.addr) = (running.addr, running.addr);
    assert_eq!(proofs(&a, &asked).await.proofs[0].said, said);
    let path = format!("/agent/v1/peers/{}", peer_b.peer);
    b.call(Method::DELETE, &path, &()).await;
    assert!(proofs(&a, &asked).await.proofs.is_empty());
    running.shutdown().await;
}

#[tokio::test]
async fn of_two_machines_with_one_identity_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let token = running.ready.join_token.clone().unwrap();
    let mut first = Client::new(&running, 1);
    let join = first.join(&token).await;
    let peer = first.add_peer(&join, 1).await;
    let mut second = Client::new(&running, 1);
    (second.node, second.audience) = (first.node.clone(), first.audience.clone());
    (first.run, second.run) = (Some(Run::new(1, "web-1")), Some(Run::new(2, "web-2")));

    let mut watch = first.watch(Follower::default()).await;
    watch.until(|line| matches!(line, Line::At(_))).await;
    let call = async {
        let body = serde_json::json!({"protocol": [1, 1], "agent": "test", "watch": true, "have": {}});
        second.call(Method::POST, "/agent/v1/watch", &body).await.problem()
    };
    let answer = async {
        watch.until(|line| matches!(line, Line::Rollcall(_))).await;
        first.call(Method::POST, "/agent/v1/report", &report(1, Vec::new())).await.ok::<ReportReply>();
    };
    let (problem, ()) = tokio::join!(call, answer);
    assert_eq!(problem.code, Code::IdentityInUse);
    for part in ["web-1", "web-2", "127.0.0.1", "delete its state folder"] {
        assert!(problem.message.contains(part), "{problem}");
    }
    watch.until(|line| matches!(line, Line::Copy(copy) if copy.host == "web-2")).await;
    let path = format!("/agent/v1/peers/{}", peer.peer);
    let gone = second.call(Method::DELETE, &path, &()).await.problem();
    assert_eq!(gone.code, Code::IdentityInUse, "a copy that is cleaned up takes nothing along");

    // Once the first is gone, the second may take its place: the machine has moved.
    drop(watch);
    let mut moved = second.watch_when_free().await;
    moved.until(|line| matches!(line, Line::At(_))).await;
    running.shutdown().await;
}

#[tokio::test]
async fn a_machine_that_died_without_a_word_is_followed_by_its_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut before = Client::new(&running, 1);
    before.join(running.ready.join_token.as_ref().unwrap()).await;
    before.run = Some(Run::new(1, "web-1"));
    let mut silent = before.watch(Follower::default()).await;
    silent.until(|line| matches!(line, Line::At(_))).await;
    before.run = Some(Run::new(2, "web-1"));
    let mut after = before.watch(Follower::default()).await;
    after.until(|line| matches!(line, Line::At(_))).await;
    let last = silent.rest().await;
    assert!(matches!(last.last(), Some(Line::Bye(bye)) if bye.reason == "replaced"), "{last:?}");
    running.shutdown().await;
}

#[tokio::test]
async fn a_report_that_was_held_up_brings_no_old_endpoints_back() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut a = Client::new(&running, 1);
    let join = a.join(running.ready.join_token.as_ref().unwrap()).await;
    let peer = a.add_peer(&join, 1).await;
    let at = |port: u16| {
        let endpoint = Endpoint { kind: EndpointKind::Host, addr: ([192, 0, 2, 1], port).into() };
        vec![PeerReport {
            peer: peer.peer.clone(),
            endpoints: vec![endpoint],
            relays: None,
            statement: None,
            gateway: None,
        }]
    };
    let group = lacis_proto::ScopeId::from(&join.grant.group);
    a.run = Some(Run::new(1, "web-1"));
    let send = async |client: &Client, seq, port| {
        client.call(Method::POST, "/agent/v1/report", &report(seq, at(port))).await.ok::<ReportReply>();
    };
    for _ in 0..2 {
        drop(a.watch(Follower::default()).await);
    }
    let mut watch = a.watch(Follower::default()).await;
    send(&a, 12, 2).await;
    send(&a, 11, 1).await;
    let mut held_up = a.clone();
    held_up.run = Some(Run::new(9, "web-1"));
    send(&held_up, 99, 1).await;
    send(&a, 13, 3).await;
    let ports = |line: &Line| {
        let Line::Put(put) = line else { return None };
        (put.scope == group).then(|| serde_json::to_string(&put.records).unwrap())
    };
    let lines = watch.until(|line| ports(line).is_some_and(|text| text.contains("192.0.2.1:3"))).await;
    let seen: Vec<String> = lines.iter().filter_map(ports).collect();
    assert!(seen.iter().all(|text| !text.contains("192.0.2.1:1\"")), "{seen:?}");
    // A restart may have a clock that went back.
    a.run = Some(Run::new(2, "web-1"));
    let mut watch = a.watch(Follower::default()).await;
    send(&a, 1, 4).await;
    watch.until(|line| ports(line).is_some_and(|text| text.contains("192.0.2.1:4"))).await;
    running.shutdown().await;
}
