//! Real controls and real agents in one process: TLS, SQLite, Unix sockets and UDP on 127.0.0.1, with devices
//! in memory that the test plays the host of.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod abuse;
mod corrupt;
mod errors;
mod fake;
mod frames;
mod heal;
mod lab;
mod moved;
mod packets;
mod status;
mod talk;
mod tokens;
