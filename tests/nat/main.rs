//! The NAT laboratory: homes, firewalls and carriers in namespaces around an Internet with delay, a
//! classifier that proves each of them to be what it claims, and the built programs in between.
//!
//! Runs inside a world of its own (`deploy/world`). `./tests/run nat` does that, and has in two minutes and a half: what
//! each NAT is, the pairs of every day, one LAN, IPv6, mapped ports, what happens to NATs and addresses, and the bars.
//! What is ignored there takes its time: the whole matrix, networks of several, a stranger, a path that is nearly full,
//! and what must be forgotten or slept over first. `./tests/nat-matrix` runs it all and prints expected beside seen, and
//! each figure beside its bar.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step fails the test, and whoever runs it is told what was seen"
)]

mod bars;
mod birthday;
mod classify;
mod composites;
mod events;
mod gateway;
mod goodbye;
mod idle;
mod internet;
mod kind;
mod kinds;
mod laden;
mod matrix;
mod mesh;
mod narrow;
mod nat64;
mod pair;
mod plain;
mod portmap;
mod responder;
mod sea;
mod site;
mod smoke;
mod stranger;
mod stream;
mod upsets;
mod wires;
