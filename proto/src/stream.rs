//! The lines of the watch stream: newline-delimited JSON, one object with one key per line.
//!
//! ```json
//! {"hello":{"protocol":1,"control":"0.1.0","epoch":"7f3a","now_ms":1795323600000,"beat_s":30}}   optional "urls"
//! {"reset":{"scope":"ng_…"}}                          drop what is not named before the next "at"
//! {"put":{"scope":"ng_…","records":[…]}}              at most 500 records
//! {"del":{"scope":"ng_…","ids":["…"]}}                tombstones
//! {"at":{"scope":"ng_…","rev":48121,"digest":"…"}}    apply all of the above at once; optional "ack_within_ms"
//! {"drop":{"scope":"ng_…"}}                           this node has no peer in that group any more; optional "reason"
//! {"signal":{"group":"ng_…","from":"…","to":"…","body":"…"}}   from peer to peer, opaque to control
//! {"relays":{"relays":[…],"tokens":[…]}}              see crate::relay::Relays
//! {"rollcall":{}}                                     report at once
//! {"copy":{"host":"web-1","from":"192.0.2.9:50100"}}  another machine with this identity was refused
//! {"beat":{"now_ms":1795323630000}}
//! {"bye":{"reason":"drain","within_s":30}}
//! ```
//! A line is at most 1 MiB. Lines of unknown kinds and unknown fields are ignored. `reset` is the only
//! way to drop records that are not named.

use std::{collections::VecDeque, net::SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, Epoch, GroupId, PeerId, Record, RecordId, Revision, ScopeId, relay::Relays};

/// Longest line, without its newline. A `put` of [`MAX_PUT_RECORDS`] ordinary records is a tenth of it.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Most records in one `put` line, so that a reader can bound its memory per line.
pub const MAX_PUT_RECORDS: usize = 500;

/// One line of the watch stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first line of every stream.
    Hello(Hello),
    /// The answer for this scope names every record.
    Reset(Reset),
    /// Records that are new or changed.
    Put(Put),
    /// Records that are gone.
    Del(Del),
    /// Commit point of the lines before it.
    At(At),
    /// The node has no peer in this scope's group any more.
    Drop(DropScope),
    /// A message from one peer to another.
    Signal(Signal),
    /// The relays there are, and this node's tokens for them.
    Relays(Relays),
    /// Report at once: control asks whether this reader is still there.
    Rollcall(Rollcall),
    /// Another machine with this node's identity was refused.
    Copy(CopySeen),
    /// Still there.
    Beat(Beat),
    /// The stream ends soon, on purpose.
    Bye(Bye),
    /// A kind this build does not know, by its name.
    #[serde(skip)]
    Unknown(String),
}

/// Introduces control to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol number of this stream.
    pub protocol: u16,
    /// Control's version, for people.
    pub control: String,
    /// Epoch of every scope on this stream.
    pub epoch: Epoch,
    /// The time of control in Unix milliseconds.
    pub now_ms: u64,
    /// A line comes at least this often, in seconds.
    pub beat_s: u32,
    /// Addresses of control from now on, best first: an agent keeps them, and those before as a last resort.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

/// See [`Line::Reset`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// The scope.
    pub scope: ScopeId,
}

/// See [`Line::Put`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The scope.
    pub scope: ScopeId,
    /// New or changed records.
    pub records: Vec<Record>,
}

/// See [`Line::Del`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Del {
    /// The scope.
    pub scope: ScopeId,
    /// Ids of the records that are gone.
    pub ids: Vec<RecordId>,
}

/// See [`Line::At`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// The scope.
    pub scope: ScopeId,
    /// The scope's revision with the lines before applied.
    pub rev: Revision,
    /// The digest at that revision.
    pub digest: Digest,
    /// The agent reports that it has applied this within so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_within_ms: Option<u32>,
}

