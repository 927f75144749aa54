//! A member behind TLS at the relay of a control: bridged to one with datagrams, and refused where it breaks rules.

use http::{Method, header};
use lacis_proto::{
    Follower, GroupId, Line, PeerRequest, PublicKey,
    relay::{
        Batch, Frame, Header, Hello, Keys, Kind, Packet, RelayAddress, RelayEntry, TLS_PATH, header as head,
    },
    websocket::{self, Decoder, End, Message},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use x25519_dalek::{PublicKey as Point, StaticSecret};

use super::client::{Client, DEADLINE, peer, start};
use crate::{Running, clock};

enum Way {
    Udp(UdpSocket),
    Tls(Box<TlsStream<TcpStream>>, Decoder),
}

struct Member {
    way: Way,
    secret: StaticSecret,
    group: GroupId,
    relay: RelayEntry,
    token: Vec<u8>,
    lease: u32,
}

/// A node with a peer, and what it takes to get a lease.
struct Joined {
    client: Client,
    secret: StaticSecret,
    group: GroupId,
    relay: RelayEntry,
    token: Vec<u8>,
}

impl Joined {
    async fn new(running: &Running, n: u8) -> Self {
        let secret = StaticSecret::from([n; 32]);
        let mut client = Client::new(running, n);
        let join = client.join(running.ready.join_token.as_ref().unwrap()).await;
        let request = PeerRequest { key: public(&secret), ..peer(&join, n) };
        assert_eq!(client.call(Method::POST, "/agent/v1/peers", &request).await.status, 200);
        let lines =
            client.watch(Follower::default()).await.until(|line| matches!(line, Line::Relays(_))).await;
        let Some(Line::Relays(relays)) = lines.last() else { panic!("{lines:?}") };
        let (relay, token) = (relays.relays[0].clone(), relays.tokens[0].token.to_bytes().to_vec());
        Self { client, secret, group: join.grant.group, relay, token }
    }

    /// The same with a lease.
    async fn member(self, is_tls: bool) -> Member {
        let Self { client, secret, group, relay, token } = self;
        let way = if is_tls {
            Way::Tls(Box::new(open(&client).await), Decoder::new(End::Client))
        } else {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(relay.udp[0]).await.unwrap();
            Way::Udp(socket)
        };
        let mut member = Member { way, secret, group, relay, token, lease: 0 };
        member.hello().await;
        member
    }
}

impl Member {
    /// A node with a peer and a lease.
    async fn new(running: &Running, n: u8, is_tls: bool) -> Self {
        Joined::new(running, n).await.member(is_tls).await
    }

    async fn hello(&mut self) {
        let shared = self.secret.diffie_hellman(&Point::from(*self.relay.key.as_bytes())).to_bytes();
        let keys = Keys::derive(&shared, &self.group, &public(&self.secret), &self.relay.key);
        let hello = Hello { counter: clock::unix_ms(), cookie: [0; 16], token: &self.token, first: None };
        let packet = Packet { lease: 0, address: self.address(), frame: Frame::Hello(hello) };
        let mut bytes = packet.to_bytes();
        keys.to_relay.seal(&mut bytes);
        self.say(&[&bytes]).await;
        let ack = self.hear().await;
        assert!(keys.to_member.check(&ack));
        self.lease = Header::parse(&ack).unwrap().lease;
    }

    fn address(&self) -> RelayAddress {
        RelayAddress::of(&self.group, &public(&self.secret))
    }

    fn data(&self, to: &Self, payload: &[u8]) -> Vec<u8> {
        [&head(Kind::Data, self.lease, to.address())[..], payload].concat()
    }

    /// Sends frames, in one message where that is the way.
    async fn say(&mut self, frames: &[&[u8]]) {
        match &mut self.way {
            Way::Udp(socket) => {
                for frame in frames {
                    socket.send(frame).await.unwrap();
                }
            }
            Way::Tls(stream, _) => {
                let (mut batch, mut bytes) = (Vec::new(), Vec::new());
                assert!(frames.iter().all(|frame| Batch::push(&mut batch, frame)));
                websocket::write(&mut bytes, &Message::Binary(batch), Some([1, 2, 3, 4]));
                stream.write_all(&bytes).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    }

    /// The next frame; of messages that hold several, the first.
    async fn hear(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 70_000];
        match &mut self.way {
            Way::Udp(socket) => {
                let length = timeout(DEADLINE, socket.recv(&mut bytes)).await.unwrap().unwrap();
                bytes[..length].to_vec()
            }
            Way::Tls(stream, decoder) => loop {
                match decoder.next_message().unwrap() {
                    Some(Message::Binary(batch)) => {
                        return Batch::parse(&batch).unwrap().next().unwrap().unwrap().to_vec();
                    }
                    Some(other) => panic!("{other:?}"),
                    None => {}
                }
                let length = timeout(DEADLINE, stream.read(&mut bytes)).await.unwrap().unwrap();
                assert!(length > 0, "the stream ended");
                decoder.push(&bytes[..length]);
            },
        }
    }

    async fn hears(&mut self, payload: &[u8], from: RelayAddress) {
        let expected = [&head(Kind::Data, self.lease, from)[..], payload].concat();
        assert_eq!(self.hear().await, expected);
    }
}

fn public(secret: &StaticSecret) -> PublicKey {
    PublicKey::try_new(Point::from(secret).to_bytes()).unwrap()
}

/// A WebSocket, with the key and the answer of RFC 6455 §1.3.
async fn open(client: &Client) -> TlsStream<TcpStream> {
    let mut stream = client.connect().await;
    let request = format!(
        "GET {TLS_PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    stream
}

#[tokio::test]
async fn members_behind_tls_and_with_datagrams_reach_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut members = [
        Member::new(&running, 1, false).await,
        Member::new(&running, 2, true).await,
        Member::new(&running, 3, true).await,
    ];
    for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
        for length in [1, 148, 1_400] {
            let payload = vec![4; length];
            let (frame, source) = (members[from].data(&members[to], &payload), members[from].address());
            members[from].say(&[&frame]).await;
            members[to].hears(&payload, source).await;
        }
    }
    // Several frames in one message, and an end that is not there.
    let [a, b, _] = &mut members;
    let nobody = head(Kind::Data, b.lease, RelayAddress(1));
    let (one, other) = (b.data(a, b"one"), b.data(a, b"other"));
    b.say(&[&one, &nobody, &other]).await;
    a.hears(b"one", b.address()).await;
    a.hears(b"other", b.address()).await;
    assert_eq!(b.hear().await, head(Kind::PeerUnknown, b.lease, RelayAddress(1)));
    running.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_ends_takes_its_lease_along_and_one_that_breaks_rules_ends() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let (mut a, mut b) = (Member::new(&running, 1, false).await, Member::new(&running, 2, true).await);
    let Way::Tls(stream, _) = &mut b.way else { panic!("no stream") };
    // A batch whose length leads beyond its end.
    let mut bytes = Vec::new();
    websocket::write(&mut bytes, &Message::Binary(vec![1, 0, 0]), Some([9; 4]));
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    let (mut rest, mut length) = (vec![0; 100], 1);
    while length > 0 {
        length = timeout(DEADLINE, stream.read(&mut rest)).await.unwrap().unwrap_or(0);
    }
    let frame = a.data(&b, b"x");
    let told = head(Kind::PeerUnknown, a.lease, b.address());
    let begin = clock::now();
    loop {
        a.say(&[&frame]).await;
        if let Way::Udp(socket) = &a.way
            && let Ok(Ok(())) = timeout(std::time::Duration::from_millis(100), socket.readable()).await
        {
            let mut bytes = [0; 100];
            match socket.try_recv(&mut bytes) {
                Ok(length) => {
                    assert_eq!(&bytes[..length], told);
                    break;
                }
                Err(_) => tokio::task::yield_now().await,
            }
        }
        assert!(begin.elapsed() < DEADLINE, "the lease stays");
    }
    running.shutdown().await;
}

/// What a member behind TLS that has nothing to say may take of control's memory.
const MEMBER_KIB: u64 = 40;

#[test]
fn members_behind_tls_that_are_idle_take_40_kib_each_at_most() {
    // Memory is the whole process's, so they have one of their own.
    let this = std::env::current_exe().unwrap();
    let alone = ["--exact", "--ignored", "--nocapture", "tests::websocket::idle_members_are_weighed"];
    let output = std::process::Command::new(this).args(alone).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let figure = said.lines().find(|line| line.contains("KiB"));
    println!("{}", figure.unwrap_or(&said));
    assert!(output.status.success() && figure.is_some(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "weighs its process: another test runs it alone"]
async fn idle_members_are_weighed() {
    const FIRST: u8 = 50;
    const LAST: u8 = 250;
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let (mut joined, mut open, mut before) = (Vec::new(), Vec::new(), 0);
    for n in 1..=LAST {
        joined.push(Joined::new(&running, n).await);
    }
    for (joined, n) in joined.into_iter().zip(1..) {
        let Way::Tls(stream, _) = joined.member(true).await.way else { panic!("no stream") };
        // The connection stays, the client's memory of it goes.
        open.push(stream.into_inner().0);
        if n == FIRST {
            before = anonymous_kib();
        }
    }
    let each = anonymous_kib().saturating_sub(before) / u64::from(LAST - FIRST);
    println!("{LAST} members behind TLS, all idle: {each} KiB each; the bar is {MEMBER_KIB}");
    assert!(each <= MEMBER_KIB, "{each} KiB each");
    running.shutdown().await;
}

/// Memory of this process that is in no file.
fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let client = Client::new(&running, 1);
    let answer = client.with(Method::GET, TLS_PATH, &[], "").await;
    assert_eq!(answer.status, 400);
    let old = [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "8"),
        (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    assert_eq!(client.with(Method::GET, TLS_PATH, &old, "").await.status, 400);
    running.shutdown().await;
}
