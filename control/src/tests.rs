//! Whole controls in this process, over real TLS on loopback, and the writer on real files.

mod api;
pub(crate) mod client;
mod credentials;
mod damage;
mod document;
mod flow;
mod identity;
mod input;
mod manage;
mod neighbours;
mod refusals;
mod relays;
mod retention;
mod start;
mod streams;
mod stuck;
mod websocket;
mod writers;
