//! Talks to the management API of control: one TLS connection per call, an API token on each.
//!
//! Answers stay JSON values: what a newer control adds is handed on to whoever asked for JSON. Tables read
//! the fields of [`view`].

mod events;
mod find;
mod view;

use std::time::Duration;

use hyper::{
    Method,
    header::{ACCEPT, HeaderName},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use self::{
    events::{Event, Events},
    find::{Named, NotOne, one},
    view::{AuditEntry, Group, JoinToken, Member, Node, Peer, Presence, Receipt, Token},
};
use crate::control::{Attempt, CallError, Dialer, Outgoing};

/// A call that has not been answered by then is given up, unless it was asked to wait longer.
const CALL: Duration = Duration::from_secs(15);

/// Largest answer: the list of 1,000 groups with 20,000 peers has about 12 MB.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A client of one control, with the rights of one API token.
#[derive(Debug)]
pub(crate) struct Management {
    api: String,
    dialer: Dialer,
    bearer: String,
}

impl Management {
    pub(crate) fn new(api: String, dialer: Dialer, token: &str) -> Self {
        Self { api, dialer, bearer: format!("Bearer {token}") }
    }

    /// Reads what is at a path.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, CallError> {
        self.call(&Method::GET, path, None, Duration::ZERO).await
    }

    /// Sends a body, or none, and gives the answer; `null` where there is none.
    pub(crate) async fn call(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        extra: Duration,
    ) -> Result<Value, CallError> {
        let headers = [(ACCEPT, "application/json")];
        let bytes = self.whole(method, path, &headers, body, CALL + extra).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| self.odd("is no JSON"))
    }

    /// Reads the text at a path.
    pub(crate) async fn text(&self, path: &str) -> Result<String, CallError> {
        let bytes = self.whole(&Method::GET, path, &[(ACCEPT, "text/plain")], None, CALL).await?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.odd("is no text"))
    }

    /// Opens a stream of events, after the one with this id where there is one.
    pub(crate) async fn events(&self, path: &str, last: Option<&str>) -> Result<Events, CallError> {
        let mut headers = vec![(ACCEPT, "text/event-stream")];
        headers.extend(last.map(|id| (LAST_EVENT_ID, id)));
        let attempt = self.send(&Method::GET, path, &headers, None, CALL).await?;
        Ok(Events::new(attempt.or_problem().await?.into_stream()))
    }

    /// Reads an answer as what it should be.
    pub(crate) fn read<T: DeserializeOwned>(&self, value: &Value) -> Result<T, CallError> {
        T::deserialize(value).map_err(|_| self.odd("is not understood; is control of another version?"))
    }

    async fn whole(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<hyper::body::Bytes, CallError> {
        let attempt = self.send(method, path, headers, body, patience).await?;
        let rest = async { attempt.or_problem().await?.body_up_to(MAX_ANSWER).await };
        tokio::time::timeout(patience, rest).await.map_err(|_| self.odd("stalled"))?
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Attempt, CallError> {
        let body = body.map(|body| serde_json::to_vec(body).expect("every body has a JSON form"));
        let body = body.unwrap_or_default();
        let outgoing = Outgoing { method, path, authorization: &self.bearer, headers, body };
        let attempt = Attempt::send(&self.api, &self.dialer, outgoing);
        let unreachable = |why: String| CallError::Unreachable { tried: vec![(self.api.clone(), why)] };
        let attempt = tokio::time::timeout(patience, attempt).await;
        let attempt =
            attempt.map_err(|_| unreachable(format!("no answer within {} s", patience.as_secs())))?;
        attempt.map_err(|why| unreachable(why.to_string()))
    }

    fn odd(&self, what: &'static str) -> CallError {
        CallError::Answer { url: self.api.clone(), what }
    }
}

/// Text as a value in a query (RFC 3986 §2.3).
pub(crate) fn in_query(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut query, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            query.push(char::from(byte));
        } else {
            let _ = write!(query, "%{byte:02X}");
        }
        query
    })
}

#[cfg(test)]
mod tests {
    use super::in_query;

    #[test]
    fn what_is_asked_for_fits_into_a_query() {
        assert_eq!(in_query("shop-1"), "shop-1");
        assert_eq!(in_query("a b&c=é"), "a%20b%26c%3D%C3%A9");
    }
}
