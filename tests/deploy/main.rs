//! What is handed to operators: packages, units, the container file. Checked as far as it can be without the
//! system that it is for.

#![expect(clippy::unwrap_used, reason = "a test may panic; helpers outside of test functions are part of it")]

mod container;
mod packages;
mod units;

use std::path::{Path, PathBuf};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}
