//! Typed identifiers. Each parses from exactly one text form and prints it back unchanged.
//!
//! | type | form |
//! |---|---|
//! | [`OwnerId`] | `orga_<uuid>` or `user_<uuid>` |
//! | [`GroupId`] | `ng_<uuid>` |
//! | [`MemberId`] | `<word>_<rest>`, lower case, at most 63 bytes, so that it is one DNS label |
//! | [`PeerId`] | `<uuid>`, or `external_<uuid>` for a peer without an agent |
//! | [`NodeId`] | `node_<uuid>` |
//! | [`RelayId`] | `relay_<uuid>` |
//! | [`TokenId`] | 16 hex digits |
//! | [`ControlId`] | 32 hex digits: the fingerprint of the installation key |
//! | [`RecordId`], [`ScopeId`] | any of the above, as a key in a scope or of a scope |

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Longest identifier of any kind: one DNS label (RFC 1035 §2.3.4).
const MAX_ID: usize = 63;

/// Text that is not an identifier of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct IdError {
    /// The offending text, cut to a printable length.
    pub text: String,
    /// What was expected, with an article and the form.
    pub expected: &'static str,
}

impl IdError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(MAX_ID + 1).collect(), expected }
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $accepts:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the one text form of this identifier.
            ///
            /// # Errors
            /// The text and the form that was expected.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let accepts: fn(&str) -> bool = $accepts;
                if text.len() <= MAX_ID && accepts(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError::new(text, $expected))
                }
            }

            /// The text form.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

identifier!(
    /// An organisation or a person that owns groups.
    OwnerId,
    "an owner id (orga_<uuid> or user_<uuid>)",
    |text| has_uuid_after(text, "orga_") || has_uuid_after(text, "user_")
);
identifier!(
    /// A network group.
    GroupId,
    "a network group id (ng_<uuid>)",
    |text| has_uuid_after(text, "ng_")
);
identifier!(
    /// A member: the linked resource's own id.
    MemberId,
    "a member id (app_<uuid>, <addon>_<uuid> or external_<uuid>, lower case)",
    is_member
);
identifier!(
    /// A peer: one running instance of a member.
    PeerId,
    "a peer id (<uuid> or external_<uuid>)",
    |text| is_uuid(text) || has_uuid_after(text, "external_")
);
identifier!(
    /// A machine, VM or container that runs one agent.
    NodeId,
    "a node id (node_<uuid>)",
    |text| has_uuid_after(text, "node_")
);
identifier!(
    /// A relay.
    RelayId,
    "a relay id (relay_<uuid>)",
    |text| has_uuid_after(text, "relay_")
);
identifier!(
    /// The public part of a join token or an API token.
    TokenId,
    "a token id (16 hex digits)",
    |text| text.len() == 16 && is_lower_hex(text)
);
identifier!(
    /// An installation of control: the fingerprint of its installation key.
    ControlId,
    "a control id (32 hex digits)",
    |text| text.len() == 32 && is_lower_hex(text)
);
identifier!(
    /// The id of a record in a scope: the id of the resource that the record describes.
    RecordId,
    "a record id (1 to 63 of a-z, 0-9, '_' and '-')",
    is_plain
);
identifier!(
    /// The id of a scope: a group's or a node's.
    ScopeId,
    "a scope id (1 to 63 of a-z, 0-9, '_' and '-')",
    is_plain
);

macro_rules! from_random {
    ($name:ident, $prefix:literal) => {
        impl $name {
            /// A fresh id out of 16 random bytes.
            #[must_use]
            pub fn from_random(bytes: [u8; 16]) -> Self {
                let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
                Self(format!("{}{uuid}", $prefix).into())
            }
        }
    };
}

from_random!(OwnerId, "orga_");
from_random!(GroupId, "ng_");
from_random!(PeerId, "");
from_random!(NodeId, "node_");
from_random!(RelayId, "relay_");

impl GroupId {
    /// The id whose UUID has these bytes.
    #[must_use]
    pub fn from_uuid(bytes: [u8; 16]) -> Self {
        Self(format!("ng_{}", Uuid::from_bytes(bytes).as_hyphenated()).into())
    }

    /// The bytes of its UUID.
    #[must_use]
    pub fn to_uuid(&self) -> [u8; 16] {
        let uuid = self.0.strip_prefix("ng_").and_then(|uuid| Uuid::parse_str(uuid).ok());
        uuid.unwrap_or_default().into_bytes()
    }
}

impl PeerId {
    /// A fresh id for a peer without an agent, out of 16 random bytes.
    #[must_use]
    pub fn external_from_random(bytes: [u8; 16]) -> Self {
        let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        Self(format!("external_{uuid}").into())
    }

    /// Whether it has the form of a peer without an agent.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.0.starts_with("external_")
    }
}

impl MemberId {
    /// A fresh external member id out of 16 random bytes: a node that is a member of its own.
    #[must_use]
    pub fn external_from_random(bytes: [u8; 16]) -> Self {
        let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        Self(format!("external_{uuid}").into())
    }
}

impl TokenId {
    /// The id made of these 8 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(hex(&bytes).into())
    }

    /// The 8 bytes of this id.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 8] {
        u64::from_str_radix(&self.0, 16).unwrap_or_default().to_be_bytes()
    }
}

impl ControlId {
    /// The id made of these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(hex(&bytes).into())
    }

    /// The 16 bytes of this id.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 16] {
        u128::from_str_radix(&self.0, 16).unwrap_or_default().to_be_bytes()
    }
}

macro_rules! is_record_or_scope {
    ($($from:ident => $into:ident),* $(,)?) => {
        $(impl From<&$from> for $into {
            fn from(id: &$from) -> Self {
                Self(Arc::clone(&id.0))
            }
        })*
    };
}

is_record_or_scope!(
    GroupId => RecordId, MemberId => RecordId, PeerId => RecordId, NodeId => RecordId,
    RelayId => RecordId,
    GroupId => ScopeId, NodeId => ScopeId,
);

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn is_uuid(text: &str) -> bool {
    // Only the hyphenated lower-case form: an id must have one spelling.
    text.len() == 36 && Uuid::parse_str(text).is_ok_and(|uuid| uuid.as_hyphenated().to_string() == text)
}

fn has_uuid_after(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(is_uuid)
}

fn is_member(text: &str) -> bool {
    let Some((word, rest)) = text.split_once('_') else { return false };
    let is_word = word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    is_word
        && !rest.is_empty()
        && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
