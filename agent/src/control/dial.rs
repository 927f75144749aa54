//! Reaches an HTTPS server: straight, or through the proxy that the environment names.
//!
//! ```text
//! CONNECT host:port HTTP/1.1 ─▶ proxy ─ 200 ─▶ TLS with the server, which the proxy cannot read
//! ```

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lacis_agent_core::dial_order;
use lacis_proto::Pin;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    call::AttemptError,
    pin::{Trust, TrustError},
};
use crate::{nat64, race::race};

/// Time to reach a server at any of its addresses: three TCP SYNs (RFC 6298 starts at 1 s and doubles).
const CONNECT: Duration = Duration::from_secs(5);

/// Longest answer of a proxy to CONNECT, which has a few headers.
const MAX_PROXY_ANSWER: usize = 8 * 1024;

/// Opens connections to servers that are trusted.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    trust: Trust,
    proxy: Option<Arc<Proxy>>,
}

/// Text that names no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HTTPS_PROXY is not http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")]
pub struct ProxyError;

/// An HTTP proxy that passes TLS on (RFC 9110 §9.3.6), and who is reached without it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    /// The header that lets us in (RFC 7617), where the proxy asks who we are.
    authorization: Option<String>,
    /// Hosts, or ends of their names, that are reached straight; `*` for all.
    except: Vec<String>,
}

/// Without the password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        let (host, port) = authority.rsplit_once(':').ok_or(ProxyError)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = port.parse().map_err(|_| ProxyError)?;
        if host.is_empty() || host.contains(['/', ' ']) {
            return Err(ProxyError);
        }
        let authorization = user.map(|user| format!("Basic {}", STANDARD.encode(unescape(user))));
        Ok(Self { host, port, authorization, except: Vec::new() })
    }
}

impl Proxy {
    /// Reaches these hosts without the proxy: names, ends of names or addresses, with commas between, as `NO_PROXY` has them.
    #[must_use]
    pub fn except(mut self, hosts: &str) -> Self {
        let hosts = hosts.split(',').map(|host| host.trim().trim_start_matches('.').to_ascii_lowercase());
        self.except = hosts.filter(|host| !host.is_empty()).collect();
        self
    }

    /// Whether a host is reached through the proxy. This machine itself never is.
    fn serves(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let is_excepted = self.except.iter().any(|except| {
            let is_below = host.strip_suffix(except.as_str()).is_some_and(|rest| rest.ends_with('.'));
            except == "*" || *except == host || is_below
        });
        !is_here && !is_excepted
    }

    /// A connection that the proxy passes on to the server.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, AttemptError> {
        let proxy = |what: String| AttemptError::Proxy(format!("{}:{}: {what}", self.host, self.port));
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let mut stream = stream.map_err(|error| proxy(error.to_string()))?;
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|error| proxy(error.to_string()))?;
        let mut answer = Vec::new();
        // The server says nothing before we do: whatever comes is the proxy's.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= MAX_PROXY_ANSWER {
                return Err(proxy("its answer has no end".to_owned()));
            }
            answer.push(stream.read_u8().await.map_err(|error| proxy(error.to_string()))?);
        }
        match status_of(&answer) {
            Some(200..=299) => Ok(stream),
            Some(407) => Err(proxy("it wants a name and a password, in HTTPS_PROXY".to_owned())),
            Some(status) => Err(proxy(format!("it refused with HTTP status {status}"))),
            None => Err(proxy("it does not speak HTTP".to_owned())),
        }
    }
}

impl Dialer {
    pub(crate) fn new(trust: Trust, proxy: Option<Arc<Proxy>>) -> Self {
        Self { trust, proxy }
    }

    /// Reaches a relay: whoever these pins stand for; without any control, or whoever this host's authorities vouch for.
    pub(crate) fn for_relay(&self, pins: &[Pin]) -> Result<Self, TrustError> {
        Ok(Self { trust: self.trust.for_relay(pins)?, proxy: self.proxy.clone() })
    }

