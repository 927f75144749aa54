//! A control of its own, started as a person starts it, and a client that keeps its connection.

use std::{net::SocketAddr, path::PathBuf, process::Command, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use support::{Process, binary};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A control and where it is.
pub(crate) struct Control {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) process: Process,
    pub(crate) addr: SocketAddr,
    /// What the first start printed.
    pub(crate) ready: Value,
}

impl Control {
    /// A first start, without limits on how much one caller sends.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (process, ready) = serve(&folder, ([127, 0, 0, 1], 0).into());
        let addr = ready["api"].as_str().unwrap().strip_prefix("https://").unwrap().parse().unwrap();
        Self { folder, process, addr, ready }
    }

    /// Kills the process without a warning and starts another on the same folder and port.
    pub(crate) fn crash(&mut self) {
        self.process.kill();
        self.process = serve(&self.folder, self.addr).0;
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    /// What a client needs to call this control.
    pub(crate) fn caller(&self) -> Caller {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(self.text("ca")).unwrap();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        let base = format!("/v4/networkgroups/organisations/{}/networkgroups", self.text("owner"));
        Caller {
            tls: TlsConnector::from(Arc::new(config)),
            addr: self.addr,
            token: self.text("api_token").to_owned(),
            base,
            connection: None,
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

fn serve(folder: &tempfile::TempDir, listen: SocketAddr) -> (Process, Value) {
    let mut command = Command::new(binary("lacis-control"));
    command.args(["serve", "--no-limits", "--format", "json", "--listen", &listen.to_string(), "--data"]);
    command.arg(folder.path().join("data"));
    let mut process = Process::start(&mut command, &folder.path().join("control.log"));
    let ready = serde_json::from_str(&process.line()).unwrap();
    (process, ready)
}

/// A client with one connection, made anew where it broke.
#[derive(Clone)]
pub(crate) struct Caller {
    tls: TlsConnector,
    addr: SocketAddr,
    token: String,
    /// The path of the owner's groups.
    pub(crate) base: String,
    connection: Option<Arc<tokio::sync::Mutex<BufReader<TlsStream<TcpStream>>>>>,
}

impl Caller {
    /// One call; `None` where the connection broke before the whole answer had come.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let answered = self.attempt(method, path, body).await;
        if answered.is_err() {
            self.connection = None;
        }
        answered.ok()
    }

    async fn attempt(&mut self, method: &str, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
        let connection = match &self.connection {
            Some(connection) => Arc::clone(connection),
            None => {
                let stream = TcpStream::connect(self.addr).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::IpAddress(self.addr.ip().into());
                let stream = BufReader::new(self.tls.connect(name, stream).await?);
                Arc::clone(self.connection.insert(Arc::new(tokio::sync::Mutex::new(stream))))
            }
        };
        let mut stream = connection.lock().await;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.addr,
            self.token,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.split(' ').next().and_then(|status| status.parse().ok()).unwrap_or_default();
            } else if let Some(rest) = line.strip_prefix("content-length:") {
                length = rest.trim().parse().unwrap_or_default();
            } else if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).await?;
        Ok((status, serde_json::from_slice(&answer).unwrap_or_default()))
    }
}
