//! Join tokens and API tokens: their text, and the secret in them.
//!
//! ```text
//! lacis_join_<base64url( version 1 | flags 0 | token id 8 | secret 32
//!                      | count, pins 32 each | count, (length 2, URL)… | CRC-32 of all before 4 )>
//! lacis_api_<token id, 16 hex digits>_<secret, 43 characters of base64url>
//! ```
//! Numbers are big-endian. The prefix lets secret scanners find a leaked token; the checksum tells a
//! typo from a token that control does not know.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::{Pin, TokenId};

/// What every join token begins with.
pub const JOIN_TOKEN_PREFIX: &str = "lacis_join_";

/// What every API token begins with.
pub const API_TOKEN_PREFIX: &str = "lacis_api_";

/// Longest text of any token.
pub const MAX_TOKEN_TEXT: usize = 4096;

/// Most addresses of control in a join token.
pub const MAX_TOKEN_URLS: usize = 16;

const VERSION: u8 = 1;
const MAX_PINS: usize = 2;
const MAX_URL: usize = 200;

/// 32 secret bytes. Never printed by `Debug`; base64 on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

/// A join token: one string that lets a node's peers into a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// Names the token at control.
    pub id: TokenId,
    /// Proves it.
    pub secret: Secret,
    /// Pins of control's certificate authority; without any, the system's roots decide.
    pub pins: Vec<Pin>,
    /// Addresses of control, tried in turn.
    pub urls: Vec<String>,
}

/// An API token: the credential of a management client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Names the token at control.
    pub id: TokenId,
    /// Proves it.
    pub secret: Secret,
}

/// Text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Does not begin with the prefix.
    #[error("this is not a {kind} token: it does not begin with \"{prefix}\"")]
    Prefix {
        /// "join" or "API".
        kind: &'static str,
        /// What it should begin with.
        prefix: &'static str,
    },
    /// Characters that no token has.
    #[error("the token holds characters that no token has; copy it again, without spaces or line breaks")]
    Characters,
    /// Ends too early or has a wrong checksum.
    #[error("the token is incomplete or mistyped; copy all of it")]
    Damaged,
    /// Made by a newer control.
    #[error("the token has format {found}, this agent reads format {VERSION}; upgrade the agent")]
    Version {
        /// The token's format.
        found: u8,
    },
    /// Longer than any token.
    #[error("the token is longer than {MAX_TOKEN_TEXT} characters")]
    TooLong,
    /// A URL in it is none, or a part is over its limit.
    #[error("the token names no usable address of control; make a new one")]
    Content,
}

impl Secret {
    /// Takes 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What control stores: SHA-256. A slow hash would protect nothing, the secret has 256 bits.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(&*text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("a secret is 32 bytes in base64"))
    }
}

impl JoinToken {
    /// Whether text may be an address of control: `https://host[:port]`, nothing behind it.
    #[must_use]
    pub fn is_url(url: &str) -> bool {
        let Some(authority) = url.strip_prefix("https://") else { return false };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        !authority.is_empty()
            && url.len() <= MAX_URL
            && authority
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'@' | b'"' | b'\\'))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, 0];
        bytes.extend(self.id.to_bytes());
        bytes.extend(self.secret.0);
        bytes.push(u8::try_from(self.pins.len()).unwrap_or(u8::MAX));
        self.pins.iter().for_each(|pin| bytes.extend(pin.as_bytes()));
        bytes.push(u8::try_from(self.urls.len()).unwrap_or(u8::MAX));
        for url in &self.urls {
            bytes.extend(u16::try_from(url.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend(url.as_bytes());
        }
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(TokenError::Damaged)?;
        if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
            return Err(TokenError::Damaged);
        }
        let mut rest = Reader(body);
        match rest.byte()? {
            VERSION => {}
            found => return Err(TokenError::Version { found }),
        }
        rest.byte()?;
        let id = TokenId::from_bytes(rest.array()?);
        let secret = Secret(rest.array()?);
        let pins =
            rest.counted(MAX_PINS, |rest| Pin::try_new(rest.array()?).map_err(|_| TokenError::Content))?;
        let urls = rest.counted(MAX_TOKEN_URLS, |rest| {
            let length = u16::from_be_bytes(rest.array()?);
            let url =
                String::from_utf8(rest.take(length.into())?.to_vec()).map_err(|_| TokenError::Content)?;
            if Self::is_url(&url) { Ok(url) } else { Err(TokenError::Content) }
        })?;
        if urls.is_empty() || !rest.0.is_empty() {
            return Err(TokenError::Content);
        }
        Ok(Self { id, secret, pins, urls })
    }
}

/// Prints the secret: only for the person who asked for the token.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{JOIN_TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let prefix = TokenError::Prefix { kind: "join", prefix: JOIN_TOKEN_PREFIX };
        let encoded = text.strip_prefix(JOIN_TOKEN_PREFIX).ok_or(prefix)?;
        if text.len() > MAX_TOKEN_TEXT {
            return Err(TokenError::TooLong);
        }
        Self::from_bytes(&decode(encoded)?)
    }
}

/// Prints the secret: only for the person who asked for the token.
impl fmt::Display for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{API_TOKEN_PREFIX}{}_{}", self.id, URL_SAFE_NO_PAD.encode(self.secret.0))
    }
}

impl FromStr for ApiToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let prefix = TokenError::Prefix { kind: "API", prefix: API_TOKEN_PREFIX };
        let rest = text.trim().strip_prefix(API_TOKEN_PREFIX).ok_or(prefix)?;
        if text.len() > MAX_TOKEN_TEXT {
            return Err(TokenError::TooLong);
        }
        let (id, secret) = rest.split_once('_').ok_or(TokenError::Damaged)?;
        let id = TokenId::parse(id).map_err(|_| TokenError::Damaged)?;
        let secret = decode(secret)?.try_into().map_err(|_| TokenError::Damaged)?;
        Ok(Self { id, secret: Secret(secret) })
    }
}

fn decode(text: &str) -> Result<Vec<u8>, TokenError> {
    if text.bytes().any(|b| !(b.is_ascii_alphanumeric() || b == b'-' || b == b'_')) {
        return Err(TokenError::Characters);
    }
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Damaged)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], TokenError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TokenError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(TokenError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, TokenError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn counted<T>(
        &mut self,
        most: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, TokenError>,
    ) -> Result<Vec<T>, TokenError> {
        let count = usize::from(self.byte()?);
        if count > most {
            return Err(TokenError::Content);
        }
        (0..count).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests;
