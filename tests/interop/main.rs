//! `lacis-tunnel` beside other WireGuard programs, and under the stock `wg`.
//!
//! Runs inside a world of its own (`deploy/world`); `./tests/run interop` does that. A program that is not installed is
//! passed over, and its name is printed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step fails the test, and whoever runs it is told what was passed over"
)]

mod lab;
mod load;
mod others;
mod program;
mod shards;
mod ways;
