//! From an empty folder to a node that follows its scopes.

use http::Method;
use lacis_proto::{
    Body, Code, Cursor, DropReason, Epoch, Follower, JoinReply, Line, PeerReport, PeerRequest, ReportReply,
    ReportRequest, Scope, ScopeId, WatchRequest, verify,
};

use super::client::{Client, peer, start};

fn is_at(line: &Line, id: &ScopeId) -> bool {
    matches!(line, Line::At(at) if at.scope == *id)
}

#[tokio::test]
async fn a_node_joins_finds_its_peer_and_follows_changes() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let token = running.ready.join_token.clone().unwrap();
    let mut a = Client::new(&running, 1);
    let join = a.join(&token).await;
    verify(&join.control_key, &join.grant.signed_bytes(), &join.grant_signature).unwrap();
    let first = a.add_peer(&join, 1).await;
    assert_eq!(first.host.0, 5);

    let (group, node) = (ScopeId::from(&join.grant.group), ScopeId::from(&join.node));
    let mut watch = a.watch(Follower::default()).await;
    let lines = watch.until(|line| is_at(line, &group)).await;
    let kinds: Vec<&str> = lines.iter().map(kind).collect();
    assert_eq!(kinds, ["hello", "relays", "reset", "put", "at", "reset", "put", "at"]);
    assert!(is_at(&lines[4], &node), "the node's own scope comes first");
    let own = watch.follower.scope(&group).unwrap().live(&(&first.peer).into()).unwrap();
    assert!(matches!(&own.body, Body::Peer(peer) if peer.host == first.host));

    let mut b = Client::new(&running, 2);
    let join_b = b.join(&token).await;
    let second = b.add_peer(&join_b, 2).await;
    while watch.follower.scope(&group).unwrap().live(&(&second.peer).into()).is_none() {
        watch.line().await.unwrap();
    }
    let labels: Vec<_> = watch.follower.scope(&group).unwrap().records().filter_map(member_label).collect();
    assert!(labels.contains(&"web") && labels.contains(&"web-2"), "{labels:?}");

    let gone = b.call(Method::DELETE, &format!("/agent/v1/peers/{}", second.peer), &()).await;
    assert_eq!(gone.status, 204);
    let lines = watch.until(|line| matches!(line, Line::Del(_))).await;
    assert!(lines.iter().all(|line| !matches!(line, Line::Reset(_))));
    running.shutdown().await;
    let last = watch.rest().await;
    assert!(matches!(last.last(), Some(Line::Bye(bye)) if bye.reason == "drain"), "{last:?}");
}

#[tokio::test]
async fn a_cursor_resumes_and_another_epoch_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut a = Client::new(&running, 1);
    let join = a.join(running.ready.join_token.as_ref().unwrap()).await;
    a.add_peer(&join, 1).await;
    let group = ScopeId::from(&join.grant.group);
    let mut watch = a.watch_with(Follower::default(), false).await;
    watch.rest().await;

    let mut again = a.watch_with(watch.follower, false).await;
    let kinds: Vec<_> = again.rest().await.iter().map(kind).collect();
    assert_eq!(kinds, ["hello", "relays", "at", "at"], "what is held is not sent again");

    let other = Follower::new([(group.clone(), Scope::new(Epoch(7)))].into());
    let kinds: Vec<_> = a.watch_with(other, false).await.rest().await.iter().map(kind).collect();
    assert_eq!(kinds, ["hello", "relays", "reset", "put", "at", "reset", "put", "at"]);
    running.shutdown().await;
}

