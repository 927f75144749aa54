//! The file of a relay's static key: made where there is none, and never replaced.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lacis_relay::RelayKey;

use crate::{
    clock,
    data::{self, DataError},
};

/// The usual name of the file.
pub(crate) const KEY: &str = "relay.key";

/// A relay has no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read {path:?}; let this user read it")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A new key cannot be kept.
    #[error("cannot keep the relay's key")]
    Write(#[source] DataError),
    /// There is something else in the file.
    #[error("{path:?} holds no key; remove it and a new one is made, which nodes learn of as another relay")]
    Form {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the key, and makes it where there is none.
pub(crate) fn key_in_file(path: &Path) -> Result<RelayKey, KeyFileError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            bytes.map(RelayKey::new).ok_or_else(|| KeyFileError::Form { path: path.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bytes = clock::random::<32>();
            data::write_file(path, &format!("{}\n", STANDARD.encode(bytes))).map_err(KeyFileError::Write)?;
            Ok(RelayKey::new(bytes))
        }
        Err(source) => Err(KeyFileError::Read { path: path.to_owned(), source }),
    }
}
