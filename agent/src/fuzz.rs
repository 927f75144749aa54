//! Doors for fuzzers: decoders that are nobody's interface, fed with any bytes.

use serde::{Serialize, de::DeserializeOwned};

use crate::host::guard::{Managed, Wanted};

/// Lines between an agent and its guard print as they read.
pub fn guard_line(bytes: &[u8]) {
    prints_as_it_reads::<Wanted>(bytes);
    prints_as_it_reads::<Managed>(bytes);
}

fn prints_as_it_reads<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let printed = serde_json::to_vec(&read).expect("what was read has a JSON form");
    assert_eq!(serde_json::from_slice::<T>(&printed).ok(), Some(read));
}

/// Reads a copy of a scope as it lies on disk; what is read is written the same again.
pub fn scope_copy(bytes: &[u8]) {
    crate::state::check_scope_copy(bytes);
}
