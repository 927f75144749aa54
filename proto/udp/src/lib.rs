//! Datagrams by the batch on Linux, for whoever has a socket: several messages a call, each of many datagrams that the
//! kernel merged (UDP_GRO) or is to cut (UDP_SEGMENT), with the addresses and the traffic class beside them.
//!
//! The tunnel and the relay decide what to send where; what the system calls want of memory is here, once.

mod details;
mod receive;

pub use details::Details;
pub use receive::{Message, Receiver, SLOT};
