//! Nodes join, find each other and talk.

use std::time::Duration;

use lacis_agent::{PingRequest, Reply, Request};
use tokio::time::Instant;

use crate::{
    lab::{Control, Node, passes},
    packets,
};

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_join_with_the_printed_token_and_talk_in_both_families() {
    let control = Control::start().await;
    let (a, b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    a.sees("b", |status| !status.groups[0].peers.is_empty()).await;
    for version in [4, 6] {
        passes(&a, &b, version, "there").await;
        passes(&b, &a, version, "and back").await;
        let (from, to) = (a.address(version).await, b.address(version).await);
        let request = packets::echo(from, to, b"hello");
        a.send(&request);
        let marker = packets::udp((from, 1).into(), (to, 2).into(), b"marker");
        a.send(&marker);
        assert_eq!(b.payloads_until(b"marker"), [b"hello"]);
    }
    let peer = a.peer("b").await.unwrap();
    assert_eq!(peer.path, "direct");
    assert!(peer.last_handshake_s.is_some() && peer.rx_bytes > 0 && peer.tx_bytes > 0, "{peer:?}");
    assert_eq!(peer.endpoint.unwrap().port(), b.agent.as_ref().unwrap().port());
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_sources_and_foreign_destinations_do_not_arrive() {
    let control = Control::start().await;
    let (a, b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    let c = Node::join("c", &control.token).await;
    a.sees("both", |status| status.groups[0].peers.len() == 2).await;
    b.sees("both", |status| status.groups[0].peers.len() == 2).await;
    for version in [4, 6] {
        passes(&a, &b, version, "open").await;
        let (own, b_addr, c_addr) =
            (a.address(version).await, b.address(version).await, c.address(version).await);
        let stranger = if version == 4 { "192.0.2.9" } else { "2001:db8::9" }.parse().unwrap();
        for (from, to) in [(c_addr, b_addr), (stranger, b_addr), (own, stranger)] {
            a.send(&packets::udp((from, 1).into(), (to, 2).into(), b"forged"));
        }
        a.send(&packets::udp((own, 1).into(), (b_addr, 2).into(), b"marker"));
        assert!(!b.payloads_until(b"marker").contains(&b"forged".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_node_is_known_to_the_others_within_a_second() {
    let control = Control::start().await;
    let (a, b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    a.sees("b", |status| status.control.connected && !status.groups[0].peers.is_empty()).await;
    b.sees("control", |status| status.control.connected).await;
    let mut c = Node::new("c");
    let begin = Instant::now();
    c.up(Some(&control.token)).await.unwrap();
    for node in [&a, &b] {
        node.sees("c", |status| status.groups[0].peers.len() == 2).await;
        println!("{} knows c {:?} after its start", node.name, begin.elapsed());
    }
    // Many times what it takes, join included; a bound for a busy machine.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    c.ready().await;
    passes(&c, &a, 4, "hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_pinged_by_name_label_id_and_address() {
    let control = Control::start().await;
    let (a, mut b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    b.answer_echoes();
    a.sees("b", |status| !status.groups[0].peers.is_empty()).await;
    let peer = a.peer("b").await.unwrap();
    assert_eq!(peer.name, "b.main.lacis.internal");
    let targets = ["b", &peer.name, peer.id.as_str(), &peer.address4.to_string(), &peer.address6.to_string()];
    for target in targets {
        let target = target.to_owned();
        let request = PingRequest { target, count: 2, interval_ms: 10, timeout_ms: 10_000, family: None };
        let replies = a.ask(&Request::Ping(request)).await;
        let [Reply::Pong(first), Reply::Pong(second), Reply::Done {}] = &replies[..] else {
            panic!("{replies:?}")
        };
        assert_eq!((first.seq, second.seq), (1, 2));
        assert!(second.rtt_ms.is_some(), "{second:?}");
        assert_eq!(second.path.as_deref(), Some("direct"));
    }
    drop(b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_removed_is_gone_everywhere_and_may_join_again() {
    let control = Control::start().await;
    let (a, mut b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    a.sees("b", |status| !status.groups[0].peers.is_empty()).await;
    let peer = a.peer("b").await.unwrap();
    let (status, _) = control.call("DELETE", &format!("/{}/peers/{}", control.group, peer.id), None).await;
    assert_eq!(status, 204);
    a.sees("nobody", |status| status.groups[0].peers.is_empty()).await;
    b.sees("no group", |status| status.groups.is_empty()).await;
    b.down().await;
    b.up(Some(&control.token)).await.unwrap();
    b.ready().await;
    a.sees("b again", |status| !status.groups[0].peers.is_empty()).await;
    passes(&a, &b, 4, "welcome back").await;
}