/// See [`Line::Drop`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropScope {
    /// The scope.
    pub scope: ScopeId,
    /// Why; absent from a control that does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<DropReason>,
}

/// Why a node has no peer in a group any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// Its peer was removed, or the member of which it was an instance unlinked.
    PeerRemoved,
    /// There is no such group any more.
    GroupDeleted,
    /// The node was revoked.
    NodeRevoked,
    /// A reason this build does not know.
    #[serde(other)]
    Unknown,
}

/// See [`Line::Signal`]. It is also the body of `POST /agent/v1/signal`, by which the sender hands it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The group of both peers.
    pub group: GroupId,
    /// The sender.
    pub from: PeerId,
    /// The receiver: a peer of the reading node.
    pub to: PeerId,
    /// Sealed by the sender for the receiver, in base64; control cannot read it.
    pub body: String,
}

/// See [`Line::Rollcall`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollcall {}

/// See [`Line::Copy`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySeen {
    /// What the other machine calls itself.
    pub host: String,
    /// Where it called from.
    pub from: SocketAddr,
}

/// See [`Line::Beat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The time of control in Unix milliseconds.
    pub now_ms: u64,
}

/// See [`Line::Bye`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    /// Why, in a word.
    pub reason: String,
    /// Reconnect within so many seconds.
    pub within_s: u32,
}

/// Bytes that are no line of the stream. The reader ends the stream and connects again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Longer than [`MAX_LINE_BYTES`].
    #[error("a line of the stream is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Not an object with one key, or a known kind with other fields.
    #[error("a line of the stream is malformed")]
    Malformed,
}

impl Line {
    /// Reads one line, without its newline.
    ///
    /// # Errors
    /// [`LineError`] where the text is no line of any kind.
    pub fn parse(bytes: &[u8]) -> Result<Self, LineError> {
        if bytes.len() > MAX_LINE_BYTES {
            return Err(LineError::TooLong);
        }
        if let Ok(line) = serde_json::from_slice(bytes) {
            return Ok(line);
        }
        let known = [
            "hello", "reset", "put", "del", "at", "drop", "signal", "relays", "rollcall", "copy", "beat",
            "bye",
        ];
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) if map.len() == 1 => match map.keys().next() {
                Some(kind) if !known.contains(&kind.as_str()) => {
                    Ok(Self::Unknown(kind.chars().take(40).collect()))
                }
                Some(_) | None => Err(LineError::Malformed),
            },
            Ok(_) | Err(_) => Err(LineError::Malformed),
        }
    }

    /// The line with its newline.
    ///
    /// # Panics
    /// For [`Line::Unknown`], which is only ever read.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("every line that is written has a JSON form");
        bytes.push(b'\n');
        bytes
    }
}

/// Cuts received bytes into lines, holding at most one unfinished line.
#[derive(Debug, Default)]
pub struct LineDecoder {
    partial: Vec<u8>,
    lines: VecDeque<Result<Line, LineError>>,
    broken: bool,
}

impl LineDecoder {
    /// Takes in bytes as they came. After an error nothing more is read.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !self.broken && !bytes.is_empty() {
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            let (piece, rest) = bytes.split_at(newline.unwrap_or(bytes.len()));
            if self.partial.len() + piece.len() > MAX_LINE_BYTES {
                self.take(Err(LineError::TooLong));
                return;
            }
            self.partial.extend_from_slice(piece);
            bytes = rest.get(1..).unwrap_or_default();
            if newline.is_some() && !self.partial.is_empty() {
                let line = Line::parse(&self.partial);
                self.partial.clear();
                self.take(line);
            }
        }
    }

    /// The next finished line.
    pub fn next_line(&mut self) -> Option<Result<Line, LineError>> {
        self.lines.pop_front()
    }

    fn take(&mut self, line: Result<Line, LineError>) {
        self.broken = line.is_err();
        self.lines.push_back(line);
    }
}

#[cfg(test)]
mod tests;
