//! Whole controls in this process, over real TLS on loopback.

mod client;
mod flow;
