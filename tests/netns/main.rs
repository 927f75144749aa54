//! Built programs on hosts in network namespaces: what a person would do, and what can go wrong.
//!
//! Runs inside a world of its own (`deploy/world`); `./tests/run netns` does that.

#![expect(clippy::unwrap_used, reason = "a test may panic; helpers outside of test functions are part of it")]

mod alone;
mod bad_luck;
mod degraded;
mod echoes;
mod groups;
mod heal;
mod identity;
mod lab;
mod names;
mod operate;
mod random_kill;
mod resolved;
mod resolver;
mod revoke;
mod service;
mod talk;
