//! The error body: what was wrong, with which field, and what to do (RFC 9457, with the fields that
//! clients of the network-groups API read beside it).
//!
//! ```json
//! {"status":409,"code":"pool_exhausted","message":"…","error":"Conflict","field":"group"}
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stable word for a kind of failure; programs match on it, never on the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// A body, path or field that does not parse.
    BadRequest,
    /// A body over the size limit.
    TooLarge,
    /// No such path or object, or none that this caller may know of.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// No credential, or one that is unknown, expired or revoked.
    Unauthorized,
    /// A credential that does not allow this.
    Forbidden,
    /// The signature of a request does not verify.
    BadSignature,
    /// The request was signed too long ago or in the future; `now_ms` tells the time of control.
    ClockSkew,
    /// Control knows no such join token.
    TokenUnknown,
    /// The join token's time is over.
    TokenExpired,
    /// The join token was revoked.
    TokenRevoked,
    /// The join token has been used as often as it may be.
    TokenUsedUp,
    /// Control knows no such node.
    UnknownNode,
    /// The node was revoked.
    NodeRevoked,
    /// Another machine speaks with this identity: one of the two is a copy.
    IdentityInUse,
    /// The node has no grant for this group and member.
    NoGrant,
    /// The node already hosts a peer of another member of this group.
    MemberConflict,
    /// The WireGuard key is already used in the group.
    KeyTaken,
    /// The id belongs to something else.
    IdTaken,
    /// The domain name belongs to something else.
    NameTaken,
    /// The range overlaps that of another group of the owner.
    RangeOverlaps,
    /// The range of a group cannot become that one.
    RangeFixed,
    /// The last gateway of a group may not go while plain clients come in by it.
    LastGateway,
    /// Too many requests from this caller; try again later.
    RateLimited,
    /// The group's pool has no free address.
    PoolExhausted,
    /// A limit of this installation is reached.
    LimitReached,
    /// The agent speaks no protocol that this control speaks.
    AgentTooOld,
    /// Control is overloaded; try again later.
    Busy,
    /// Control cannot write to its store; try again later.
    StoreUnavailable,
    /// A code this build does not know.
    #[serde(other)]
    Unknown,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Problem {
    /// HTTP status code.
    pub status: u16,
    /// The kind of failure.
    pub code: Code,
    /// One sentence for a person: what was wrong and what to do.
    pub message: String,
    /// The reason phrase of the status.
    #[serde(default)]
    pub error: String,
    /// The field of the request that was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The time of control in Unix milliseconds, with [`Code::ClockSkew`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_ms: Option<u64>,
    /// Seconds after which the same request may succeed, with 429 and 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u16>,
    /// Names this answer in the logs of control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem with the status that belongs to its code.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (status, error) = code.status();
        Self {
            status,
            code,
            message: message.into(),
            error: error.to_owned(),
            field: None,
            now_ms: None,
            retry_after_s: None,
            request_id: None,
        }
    }

    /// Names the field that was wrong.
    #[must_use]
    pub fn in_field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    /// Whether the same request may succeed later without anybody acting.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self.code, Code::Busy | Code::StoreUnavailable | Code::ClockSkew)
            || matches!(self.status, 429 | 502..=504)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Code {
    /// The HTTP status code and reason phrase of this kind of failure.
    #[must_use]
    pub const fn status(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::Unauthorized | Self::BadSignature | Self::ClockSkew => (401, "Unauthorized"),
            Self::TokenUnknown | Self::TokenExpired | Self::TokenRevoked | Self::TokenUsedUp => {
                (401, "Unauthorized")
            }
            Self::Forbidden | Self::NodeRevoked | Self::NoGrant => (403, "Forbidden"),
            Self::NotFound | Self::UnknownNode => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::IdentityInUse
            | Self::MemberConflict
            | Self::KeyTaken
            | Self::IdTaken
            | Self::NameTaken
            | Self::RangeOverlaps
            | Self::RangeFixed
            | Self::LastGateway
            | Self::PoolExhausted
            | Self::LimitReached => (409, "Conflict"),
            Self::RateLimited => (429, "Too Many Requests"),
            Self::TooLarge => (413, "Content Too Large"),
            Self::AgentTooOld => (426, "Upgrade Required"),
            Self::Busy | Self::StoreUnavailable => (503, "Service Unavailable"),
            Self::Unknown => (500, "Internal Server Error"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codes_and_missing_fields_still_decode() {
        let problem: Problem =
            serde_json::from_str(r#"{"status":418,"code":"teapot","message":"no"}"#).unwrap();
        assert_eq!(problem.code, Code::Unknown);
        assert!(!problem.is_passing());
        assert!(Problem::new(Code::Busy, "later").is_passing());
    }
}
