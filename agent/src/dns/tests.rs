use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, RecordType},
};
use lacis_agent_core::{Netmap, Zone, Zones};
use lacis_proto::{
    Body, Change, Epoch, GroupId, GroupRecord, Host, KeyUse, MemberId, MemberKind, MemberRecord, PeerId,
    PeerKey, PeerRecord, PublicKey, RecordId, Scope, prefix6_of,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    sync::watch,
    time::timeout,
};

use super::*;

mod upstream;

const PATIENCE: Duration = Duration::from_secs(10);

fn group() -> GroupId {
    GroupId::from_random([1; 16])
}

fn peer(n: u8) -> PeerId {
    PeerId::from_random([n; 16])
}

/// A group `shop` with a member `web` of `peers` peers, on hosts 5 and up.
fn zones(peers: u8) -> Zones {
    let member = MemberId::parse("app_web").unwrap();
    let record = GroupRecord {
        label: "shop".into(),
        pool: "10.1.0.0/16".parse().unwrap(),
        prefix6: prefix6_of(&group()),
        suffixes: vec!["lacis.internal".into()],
        gateway_key: None,
        gateway_rotations: 0,
    };
    let web = MemberRecord { member_kind: MemberKind::Application, label: "web".into(), domain: "".into() };
    let mut changes = vec![
        Change::Put(RecordId::from(&group()), Body::Group(record)),
        Change::Put(RecordId::from(&member), Body::Member(web)),
    ];
    changes.extend((1..=peers).map(|n| {
        let body = PeerRecord {
            member: member.clone(),
            node: None,
            host: Host(4 + u32::from(n)),
            label: format!("web-{n}"),
            keys: vec![PeerKey { r#use: KeyUse::Current, key: PublicKey::try_new([n; 32]).unwrap() }],
            endpoints: Vec::new(),
            relays: Vec::new(),
            routes: Vec::new(),
            gateway: false,
        };
        Change::Put(RecordId::from(&peer(n)), Body::Peer(body))
    }));
    let mut scope = Scope::new(Epoch(1));
    scope.commit(changes);
    let netmap = Netmap::read(&group(), &scope).unwrap();
    Zones::new([Arc::new(Zone::new(&netmap, None))], BTreeMap::new())
}

struct Running {
    server: DnsServer,
    forwarder: Forwarder,
    addr: SocketAddr,
    zones: watch::Sender<Zones>,
}

/// A forwarder with nobody to ask.
fn nobody() -> Forwarder {
    Forwarder::new(watch::channel(Vec::new()).1)
}

async fn running(peers: u8) -> Running {
    running_with(peers, nobody()).await
}

async fn running_with(peers: u8, forwarder: Forwarder) -> Running {
    let (sender, receiver) = watch::channel(zones(peers));
    let mut server = DnsServer::new(receiver, forwarder.clone());
    server.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = server.bound().next().unwrap();
    Running { server, forwarder, addr, zones: sender }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind));
    message
}

async fn exchange_udp(addr: SocketAddr, bytes: &[u8]) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(bytes, addr).await.unwrap();
    let mut buffer = [0; 65_535];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn ask(addr: SocketAddr, name: &str, kind: RecordType) -> Message {
    exchange_udp(addr, &query(name, kind).to_vec().unwrap()).await
}

async fn ask_tcp(addr: SocketAddr, name: &str, kind: RecordType) -> Message {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let bytes = query(name, kind).to_vec().unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut bytes = vec![0; length.into()];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    Message::from_vec(&bytes).unwrap()
}

/// Code, authority bit, answers, and types in the authority section: `NoError aa A=10.1.0.5 / SOA`.
fn text(message: &Message) -> String {
    let aa = if message.metadata.authoritative { " aa" } else { "" };
    let mut text = format!("{:?}{aa}", message.metadata.response_code);
    for record in &message.answers {
        let soa = matches!(record.data, RData::SOA(_));
        text += &if soa { " SOA".to_owned() } else { format!(" {}={}", record.record_type(), record.data) };
    }
    for record in &message.authorities {
        text += &format!(" / {}", record.record_type());
    }
    text
}

#[tokio::test]
async fn both_transports_answer_every_kind_of_question() {
    let running = running(2).await;
    let id = group();
    let prefix = prefix6_of(&id).network().to_string();
    let prefix = prefix.trim_end_matches(':');
    let peer_name = format!("{}.p.{id}.lacis.internal.", peer(1));
    let table = [
        ("web.shop.lacis.internal".to_owned(), RecordType::A, "NoError aa A=10.1.0.5 A=10.1.0.6".to_owned()),
        (
            format!("app_web.m.{id}.lacis.internal"),
            RecordType::AAAA,
            format!("NoError aa AAAA={prefix}::5 AAAA={prefix}::6"),
        ),
        ("5.0.1.10.in-addr.arpa".to_owned(), RecordType::PTR, format!("NoError aa PTR={peer_name}")),
        (format!("{id}.lacis.internal"), RecordType::SOA, "NoError aa SOA".to_owned()),
        (
            "shop.lacis.internal".to_owned(),
            RecordType::NS,
            "NoError aa NS=ns.shop.lacis.internal.".to_owned(),
        ),
        ("none.shop.lacis.internal".to_owned(), RecordType::A, "NXDomain aa / SOA".to_owned()),
        ("web.shop.lacis.internal".to_owned(), RecordType::MX, "NoError aa / SOA".to_owned()),
        ("example.com".to_owned(), RecordType::A, "Refused".to_owned()),
    ];
    for (name, kind, expected) in table {
        assert_eq!(text(&ask(running.addr, &name, kind).await), expected, "{name} {kind} over UDP");
        assert_eq!(text(&ask_tcp(running.addr, &name, kind).await), expected, "{name} {kind} over TCP");
    }
}

