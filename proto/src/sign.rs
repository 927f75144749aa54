//! Signatures: what exactly is signed, and how a request carries its signature.
//!
//! Signed bytes are never re-serialised JSON. They are a context string and the fields in fixed order,
//! each preceded by its length as four big-endian bytes; numbers are eight big-endian bytes. Ed25519
//! (RFC 8032) signs them; verification is strict (no small-order keys).
//!
//! ```text
//! lacis-request-v1    method · path?query · unix ms · SHA-256(body) · audience     by the node identity
//! lacis-grant-v1      control id · node · group · member · issued ms               by the installation key
//! lacis-statement-v1  group · peer · host · WireGuard key · serial                 by the node identity
//! lacis-relay-token-v1  the token's bytes before its signature                     by the installation key
//! lacis-relay-revocation-v1  the revocation's bytes before its signature           by the installation key
//! ```
//! The audience of a join is the token id, of every other call the control id: a signature made for one
//! installation means nothing to another.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    ControlId, GroupId, Host, IdentityKey, MemberId, NodeId, PeerId, PublicKey, text::text_on_the_wire,
};

/// An Ed25519 signature, in URL-safe base64 on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

/// A signature that does not belong to the bytes and the key, or text that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureError;

/// Who signed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A node that control knows, by its id.
    Node(NodeId),
    /// A node that introduces itself: only for a join.
    Identity(IdentityKey),
}

/// The `Authorization` header of an agent call.
///
/// ```text
/// Node node_<uuid>:<unix ms>:<signature>
/// Identity <identity key>:<unix ms>:<signature>
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Who signed.
    pub signer: Signer,
    /// When, in Unix milliseconds of the signer, corrected by what it knows of control's clock.
    pub unix_ms: u64,
    /// Over [`request_bytes`].
    pub signature: Signature,
}

/// A header that is no [`Authorization`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Authorization header is not \"Node <id>:<unix ms>:<signature>\"")]
pub struct AuthorizationError;

/// What a join granted: this node may run a peer of this member in this group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The installation that granted it.
    pub control: ControlId,
    /// To which node.
    pub node: NodeId,
    /// In which group.
    pub group: GroupId,
    /// For which member.
    pub member: MemberId,
    /// When, in Unix milliseconds.
    pub issued_ms: u64,
}

/// A node's own word on the key of one of its peers; control can pass it on but not make it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatement {
    /// The group.
    pub group: GroupId,
    /// The peer.
    pub peer: PeerId,
    /// Its number in the group.
    pub host: Host,
    /// Its WireGuard key.
    pub key: PublicKey,
    /// Grows with every statement of the node about this peer.
    pub serial: u64,
}

/// The bytes that a request's signature is over.
///
/// `target` is the path with its query, `audience` the control id, or the token id of a join.
#[must_use]
pub fn request_bytes(method: &str, target: &str, unix_ms: u64, body: &[u8], audience: &str) -> Vec<u8> {
    let hash = Sha256::digest(body);
    Canonical::new("lacis-request-v1")
        .bytes(method.as_bytes())
        .bytes(target.as_bytes())
        .number(unix_ms)
        .bytes(&hash)
        .bytes(audience.as_bytes())
        .0
}

impl Grant {
    /// The bytes that the installation key signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        Canonical::new("lacis-grant-v1")
            .bytes(self.control.as_str().as_bytes())
            .bytes(self.node.as_str().as_bytes())
            .bytes(self.group.as_str().as_bytes())
            .bytes(self.member.as_str().as_bytes())
            .number(self.issued_ms)
            .0
    }
}

impl PeerStatement {
    /// The bytes that the node identity signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        Canonical::new("lacis-statement-v1")
            .bytes(self.group.as_str().as_bytes())
            .bytes(self.peer.as_str().as_bytes())
            .number(self.host.0.into())
            .bytes(self.key.as_bytes())
            .number(self.serial)
            .0
    }
}

/// Checks that `key` signed `bytes`.
///
/// # Errors
/// [`SignatureError`] where it did not, or where `key` is no point of the curve.
pub fn verify(key: &IdentityKey, bytes: &[u8], signature: &Signature) -> Result<(), SignatureError> {
    let key = VerifyingKey::from_bytes(key.as_bytes()).map_err(|_| SignatureError)?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    key.verify_strict(bytes, &signature).map_err(|_| SignatureError)
}

impl ControlId {
    /// The fingerprint of an installation key: the first 16 bytes of its SHA-256.
    #[must_use]
    pub fn of(key: &IdentityKey) -> Self {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let mut first = [0; 16];
        first.copy_from_slice(&hash[..16]);
        Self::from_bytes(first)
    }
}

/// A context and one field of bytes that have a fixed form of their own.
pub(crate) fn context_bytes(context: &str, body: &[u8]) -> Vec<u8> {
    Canonical::new(context).bytes(body).0
}

struct Canonical(Vec<u8>);

impl Canonical {
    fn new(context: &str) -> Self {
        Self(Vec::with_capacity(256)).bytes(context.as_bytes())
    }

    fn bytes(mut self, field: &[u8]) -> Self {
        let length = u32::try_from(field.len()).expect("signed fields are short");
        self.0.extend(length.to_be_bytes());
        self.0.extend(field);
        self
    }

    fn number(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }
}

impl fmt::Display for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.signer {
            Signer::Node(node) => write!(f, "Node {node}")?,
            Signer::Identity(key) => write!(f, "Identity {key}")?,
        }
        write!(f, ":{}:{}", self.unix_ms, self.signature)
    }
}

impl FromStr for Authorization {
    type Err = AuthorizationError;

    fn from_str(text: &str) -> Result<Self, AuthorizationError> {
        let (scheme, rest) = text.split_once(' ').ok_or(AuthorizationError)?;
        let mut parts = rest.splitn(3, ':');
        let mut part = || parts.next().ok_or(AuthorizationError);
        let signer = match scheme {
            "Node" => Signer::Node(NodeId::parse(part()?).map_err(|_| AuthorizationError)?),
            "Identity" => Signer::Identity(IdentityKey::parse(part()?).map_err(|_| AuthorizationError)?),
            _ => return Err(AuthorizationError),
        };
        let unix_ms = part()?.parse().map_err(|_| AuthorizationError)?;
        let signature = part()?.parse().map_err(|_| AuthorizationError)?;
        Ok(Self { signer, unix_ms, signature })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        if text.len() > 90 {
            return Err(SignatureError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SignatureError)?;
        bytes.try_into().map(Self).map_err(|_| SignatureError)
    }
}

text_on_the_wire!(Signature);

#[cfg(test)]
mod tests;
