//! Copies of scopes: a cursor and the records that it proves, through the digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lacis_proto::{Cursor, Record, Scope, ScopeId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The first line of a copy; the records follow as JSON on the second.
#[derive(Serialize, Deserialize)]
struct Head {
    cursor: Cursor,
    /// SHA-256 of the second line: the digest of a scope covers ids and revisions only.
    checksum: String,
}

pub(super) fn encode(scope: &Scope) -> Vec<u8> {
    let records: Vec<&Record> = scope.records().collect();
    let body = serde_json::to_vec(&records).expect("records have a JSON form");
    let head = Head { cursor: scope.cursor(), checksum: checksum(&body) };
    let mut bytes = serde_json::to_vec(&head).expect("a cursor has a JSON form");
    bytes.push(b'\n');
    bytes.extend(body);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Scope, String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("it is cut off")?;
    let (head, body) = (&bytes[..end], &bytes[end + 1..]);
    let head: Head = serde_json::from_slice(head).map_err(|error| error.to_string())?;
    if head.checksum != checksum(body) {
        return Err("its checksum is wrong".to_owned());
    }
    let records: Vec<Record> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let records = records.into_iter().map(|record| (record.id.clone(), record)).collect();
    let mut scope = Scope::new(head.cursor.epoch);
    scope.apply(true, records, &BTreeSet::new(), head.cursor).map_err(|error| error.to_string())?;
    Ok(scope)
}

/// Whether a copy that is read is written so that it reads the same.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(scope) = decode(bytes) else { return };
    let again = decode(&encode(&scope)).expect("what was written is read");
    assert_eq!(again.cursor(), scope.cursor());
}

fn checksum(body: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(body))
}

/// Every copy in a folder. What is damaged is named, and control will send it again.
pub(super) fn load_all(folder: &Path) -> (BTreeMap<ScopeId, Scope>, Vec<(PathBuf, String)>) {
    let (mut scopes, mut damaged) = (BTreeMap::new(), Vec::new());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| ScopeId::parse(stem).ok());
        let Some(id) = id else { continue };
        match fs::read(&path).map_err(|error| error.to_string()).and_then(|bytes| decode(&bytes)) {
            Ok(scope) => drop(scopes.insert(id, scope)),
            Err(what) => damaged.push((path, what)),
        }
    }
    (scopes, damaged)
}