#[tokio::test]
async fn a_removed_peer_drops_its_group_and_joining_again_brings_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let token = running.ready.join_token.clone().unwrap();
    let mut a = Client::new(&running, 1);
    let join = a.join(&token).await;
    let first = a.add_peer(&join, 1).await;
    let group = ScopeId::from(&join.grant.group);
    let mut watch = a.watch(Follower::default()).await;
    watch.until(|line| is_at(line, &group)).await;
    a.call(Method::DELETE, &format!("/agent/v1/peers/{}", first.peer), &()).await;
    watch.until(|line| matches!(line, Line::Drop(drop) if drop.scope == group)).await;
    let replay = a.call(Method::DELETE, &format!("/agent/v1/peers/{}", first.peer), &()).await;
    assert_eq!(replay.status, 204, "a replay is harmless");
    let refused = a.call(Method::POST, "/agent/v1/peers", &peer(&join, 1)).await.problem();
    assert_eq!(refused.code, Code::NoGrant);

    let again = a.join(&token).await;
    assert_eq!((&again.node, &again.grant.member), (&join.node, &join.grant.member));
    let second = a.add_peer(&again, 1).await;
    watch.until(|line| is_at(line, &group)).await;
    assert!(watch.follower.scope(&group).unwrap().live(&(&second.peer).into()).is_some());
    running.shutdown().await;
}

#[tokio::test]
async fn a_revoked_node_is_out_and_others_drop_its_peer() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let token = running.ready.join_token.clone().unwrap();
    let (mut a, mut b) = (Client::new(&running, 1), Client::new(&running, 2));
    let (join_a, join_b) = (a.join(&token).await, b.join(&token).await);
    let (peer_a, _) = (a.add_peer(&join_a, 1).await, b.add_peer(&join_b, 2).await);
    let (mut watch_a, mut watch_b) = (a.watch(Follower::default()).await, b.watch(Follower::default()).await);
    let group = ScopeId::from(&join_a.grant.group);
    watch_b.until(|line| is_at(line, &group)).await;
    crate::tests::refusals::call(&folder, crate::admin::Call::RevokeNode { node: join_a.node.to_string() })
        .await;
    watch_b.until(|line| matches!(line, Line::Del(del) if del.ids.contains(&(&peer_a.peer).into()))).await;
    let last = watch_a.rest().await;
    let told = |line: &Line| matches!(line, Line::Drop(gone) if gone.reason == Some(DropReason::NodeRevoked));
    assert!(last.iter().any(told), "{last:?}");
    assert!(matches!(last.last(), Some(Line::Bye(bye)) if bye.reason == "revoked"), "{last:?}");
    assert_eq!(
        a.call(Method::POST, "/agent/v1/peers", &peer(&join_a, 1)).await.problem().code,
        Code::NodeRevoked
    );
    assert_eq!(a.try_join(&token, "web").await.problem().code, Code::NodeRevoked);
    running.shutdown().await;
}

#[tokio::test]
async fn a_newer_stream_ends_the_older() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut a = Client::new(&running, 1);
    a.join(running.ready.join_token.as_ref().unwrap()).await;
    let mut older = a.watch(Follower::default()).await;
    older.until(|line| matches!(line, Line::At(_))).await;
    let mut newer = a.watch(Follower::default()).await;
    let last = older.rest().await;
    assert!(matches!(last.last(), Some(Line::Bye(bye)) if bye.reason == "replaced"), "{last:?}");
    newer.until(|line| matches!(line, Line::At(_))).await;
    running.shutdown().await;
}

#[tokio::test]
async fn only_new_endpoints_spend_a_revision() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut a = Client::new(&running, 1);
    let join = a.join(running.ready.join_token.as_ref().unwrap()).await;
    let added = a.add_peer(&join, 1).await;
    let report = |seq: u64, port: u16| ReportRequest {
        seq,
        agent: "test".to_owned(),
        peers: vec![PeerReport {
            peer: added.peer.clone(),
            endpoints: vec![lacis_proto::Endpoint {
                kind: lacis_proto::EndpointKind::Host,
                addr: ([192, 0, 2, 1], port).into(),
            }],
            relays: None,
            statement: None,
            gateway: None,
        }],
        applied: [].into(),
    };
    for (seq, port) in [(1, 10), (2, 10), (1, 11), (2, 12)] {
        let _: ReportReply = a.call(Method::POST, "/agent/v1/report", &report(seq, port)).await.ok();
    }
    let request = PeerRequest { endpoints: report(0, 10).peers.remove(0).endpoints, ..peer(&join, 1) };
    let now: lacis_proto::PeerReply = a.call(Method::POST, "/agent/v1/peers", &request).await.ok();
    assert_eq!(now.version.0, added.version.0 + 1);
    running.shutdown().await;
}

