//! The relay of a control: what nodes are told of it, and what their tokens are worth.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _};

use http::Method;
use lacis_proto::{
    Body, Code, Follower, GroupId, JoinReply, Line, PeerReply, PeerReport, PeerRequest, PublicKey, RecordId,
    RelayHome, ReportReply, ReportRequest, ScopeId, Signal,
    relay::{Frame, Hello, Keys, MAX_SIGNAL_TEXT, Packet, RelayAddress, RelayEntry, Relays},
    stun,
};
use tokio::net::UdpSocket;
use x25519_dalek::{PublicKey as Point, StaticSecret};

use super::client::{Client, DEADLINE, Watch, config, peer, start};
use crate::{RelayListen, Running, admin::Call, cli::ask_for_tests, clock, serve};

fn secret(n: u8) -> StaticSecret {
    StaticSecret::from([n; 32])
}

fn key(n: u8) -> PublicKey {
    PublicKey::try_new(Point::from(&secret(n)).to_bytes()).unwrap()
}

/// A node with a peer that has a key of its own.
async fn node(running: &Running, n: u8) -> (Client, JoinReply, PeerReply) {
    let mut client = Client::new(running, n);
    let join = client.join(running.ready.join_token.as_ref().unwrap()).await;
    let request = PeerRequest { key: key(n), ..peer(&join, n) };
    let added = client.call(Method::POST, "/agent/v1/peers", &request).await.ok();
    (client, join, added)
}

async fn told(watch: &mut Watch) -> Relays {
    let lines = watch.until(|line| matches!(line, Line::Relays(_))).await;
    let Some(Line::Relays(relays)) = lines.last().cloned() else { panic!("{lines:?}") };
    relays
}

/// Asks the relay for a lease; its answer is authentic or does not come.
async fn hello(relay: &RelayEntry, group: &GroupId, n: u8, token: &[u8]) -> Option<u32> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(relay.udp[0]).await.unwrap();
    let shared = secret(n).diffie_hellman(&Point::from(*relay.key.as_bytes())).to_bytes();
    let keys = Keys::derive(&shared, group, &key(n), &relay.key);
    let hello = Hello { counter: clock::unix_ms(), cookie: [0; 16], token, first: None };
    let packet = Packet { lease: 0, address: RelayAddress::of(group, &key(n)), frame: Frame::Hello(hello) };
    let mut bytes = packet.to_bytes();
    keys.to_relay.seal(&mut bytes);
    socket.send(&bytes).await.unwrap();
    // An answer to what comes after means that this one was refused.
    socket.send(&stun::request([n; 12])).await.unwrap();
    let mut answer = [0; 200];
    let mut patience = DEADLINE;
    while let Ok(length) = tokio::time::timeout(patience, socket.recv(&mut answer)).await {
        let answer = &answer[..length.unwrap()];
        if keys.to_member.check(answer) {
            return Packet::parse(answer).ok().map(|packet| packet.lease);
        }
        assert!(stun::Response::parse(answer).is_some());
        patience = std::time::Duration::from_millis(300);
    }
    None
}

