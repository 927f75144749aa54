//! Relays outside of this process, as an operator has named them: kept in a file of the data folder.

use std::path::{Path, PathBuf};

use lacis_proto::{
    Code, Problem, RelayId,
    relay::{MAX_RELAYS, RelayEntry},
};

use crate::data::{self, DataError, DataFolder};

/// The file, JSON.
const FILE: &str = "relays.json";

/// What an operator has named.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    folder: PathBuf,
    pub(super) relays: Vec<RelayEntry>,
}

impl Elsewhere {
    /// Reads the file.
    pub(super) fn open(folder: &DataFolder) -> Result<Self, DataError> {
        let text = folder.read(FILE)?.unwrap_or_else(|| "[]".to_owned());
        let relays = serde_json::from_str(&text).map_err(|error| DataError::Read {
            path: folder.file(FILE),
            source: std::io::Error::other(format!("it holds no relays ({error})")),
        })?;
        Ok(Self { folder: folder.file(""), relays })
    }

    /// Adds a relay, or says anew where one is.
    pub(super) fn put(&mut self, entry: RelayEntry) -> Result<(), Problem> {
        let mut next = self.relays.clone();
        next.retain(|held| held.id != entry.id);
        // One place is for the relay of this process.
        if next.len() + 1 >= MAX_RELAYS {
            return Err(Problem::new(Code::LimitReached, format!("{MAX_RELAYS} relays are the most")));
        }
        next.push(entry);
        self.keep(next)
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: &RelayId) -> Result<(), Problem> {
        let mut next = self.relays.clone();
        next.retain(|held| held.id != *id);
        if next.len() == self.relays.len() {
            return Err(Problem::new(Code::NotFound, format!("no relay {id} was added")));
        }
        self.keep(next)
    }

    fn keep(&mut self, next: Vec<RelayEntry>) -> Result<(), Problem> {
        let text = serde_json::to_string_pretty(&next).expect("relays have a JSON form");
        write(&self.folder, &text).map_err(|error| {
            tracing::error!(%error, "the relays are not written down");
            Problem::new(Code::StoreUnavailable, "the relays cannot be written down; the log says more")
        })?;
        self.relays = next;
        Ok(())
    }
}

fn write(folder: &Path, text: &str) -> Result<(), DataError> {
    data::write_whole(folder, FILE, text)
}

#[cfg(test)]
mod tests {
    use lacis_proto::PublicKey;

    use super::*;

    #[test]
    fn a_map_has_so_many_relays_and_one_that_is_in_it_may_move() {
        let folder = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&folder.path().join("data")).unwrap();
        let mut elsewhere = Elsewhere::open(&folder).unwrap();
        let entry = |n: usize, label: &str| RelayEntry {
            id: RelayId::from_random([u8::try_from(n).unwrap(); 16]),
            label: label.to_owned(),
            key: PublicKey::try_new([1; 32]).unwrap(),
            udp: Vec::new(),
            stun: Vec::new(),
            tls: Vec::new(),
            pins: Vec::new(),
        };
        // One place is for the relay of this process.
        for n in 1..MAX_RELAYS {
            elsewhere.put(entry(n, "first")).unwrap();
        }
        assert_eq!(elsewhere.put(entry(MAX_RELAYS, "one more")).unwrap_err().code, Code::LimitReached);
        elsewhere.put(entry(1, "moved")).unwrap();
        assert_eq!(Elsewhere::open(&folder).unwrap().relays.len(), MAX_RELAYS - 1);
    }
}
