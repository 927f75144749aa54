//! One HTTP call on a connection of its own.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{self, HeaderName},
};
use hyper_util::rt::TokioIo;
use lacis_proto::{Code, Problem};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::dial::Dialer;

/// Largest answer to a call of the agent that is no stream: a grant is under 2 kB.
const MAX_ANSWER: usize = 256 * 1024;

/// One request as it goes out.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a Method,
    /// Path and query.
    pub(crate) path: &'a str,
    pub(crate) authorization: &'a str,
    /// Further headers.
    pub(crate) headers: &'a [(HeaderName, &'a str)],
    /// A JSON body, or nothing.
    pub(crate) body: Vec<u8>,
}

/// A call that brought no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No address of control could be reached and trusted.
    #[error("control cannot be reached: {}", list(tried))]
    Unreachable {
        /// Each address with the reason.
        tried: Vec<(String, String)>,
    },
    /// Control refused.
    #[error("control refused: {problem}")]
    Refused {
        /// Why.
        problem: Box<Problem>,
        /// How long control asks to wait before the next call.
        retry_after: Option<Duration>,
    },
    /// An answer that is none of control's.
    #[error("the answer of {url} {what}")]
    Answer {
        /// Who answered.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

fn list(tried: &[(String, String)]) -> String {
    let each: Vec<String> = tried.iter().map(|(url, why)| format!("{url} ({why})")).collect();
    each.join(", ")
}

/// Why one address gave no answer at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    #[error("the address is not https://host:port")]
    Url,
    #[error("no connection within 5 s")]
    Timeout,
    #[error("{0}")]
    Connect(std::io::Error),
    #[error("proxy {0}")]
    Proxy(String),
    #[error("{}", tls_reason(.0))]
    Tls(std::io::Error),
    #[error("{0}")]
    Http(hyper::Error),
}

fn tls_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    if text.contains(super::pin::NOT_THE_PINNED_AUTHORITY) {
        "it is not the control that made this token: its certificate authority differs from the pin"
            .to_owned()
    } else {
        format!("TLS: {text}")
    }
}

/// A connection to a server that has shown that it is trusted; nothing has been said yet.
pub(crate) async fn reach(url: &str, dialer: &Dialer) -> Result<TlsStream<TcpStream>, AttemptError> {
    let (host, port) = authority(url).and_then(host_and_port).ok_or(AttemptError::Url)?;
    dialer.connect(host, port).await
}

/// Host and port of an address, as one text.
fn authority(url: &str) -> Option<&str> {
    Some(url.strip_prefix("https://")?.trim_end_matches('/'))
}

/// The beginning of an answer: its status and headers are there, its body is not yet.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Who answers.
    pub(crate) url: String,
    response: Response<Incoming>,
}

impl Attempt {
    /// Sends one request to a server, over a connection of its own.
    pub(crate) async fn send(
        url: &str,
        dialer: &Dialer,
        outgoing: Outgoing<'_>,
    ) -> Result<Self, AttemptError> {
        let connection = reach(url, dialer).await?;
        Self::send_over(connection, url, outgoing).await
    }

    /// Sends one request over a connection that stands.
    pub(crate) async fn send_over(
        connection: TlsStream<TcpStream>,
        url: &str,
        outgoing: Outgoing<'_>,
    ) -> Result<Self, AttemptError> {
        let authority = authority(url).ok_or(AttemptError::Url)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(connection)).await.map_err(AttemptError::Http)?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(outgoing.method)
            .uri(outgoing.path)
            .header(header::HOST, authority)
            .header(header::AUTHORIZATION, outgoing.authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("lacis/", env!("CARGO_PKG_VERSION")));
        for (name, value) in outgoing.headers {
            request = request.header(name, *value);
        }
        let request = request.body(Full::new(Bytes::from(outgoing.body))).map_err(|_| AttemptError::Url)?;
        let response = sender.send_request(request).await.map_err(AttemptError::Http)?;
        Ok(Self { url: url.to_owned(), response })
    }

    /// This answer if it is a success, else the problem it tells.
    pub(crate) async fn or_problem(self) -> Result<Self, CallError> {
        let status = self.response.status();
        if status.is_success() {
            return Ok(self);
        }
        let retry_after = retry_after(self.response.headers());
        let bytes = self.body().await.unwrap_or_default();
        let problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            let mut problem = Problem::new(Code::Unknown, format!("HTTP status {status}"));
            problem.status = status.as_u16();
            problem
        });
        Err(CallError::Refused { problem: Box::new(problem), retry_after })
    }

    /// The whole body of an answer that is no stream.
    pub(crate) async fn body(self) -> Result<Bytes, CallError> {
        self.body_up_to(MAX_ANSWER).await
    }

    /// The whole body, if it has at most so many bytes.
    pub(crate) async fn body_up_to(self, most: usize) -> Result<Bytes, CallError> {
        let body = Limited::new(self.response.into_body(), most).collect().await;
        let what = "broke off or is too long";
        body.map(http_body_util::Collected::to_bytes).map_err(|_| CallError::Answer { url: self.url, what })
    }

    /// The body of a stream.
    pub(crate) fn into_stream(self) -> Incoming {
        self.response.into_body()
    }
}

/// Splits what stands behind `https://`.
pub(crate) fn host_and_port(authority: &str) -> Option<(&str, u16)> {
    let without_brackets = |host: &'_ str| host.len() > 2 && host.starts_with('[') && host.ends_with(']');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        Some(_) | None => (authority, 443),
    };
    let host = if without_brackets(host) { &host[1..host.len() - 1] } else { host };
    (!host.is_empty()).then_some((host, port))
}

/// The seconds of a Retry-After header (RFC 9110 §10.2.3). A date is passed over: control sends none.
fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn addresses_of_control_are_split() {
        assert_eq!(host_and_port("a.example"), Some(("a.example", 443)));
        assert_eq!(host_and_port("a.example:8443"), Some(("a.example", 8443)));
        assert_eq!(host_and_port("[2001:db8::1]:8443"), Some(("2001:db8::1", 8443)));
        assert_eq!(host_and_port("[2001:db8::1]"), Some(("2001:db8::1", 443)));
        assert_eq!(host_and_port("a:b"), None);
        assert_eq!(host_and_port(":1"), None);
    }
}
