//! Shared support of the whole-system tests: processes that end with the test, conditions that are
//! waited for, and hosts in network namespaces.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test may panic; this crate is only for tests"
)]

mod crowd;
mod host;
mod meeting;
mod namespace;
mod node;
mod plain;
mod process;
mod random;
mod setting;
mod wait;

pub use crowd::{crowd_comes, crowd_goes};
pub use host::{Bridge, Host, in_a_world};
pub use meeting::MEETINGS;
pub use namespace::{Namespace, serial};
pub use node::{Node, logging};
pub use plain::{PlainClient, Program, looks_up, reaches};
pub use process::{Process, binary, run, run_ok};
pub use random::Random;
pub use setting::{setting, word};
pub use wait::{eventually, eventually_within, pause};
