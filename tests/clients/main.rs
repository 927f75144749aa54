//! Clients of the management API against a real `lacis-control`: `lacis ng`, and the platform's own
//! command line and JavaScript client, unmodified.
//!
//! Runs inside a world of its own (`deploy/world`), whose only network is its loopback: what a client
//! wants from elsewhere it does not get. `./tests/run clients` does that, and installs the platform's clients
//! before; where they could not be had they are passed over aloud.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step fails the test, and whoever runs it is told what was passed over"
)]

mod clever;
mod complete;
mod external;
mod javascript;
mod lab;
mod ng;
mod profile;
mod readme;
