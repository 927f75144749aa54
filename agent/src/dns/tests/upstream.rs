//! Names that are none of ours, with name servers of all sorts upstream.

use std::sync::{Arc, Mutex};

use hickory_proto::rr::{Record, rdata};
use tokio::net::TcpListener;

use super::*;

/// What a name server upstream is like.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers as it should.
    Answers,
    /// Says nothing.
    Silent,
    /// Cannot answer.
    Fails,
    /// Cuts what it says over UDP.
    Cuts,
    /// Answers another question first, then with another id, then right.
    Confuses,
    /// Asks this server itself, and answers what that says.
    AsksBack(SocketAddr),
}

/// A name server upstream, and the names that it was asked.
struct Upstream {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    async fn start(manner: Manner) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // The same port of TCP may be somebody else's.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let addr = udp.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve_udp(udp, manner, Arc::clone(&asked)));
        tokio::spawn(serve_tcp(tcp));
        Self { addr, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(question: &[u8]) -> Message {
    let question = Message::from_vec(question).unwrap();
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_available = true;
    let name = question.queries[0].name().clone();
    answer.add_query(question.queries[0].clone());
    answer.answers.push(Record::from_rdata(name, 3600, RData::A(rdata::A::new(192, 0, 2, 99))));
    answer
}

async fn serve_udp(socket: UdpSocket, manner: Manner, asked: Arc<Mutex<Vec<String>>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let question = &buffer[..length];
        let right = answer(question);
        asked.lock().unwrap().push(right.queries[0].name().to_ascii());
        let mut answers = vec![right.clone()];
        match manner {
            Manner::Answers => {}
            Manner::Silent => continue,
            Manner::Fails => {
                answers[0].answers.clear();
                answers[0].metadata.response_code = ResponseCode::ServFail;
            }
            Manner::Cuts => {
                answers[0].answers.clear();
                answers[0].metadata.truncation = true;
            }
            Manner::Confuses => {
                let mut other = answer(&query("other.example", RecordType::A).to_vec().unwrap());
                other.metadata.id = right.metadata.id;
                let mut guessed = right.clone();
                guessed.metadata.id = guessed.metadata.id.wrapping_add(1);
                answers = vec![other, guessed, right];
            }
            Manner::AsksBack(server) => {
                let mut back = exchange_udp(server, question).await;
                back.metadata.id = right.metadata.id;
                answers = vec![back];
            }
        }
        for answer in answers {
            socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let length = stream.read_u16().await.unwrap();
        let mut question = vec![0; length.into()];
        stream.read_exact(&mut question).await.unwrap();
        let bytes = answer(&question).to_vec().unwrap();
        stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    }
}

/// A resolver of our group with these servers upstream.
async fn resolver(servers: &[&Upstream]) -> (Running, watch::Sender<Vec<SocketAddr>>) {
    let (upstream, forwarder) = watch::channel(servers.iter().map(|server| server.addr).collect());
    let running = running_with(1, Forwarder::new(forwarder)).await;
    (running, upstream)
}

#[tokio::test]
async fn other_names_are_asked_upstream_and_ours_never() {
    let server = Upstream::start(Manner::Answers).await;
    let (running, _upstream) = resolver(&[&server]).await;
    let reply = ask(running.addr, "example.org", RecordType::A).await;
    assert_eq!(text(&reply), "NoError A=192.0.2.99");
    assert_eq!(reply.answers[0].ttl, 3600, "as the server said");
    assert!(reply.metadata.recursion_available);
    assert_eq!(text(&ask_tcp(running.addr, "Example.ORG", RecordType::A).await), "NoError A=192.0.2.99");
    for (name, expected) in [
        ("web.shop.lacis.internal", "NoError aa A=10.1.0.5"),
        ("nobody.shop.lacis.internal", "NXDomain aa / SOA"),
        ("nobody.lacis.internal", "NXDomain"),
        ("lacis.internal", "NXDomain"),
        ("9.9.1.10.in-addr.arpa", "NXDomain aa / SOA"),
    ] {
        assert_eq!(text(&ask(running.addr, name, RecordType::A).await), expected, "{name}");
    }
    assert_eq!(server.asked(), ["example.org."]);
}

#[tokio::test]
async fn a_server_that_fails_or_is_silent_is_passed_over() {
    let servers = [
        Upstream::start(Manner::Fails).await,
        Upstream::start(Manner::Silent).await,
        Upstream::start(Manner::Answers).await,
    ];
    let (running, upstream) = resolver(&[&servers[0], &servers[1], &servers[2]]).await;
    assert_eq!(text(&ask(running.addr, "one.example", RecordType::A).await), "NoError A=192.0.2.99");
    assert_eq!(text(&ask(running.addr, "two.example", RecordType::A).await), "NoError A=192.0.2.99");
    assert_eq!(servers[1].asked(), ["one.example."], "the one that answered is asked first from then on");
    upstream.send_replace(vec![servers[0].addr]);
    assert_eq!(text(&ask(running.addr, "three.example", RecordType::A).await), "ServFail");
    upstream.send_replace(Vec::new());
    assert_eq!(text(&ask(running.addr, "four.example", RecordType::A).await), "Refused", "nobody to ask");
}

#[tokio::test]
async fn what_does_not_fit_comes_over_tcp() {
    let server = Upstream::start(Manner::Cuts).await;
    let (running, _upstream) = resolver(&[&server]).await;
    let cut = ask(running.addr, "example.org", RecordType::A).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty(), "{cut:?}");
    assert_eq!(text(&ask_tcp(running.addr, "example.org", RecordType::A).await), "NoError A=192.0.2.99");
}

#[tokio::test]
async fn answers_to_other_questions_are_not_taken() {
    let server = Upstream::start(Manner::Confuses).await;
    let (running, _upstream) = resolver(&[&server]).await;
    assert_eq!(text(&ask(running.addr, "example.org", RecordType::A).await), "NoError A=192.0.2.99");
}

#[tokio::test]
async fn edns_is_spoken_hop_by_hop() {
    let server = Upstream::start(Manner::Answers).await;
    let (running, _upstream) = resolver(&[&server]).await;
    let mut question = query("example.org", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_version(0).set_dnssec_ok(true);
    question.edns = Some(edns);
    let reply = exchange_udp(running.addr, &question.to_vec().unwrap()).await;
    let edns = reply.edns.as_ref().unwrap();
    assert!(edns.flags().dnssec_ok && edns.max_payload() <= 1232, "{edns:?}");
    assert!(ask(running.addr, "example.org", RecordType::A).await.edns.is_none());
}

#[tokio::test]
async fn a_server_that_asks_us_in_turn_is_found_out() {
    let (running, upstream) = resolver(&[]).await;
    let back = Upstream::start(Manner::AsksBack(running.addr)).await;
    let good = Upstream::start(Manner::Answers).await;
    let forwarder = running.forwarder.clone();
    tokio::spawn(forwarder.clone().watch_for_loops());
    upstream.send_replace(vec![back.addr, good.addr]);
    timeout(PATIENCE, async {
        while forwarder.looping().is_empty() {
            ask(running.addr, "example.org", RecordType::A).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(forwarder.looping(), [back.addr]);
    assert_eq!(text(&ask(running.addr, "example.org", RecordType::A).await), "NoError A=192.0.2.99");
}

#[tokio::test]
async fn a_flood_of_questions_is_cut_off_and_ours_are_answered_all_the_same() {
    let server = Upstream::start(Manner::Silent).await;
    let (running, _upstream) = resolver(&[&server]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // Nobody reads the answers: all that counts is how many questions go on.
    for n in 0..2_000 {
        let question = query(&format!("n{n}.example"), RecordType::A).to_vec().unwrap();
        socket.send_to(&question, running.addr).await.unwrap();
        if n % 50 == 0 {
            assert_eq!(
                text(&ask(running.addr, "web.shop.lacis.internal", RecordType::A).await),
                "NoError aa A=10.1.0.5"
            );
        }
    }
    assert!(!server.asked().is_empty());
    let forwarded = server.asked().len();
    assert!(forwarded <= 2 * forward::MAX_WAITING, "{forwarded} of 2000 went on");
}
