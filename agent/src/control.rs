//! Talks to control: one TLS connection per call, checked against the pin before any secret leaves.
//!
//! ```text
//! join    token and identity key ─▶ node id and grant           signed by the identity it introduces
//! peers   WireGuard public key   ─▶ host number                 signed by the identity
//! watch   cursors                ─▶ lines, until the stream ends
//! report  endpoints, statements  ─▶ the time of control
//! proofs  peers                  ─▶ what their nodes have stated
//! signal  something sealed       ─▶ on the stream of the peer that it is for
//! ```
//! Addresses of control are raced: the one that answered last comes first, the next begins beside it a quarter of a second
//! later, and so on; the first that shows who it is gets the call, and no other does unless that one fails. Where a call
//! is given up before it is answered, the next one begins with the address behind. A refusal for the clock (`clock_skew`)
//! teaches the offset and is tried once more.

mod call;
mod dial;
mod pin;
mod watch;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use ed25519_dalek::{Signer as _, SigningKey};
use hyper::{Method, header::HeaderName};
use lacis_proto::{
    Authorization, Code, IdentityKey, JoinReply, JoinRequest, JoinToken, PeerId, PeerReply, PeerRequest,
    Problem, ProofsReply, ProofsRequest, ReportReply, ReportRequest, Run, Signal, Signature, Signer,
    WatchRequest, request_bytes,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub use self::dial::{Proxy, ProxyError};
pub(crate) use self::{
    call::{Attempt, AttemptError, CallError, Outgoing, host_and_port},
    dial::Dialer,
    pin::{Trust, TrustError},
    watch::{StreamError, WatchStream},
};
use crate::{clock::Clock, race::race};

/// A call that has not been answered by then is given up: control answers in milliseconds, a write
/// waits for one disk flush.
const CALL: Duration = Duration::from_secs(15);

const RUN: HeaderName = HeaderName::from_static(Run::HEADER);

/// Talks to one installation of control.
#[derive(Clone, Debug)]
pub(crate) struct ControlClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    urls: Vec<String>,
    dialer: Dialer,
    identity: SigningKey,
    clock: Clock,
    /// The header that tells this process from others of the node.
    run: String,
    offset_ms: AtomicI64,
    first: FirstUrl,
}

/// The address of control that is tried first. All clients of a node share it: what one has found out holds for the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirstUrl(Arc<Mutex<String>>);

impl FirstUrl {
    /// Its place among these addresses; the first place where it is none of them.
    fn place(&self, urls: &[String]) -> usize {
        let url = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        urls.iter().position(|known| *known == *url).unwrap_or(0)
    }

    fn set(&self, url: &str) {
        url.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Who signs a call, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The node, or its identity while it has no id.
    pub(crate) signer: Signer,
    /// The control id, or the token id of a join.
    pub(crate) audience: String,
}

impl ControlClient {
    /// A client for these addresses of control, in the order in which they are tried behind the `first`.
    pub(crate) fn new(
        urls: Vec<String>,
        dialer: Dialer,
        identity: SigningKey,
        clock: Clock,
        run: &Run,
        first: FirstUrl,
    ) -> Self {
        let (offset_ms, run) = (AtomicI64::new(0), run.to_string());
        Self { inner: Arc::new(Inner { urls, dialer, identity, clock, run, offset_ms, first }) }
    }

    /// How far control's clock is ahead of this host's, as far as control has complained.
    pub(crate) fn clock_offset_ms(&self) -> i64 {
        self.inner.offset_ms.load(Ordering::Relaxed)
    }

    /// The same client for other addresses. What it knows of control's clock stays.
    pub(crate) fn with_urls(&self, urls: Vec<String>) -> Self {
        let Inner { urls: _, dialer, identity, clock, run, offset_ms, first } = &*self.inner;
        let offset_ms = AtomicI64::new(offset_ms.load(Ordering::Relaxed));
        let (dialer, identity, clock, run) = (dialer.clone(), identity.clone(), *clock, run.clone());
        let first = first.clone();
        Self { inner: Arc::new(Inner { urls, dialer, identity, clock, run, offset_ms, first }) }
    }

    /// Brings the node into the group of a token.
    pub(crate) async fn join(&self, token: &JoinToken, body: &JoinRequest) -> Result<JoinReply, CallError> {
        let caller =
            Caller { signer: Signer::Identity(body.identity), audience: token.id.as_str().to_owned() };
        self.post(&caller, "/agent/v1/join", body).await
    }

    /// Registers this node's peer of a group.
    pub(crate) async fn add_peer(&self, caller: &Caller, body: &PeerRequest) -> Result<PeerReply, CallError> {
        self.post(caller, "/agent/v1/peers", body).await
    }

