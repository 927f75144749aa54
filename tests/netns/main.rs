//! Built programs on hosts in network namespaces: what a person would do, and what can go wrong.
//!
//! Runs inside a world of its own (`deploy/world`); `./tests/run netns` does that.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step fails the test, and whoever runs it is told what was passed over"
)]

mod alone;
mod bad_luck;
mod churn;
mod degraded;
mod echoes;
mod files;
mod full_disk;
mod gateway;
mod gateway_verbs;
mod groups;
mod heal;
mod identity;
mod lab;
mod liar;
mod names;
mod operate;
mod plain;
mod random_kill;
mod relay_alone;
mod relayed;
mod resolved;
mod resolver;
mod revoke;
mod rotate;
mod service;
mod suspended;
mod talk;
