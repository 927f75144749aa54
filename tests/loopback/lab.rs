//! A control and agents, each on folders of its own.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use lacis_agent::{
    Agent, AgentError, Clock, DEFAULT_MTU, HostDns, Interfaces, Logs, Options, PeerStatus, Proofs, Reply,
    Request, Status, ask,
};
use lacis_control::{Config, Running, serve};
use lacis_proto::GroupId;
use lacis_tunnel::{Core, MemoryTun, Offloads, Shards};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{errors, packets};

/// Longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How often what can only be asked for is asked for.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Control {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) running: Option<Running>,
    pub(crate) addr: SocketAddr,
    pub(crate) token: String,
    api_token: String,
    owner: String,
    pub(crate) group: String,
}

impl Control {
    /// A first start on a port that the kernel chooses.
    pub(crate) async fn start() -> Self {
        errors::watch();
        let folder = tempfile::tempdir().unwrap();
        let running = serve(config(&folder, 0)).await.unwrap();
        let ready = running.ready.clone();
        Self {
            folder,
            addr: running.addr,
            token: ready.join_token.unwrap(),
            api_token: ready.api_token.unwrap(),
            owner: ready.owner.to_string(),
            group: ready.group.to_string(),
            running: Some(running),
        }
    }

    pub(crate) async fn stop(&mut self) {
        self.running.take().unwrap().shutdown().await;
    }

    /// Starts again on the same folder and port.
    pub(crate) async fn restart(&mut self) {
        self.restart_at(self.addr.port(), &[]).await;
    }

    /// Starts again on the same folder, at a port, and tells agents these addresses.
    pub(crate) async fn restart_at(&mut self, port: u16, urls: &[String]) {
        let config = Config { public_urls: urls.to_vec(), ..config(&self.folder, port) };
        let begin = Instant::now();
        let running = loop {
            match serve(config.clone()).await {
                Ok(running) => break running,
                // Connections of the former control may linger for a moment.
                Err(error) => assert!(begin.elapsed() < DEADLINE, "{error}"),
            }
            tokio::time::sleep(LOOK).await;
        };
        assert!(running.ready.join_token.is_none());
        self.addr = running.addr;
        self.running = Some(running);
    }

