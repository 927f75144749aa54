//! Doors for fuzzers: decoders that are nobody's interface, fed with any bytes.

/// Reads a copy of a scope as it lies on disk; what is read is written the same again.
pub fn scope_copy(bytes: &[u8]) {
    crate::state::check_scope_copy(bytes);
}
