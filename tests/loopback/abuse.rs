//! Random bytes on every port harm nobody.

use std::{net::SocketAddr, time::Duration};

use lacis_agent::Options;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket, UnixStream},
    time::timeout,
};

use crate::lab::{Control, DEADLINE, Node, passes};

/// Bytes that follow from a number.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_on_every_port_harm_nobody() {
    let control = Control::start().await;
    let (a, b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    a.sees("b", |status| status.control.connected && !status.groups[0].peers.is_empty()).await;
    passes(&a, &b, 4, "before").await;

    let wire = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for seed in 0..400 {
        let mut bytes = noise(seed, 1 + usize::try_from(seed).unwrap() * 7 % 1_400);
        // A known type in front gets past the first look.
        if seed % 2 == 0 && bytes.len() > 4 {
            bytes[..4].copy_from_slice(&[u8::try_from(1 + seed % 4).unwrap(), 0, 0, 0]);
        }
        wire.send_to(&bytes, ("127.0.0.1", a.agent.as_ref().unwrap().port())).await.unwrap();
    }
    for seed in 0..20 {
        let bytes = noise(seed, 2_000);
        let mut stream = TcpStream::connect(control.addr).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let mut stream = UnixStream::connect(a.socket()).await.unwrap();
        let _ = stream.write_all(&bytes).await;
    }
    for bad in [&b"{\"status\":{}"[..], b"{\"wait\":7}\n", b"\n", b"null\n", &[b'['; 5_000]] {
        let mut stream = UnixStream::connect(a.socket()).await.unwrap();
        let _ = stream.write_all(bad).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an answer or an end");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.contains("bad_request"), "{answer}");
    }
    passes(&a, &b, 4, "after").await;
    passes(&b, &a, 6, "after").await;
    assert_eq!(control.call("GET", "", None).await.0, 200);
    a.sees("control", |status| status.control.connected).await;
    let late = Node::join("late", &control.token).await;
    let known = timeout(Duration::from_secs(20), a.sees("late", |status| status.groups[0].peers.len() == 2));
    known.await.unwrap();
    drop(late);
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_beyond_the_places_wait_and_an_endless_request_is_refused() {
    let control = Control::start().await;
    let node = Node::join("web", &control.token).await;
    let status = b"{\"status\":{}}\n";
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(UnixStream::connect(node.socket()).await.unwrap());
    }
    let mut last = UnixStream::connect(node.socket()).await.unwrap();
    last.write_all(status).await.unwrap();
    let mut first = [0];
    let waits = timeout(Duration::from_millis(300), last.read_exact(&mut first)).await;
    assert!(waits.is_err(), "there is no place for it");
    drop(held.pop());
    timeout(DEADLINE, last.read_exact(&mut first)).await.expect("there is one now").unwrap();
    drop(held);

    let mut endless = UnixStream::connect(node.socket()).await.unwrap();
    endless.write_all(&[b' '; 4096]).await.unwrap();
    let mut said = String::new();
    timeout(DEADLINE, endless.read_to_string(&mut said)).await.expect("it is not read on").unwrap();
    assert!(said.contains("bad_request"), "{said}");
}

/// What a client of figures is answered to one line.
async fn asked(addr: SocketAddr, line: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(line).await.unwrap();
    let mut said = Vec::new();
    // What was not read of a long line may break off the answer.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut said)).await.expect("an answer or an end");
    String::from_utf8(said).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_figures_beyond_the_places_wait_and_an_endless_line_is_not_read_on() {
    let control = Control::start().await;
    let mut node = Node::new("web");
    let figures = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let options = Options { metrics: Some(figures), ..node.options(Some(&control.token)) };
    node.up_with(options).await.unwrap();
    node.ready().await;
    let health = b"GET /healthz HTTP/1.1\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(TcpStream::connect(figures).await.unwrap());
    }
    let mut last = TcpStream::connect(figures).await.unwrap();
    last.write_all(health).await.unwrap();
    let mut first = [0];
    let waits = timeout(Duration::from_millis(300), last.read_exact(&mut first)).await;
    assert!(waits.is_err(), "there is no place for it");
    drop(held.pop());
    timeout(DEADLINE, last.read_exact(&mut first)).await.expect("there is one now").unwrap();
    drop((held, last));

    let endless = [b"GET /healthz".as_slice(), &[b'x'; 64 << 10]].concat();
    assert!(!asked(figures, &endless).await.contains("200 OK"));
    assert!(asked(figures, health).await.contains("200 OK"), "the next is served");
}