    /// A connection to a server, which has shown that it is trusted.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, AttemptError> {
        let connect = self.try_connect(host, port);
        tokio::time::timeout(CONNECT, connect).await.map_err(|_| AttemptError::Timeout)?
    }

    async fn try_connect(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, AttemptError> {
        let stream = match self.proxy.as_ref().filter(|proxy| proxy.serves(host)) {
            Some(proxy) => proxy.connect(host, port).await?,
            None => straight(host, port).await.map_err(AttemptError::Connect)?,
        };
        stream.set_nodelay(true).map_err(AttemptError::Connect)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| AttemptError::Url)?;
        let connector = TlsConnector::from(Arc::clone(self.trust.tls()));
        connector.connect(name, stream).await.map_err(AttemptError::Tls)
    }
}

/// A connection to the address of a host that answers first. Where this host has no IPv4, and that of the server is all that
/// there is, a NAT64 may lead there (RFC 8305 §7.1).
async fn straight(host: &str, port: u16) -> io::Result<TcpStream> {
    let order = dial_order(lookup_host((host, port)).await?);
    let error = match to_first(&order).await {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::NetworkUnreachable || order.iter().any(SocketAddr::is_ipv6) {
        return Err(error);
    }
    let Some(prefix) = nat64::discover().await else { return Err(error) };
    to_first(&order.into_iter().map(|addr| prefix.lead_to(addr)).collect::<Vec<_>>()).await
}

async fn to_first(order: &[SocketAddr]) -> io::Result<TcpStream> {
    match race(order.iter().copied().map(TcpStream::connect).collect()).await {
        Ok((_, stream)) => Ok(stream),
        Err(failed) => Err(failed.into_iter().next().unwrap_or_else(|| io::ErrorKind::NotFound.into())),
    }
}

/// The status of an HTTP answer (RFC 9112 §4).
fn status_of(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// The bytes that a text with percent escapes stands for (RFC 3986 §2.1); what is no escape stays.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_with_or_without_who_we_are() {
        let proxy: Proxy = "http://proxy.example:3128".parse().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port, proxy.authorization), ("proxy.example", 3128, None));
        let proxy: Proxy = "http://user:p%40ss@[2001:db8::1]:8080/".parse().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("2001:db8::1", 8080));
        assert_eq!(proxy.authorization, Some(format!("Basic {}", STANDARD.encode("user:p@ss"))));
        for text in ["", "http://", "http://proxy", "http://:1", "https://proxy:1/x:2", "http://proxy:port"] {
            assert_eq!(text.parse::<Proxy>().map_err(|_| ()), Err(()), "{text}");
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        let proxy: Proxy = "http://user:secret@proxy.example:1".parse().unwrap();
        assert_eq!(format!("{proxy:?}"), "Proxy(proxy.example:1)");
    }

    #[test]
    fn excepted_hosts_and_this_machine_are_reached_straight() {
        let proxy: Proxy = "http://proxy.example:1".parse().unwrap();
        let proxy = proxy.except(" .corp.example, 192.0.2.7 ,");
        let served = |host| proxy.serves(host);
        assert!(served("control.example") && served("notcorp.example") && served("192.0.2.8"));
        assert!(!served("corp.example") && !served("a.CORP.example") && !served("192.0.2.7"));
        assert!(!served("localhost") && !served("127.0.0.1") && !served("::1"));
        assert!(!proxy.clone().except("*").serves("control.example"));
    }

    #[test]
    fn the_answer_of_a_proxy_is_read() {
        assert_eq!(status_of(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status_of(b"HTTP/1.0 407 Who?\r\n\r\n"), Some(407));
        assert_eq!(status_of(b"SSH-2.0-x\r\n\r\n"), None);
    }

    #[tokio::test]
    async fn a_proxy_that_never_comes_to_an_end_is_left() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy: Proxy = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let talking = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // It is cut off while it talks.
            let _ = stream.write_all(&vec![b'x'; 2 * MAX_PROXY_ANSWER]).await;
        });
        let left = proxy.connect("control.example", 8443).await.unwrap_err();
        assert!(left.to_string().ends_with("its answer has no end"), "{left}");
        talking.await.unwrap();
    }
}
