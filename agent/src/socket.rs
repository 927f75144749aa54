//! The local API: a Unix socket on which the command line asks the running agent.
//!
//! One request per connection, a line of JSON; answers are lines of JSON. Anyone on the node may read;
//! root, whoever runs the agent, and the group `lacis` may change, and read the log (DESIGN ruling 28). A request of
//! HTTP in place of JSON is answered too: `GET /healthz`, `/readyz`, `/metrics`.
//!
//! ```text
//! {"status":{}}                                           ─▶ {"status":{…}}
//! {"wait":{"until":"ready","timeout_ms":10000}}           ─▶ {"done":{}}
//! {"wait":{"until":{"peer":"web-2"},"timeout_ms":10000}}  ─▶ {"done":{}}
//! {"ping":{"target":"web-2","count":3,"interval_ms":200,"timeout_ms":2000,"family":null}}
//!                                                         ─▶ {"pong":{…}} … {"done":{}}
//! {"explain":{"target":"web-2"}}                          ─▶ {"explained":{…}}
//! {"netcheck":{}}                                         ─▶ {"netcheck":{…}}
//! {"logs":{"lines":50,"follow":false}}                    ─▶ {"log":{"line":"…"}} … {"done":{}}
//! {"join":{"token":"lacis_join_…"}} {"leave":{"group":"main"}} {"purge":{}} {"down":{}}
//!                                                         ─▶ {"done":{}}
//! anything that fails                                     ─▶ {"error":{"kind":"…","message":"…"}}
//! ```

mod client;
mod rights;
mod server;

use serde::{Deserialize, Serialize};

pub use self::client::{AskError, Conversation, ask};
pub(crate) use self::server::{SocketError, serve};
use crate::status::{Explained, Netcheck, Pong, Status};

/// Longest line in either direction: the status of a group of 10,000 peers has 4 MB.
const MAX_LINE: usize = 16 << 20;

/// What the command line asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How are things?
    Status {},
    /// Answer when this is so.
    Wait {
        /// What to wait for.
        until: Until,
        /// For how long at most.
        timeout_ms: u64,
    },
    /// Is this peer there?
    Ping(PingRequest),
    /// Why is this peer reached the way it is?
    Explain {
        /// Name, label, id or address.
        target: String,
    },
    /// What does this node's network let through?
    Netcheck {},
    /// What has the agent said?
    Logs {
        /// How many of the last lines.
        lines: u32,
        /// Go on with what it says from now on.
        follow: bool,
    },
    /// Join another group.
    Join {
        /// The token.
        token: String,
    },
    /// Leave a group.
    Leave {
        /// Its id or label.
        group: String,
    },
    /// Take a new key.
    RotateKey {
        /// Id or label of the group; in every group without it.
        group: Option<String>,
    },
    /// Leave every group, end, and leave nothing behind on this host.
    Purge {},
    /// End; membership stays.
    Down {},
}

/// See [`Request::Wait`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Every group of this node has its interface and names are answered.
    Ready,
    /// A peer, by name, label, id or address, answers.
    Peer(String),
}

/// See [`Request::Ping`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingRequest {
    /// Name, label, id or address.
    pub target: String,
    /// How many times; 0 is without end.
    pub count: u32,
    /// Time from one to the next.
    pub interval_ms: u64,
    /// Time that an answer may take.
    pub timeout_ms: u64,
    /// 4 or 6, or the first that the target has.
    pub family: Option<u8>,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Ping`], once per attempt.
    Pong(Pong),
    /// To [`Request::Explain`].
    Explained(Box<Explained>),
    /// To [`Request::Netcheck`].
    Netcheck(Box<Netcheck>),
    /// To [`Request::Logs`], once per line.
    Log {
        /// The line.
        line: String,
    },
    /// To [`Request::Logs`], where the journal keeps them.
    Journal {
        /// Under which unit.
        unit: String,
    },
    /// The request is answered to the end.
    Done {},
    /// The request failed.
    Error {
        /// What kind of failure.
        kind: ErrorKind,
        /// For a person.
        message: String,
    },
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request does not parse.
    BadRequest,
    /// No peer has that name, id or address.
    UnknownPeer,
    /// It is not so yet, and the time is over.
    TimedOut,
    /// The agent is going down.
    Stopping,
    /// Only root, whoever runs the agent, and the group `lacis` may change anything.
    Forbidden,
    /// The change failed.
    Failed,
}
