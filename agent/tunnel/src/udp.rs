//! The underlay side: sockets, readiness, trains out and messages in.

pub(crate) mod path_mtu;
pub(crate) mod poll;
pub(crate) mod raw;
pub(crate) mod receive;
pub(crate) mod socket;
pub(crate) mod steer;
pub(crate) mod train;
