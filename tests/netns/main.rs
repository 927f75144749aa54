//! Built programs on hosts in network namespaces: what a person would do, and what can go wrong.
//!
//! Runs inside a world of its own (`deploy/world`); `./tests/run netns` does that.

mod bad_luck;
mod heal;
mod lab;
mod names;
mod talk;
