//! A control that misbehaves, under the real authority.

use std::{fs, sync::Arc, time::Duration};

use lacis_proto::{Beat, Epoch, Hello, Line, MAX_LINE_BYTES};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::lab::{Control, DEADLINE, Node, passes};

/// Takes the place of a control that has stopped, on its port and with its authority.
struct Fake {
    listener: TcpListener,
    tls: TlsAcceptor,
}

impl Fake {
    async fn instead_of(control: &Control) -> Self {
        let data = control.folder.path().join("data");
        let pem = fs::read_to_string(data.join("ca.key")).unwrap();
        let authority = CertificateDer::from_pem_slice(&fs::read(data.join("ca.pem")).unwrap()).unwrap();
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        let token: lacis_proto::JoinToken = control.token.parse().unwrap();
        assert_eq!(token.pins.len(), 1);
        ca.distinguished_name.remove(DnType::CommonName);
        ca.distinguished_name.push(DnType::CommonName, control_name(&authority));
        let issuer = Issuer::new(ca, KeyPair::from_pem(&pem).unwrap());
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let chain = vec![leaf.der().clone(), authority];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let listener = TcpListener::bind(control.addr).await.unwrap();
        Self { listener, tls: TlsAcceptor::from(Arc::new(tls)) }
    }

    /// The next watch request, answered with a hello; other calls are hung up on.
    async fn watcher(&self) -> TlsStream<TcpStream> {
        self.watcher_with_beat(5).await
    }

    async fn watcher_with_beat(&self, beat_s: u32) -> TlsStream<TcpStream> {
        let mut stream = self.request().await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n";
        let hello = Hello {
            protocol: 1,
            control: "fake".into(),
            epoch: Epoch(1),
            now_ms: 0,
            beat_s,
            urls: Vec::new(),
        };
        say(&mut stream, head.as_bytes()).await.unwrap();
        say(&mut stream, &Line::Hello(hello).encode()).await.unwrap();
        stream
    }

    /// The next watch request, not answered yet; other calls are hung up on.
    async fn request(&self) -> TlsStream<TcpStream> {
        timeout(DEADLINE, async {
            loop {
                let (stream, _) = self.listener.accept().await.unwrap();
                let Ok(mut stream) = self.tls.accept(stream).await else { continue };
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    if stream.read_buf(&mut request).await.unwrap_or_default() == 0 {
                        break;
                    }
                }
                if request.starts_with(b"POST /agent/v1/watch ") {
                    return stream;
                }
            }
        })
        .await
        .expect("the agent does not watch")
    }
}

/// The common name of the real authority: the leaf names its issuer by it.
fn control_name(der: &CertificateDer<'_>) -> String {
    let bytes = der.as_ref();
    let prefix = b"Lacis control ";
    let at = bytes.windows(prefix.len()).position(|part| part == prefix).unwrap();
    String::from_utf8(bytes[at..at + prefix.len() + 32].to_vec()).unwrap()
}

async fn say(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Two nodes that talk, and a stand-in for their control.
async fn lab() -> (Control, Fake, Node, Node) {
    let mut control = Control::start().await;
    let (a, b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    for node in [&a, &b] {
        node.sees("the other", |status| status.control.connected && !status.groups[0].peers.is_empty()).await;
    }
    passes(&a, &b, 4, "before").await;
    control.stop().await;
    let fake = Fake::instead_of(&control).await;
    (control, fake, a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_lines_are_passed_over() {
    let (_control, fake, a, mut b) = lab().await;
    b.down().await;
    let mut stream = fake.watcher().await;
    say(&mut stream, b"{\"weather\":{\"rain\":true}}\n\n{\"x\":[1,2]}\n").await.unwrap();
    assert!(!a.status().await.control.connected);
    say(&mut stream, &Line::Beat(Beat { now_ms: 0 }).encode()).await.unwrap();
    a.sees("a beat on the same stream", |status| status.control.connected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_none_end_the_stream_and_nothing_else() {
    let (_control, fake, a, mut b) = lab().await;
    let huge = vec![b'x'; MAX_LINE_BYTES + 2];
    for bad in [&huge[..], b"not json\n", b"{\"at\":{\"scope\":7}}\n", b"[1]\n"] {
        let mut stream = fake.watcher().await;
        // The agent may hang up before it has read everything.
        let _ = say(&mut stream, bad).await;
        let mut rest = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("the agent hangs up");
    }
    let begin = Instant::now();
    drop(fake.watcher().await);
    drop(fake.watcher().await);
    assert!(begin.elapsed() >= Duration::from_millis(200), "attempts keep their distance");
    passes(&a, &b, 4, "still here").await;
    passes(&b, &a, 6, "still here").await;
    b.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stalls_without_closing_is_given_up() {
    let (_control, fake, a, mut b) = lab().await;
    b.down().await;
    let begin = Instant::now();
    let stalled = fake.watcher_with_beat(2).await;
    let _next = fake.watcher().await;
    assert!(begin.elapsed() >= Duration::from_secs(6), "three beats of two seconds, {:?}", begin.elapsed());
    drop(stalled);
    assert_eq!(a.status().await.groups.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_snapshot_empties_nothing() {
    let (_control, fake, a, mut b) = lab().await;
    let before = a.status().await.groups.remove(0);
    for scope in [before.id.as_str().to_owned(), a.status().await.node.as_str().to_owned()] {
        let mut stream = fake.watcher().await;
        let lines = format!(
            "{{\"reset\":{{\"scope\":\"{scope}\"}}}}\n\
             {{\"at\":{{\"scope\":\"{scope}\",\"rev\":9999,\"digest\":\"AAAAAAAAAAAAAAAAAAAAAA\"}}}}\n"
        );
        say(&mut stream, lines.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("the agent hangs up");
    }
    let after = a.status().await.groups.remove(0);
    assert_eq!((after.peers.len(), after.version), (before.peers.len(), before.version));
    passes(&a, &b, 4, "still here").await;
    b.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_that_asks_to_wait_is_left_alone_for_so_long() {
    let (_control, fake, _a, mut b) = lab().await;
    b.down().await;
    let mut stream = fake.request().await;
    let busy = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 4\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    say(&mut stream, busy.as_bytes()).await.unwrap();
    let begin = Instant::now();
    drop(stream);
    drop(fake.request().await);
    assert!(begin.elapsed() >= Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_is_not_read_on() {
    let (_control, fake, _a, mut b) = lab().await;
    b.down().await;
    let mut stream = fake.request().await;
    say(&mut stream, b"HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\n").await.unwrap();
    let (piece, mut taken) = ([b'x'; 1 << 16], 0);
    while say(&mut stream, &piece).await.is_ok() {
        taken += piece.len();
        // Buffers of both ends take some.
        assert!(taken < 64 << 20, "it is read on and on");
    }
    drop(fake.request().await);
}
