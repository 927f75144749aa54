//! The overlay side: devices, the header in front of each frame, splitting and coalescing.

pub(crate) mod coalesce;
pub(crate) mod device;
pub(crate) mod fragment;
mod netlink;
pub(crate) mod split;
pub(crate) mod vnet;
