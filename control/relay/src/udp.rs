//! Datagrams: the sockets of a port, receiving what the kernel merged, sending trains.

pub(crate) mod send;
pub(crate) mod socket;
pub(crate) mod worker;