#[tokio::test]
async fn a_node_is_told_of_the_relay_and_its_token_is_worth_a_lease_until_its_peer_goes() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mode = fs::metadata(folder.path().join("data/relay.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (client, join, added) = node(&running, 1).await;
    let mut watch = client.watch(Follower::default()).await;
    let relays = told(&mut watch).await;
    let [relay] = relays.relays.as_slice() else { panic!("{relays:?}") };
    assert_eq!(relay.tls, [format!("wss://{}/relay/v1", running.addr)]);
    assert_eq!((relay.udp.len(), relay.stun.len()), (1, 3), "and two further ports for STUN");
    let [grant] = relays.tokens.as_slice() else { panic!("{relays:?}") };
    let group = join.grant.group.clone();
    assert_eq!((&grant.group, grant.token.key), (&group, key(1)));
    grant.token.check(&join.control_key, clock::unix_ms(), 0).unwrap();
    let token = grant.token.to_bytes();
    assert!(hello(relay, &group, 1, &token).await.is_some());
    assert_eq!(hello(relay, &group, 2, &token).await, None, "stolen by whoever has another key");
    // The same day, the same token.
    let mut again = client.watch(Follower::default()).await;
    assert_eq!(told(&mut again).await, relays);

    client.call(Method::DELETE, &format!("/agent/v1/peers/{}", added.peer), &()).await;
    let begin = clock::now();
    while running.relays_for_tests().own().unwrap().relay().leases() > 0 {
        assert!(begin.elapsed() < DEADLINE, "the lease stays");
        tokio::task::yield_now().await;
    }
    assert_eq!(hello(relay, &group, 1, &token).await, None, "revoked");
    running.shutdown().await;

    let running = start(&folder).await;
    let relay = running.relays_for_tests().own().unwrap().entry().clone();
    let begin = clock::now();
    while hello(&relay, &group, 1, &token).await.is_some() {
        assert!(begin.elapsed() < DEADLINE, "a control that started again has forgotten who is out");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn a_node_is_told_when_its_tokens_change() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut client = Client::new(&running, 1);
    let join = client.join(running.ready.join_token.as_ref().unwrap()).await;
    let mut watch = client.watch(Follower::default()).await;
    assert_eq!(told(&mut watch).await.tokens, []);
    client.add_peer(&join, 1).await;
    assert_eq!(told(&mut watch).await.tokens.len(), 1);
    running.shutdown().await;
}

#[tokio::test]
async fn a_taken_port_is_given_way_to_only_where_nobody_named_it() {
    let folder = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr: SocketAddr = taken.local_addr().unwrap();
    let wanted = crate::Config { relay: RelayListen::At(addr), ..config(&folder) };
    let refused = serve(wanted).await.unwrap_err();
    assert!(matches!(refused, crate::StartError::Relay { .. }), "{refused:?}");
    let folder = tempfile::tempdir().unwrap();
    let none = crate::Config { relay: RelayListen::Off, ..config(&folder) };
    let running = serve(none).await.unwrap();
    let (client, ..) = node(&running, 1).await;
    let relays = told(&mut client.watch(Follower::default()).await).await;
    assert_eq!((relays.relays.len(), relays.tokens.len()), (0, 1));
    running.shutdown().await;
}

#[tokio::test]
async fn a_signal_reaches_the_peer_it_is_for_and_nobody_may_speak_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let (a, join, peer_a) = node(&running, 1).await;
    let (b, _, peer_b) = node(&running, 2).await;
    let mut watch = b.watch(Follower::default()).await;
    told(&mut watch).await;
    let group = join.grant.group.clone();
    let signal = Signal { group, from: peer_a.peer.clone(), to: peer_b.peer.clone(), body: "sealed".into() };
    let path = "/agent/v1/signal";
    assert_eq!(a.call(Method::POST, path, &signal).await.status, 204);
    let lines = watch.until(|line| matches!(line, Line::Signal(_))).await;
    assert_eq!(lines.last(), Some(&Line::Signal(signal.clone())));
    for (why, code, bad) in [
        ("not its peer", Code::NotFound, Signal { from: peer_b.peer.clone(), ..signal.clone() }),
        (
            "nobody",
            Code::NotFound,
            Signal { to: lacis_proto::PeerId::from_random([9; 16]), ..signal.clone() },
        ),
        ("no group", Code::NotFound, Signal { group: GroupId::from_random([9; 16]), ..signal.clone() }),
        ("too long", Code::BadRequest, Signal { body: "x".repeat(MAX_SIGNAL_TEXT + 1), ..signal.clone() }),
    ] {
        assert_eq!(a.call(Method::POST, path, &bad).await.problem().code, code, "{why}");
    }
    // Whoever is away misses it.
    let back = Signal { from: peer_b.peer.clone(), to: peer_a.peer.clone(), ..signal };
    assert_eq!(b.call(Method::POST, path, &back).await.status, 204);
    running.shutdown().await;
}

#[tokio::test]
async fn where_a_peer_is_at_home_is_told_to_others_and_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let (a, join, peer_a) = node(&running, 1).await;
    let (mut b, ..) = node(&running, 2).await;
    let home = |n: u8, rank| RelayHome { relay: RecordId::from(&crate::relays::id_of(&key(n))), rank };
    let homes = [home(7, 0), home(8, 1)];
    let said = PeerReport {
        peer: peer_a.peer.clone(),
        endpoints: Vec::new(),
        relays: Some(homes.to_vec()),
        statement: None,
        gateway: None,
    };
    let report = ReportRequest { seq: 1, agent: "test".into(), peers: vec![said], applied: [].into() };
    let _: ReportReply = a.call(Method::POST, "/agent/v1/report", &report).await.ok();
    let group = ScopeId::from(&join.grant.group);
    let told = async |watch: &mut Watch| {
        watch.until(|line| matches!(line, Line::At(at) if at.scope == group)).await;
        let record = watch.follower.scope(&group).unwrap().live(&(&peer_a.peer).into()).unwrap();
        let Body::Peer(peer) = &record.body else { panic!("{record:?}") };
        peer.relays.clone()
    };
    assert_eq!(told(&mut b.watch(Follower::default()).await).await, homes);
    running.shutdown().await;
    let running = start(&folder).await;
    b.addr = running.addr;
    assert_eq!(told(&mut b.watch(Follower::default()).await).await, homes);
    running.shutdown().await;
}

