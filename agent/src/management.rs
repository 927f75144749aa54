//! Talks to the management API of control: one TLS connection per call, an API token on each.
//!
//! Answers stay JSON values: what a newer control adds is handed on to whoever asked for JSON. Tables read
//! the fields of [`view`].
//!
//! A call that control refuses for haste (429) is made again when control says, writes as well: control refuses
//! so before it looks at what is asked.

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
    view::{
        AuditEntry, GatewayPeer, Gateways, Group, JoinToken, Member, Node, Peer, Presence, Receipt, Token,
    },
};
use crate::{
    clock::random,
    control::{Attempt, CallError, Dialer, Outgoing},
};

/// A call that has not been answered by then is given up, unless it was asked to wait longer.
const CALL: Duration = Duration::from_secs(15);

/// Largest answer: the list of 1,000 groups with 20,000 peers has about 12 MB.
const MAX_LISTING: usize = 64 * 1024 * 1024;

/// Longest that one call waits for its turn, all refusals together: somebody looks at the screen meanwhile.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long to wait for a control that asks for patience without saying how long.
const USUAL_WAIT: Duration = Duration::from_secs(1);

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
        Ok(Events::new(attempt.into_stream()))
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
        let rest = attempt.body_up_to(MAX_LISTING);
        tokio::time::timeout(patience, rest).await.map_err(|_| self.odd("stalled"))?
    }

    /// The beginning of a successful answer, as soon as control lets this client have its turn.
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
        let mut waited = Duration::ZERO;
        loop {
            let outgoing =
                Outgoing { method, path, authorization: &self.bearer, headers, body: body.clone() };
            let refused = match self.send_once(outgoing, patience).await {
                Ok(attempt) => return Ok(attempt),
                Err(error) => error,
            };
            let Some(wait) = turn(&refused, waited, random::<1>()[0]) else { return Err(refused) };
            tracing::warn!(wait_ms = wait.as_millis(), "control asks to wait: too many requests at once");
            tokio::time::sleep(wait).await;
            waited += wait;
        }
    }

    async fn send_once(&self, outgoing: Outgoing<'_>, patience: Duration) -> Result<Attempt, CallError> {
        let attempt = Attempt::send(&self.api, &self.dialer, outgoing);
        let unreachable = |why: String| CallError::Unreachable { tried: vec![(self.api.clone(), why)] };
        let attempt = tokio::time::timeout(patience, attempt).await;
        let attempt =
            attempt.map_err(|_| unreachable(format!("no answer within {} s", patience.as_secs())))?;
        let attempt = attempt.map_err(|why| unreachable(why.to_string()))?;
        let answered = tokio::time::timeout(patience, attempt.or_problem()).await;
        answered.map_err(|_| self.odd("stalled"))?
    }

    fn odd(&self, what: &'static str) -> CallError {
        CallError::Answer { url: self.api.clone(), what }
    }
}

/// How long to wait before the same call is made again; `None` where it is not worth it. `chance` spreads clients
/// that were refused together.
fn turn(refused: &CallError, waited: Duration, chance: u8) -> Option<Duration> {
    refused.problem().filter(|problem| problem.status == 429)?;
    let least = refused.retry_after().unwrap_or(USUAL_WAIT).max(USUAL_WAIT);
    let wait = least.saturating_add(USUAL_WAIT * u32::from(chance) / 256);
    (waited.saturating_add(wait) <= MAX_WAIT).then_some(wait)
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
    use lacis_proto::{Code, Problem};

    use super::*;

    fn refused(code: Code, retry_after_s: Option<u64>) -> CallError {
        let problem = Box::new(Problem::new(code, "no"));
        CallError::Refused { problem, retry_after: retry_after_s.map(Duration::from_secs) }
    }

    #[test]
    fn a_call_in_a_hurry_is_made_again_when_control_says_and_not_for_ever() {
        let seconds = Duration::from_secs_f64;
        for (retry_after_s, waited_s, chance, expected) in [
            (Some(3), 0.0, 0, Some(3.0)),
            (Some(3), 0.0, 128, Some(3.5)),
            (None, 0.0, 0, Some(1.0)),
            (Some(0), 0.0, 0, Some(1.0)),
            (Some(3), 57.0, 0, Some(3.0)),
            (Some(3), 57.0, 1, None),
            (Some(u64::MAX), 0.0, 0, None),
        ] {
            let hasty = refused(Code::RateLimited, retry_after_s);
            let wait = turn(&hasty, seconds(waited_s), chance);
            assert_eq!(wait, expected.map(seconds), "{retry_after_s:?} after {waited_s} s");
        }
        for lasting in [Code::Busy, Code::Forbidden, Code::LimitReached] {
            assert_eq!(turn(&refused(lasting, Some(1)), Duration::ZERO, 0), None, "{lasting:?}");
        }
        let unreachable = CallError::Unreachable { tried: Vec::new() };
        assert_eq!(turn(&unreachable, Duration::ZERO, 0), None);
    }

    #[test]
    fn what_is_asked_for_fits_into_a_query() {
        assert_eq!(in_query("shop-1"), "shop-1");
        assert_eq!(in_query("a b&c=é"), "a%20b%26c%3D%C3%A9");
    }
}
