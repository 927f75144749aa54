//! `/etc/resolv.conf` on disk: replaced by renaming, else rewritten in place, and restored.
//!
//! In a container the file is often a mount of its own, over which nothing can be renamed (`EBUSY`), or
//! stands in a folder that cannot be written to. There it is overwritten first and shortened after, so that a
//! reader never finds it empty.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use lacis_agent_core::resolv_conf::{Former, managed, manager, name_servers, restored};

/// Longest file that is managed, with what is written into it: those of resolvers have a few lines.
const MAX_FILE: u64 = 64 << 10;

/// How often an edit of others is followed by one of ours before they are let have it: two programs
/// that both insist would go on for ever.
const MAX_TURNS: u32 = 10;

/// Looks without an edit after which nobody insists any more: what a network manager writes at every
/// change of the network is no quarrel.
const PEACE: u32 = 20;

/// The file could not be managed or restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot read {path:?}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path:?}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path:?} is managed by another agent, process {pid}; run one of them with --dns manual")]
    Other { path: PathBuf, pid: u32 },
    #[error("{path:?} is longer than any file of a resolver; shorten it, or run with --dns manual")]
    TooLong { path: PathBuf },
    #[error("another program rewrites {path:?} again and again; stop it, or run with --dns manual")]
    Fought { path: PathBuf },
}

/// The file, and what was last written to it.
#[derive(Debug)]
pub(super) struct ResolvConf {
    path: PathBuf,
    written: Option<String>,
    /// Edits of others that were followed by ours, and looks since that found none.
    turns: u32,
    quiet: u32,
}

impl ResolvConf {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, written: None, turns: 0, quiet: 0 }
    }

    /// The text that is in force without us; empty where there is none.
    pub(super) fn in_force(&self) -> String {
        let text = self.read().ok().flatten().unwrap_or_default();
        restored(&text).map_or(text, |former| former.text().to_owned())
    }

    /// Looks whether somebody else has changed what was last written.
    pub(super) fn look(&mut self) -> bool {
        let is_changed = self.is_changed();
        self.quiet = if is_changed { 0 } else { self.quiet + 1 };
        if self.quiet >= PEACE {
            (self.turns, self.quiet) = (0, 0);
        }
        is_changed
    }

    fn is_changed(&self) -> bool {
        self.written.is_some() && self.read().is_ok_and(|text| text != self.written)
    }

    /// Has the file name `servers`; gives the name servers that it named before.
    pub(super) fn manage(&mut self, servers: &[IpAddr]) -> Result<Vec<String>, FileError> {
        let former = self.former()?;
        let upstream = name_servers(former.text()).map(str::to_owned).collect();
        let text = managed(&former, servers, std::process::id());
        // What is written carries all that is needed to restore the file, and must be read whole for that.
        if text.len() as u64 > MAX_FILE {
            return Err(FileError::TooLong { path: self.path.clone() });
        }
        if self.read()?.as_ref() != Some(&text) {
            self.turns += u32::from(self.is_changed());
            if self.turns > MAX_TURNS {
                self.written = None;
                return Err(FileError::Fought { path: self.path.clone() });
            }
            self.write(&text)?;
        }
        self.written = Some(text);
        Ok(upstream)
    }

    /// Makes the file what it was, with what others have changed since. One that is not ours stays.
    pub(super) fn restore(&mut self) -> Result<(), FileError> {
        let Some(text) = self.read()? else { return Ok(()) };
        let Some(former) = restored(&text) else { return Ok(()) };
        self.refuse_other(&text)?;
        let is_edited = self.written.take().is_some_and(|written| written != text);
        match former {
            Former::Text(text) => self.write(&text),
            Former::Link { text, .. } if is_edited => self.write(&text),
            Former::Link { target, .. } => {
                let beside = self.beside();
                let link = || symlink(&target, &beside).and_then(|()| fs::rename(&beside, &self.path));
                remove(&beside).and_then(|()| link()).map_err(|source| self.failed(source))
            }
            // Where it cannot go, it can at least say nothing.
            Former::Missing => fs::remove_file(&self.path).or_else(|_| self.write("")),
        }
    }

    /// What stood there before us, also where a former guard has left its work.
    fn former(&self) -> Result<Former, FileError> {
        let Some(text) = self.read()? else { return Ok(Former::Missing) };
        self.refuse_other(&text)?;
        if let Some(former) = restored(&text) {
            return Ok(former);
        }
        Ok(match fs::read_link(&self.path) {
            Ok(target) => Former::Link { target: target.to_string_lossy().into_owned(), text },
            Err(_) => Former::Text(text),
        })
    }

    fn refuse_other(&self, text: &str) -> Result<(), FileError> {
        let is_ours = |pid: &u32| *pid == std::process::id();
        match manager(text).filter(|pid| !is_ours(pid) && is_a_guard(*pid)) {
            Some(pid) => Err(FileError::Other { path: self.path.clone(), pid }),
            None => Ok(()),
        }
    }

    fn read(&self) -> Result<Option<String>, FileError> {
        use io::Read as _;
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut text));
        match read {
            Ok(_) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FileError::Read { path: self.path.clone(), source }),
        }
    }

    fn write(&self, text: &str) -> Result<(), FileError> {
        self.replace(text).or_else(|_| overwrite(&self.path, text)).map_err(|source| self.failed(source))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let beside = self.beside();
        remove(&beside)?;
        let mode = fs::metadata(&self.path).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
            .and_then(|()| fs::rename(&beside, &self.path));
        written.inspect_err(|_| drop(fs::remove_file(&beside)))
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".lacis");
        name.into()
    }

    fn failed(&self, source: io::Error) -> FileError {
        FileError::Write { path: self.path.clone(), source }
    }
}

fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether a process of this number lives and is a guard, not somebody who got its number.
fn is_a_guard(pid: u32) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).any(|argument| argument == super::COMMAND.as_bytes())
}

#[cfg(test)]
mod tests;
