//! What is handed to operators: packages, units, the container file; and both services under a real systemd, where one
//! can be booted.

#![expect(clippy::unwrap_used, reason = "a test may panic; helpers outside of test functions are part of it")]

mod container;
mod live;
mod packages;
mod units;

use std::path::{Path, PathBuf};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}
