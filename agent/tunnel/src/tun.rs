//! The overlay side: devices, the header in front of each frame, splitting and coalescing.

pub(crate) mod coalesce;
pub(crate) mod device;
mod netlink;
pub(crate) mod split;
pub(crate) mod vnet;
