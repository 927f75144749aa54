use axum::{body::Body, routing::get};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;
use crate::{
    clock,
    tests::client::DEADLINE,
    tls::tests::{Connector, both_ends},
};

/// Far less than anybody waits here, and more than a busy machine needs for a step.
const SHORT: Duration = Duration::from_millis(300);

fn begun() -> CancellationToken {
    CancellationToken::new()
}

/// What a client reads to the end of its connection.
async fn read_to_end(mut client: impl AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    let read = tokio::time::timeout(DEADLINE, client.read_to_end(&mut said)).await;
    // What was sent and not read ends it in a reset.
    let _ = read.expect("the connection ends");
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn whoever_does_not_finish_the_head_of_a_request_is_cut_off() {
    let routes = Router::new().route("/", get(async || "here"));
    for head in
        ["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: a\r\nx-", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"]
    {
        let (mut client, server) = duplex(1 << 16);
        let bounds = Bounds { head: SHORT, ..Bounds::PUBLIC };
        let begin = clock::now();
        let serving = tokio::spawn(serve(server, (), routes.clone(), begun(), bounds));
        client.write_all(head.as_bytes()).await.unwrap();
        let said = read_to_end(client).await;
        assert!(begin.elapsed() >= SHORT, "{head:?}: a whole head, or the time, ends it");
        assert_eq!(said.starts_with("HTTP/1.1 200"), head.ends_with("\r\n\r\n"), "{head:?}: {said}");
        serving.await.unwrap();
    }
}

/// A listener whose clients are told a long story, and where it is.
fn listening(bounds: Bounds) -> (SocketAddr, Connector, Drain) {
    let drain = Drain { begun: begun(), tasks: TaskTracker::new() };
    let listener = bind(Some(([127, 0, 0, 1], 0).into()), 0).unwrap();
    let addr = listener.local_addr().unwrap();
    let story = || async {
        let piece = Bytes::from(vec![b'.'; 1 << 16]);
        let pieces = futures_util::stream::repeat_with(move || Ok::<_, io::Error>(piece.clone()));
        Body::from_stream(pieces)
    };
    let routes = Router::new().route("/", get(story));
    let (tls, connector) = both_ends();
    drain.tasks.spawn(accept(listener, tls, routes, drain.clone(), bounds));
    (addr, connector, drain)
}

#[tokio::test]
async fn whoever_does_not_finish_the_handshake_is_cut_off() {
    let (addr, _, drain) = listening(Bounds { handshake: SHORT, ..Bounds::PUBLIC });
    let mut client = TcpStream::connect(addr).await.unwrap();
    // The beginning of a record of TLS that is never finished.
    client.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    assert_eq!(read_to_end(client).await, "");
    drain.begun.cancel();
}

#[tokio::test]
async fn a_reader_that_takes_nothing_loses_its_connection() {
    let (addr, tls, drain) = listening(Bounds { untaken: SHORT, ..Bounds::PUBLIC });
    let mut client = tls.connect(addr).await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    client.flush().await.unwrap();
    let mut first = [0; 16];
    client.read_exact(&mut first).await.unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200"));
    // From here on it reads nothing: the buffers of both ends fill, and the story goes on.
    let begin = clock::now();
    while drain.tasks.len() > 1 {
        assert!(begin.elapsed() < DEADLINE, "the connection is held");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drain.begun.cancel();
}

#[tokio::test]
async fn connections_beyond_the_places_wait_until_one_is_free() {
    let (addr, tls, drain) = listening(Bounds { connections: 2, ..Bounds::PUBLIC });
    let first = tls.connect(addr).await;
    let second = tls.connect(addr).await;
    let third = tokio::time::timeout(SHORT, tls.connect(addr)).await;
    assert!(third.is_err(), "the handshake of a third waits");
    drop(first);
    tokio::time::timeout(DEADLINE, tls.connect(addr)).await.expect("its place is free");
    drop(second);
    drain.begun.cancel();
}
