//! A small agent: TLS under the pinned authority, signed requests, the watch stream.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use lacis_proto::{
    Authorization, Follower, IdentityKey, JoinReply, JoinRequest, JoinToken, Line, LineDecoder, NodeId,
    PeerReply, PeerRequest, Problem, PublicKey, Run, Signature, Signer, WatchRequest, request_bytes, version,
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Config, Running, clock, serve, tls};

/// Longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A control on a folder of its own.
pub(super) async fn start(folder: &tempfile::TempDir) -> Running {
    serve(config(folder)).await.unwrap()
}

pub(super) fn config(folder: &tempfile::TempDir) -> Config {
    Config { listen: Some(([127, 0, 0, 1], 0).into()), ..Config::new(folder.path().join("data")) }
}

#[derive(Clone)]
pub(super) struct Client {
    pub(super) addr: SocketAddr,
    pub(super) key: SigningKey,
    pub(super) node: Option<NodeId>,
    pub(super) audience: String,
    /// Added to the time of every signature.
    pub(super) skew_ms: i64,
    /// Which process of the node this is.
    pub(super) run: Option<Run>,
    ca: std::path::PathBuf,
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    #[track_caller]
    pub(super) fn ok<T: DeserializeOwned>(&self) -> T {
        assert!(self.status.is_success(), "{} {:?}", self.status, self.body);
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    pub(super) fn problem(&self) -> Problem {
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(self.status.as_u16(), problem.status);
        assert!(problem.request_id.is_some());
        problem
    }
}

impl Client {
    pub(super) fn new(running: &Running, seed: u8) -> Self {
        Self {
            addr: running.addr,
            key: SigningKey::from_bytes(&[seed; 32]),
            node: None,
            audience: String::new(),
            skew_ms: 0,
            run: None,
            ca: running.ready.ca.clone(),
        }
    }

    pub(super) fn identity(&self) -> IdentityKey {
        IdentityKey::try_new(self.key.verifying_key().to_bytes()).unwrap()
    }

    pub(super) async fn join(&mut self, token: &str) -> JoinReply {
        let reply: JoinReply = self.try_join(token, "web.example").await.ok();
        self.node = Some(reply.node.clone());
        self.audience = reply.grant.control.to_string();
        reply
    }

    pub(super) async fn try_join(&self, token: &str, host_name: &str) -> Answer {
        let token: JoinToken = token.parse().unwrap();
        let body = JoinRequest {
            token: token.id.clone(),
            secret: token.secret,
            identity: self.identity(),
            host_name: host_name.to_owned(),
            agent: "test".to_owned(),
            protocol: version::RANGE,
        };
        let body = serde_json::to_vec(&body).unwrap();
        let signed = (Signer::Identity(self.identity()), token.id.to_string());
        self.send(Method::POST, "/agent/v1/join", body, signed).await
    }

    pub(super) async fn add_peer(&self, join: &JoinReply, key: u8) -> PeerReply {
        self.call(Method::POST, "/agent/v1/peers", &peer(join, key)).await.ok()
    }

    /// A signed call of an enrolled node.
    pub(super) async fn call(&self, method: Method, path: &str, body: &impl serde::Serialize) -> Answer {
        let body = serde_json::to_vec(body).unwrap();
        self.send(method, path, body, self.signer()).await
    }

    pub(super) fn signer(&self) -> (Signer, String) {
        (Signer::Node(self.node.clone().unwrap()), self.audience.clone())
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        signer: (Signer, String),
    ) -> Answer {
        let response = self.open(method, path, body, Some(signer)).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = tokio::time::timeout(DEADLINE, response.into_body().collect()).await.unwrap();
        Answer { status, headers, body: body.unwrap().to_bytes() }
    }

    /// A call with a bearer token.
    pub(super) async fn manage(&self, method: Method, path: &str, token: &str, body: &str) -> Answer {
        let authorization = format!("Bearer {token}");
        self.with(method, path, &[(header::AUTHORIZATION, &authorization)], body.to_owned()).await
    }

    /// A call with these headers.
    pub(super) async fn with(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let response = self.opened(method, path, headers, body).await;
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.into_body().collect().await.unwrap().to_bytes() }
    }

    /// The same, with its body still to come.
    pub(super) async fn opened(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        self.exchange(request.body(Full::new(body.into())).unwrap()).await
    }

    /// A connection on which half of a request has been sent.
    pub(super) async fn half_a_request(
        &self,
        path: &str,
        token: &str,
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        use tokio::io::AsyncWriteExt as _;
        let mut stream = self.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: 100\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream
    }

