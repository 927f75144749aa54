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

/// A listener whose clients are told a long story, or refused before their body is looked at, and where it is.
fn listening(bounds: Bounds) -> (SocketAddr, Connector, Drain) {
    let drain = Drain { begun: begun(), tasks: TaskTracker::new() };
    let listener = bind(Some(([127, 0, 0, 1], 0).into()), 0).unwrap();
    let addr = listener.local_addr().unwrap();
    let story = || async {
        let piece = Bytes::from(vec![b'.'; 1 << 16]);
        let pieces = futures_util::stream::repeat_with(move || Ok::<_, io::Error>(piece.clone()));
        Body::from_stream(pieces)
    };
    let routes = Router::new().route("/", get(story).post(async || http::StatusCode::UNAUTHORIZED));
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

/// Waits until the listener alone is left: nobody is told when a task ends, so they are counted.
async fn lets_go(drain: &Drain) {
    let begin = clock::now();
    while drain.tasks.len() > 1 {
        assert!(begin.elapsed() < DEADLINE, "the connection is held");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
    lets_go(&drain).await;
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

/// What a client is told next, up to a mark.
async fn read_until(client: &mut (impl AsyncRead + Unpin), mark: &str) -> String {
    let mut said = Vec::new();
    while !said.ends_with(mark.as_bytes()) {
        let byte = tokio::time::timeout(DEADLINE, client.read_u8()).await.expect("something is said");
        said.push(byte.unwrap_or_else(|error| panic!("{error} behind {:?}", String::from_utf8_lossy(&said))));
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_body_that_comes_behind_its_answer_costs_nobody_the_connection() {
    let (addr, tls, drain) = listening(Bounds::PUBLIC);
    let mut client = tls.connect(addr).await;
    for _ in 0..3 {
        client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").await.unwrap();
        client.flush().await.unwrap();
        let answer = read_until(&mut client, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("close"), "{answer}");
        client.write_all(b"late.").await.unwrap();
    }
    drain.begun.cancel();
}

#[tokio::test]
async fn a_body_that_nobody_reads_to_its_end_does_not_cost_its_sender_the_answer() {
    let (addr, tls, drain) = listening(Bounds::PUBLIC);
    // Too long by its own word; too long as it turns out; kept back until it is asked for, and sent all the same.
    let length = 64 * MAX_BODY_BYTES;
    for head in [
        &format!("content-length: {length}"),
        "transfer-encoding: chunked",
        "content-length: 9\r\nexpect: 100-continue",
    ] {
        let mut client = tls.connect(addr).await;
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let chunk = [b"10000\r\n".as_slice(), &[b'.'; 1 << 16], b"\r\n"].concat();
        let is_short = head.contains("expect");
        for _ in 0..if is_short { 0 } else { length / chunk.len() } {
            client.write_all(&chunk).await.expect("what is on its way is taken");
        }
        client.flush().await.unwrap();
        let mut said = String::new();
        let read = tokio::time::timeout(DEADLINE, client.read_to_string(&mut said)).await.unwrap();
        read.unwrap_or_else(|error| panic!("{head}: {error} behind {said}"));
        assert!(said.starts_with("HTTP/1.1 401"), "{head}: {said}");
    }
    drain.begun.cancel();
}

#[tokio::test]
async fn the_end_of_a_connection_is_announced() {
    for (head, answer) in [("", ""), ("GET", ""), ("no request\r\n\r\n", "HTTP/1.1 400")] {
        let (addr, tls, drain) = listening(Bounds { head: SHORT, ..Bounds::PUBLIC });
        let mut client = tls.connect(addr).await;
        client.write_all(head.as_bytes()).await.unwrap();
        client.flush().await.unwrap();
        let mut said = String::new();
        // An end that is not announced is an error here.
        let read = tokio::time::timeout(DEADLINE, client.read_to_string(&mut said)).await.unwrap();
        read.unwrap_or_else(|error| panic!("{head:?}: {error} behind {said:?}"));
        assert!(said.starts_with(answer), "{head:?}: {said:?}");
        drain.begun.cancel();
    }
}

#[tokio::test]
async fn whoever_does_not_take_note_of_the_end_is_cut_off() {
    let (addr, tls, drain) = listening(Bounds { head: SHORT, farewell: SHORT, ..Bounds::PUBLIC });
    let client = tls.connect(addr).await;
    lets_go(&drain).await;
    drop(client);
    drain.begun.cancel();
}
