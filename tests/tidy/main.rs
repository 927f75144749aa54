//! The repository checked as data: who depends on whom, what cores may touch, sizes, licences,
//! duplicate crates.

#![expect(clippy::unwrap_used, reason = "a test may panic; helpers outside of test functions are part of it")]

mod crates;
mod edges;
mod files;
mod limits;