    /// Takes this node's peer out of its group. One that control does not know, or of a node that it does not
    /// know any more, is gone already.
    pub(crate) async fn remove_peer(&self, caller: &Caller, peer: &PeerId) -> Result<(), CallError> {
        let path = format!("/agent/v1/peers/{peer}");
        match self.answered(caller, &Method::DELETE, &path, &[]).await {
            Err(CallError::Refused { problem, .. })
                if matches!(problem.code, Code::NotFound | Code::NodeRevoked | Code::UnknownNode) =>
            {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Tells where this node's peers can be reached.
    pub(crate) async fn report(
        &self,
        caller: &Caller,
        body: &ReportRequest,
    ) -> Result<ReportReply, CallError> {
        self.post(caller, "/agent/v1/report", body).await
    }

    /// Passes something on to a peer.
    pub(crate) async fn signal(&self, caller: &Caller, body: &Signal) -> Result<(), CallError> {
        self.answered(caller, &Method::POST, "/agent/v1/signal", &to_json(body)).await.map(drop)
    }

    /// What nodes have stated of these peers.
    pub(crate) async fn proofs(&self, caller: &Caller, peers: &[PeerId]) -> Result<ProofsReply, CallError> {
        self.post(caller, "/agent/v1/proofs", &ProofsRequest { peers: peers.to_vec() }).await
    }

    /// Opens the watch stream. The answer has begun when this returns.
    pub(crate) async fn watch(&self, caller: &Caller, body: &WatchRequest) -> Result<WatchStream, CallError> {
        let attempt = self.answered(caller, &Method::POST, "/agent/v1/watch", &to_json(body)).await?;
        Ok(WatchStream::new(attempt))
    }

    async fn post<B: Serialize + Sync, R: DeserializeOwned>(
        &self,
        caller: &Caller,
        path: &str,
        body: &B,
    ) -> Result<R, CallError> {
        let attempt = self.answered(caller, &Method::POST, path, &to_json(body)).await?;
        let url = attempt.url.clone();
        let bytes = tokio::time::timeout(CALL, attempt.body())
            .await
            .map_err(|_| CallError::Answer { url: url.clone(), what: "stalled" })??;
        serde_json::from_slice(&bytes).map_err(|_| CallError::Answer { url, what: "is not understood" })
    }

    /// The beginning of a successful answer, after trying every address and the clock.
    async fn answered(
        &self,
        caller: &Caller,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<Attempt, CallError> {
        match self.try_in_turn(caller, method, path, body).await {
            Err(CallError::Refused { problem, retry_after }) if problem.code == Code::ClockSkew => {
                let Some(theirs) = problem.now_ms else {
                    return Err(CallError::Refused { problem, retry_after });
                };
                self.learn_time(theirs);
                self.try_in_turn(caller, method, path, body).await
            }
            other => other,
        }
    }

    async fn try_in_turn(
        &self,
        caller: &Caller,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<Attempt, CallError> {
        let (urls, first) = (&self.inner.urls, self.inner.first.place(&self.inner.urls));
        let mut left: Vec<usize> = (0..urls.len()).map(|turn| (first + turn) % urls.len()).collect();
        let mut unreachable = Vec::new();
        while !left.is_empty() {
            let (index, connection) = match self.reach(&left).await {
                Ok(reached) => reached,
                Err(failed) => {
                    unreachable.extend(failed);
                    break;
                }
            };
            let url = &urls[index];
            // Whoever gives this up does not come back to it at once.
            self.inner.first.set(&urls[(index + 1) % urls.len()]);
            let authorization = self.sign(caller, method, path, body);
            let headers = &[(RUN, self.inner.run.as_str())];
            let outgoing =
                Outgoing { method, path, authorization: &authorization, headers, body: body.to_vec() };
            match tokio::time::timeout(CALL, Attempt::send_over(connection, url, outgoing)).await {
                Ok(Ok(attempt)) => {
                    self.inner.first.set(url);
                    return attempt.or_problem().await;
                }
                Ok(Err(why)) => unreachable.push((url.clone(), why.to_string())),
                Err(_) => unreachable.push((url.clone(), "no answer within 15 s".to_owned())),
            }
            left.retain(|other| *other != index);
        }
        urls.get(first).into_iter().for_each(|url| self.inner.first.set(url));
        Err(CallError::Unreachable { tried: unreachable })
    }

    /// A connection to the first of these addresses that answers, and which one that is; else, why none did.
    async fn reach(&self, order: &[usize]) -> Result<(usize, TlsStream<TcpStream>), Vec<(String, String)>> {
        let ways = order.iter().map(|index| {
            let (url, dialer) = (self.inner.urls[*index].clone(), self.inner.dialer.clone());
            async move { call::reach(&url, &dialer).await.map_err(|why| (url, why.to_string())) }
        });
        let (at, connection) = race(ways.collect()).await?;
        Ok((order[at], connection))
    }

    fn sign(&self, caller: &Caller, method: &Method, path: &str, body: &[u8]) -> String {
        let offset = self.inner.offset_ms.load(Ordering::Relaxed);
        let unix_ms = self.inner.clock.unix_ms().saturating_add_signed(offset);
        let bytes = request_bytes(method.as_str(), path, unix_ms, body, &caller.audience);
        let signature = Signature(self.inner.identity.sign(&bytes).to_bytes());
        Authorization { signer: caller.signer.clone(), unix_ms, signature }.to_string()
    }

    fn learn_time(&self, theirs_ms: u64) {
        let ours = self.inner.clock.unix_ms();
        let offset = i64::try_from(i128::from(theirs_ms) - i128::from(ours)).unwrap_or(0);
        tracing::warn!(
            offset_s = offset / 1000,
            "the clock of this host differs from control's; allowing for it"
        );
        self.inner.offset_ms.store(offset, Ordering::Relaxed);
    }
}

/// The public half of an identity.
pub(crate) fn identity_key(identity: &SigningKey) -> IdentityKey {
    IdentityKey::try_new(identity.verifying_key().to_bytes()).expect("no key pair has a zero public half")
}

impl CallError {
    /// How long control asks to wait before the next call.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unreachable { .. } | Self::Answer { .. } => None,
        }
    }

    /// What control said, where it is what control said.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            Self::Unreachable { .. } | Self::Answer { .. } => None,
        }
    }
}

fn to_json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("every body has a JSON form")
}

#[cfg(test)]
mod tests;
