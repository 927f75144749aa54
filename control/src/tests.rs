//! Whole controls in this process, over real TLS on loopback, and the writer on real files.

mod client;
mod flow;
mod identity;
mod manage;
mod refusals;
mod start;
mod writers;
