//! The right to use a relay, as control signs it and a relay checks it with control's public key alone.
//!
//! ```text
//! version 1 | rate class | zero 2 | control id 16 | group uuid 16 | WireGuard key 32
//!         | not before, Unix ms 8 | expires, Unix ms 8 | serial 8 | Ed25519 signature 64
//! ```
//! 156 bytes, numbers big-endian. The installation key signs `lacis-relay-token-v1` and all before the signature, each
//! preceded by its length as four big-endian bytes. It is no secret: to use it takes the private half of the WireGuard
//! key that it names.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ControlId, GroupId, IdentityKey, PublicKey, Signature, sign::context_bytes, verify};

/// Bytes of a token.
pub const TOKEN_BYTES: usize = SIGNED + 64;

const SIGNED: usize = 92;
const VERSION: u8 = 1;

/// What one peer of one group may do at relays, until when.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayToken {
    /// How much it may send: 0 is what the relay grants to everybody.
    pub class: u8,
    /// The installation that signed it.
    pub control: ControlId,
    /// Forwards to and from leases of this group alone.
    pub group: GroupId,
    /// The WireGuard key whose private half the holder must prove.
    pub key: PublicKey,
    /// Not valid before, in Unix milliseconds.
    pub not_before_ms: u64,
    /// Not valid from then on, in Unix milliseconds.
    pub expires_ms: u64,
    /// Tells tokens of one peer apart.
    pub serial: u64,
    /// By the installation key, over [`RelayToken::signed_bytes`].
    pub signature: Signature,
}

/// Bytes or text that are no token, or one that says nothing to this relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayTokenError {
    /// Not [`TOKEN_BYTES`] in the form above.
    #[error("this is no relay token")]
    Form,
    /// Not by the key that should have signed it.
    #[error("the relay token is not signed by a control that this relay knows")]
    Signature,
    /// Not valid yet.
    #[error("the relay token is not valid yet: is a clock wrong?")]
    Early,
    /// Not valid any more.
    #[error("the relay token has expired; control gives a new one when it is reached")]
    Expired,
}

impl RelayToken {
    /// The bytes that the installation key signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        context_bytes("lacis-relay-token-v1", &self.body())
    }

    /// The bytes for a HELLO.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TOKEN_BYTES] {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..SIGNED].copy_from_slice(&self.body());
        bytes[SIGNED..].copy_from_slice(&self.signature.0);
        bytes
    }

    /// Reads the bytes of a HELLO, without checking the signature.
    ///
    /// # Errors
    /// [`RelayTokenError::Form`] for anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, RelayTokenError> {
        let bytes: &[u8; TOKEN_BYTES] = bytes.try_into().map_err(|_| RelayTokenError::Form)?;
        let [VERSION, class, 0, 0, ..] = bytes else { return Err(RelayTokenError::Form) };
        let number = |at| u64::from_be_bytes(part(bytes, at));
        Ok(Self {
            class: *class,
            control: ControlId::from_bytes(part(bytes, 4)),
            group: GroupId::from_uuid(part(bytes, 20)),
            key: PublicKey::try_new(part(bytes, 36)).map_err(|_| RelayTokenError::Form)?,
            not_before_ms: number(68),
            expires_ms: number(76),
            serial: number(84),
            signature: Signature(part(bytes, SIGNED)),
        })
    }

    /// Checks that `control` signed it and that it is valid at `now_ms`, within `slack_ms` for clocks that differ.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, control: &IdentityKey, now_ms: u64, slack_ms: u64) -> Result<(), RelayTokenError> {
        if now_ms.saturating_add(slack_ms) < self.not_before_ms {
            return Err(RelayTokenError::Early);
        }
        if now_ms >= self.expires_ms.saturating_add(slack_ms) {
            return Err(RelayTokenError::Expired);
        }
        verify(control, &self.signed_bytes(), &self.signature).map_err(|_| RelayTokenError::Signature)
    }

    fn body(&self) -> [u8; SIGNED] {
        let mut bytes = [0; SIGNED];
        bytes[..2].copy_from_slice(&[VERSION, self.class]);
        bytes[4..20].copy_from_slice(&self.control.to_bytes());
        bytes[20..36].copy_from_slice(&self.group.to_uuid());
        bytes[36..68].copy_from_slice(self.key.as_bytes());
        bytes[68..76].copy_from_slice(&self.not_before_ms.to_be_bytes());
        bytes[76..84].copy_from_slice(&self.expires_ms.to_be_bytes());
        bytes[84..].copy_from_slice(&self.serial.to_be_bytes());
        bytes
    }
}

fn part<const N: usize>(bytes: &[u8; TOKEN_BYTES], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the parts of a token lie within it")
}

/// Without its signature: a log needs to know which token, not to have it.
impl fmt::Debug for RelayToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, control: _, group, key, not_before_ms: _, expires_ms, serial, signature: _ } = self;
        write!(f, "RelayToken({group} {key} class {class} serial {serial} until {expires_ms})")
    }
}

impl fmt::Display for RelayToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

impl FromStr for RelayToken {
    type Err = RelayTokenError;

    fn from_str(text: &str) -> Result<Self, RelayTokenError> {
        if text.len() != TOKEN_BYTES.div_ceil(3) * 4 {
            return Err(RelayTokenError::Form);
        }
        Self::parse(&URL_SAFE_NO_PAD.decode(text).map_err(|_| RelayTokenError::Form)?)
    }
}

impl Serialize for RelayToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RelayToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