#[tokio::test]
async fn relays_elsewhere_are_told_to_nodes_and_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let (client, ..) = node(&running, 1).await;
    let mut watch = client.watch(Follower::default()).await;
    assert_eq!(told(&mut watch).await.relays.len(), 1);
    let entry = RelayEntry {
        id: crate::relays::id_of(&key(7)),
        label: "far".into(),
        key: key(7),
        udp: vec![([192, 0, 2, 1], 3478).into()],
        stun: Vec::new(),
        tls: Vec::new(),
        pins: Vec::new(),
    };
    let data = folder.path().join("data");
    ask_for_tests(&data, Call::AddRelay { entry: entry.clone() }).await;
    assert_eq!(told(&mut watch).await.relays[1], entry);
    running.shutdown().await;
    let listed = ask_for_tests(&data, Call::ListRelays).await;
    assert_eq!(listed, serde_json::json!([entry]), "beside a control that is stopped");
    let running = start(&folder).await;
    let mut client = Client::new(&running, 1);
    client.join(running_token(&data).await.as_str()).await;
    let mut watch = client.watch(Follower::default()).await;
    assert_eq!(told(&mut watch).await.relays.len(), 2);
    ask_for_tests(&data, Call::RemoveRelay { id: entry.id }).await;
    assert_eq!(told(&mut watch).await.relays.len(), 1);
    running.shutdown().await;
}

#[tokio::test]
async fn a_relay_elsewhere_is_told_that_a_peer_went() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let (client, join, added) = node(&running, 1).await;
    let far = lacis_relay::start(lacis_relay::Settings {
        key: lacis_relay::RelayKey::new([7; 32]),
        controls: vec![join.control_key],
        listen: ([127, 0, 0, 1], 0).into(),
        others: Vec::new(),
        workers: Some(1),
        limits: lacis_relay::Limits::default(),
        revocations: None,
    });
    let far = far.unwrap();
    let (id, key) = (crate::relays::id_of(&far.public()), far.public());
    let (udp, label) = (vec![far.addr()], "far".to_owned());
    let (stun, tls, pins) = Default::default();
    let entry = RelayEntry { id, label, key, udp, stun, tls, pins };
    let data = folder.path().join("data");
    ask_for_tests(&data, Call::AddRelay { entry: entry.clone() }).await;
    let relays = told(&mut client.watch(Follower::default()).await).await;
    let token = relays.tokens[0].token.to_bytes();
    assert!(hello(&entry, &join.grant.group, 1, &token).await.is_some());
    client.call(Method::DELETE, &format!("/agent/v1/peers/{}", added.peer), &()).await;
    let begin = clock::now();
    while far.leases() > 0 {
        assert!(begin.elapsed() < DEADLINE, "the lease stays");
        tokio::task::yield_now().await;
    }
    assert_eq!(hello(&entry, &join.grant.group, 1, &token).await, None, "revoked");
    let acknowledged = async |running: &Running| {
        let begin = clock::now();
        while running.relays_for_tests().untold() > 0 {
            assert!(begin.elapsed() < DEADLINE, "nobody answers");
            tokio::task::yield_now().await;
        }
    };
    acknowledged(&running).await;
    running.shutdown().await;

    // A relay that has lost everything learns it from a control that starts again.
    far.stop();
    let settings = lacis_relay::Settings {
        key: lacis_relay::RelayKey::new([7; 32]),
        controls: vec![join.control_key],
        listen: entry.udp[0],
        others: Vec::new(),
        workers: Some(1),
        limits: lacis_relay::Limits::default(),
        revocations: None,
    };
    drop(far);
    let far = lacis_relay::start(settings).unwrap();
    assert!(hello(&entry, &join.grant.group, 1, &token).await.is_some(), "it knows nothing");
    let running = start(&folder).await;
    let begin = clock::now();
    while far.leases() > 0 {
        assert!(begin.elapsed() < DEADLINE, "the lease stays");
        tokio::task::yield_now().await;
    }
    acknowledged(&running).await;
    running.shutdown().await;
}

/// A join token of a control that has been started before.
async fn running_token(data: &std::path::Path) -> String {
    let call = Call::CreateJoinToken { group: None, member: None, uses: 0, lifetime_ms: None };
    ask_for_tests(data, call).await["token"].as_str().unwrap().to_owned()
}