#[tokio::test]
async fn an_answer_too_long_for_udp_is_cut_and_comes_whole_over_tcp() {
    let running = running(100).await;
    let name = "web.shop.lacis.internal";
    let cut = ask(running.addr, name, RecordType::A).await;
    assert!(cut.metadata.truncation);
    assert!(cut.answers.len() < 100);
    let whole = ask_tcp(running.addr, name, RecordType::A).await;
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 100);
}

#[tokio::test]
async fn a_client_with_a_larger_buffer_gets_more_but_never_a_fragment() {
    let running = running(100).await;
    let mut message = query("web.shop.lacis.internal", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns);
    let answer = exchange_udp(running.addr, &message.to_vec().unwrap()).await;
    assert!(answer.edns.is_some());
    assert!(answer.metadata.truncation);
    assert!(answer.answers.len() > 40, "{}", answer.answers.len());
    assert!(answer.to_vec().unwrap().len() <= 1232);
}

#[tokio::test]
async fn the_spelling_of_the_question_comes_back() {
    let running = running(1).await;
    let answer = ask(running.addr, "WeB.ShOp.Lacis.Internal", RecordType::A).await;
    assert_eq!(answer.answers[0].name.to_ascii(), "WeB.ShOp.Lacis.Internal.");
}

#[tokio::test]
async fn new_zones_are_seen_by_the_next_question() {
    let running = running(1).await;
    running.zones.send_replace(Zones::default());
    let answer = ask(running.addr, "web.shop.lacis.internal", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn odd_requests_get_an_error_and_garbage_harms_nobody() {
    let running = running(1).await;
    let name = "web.shop.lacis.internal";
    let mut update = query(name, RecordType::A);
    update.metadata.op_code = OpCode::Notify;
    let answer = exchange_udp(running.addr, &update.to_vec().unwrap()).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NotImp);
    let mut chaos = query(name, RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let answer = exchange_udp(running.addr, &chaos.to_vec().unwrap()).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    let mut newer = query(name, RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    newer.set_edns(edns);
    let answer = exchange_udp(running.addr, &newer.to_vec().unwrap()).await;
    // The same number means BADSIG elsewhere; the library cannot tell them apart.
    assert_eq!(u16::from(answer.metadata.response_code), u16::from(ResponseCode::BADVERS));

    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in 0..200_usize {
        let bytes: Vec<u8> =
            (0..length).map(|i| u8::try_from((i * 37 + length * 11) % 256).unwrap()).collect();
        socket.send_to(&bytes, running.addr).await.unwrap();
    }
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    stream.write_all(&[0, 5, 1, 2, 3, 4, 5]).await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 16])).await.unwrap().unwrap_or(0), 0);
    assert_eq!(text(&ask(running.addr, name, RecordType::A).await), "NoError aa A=10.1.0.5");
    assert_eq!(text(&ask_tcp(running.addr, name, RecordType::A).await), "NoError aa A=10.1.0.5");
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_says_what_to_do_and_an_address_can_be_freed() {
    let mut running = running(1).await;
    let (_sender, receiver) = watch::channel(Zones::default());
    let mut other = DnsServer::new(receiver, nobody());
    let error = other.bind(running.addr).await.unwrap_err();
    assert_eq!(error.addr, running.addr);
    assert!(error.to_string().contains("another DNS server"), "{error}");
    assert_eq!(other.bound().count(), 0);

    running.server.bind(running.addr).await.unwrap();
    running.server.unbind(running.addr).await;
    other.bind(running.addr).await.unwrap();
}

#[tokio::test]
async fn an_address_of_no_interface_is_an_error() {
    let (_sender, receiver) = watch::channel(Zones::default());
    let error = DnsServer::new(receiver, nobody()).bind("192.0.2.1:5353".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("no interface"), "{error}");
}

#[tokio::test]
async fn connections_beyond_the_places_wait_until_one_is_free() {
    let running = running(1).await;
    let mut held = Vec::new();
    for _ in 0..tcp::MAX_CONNECTIONS {
        held.push(TcpStream::connect(running.addr).await.unwrap());
    }
    let mut asked = Box::pin(ask_tcp(running.addr, "web.shop.lacis.internal", RecordType::A));
    let waits = timeout(Duration::from_millis(300), &mut asked).await;
    assert!(waits.is_err(), "there is no place for it");
    drop(held.pop());
    assert_eq!(asked.await.answers.len(), 1, "there is one now");
}