    /// One call of the management API; gives status and body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut stream = self.connect().await;
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = format!(
            "{method} /v4/networkgroups/organisations/{}/networkgroups{path} HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            self.owner,
            self.api_token,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().expect("control announces the end");
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let pem = std::fs::read(self.folder.path().join("data/ca.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let name = ServerName::IpAddress(self.addr.ip().into());
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// A new join token for a group.
    pub(crate) async fn new_token(&self, group: &str, wanted: Value) -> (String, String) {
        let (status, made) = self.call("POST", &format!("/{group}/join-tokens"), Some(wanted)).await;
        assert_eq!(status, 201, "{made}");
        (made["token"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
    }

    /// The revision of the first group.
    pub(crate) async fn version(&self) -> u64 {
        let (status, group) = self.call("GET", &format!("/{}", self.group), None).await;
        assert_eq!(status, 200, "{group}");
        group["version"].as_u64().unwrap_or_else(|| panic!("no version in {group}"))
    }
}

fn config(folder: &tempfile::TempDir, port: u16) -> Config {
    let mut config = Config::new(folder.path().join("data"));
    config.listen = Some(([127, 0, 0, 1], port).into());
    config.beat = Duration::from_secs(2);
    config
}

impl Drop for Control {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            errors::check();
        }
    }
}

/// A free UDP port that nobody else takes while its node has no agent: each of these nodes has another, and they lie below
/// those that the kernel gives to whoever asks for any. A node that came back at another port would tell control of it.
fn port_of_its_own() -> u16 {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 20_000;
    static MADE: AtomicU32 = AtomicU32::new(0);
    loop {
        // Programs of tests that run beside each other begin at places of their own.
        let nth =
            (std::process::id().wrapping_mul(97).wrapping_add(MADE.fetch_add(1, Ordering::Relaxed))) % PORTS;
        let port = u16::try_from(FIRST + nth).unwrap();
        if UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

pub(crate) struct Node {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) name: String,
    pub(crate) agent: Option<Agent>,
    port: u16,
    tuns: mpsc::UnboundedReceiver<(GroupId, MemoryTun)>,
    tun: Option<MemoryTun>,
}

impl Node {
    /// A node without an agent.
    pub(crate) fn new(name: &str) -> Self {
        errors::watch();
        let (_, tuns) = mpsc::unbounded_channel();
        let (folder, name) = (tempfile::tempdir().unwrap(), name.to_owned());
        Self { folder, name, agent: None, port: port_of_its_own(), tuns, tun: None }
    }

    /// A node whose agent has joined with a token and is ready.
    pub(crate) async fn join(name: &str, token: &str) -> Self {
        let mut node = Self::new(name);
        node.up(Some(token)).await.unwrap();
        node.ready().await;
        node
    }

    pub(crate) fn options(&mut self, token: Option<&str>) -> Options {
        let (hosts, tuns) = mpsc::unbounded_channel();
        self.tuns = tuns;
        Options {
            state: self.folder.path().join("state"),
            socket: self.socket(),
            token: token.map(|token| token.parse().unwrap()),
            host_name: self.name.clone(),
            port: Some(self.port),
            mtu: DEFAULT_MTU,
            core: Core::default(),
            shards: Shards::default(),
            offloads: Offloads::default(),
            endpoints: Vec::new(),
            gateway: None,
            proofs: Proofs::Warn,
            clock: Clock::start(),
            interfaces: Interfaces::Memory(hosts),
            dns: HostDns::Off,
            resolv_conf: PathBuf::new(),
            helper: PathBuf::new(),
            metrics: None,
            proxy: None,
            logs: Logs::default(),
            portmap: false,
            birthday: false,
            journal: None,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// Starts the agent.
    pub(crate) async fn up(&mut self, token: Option<&str>) -> Result<(), AgentError> {
        let options = self.options(token);
        self.up_with(options).await
    }

    pub(crate) async fn up_with(&mut self, options: Options) -> Result<(), AgentError> {
        self.agent = Some(Agent::start(options).await?);
        Ok(())
    }

    pub(crate) async fn down(&mut self) {
        self.agent.take().unwrap().stop().await.unwrap();
        self.tun = None;
    }

    pub(crate) async fn ready(&mut self) {
        let ready = self.agent.as_ref().unwrap().ready();
        timeout(DEADLINE, ready).await.unwrap_or_else(|_| panic!("{} is not ready", self.name)).unwrap();
        self.tun = Some(timeout(DEADLINE, self.tuns.recv()).await.unwrap().unwrap().1);
    }

    pub(crate) async fn status(&self) -> Status {
        self.agent.as_ref().unwrap().status().await.unwrap()
    }

    /// Asks over the Unix socket; gives every answer.
    pub(crate) async fn ask(&self, request: &Request) -> Vec<Reply> {
        let mut conversation = ask(&self.socket(), request).await.unwrap();
        let mut replies = Vec::new();
        while let Ok(Ok(reply)) = timeout(DEADLINE, conversation.next()).await {
            replies.push(reply);
        }
        replies
    }

    /// Waits until the status shows what is wanted; says how long that took.
    #[track_caller]
    pub(crate) fn sees(
        &self,
        what: &str,
        wanted: impl Fn(&Status) -> bool,
    ) -> impl Future<Output = Duration> {
        let place = std::panic::Location::caller();
        async move {
            let begin = Instant::now();
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return begin.elapsed();
                }
                let late = begin.elapsed() > DEADLINE;
                assert!(!late, "{place}: {} does not see: {what}\n{status:#?}", self.name);
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    pub(crate) async fn address(&self, version: u8) -> IpAddr {
        let group = self.status().await.groups.remove(0);
        if version == 4 { group.address4.into() } else { group.address6.into() }
    }

    pub(crate) async fn peer(&self, name: &str) -> Option<PeerStatus> {
        let peers = self.status().await.groups.into_iter().flat_map(|group| group.peers);
        peers.into_iter().find(|peer| peer.name.starts_with(&format!("{name}.")))
    }

    /// Answers echo requests from now on, as the kernel of a host does.
    pub(crate) fn answer_echoes(&mut self) {
        let tun = self.tun.take().unwrap();
        // Ends with the device.
        std::thread::spawn(move || {
            while let Ok(packet) = tun.receive(DEADLINE) {
                if let Some(reply) = packet.as_deref().and_then(packets::echo_reply) {
                    let _ = tun.send(&reply);
                }
            }
        });
    }

    pub(crate) fn send(&self, packet: &[u8]) {
        self.tun.as_ref().unwrap().send(packet).unwrap();
    }

    /// The next packet that the device delivers.
    pub(crate) fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        tokio::task::block_in_place(|| self.tun.as_ref().unwrap().receive(within).unwrap())
    }

    /// Every payload that arrives until the marker does.
    pub(crate) fn payloads_until(&self, marker: &[u8]) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        loop {
            let packet = self.receive(DEADLINE);
            let packet = packet.unwrap_or_else(|| panic!("{:?} did not reach {}", marker, self.name));
            if packets::payload(&packet) == marker {
                return payloads;
            }
            payloads.push(packets::payload(&packet).to_vec());
        }
    }
}

/// Packets go from one node to another, in one family.
pub(crate) async fn passes(from: &Node, to: &Node, version: u8, text: &str) {
    let (source, target) = (from.address(version).await, to.address(version).await);
    let begin = Instant::now();
    let packet = packets::udp((source, 4000).into(), (target, 5000).into(), text.as_bytes());
    while begin.elapsed() < DEADLINE {
        from.send(&packet);
        while let Some(arrived) = to.receive(Duration::from_millis(500)) {
            if arrived == packet {
                return;
            }
        }
    }
    panic!(
        "{text:?} did not get from {} to {} in IPv{version}\n{:#?}\n{:#?}",
        from.name,
        to.name,
        from.status().await,
        to.status().await
    );
}
