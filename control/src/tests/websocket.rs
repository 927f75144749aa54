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

impl Member {
    /// A node with a peer and a lease.
    async fn new(running: &Running, n: u8, is_tls: bool) -> Self {
        let secret = StaticSecret::from([n; 32]);
        let mut client = Client::new(running, n);
        let join = client.join(running.ready.join_token.as_ref().unwrap()).await;
        let request = PeerRequest { key: public(&secret), ..peer(&join, n) };
        assert_eq!(client.call(Method::POST, "/agent/v1/peers", &request).await.status, 200);
        let lines =
            client.watch(Follower::default()).await.until(|line| matches!(line, Line::Relays(_))).await;
        let Some(Line::Relays(relays)) = lines.last() else { panic!("{lines:?}") };
        let relay = relays.relays[0].clone();
        let way = if is_tls {
            Way::Tls(Box::new(open(&client).await), Decoder::new(End::Client))
        } else {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(relay.udp[0]).await.unwrap();
            Way::Udp(socket)
        };
        let (token, group) = (relays.tokens[0].token.to_bytes().to_vec(), join.grant.group);
        let mut member = Self { way, secret, group, relay, token, lease: 0 };
        member.hello().await;
        member
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