#[tokio::test]
async fn a_reader_that_was_slow_finds_the_last_revision() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let token = running.ready.join_token.clone().unwrap();
    let (mut a, mut b) = (Client::new(&running, 1), Client::new(&running, 2));
    let (join_a, join_b) = (a.join(&token).await, b.join(&token).await);
    a.add_peer(&join_a, 1).await;
    let mut watch = a.watch(Follower::default()).await;
    let mut last = b.add_peer(&join_b, 2).await;
    for round in 0..60u8 {
        let request = PeerRequest { label: format!("round-{round}"), ..peer(&join_b, 2) };
        last = b.call(Method::POST, "/agent/v1/peers", &request).await.ok();
    }
    let group = ScopeId::from(&join_a.grant.group);
    watch.until(|line| matches!(line, Line::At(at) if at.scope == group && at.rev == last.version)).await;
    let record = watch.follower.scope(&group).unwrap().live(&(&last.peer).into()).unwrap();
    assert!(matches!(&record.body, Body::Peer(peer) if peer.label == "round-59"));
    running.shutdown().await;
}

#[tokio::test]
async fn beats_keep_an_idle_stream_alive() {
    let folder = tempfile::tempdir().unwrap();
    let config = crate::Config {
        beat: std::time::Duration::from_millis(50),
        max_age: std::time::Duration::from_millis(400),
        ..super::client::config(&folder)
    };
    let running = crate::serve(config).await.unwrap();
    let mut a = Client::new(&running, 1);
    a.join(running.ready.join_token.as_ref().unwrap()).await;
    let lines = a.watch(Follower::default()).await.rest().await;
    assert!(lines.iter().filter(|line| matches!(line, Line::Beat(_))).count() >= 2, "{lines:?}");
    assert!(matches!(lines.last(), Some(Line::Bye(bye)) if bye.reason == "age"), "{lines:?}");
    running.shutdown().await;
}

#[tokio::test]
async fn garbage_cursors_count_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut a = Client::new(&running, 1);
    let join: JoinReply = a.join(running.ready.join_token.as_ref().unwrap()).await;
    let node = ScopeId::from(&join.node);
    let future =
        Cursor { epoch: Epoch(1), revision: lacis_proto::Revision(u64::MAX), digest: Default::default() };
    for text in ["", "x", "1.2", &future.to_string()] {
        let body = WatchRequest {
            protocol: [1, 1],
            agent: String::new(),
            watch: false,
            have: [(node.clone(), text.to_owned())].into(),
        };
        let answer = a.call(Method::POST, "/agent/v1/watch", &body).await;
        assert!(String::from_utf8_lossy(&answer.body).contains("{\"reset\""), "{text}");
    }
    running.shutdown().await;
}

fn kind(line: &Line) -> &'static str {
    match line {
        Line::Hello(_) => "hello",
        Line::Reset(_) => "reset",
        Line::Put(_) => "put",
        Line::Del(_) => "del",
        Line::At(_) => "at",
        Line::Drop(_) => "drop",
        Line::Signal(_) => "signal",
        Line::Relays(_) => "relays",
        Line::Rollcall(_) => "rollcall",
        Line::Copy(_) => "copy",
        Line::Beat(_) => "beat",
        Line::Bye(_) => "bye",
        Line::Unknown(_) => "unknown",
    }
}

fn member_label(record: &lacis_proto::Record) -> Option<&str> {
    if let Body::Member(member) = &record.body { Some(&member.label) } else { None }
}
