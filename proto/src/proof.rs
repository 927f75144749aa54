//! Proofs: what a node says of its own keys, as control keeps it and others check it; and which process of a
//! node it is that speaks.
//!
//! ```json
//! {"node":"node_…","identity":"…","group":"ng_…","peer":"…","host":5,"key":"…","serial":7,"signature":"…"}
//! ```
//! A node signs a [`PeerStatement`] for each peer that it hosts and tells it with its report. Whoever makes a
//! tunnel to the peer asks control for the proof, checks it, and remembers the identity: from then on control
//! cannot give the peer another key unseen (`POST /agent/v1/proofs`).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{IdentityKey, NodeId, PeerId, PeerStatement, Signature, SignatureError, verify};

/// Most proofs that are asked for at once: the answer is 100 kB at most.
pub const MAX_PROOFS: usize = 256;

/// A statement with its signature, by the identity of the node that hosts the peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedStatement {
    /// What is stated.
    #[serde(flatten)]
    pub statement: PeerStatement,
    /// Over [`PeerStatement::signed_bytes`].
    pub signature: Signature,
}

/// A statement, and whose it is as far as control says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The node that hosts the peer.
    pub node: NodeId,
    /// Its identity.
    pub identity: IdentityKey,
    /// What it states.
    #[serde(flatten)]
    pub said: SignedStatement,
}

/// Body of `POST /agent/v1/proofs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofsRequest {
    /// The peers, at most [`MAX_PROOFS`].
    pub peers: Vec<PeerId>,
}

/// Answer of `POST /agent/v1/proofs`: a peer that is unknown, none of the asking node's business, or that has
/// stated nothing is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofsReply {
    /// The proofs.
    pub proofs: Vec<Proof>,
}

impl SignedStatement {
    /// Checks that an identity signed it.
    ///
    /// # Errors
    /// [`SignatureError`] where it did not.
    pub fn check(&self, identity: &IdentityKey) -> Result<(), SignatureError> {
        verify(identity, &self.statement.signed_bytes(), &self.signature)
    }
}

/// One process of an agent: the header `Lacis-Run` of each of its calls.
///
/// ```text
/// Lacis-Run: 9f3a7c0d11e2b358 web-1
/// ```
/// It tells two machines with one identity apart, a copied image from a restart. It is not signed: whoever holds
/// the identity may say anything here; it guards against mistakes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// 16 hex digits, drawn at the start of the process.
    pub id: String,
    /// What the machine calls itself.
    pub host: String,
}

/// A header that is no [`Run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Lacis-Run header is not \"<16 hex digits> <host name>\"")]
pub struct RunError;

impl Run {
    /// The name of the header.
    pub const HEADER: &str = "lacis-run";

    /// A process, with its host name as far as a header may carry it.
    #[must_use]
    pub fn new(id: u64, host: &str) -> Self {
        let host: String = host.chars().filter(char::is_ascii_graphic).take(Self::MAX_HOST).collect();
        Self { id: format!("{id:016x}"), host }
    }

    /// As many characters as a host name has (RFC 1035 §2.3.4).
    const MAX_HOST: usize = 253;
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.host)
    }
}

impl FromStr for Run {
    type Err = RunError;

    fn from_str(text: &str) -> Result<Self, RunError> {
        let (id, host) = text.split_once(' ').ok_or(RunError)?;
        let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_host = host.len() <= Self::MAX_HOST && host.bytes().all(|byte| byte.is_ascii_graphic());
        if is_id && is_host { Ok(Self { id: id.to_owned(), host: host.to_owned() }) } else { Err(RunError) }
    }
}

#[cfg(test)]
mod tests;
