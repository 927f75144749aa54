//! The management API of the built program: writes over a crash, and a tester that knows only the document.

#![expect(clippy::unwrap_used, reason = "a test may panic; helpers outside of test functions are part of it")]

mod client;
mod crash;
mod document;
