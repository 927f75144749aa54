//! Where a reader of a scope stands: revision, epoch, digest, and the three as one cursor.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{RecordId, text::text_on_the_wire};

/// Counter on a scope; larger is newer. 0 is the empty scope before its first commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Random number of an installation of control, changed by a restore. Hexadecimal on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// 128-bit sum of H(id, revision) over the live records of a scope. URL-safe base64 on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Digest(u128);

/// What a reader of a scope holds: `<epoch>.<revision>.<digest>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Epoch of the control that it read from.
    pub epoch: Epoch,
    /// Revision that it has applied.
    pub revision: Revision,
    /// Digest at that revision.
    pub digest: Digest,
}

text_on_the_wire!(Epoch);
text_on_the_wire!(Digest);
text_on_the_wire!(Cursor);

/// Text that is no epoch, digest or cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: <epoch>.<revision>.<digest>")]
pub struct CursorError;

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        u64::from_str_radix(text, 16).map(Self).map_err(|_| CursorError)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.to_be_bytes()))
    }
}

impl FromStr for Digest {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        Ok(Self(u128::from_be_bytes(bytes.try_into().map_err(|_| CursorError)?)))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.revision, self.digest)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(CursorError);
        Ok(Self {
            epoch: part()?.parse()?,
            revision: Revision(part()?.parse().map_err(|_| CursorError)?),
            digest: part()?.parse()?,
        })
    }
}

impl Digest {
    fn of(id: &RecordId, revision: Revision) -> u128 {
        let mut hash = Sha256::new_with_prefix(b"lacis-record-v1\0");
        hash.update(id.as_str());
        hash.update([0]);
        hash.update(revision.0.to_be_bytes());
        let hash: [u8; 32] = hash.finalize().into();
        hash.first_chunk().copied().map_or(0, u128::from_be_bytes)
    }

    pub(crate) fn add(&mut self, id: &RecordId, revision: Revision) {
        self.0 = self.0.wrapping_add(Self::of(id, revision));
    }

    pub(crate) fn remove(&mut self, id: &RecordId, revision: Revision) {
        self.0 = self.0.wrapping_sub(Self::of(id, revision));
    }
}

#[cfg(test)]
impl From<u128> for Digest {
    fn from(sum: u128) -> Self {
        Self(sum)
    }
}
