//! The NAT laboratory: homes, firewalls and carriers in namespaces around an Internet with delay, a
//! classifier that proves each of them to be what it claims, and the built programs in between.
//!
//! Runs inside a world of its own (`deploy/world`); `./tests/run nat` does that.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step fails the test, and whoever runs it is told what was seen"
)]

mod bars;
mod classify;
mod composites;
mod events;
mod gateway;
mod internet;
mod kind;
mod kinds;
mod matrix;
mod mesh;
mod pair;
mod plain;
mod portmap;
mod responder;
mod sea;
mod site;
mod smoke;
mod stream;
mod wires;