    /// Sends a body that need not be taken whole; gives the status that came back, if one did.
    pub(super) async fn sent(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Vec<u8>,
    ) -> Option<u16> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let (mut read, mut write) = tokio::io::split(self.connect().await);
        let sending = tokio::spawn(async move {
            let _ = write.write_all(head.as_bytes()).await;
            let _ = write.write_all(&body).await;
        });
        let mut answer = vec![0; 4096];
        let got = tokio::time::timeout(DEADLINE, read.read(&mut answer)).await.unwrap().ok()?;
        sending.abort();
        let answer = String::from_utf8_lossy(&answer[..got]).into_owned();
        answer.split(' ').nth(1)?.parse().ok()
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        signer: Option<(Signer, String)>,
    ) -> http::Response<Incoming> {
        let mut request =
            Request::builder().method(method.clone()).uri(path).header(header::HOST, "localhost");
        if let Some((signer, audience)) = signer {
            let unix_ms = clock::unix_ms().saturating_add_signed(self.skew_ms);
            let bytes = request_bytes(method.as_str(), path, unix_ms, &body, &audience);
            let signature = Signature(self.key.sign(&bytes).to_bytes());
            let authorization = Authorization { signer, unix_ms, signature };
            request = request.header(header::AUTHORIZATION, authorization.to_string());
        }
        if let Some(run) = &self.run {
            request = request.header(Run::HEADER, run.to_string());
        }
        self.exchange(request.body(Full::new(Bytes::from(body))).unwrap()).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        let exchange = async {
            let stream = self.connect().await;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        tokio::time::timeout(DEADLINE, exchange).await.unwrap()
    }

    pub(super) async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read_to_string(&self.ca).unwrap();
        roots.add(tls::parse_certificate(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Opens the watch stream with what a follower holds.
    pub(super) async fn watch(&self, follower: Follower) -> Watch {
        self.watch_with(follower, true).await
    }

    /// Opens the watch stream once control has noticed that the former one is over.
    pub(super) async fn watch_when_free(&self) -> Watch {
        let body =
            serde_json::json!({"protocol": version::RANGE, "agent": "test", "watch": true, "have": {}});
        let body = serde_json::to_vec(&body).unwrap();
        let begin = tokio::time::Instant::now();
        loop {
            let signer = Some(self.signer());
            let response = self.open(Method::POST, "/agent/v1/watch", body.clone(), signer).await;
            if response.status() == StatusCode::OK {
                let (decoder, follower) = (LineDecoder::default(), Follower::default());
                return Watch { body: response.into_body(), decoder, follower };
            }
            assert!(begin.elapsed() < DEADLINE, "{}", response.status());
        }
    }

    pub(super) async fn watch_with(&self, follower: Follower, watch: bool) -> Watch {
        let request =
            WatchRequest { protocol: version::RANGE, agent: "test".to_owned(), watch, have: follower.have() };
        let body = serde_json::to_vec(&request).unwrap();
        let response = self.open(Method::POST, "/agent/v1/watch", body, Some(self.signer())).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/x-ndjson");
        Watch { body: response.into_body(), decoder: LineDecoder::default(), follower }
    }
}

pub(super) fn peer(join: &JoinReply, key: u8) -> PeerRequest {
    PeerRequest {
        group: join.grant.group.clone(),
        member: join.grant.member.clone(),
        instance: format!("instance-{key}"),
        key: PublicKey::try_new([key; 32]).unwrap(),
        label: format!("peer-{key}"),
        endpoints: Vec::new(),
        statement: None,
    }
}

/// An open watch stream and the scopes it has brought.
pub(super) struct Watch {
    body: Incoming,
    decoder: LineDecoder,
    pub(super) follower: Follower,
}

impl Watch {
    /// The next line, followed; `None` at the end of the stream.
    pub(super) async fn line(&mut self) -> Option<Line> {
        loop {
            if let Some(line) = self.decoder.next_line() {
                let line = line.unwrap();
                self.follower.handle(line.clone(), |_, _| Ok(())).unwrap();
                return Some(line);
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.unwrap();
            let frame = frame?.unwrap();
            self.decoder.push(frame.data_ref().unwrap());
        }
    }

    /// Lines up to and including the first that is wanted.
    pub(super) async fn until(&mut self, wanted: impl Fn(&Line) -> bool) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            let is_wanted = wanted(&line);
            lines.push(line);
            if is_wanted {
                return lines;
            }
        }
        panic!("the stream ended after {lines:?}");
    }

    /// All lines to the end of the stream.
    pub(super) async fn rest(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            lines.push(line);
        }
        lines
    }
}
