//! The data folder: who holds it, and files that are whole or not there.
//!
//! ```text
//! DIR/            0700
//!   lock          held while a control runs; names its process
//!   installation.key  ca.key  ca.pem  relay.key        0600
//!   relays.json   relays elsewhere, as an operator has named them
//!   urls          the addresses of control at its last start
//!   control.db    SQLite
//!   admin.sock    0600, while a control runs
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// The data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The folder cannot be made or closed to others.
    #[error("cannot prepare the data folder {path:?}; name a folder that this user may write with --data")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another control runs on the same folder.
    #[error(
        "another lacis-control{holder} uses the data folder {path:?}; stop it, or name another folder with --data"
    )]
    Held {
        /// The folder.
        path: PathBuf,
        /// The other process, as far as it is known.
        holder: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path:?}; let this user read it, or restore it from a backup")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path:?}; make room, and a file of it that this user may write")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A data folder that this process holds.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    /// The lock is held as long as this is open.
    _lock: File,
}

impl DataFolder {
    /// Makes the folder where there is none, and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let failed = |source| DataError::Folder { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = path.join("lock");
        let mut lock = options.open(&file).map_err(|source| DataError::Write { path: file, source })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataError::Held { path: path.to_owned(), holder: holder(&mut lock) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The path of a file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file's text; `None` where there is no such file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, DataError> {
        let path = self.file(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DataError::Read { path, source }),
        }
    }

    /// Whether there is anything of this name, and anything in it.
    pub(crate) fn holds(&self, name: &str) -> bool {
        fs::symlink_metadata(self.file(name)).is_ok_and(|found| found.len() > 0)
    }

    /// The path of a file that others write in place, made where there is none: for this user alone.
    pub(crate) fn private(&self, name: &str) -> Result<PathBuf, DataError> {
        let path = self.file(name);
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        options.open(&path).map_err(|source| DataError::Write { path: path.clone(), source })?;
        Ok(path)
    }

    /// Writes a file whole: under another name first, to the disk, then renamed.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), DataError> {
        write_whole(&self.path, name, text)
    }
}

/// Writes a file of a folder whole: under another name first, to the disk, then renamed.
pub(crate) fn write_whole(folder: &Path, name: &str, text: &str) -> Result<(), DataError> {
    write_file(&folder.join(name), text)
}

/// Writes a file whole: under another name first, to the disk, then renamed.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), DataError> {
    let failed = |source| DataError::Write { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(|source| {
        let _ = fs::remove_file(&beside);
        failed(source)
    })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.take(20).read_to_string(&mut text);
    let process = text.trim();
    if read.is_ok() && !process.is_empty() { format!(" (process {process})") } else { String::new() }
}
