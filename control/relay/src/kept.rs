//! Revocations on disk, so that a relay that starts again still refuses whom control has put out.
//!
//! The file is what controls have sent, 144 bytes each with their signatures, one behind the other: it proves itself, and
//! what is damaged in it counts as not there.
//! ```text
//! open ─▶ check each ─▶ write those that still matter, beside and renamed ─▶ append, flush ─▶ answer control
//! ```
//! Invariant: control is answered after its word is on the disk. What a crash cuts off was never answered, and comes again.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use lacis_proto::{
    ControlId, IdentityKey,
    relay::{REVOCATION_BYTES, RelayRevocation},
};

use crate::limits;

/// A revocation as control has sent it.
pub(crate) type Said = [u8; REVOCATION_BYTES];

/// The file of revocations.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    controls: Vec<(ControlId, IdentityKey)>,
    file: File,
    /// Bytes that are known to be on the disk.
    length: u64,
}

/// What a file of revocations holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Those that still matter.
    pub(crate) revocations: Vec<RelayRevocation>,
    /// How many were damaged, or of a control that is not known here.
    pub(crate) damaged: u64,
}

impl Kept {
    /// Opens the file, makes it where there is none, and takes out what is over or damaged.
    pub(crate) fn open(path: &Path, controls: &[IdentityKey], now_ms: u64) -> io::Result<(Self, Found)> {
        let controls: Vec<_> = controls.iter().map(|key| (ControlId::of(key), *key)).collect();
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let found = read(&bytes, &controls, now_ms);
        let (file, length) = write_whole(path, &found.revocations)?;
        Ok((Self { path: path.to_owned(), controls, file, length }, found))
    }

    /// Appends revocations, and has them on the disk when it returns.
    pub(crate) fn append(&mut self, said: &BTreeSet<Said>, now_ms: u64) -> io::Result<()> {
        let bytes: Vec<u8> = said.iter().flatten().copied().collect();
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // A part would shift what follows it.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        if self.length > limits::REVOCATIONS_FILE {
            let found = read(&fs::read(&self.path)?, &self.controls, now_ms);
            (self.file, self.length) = write_whole(&self.path, &found.revocations)?;
        }
        Ok(())
    }
}

/// Checks what stands in a file. Of two that say the same one is enough.
fn read(bytes: &[u8], controls: &[(ControlId, IdentityKey)], now_ms: u64) -> Found {
    let (whole, rest) = bytes.as_chunks::<REVOCATION_BYTES>();
    let mut found = Found { damaged: u64::from(!rest.is_empty()), ..Found::default() };
    for said in whole.iter().collect::<BTreeSet<_>>() {
        let Some(revocation) = RelayRevocation::parse(said).filter(|said| is_signed(said, controls)) else {
            found.damaged += 1;
            continue;
        };
        if !is_over(&revocation, now_ms) && found.revocations.len() < limits::REVOCATIONS {
            found.revocations.push(revocation);
        }
    }
    found
}

fn is_signed(said: &RelayRevocation, controls: &[(ControlId, IdentityKey)]) -> bool {
    let control = controls.iter().find(|(id, _)| *id == said.control);
    control.is_some_and(|(_, key)| said.check(key).is_ok())
}

const fn is_over(revocation: &RelayRevocation, now_ms: u64) -> bool {
    revocation.until_ms.saturating_add(limits::TOKEN_SLACK_MS) <= now_ms
}

/// Writes a file anew, for its owner alone, and leaves it open at its end.
fn write_whole(path: &Path, revocations: &[RelayRevocation]) -> io::Result<(File, u64)> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let bytes: Vec<u8> = revocations.iter().flat_map(RelayRevocation::to_bytes).collect();
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    // Where a write fails half-way, the next one begins where the last whole one ended.
    let file = OpenOptions::new().append(true).open(path)?;
    Ok((file, bytes.len() as u64))
}

#[cfg(test)]
mod tests;
