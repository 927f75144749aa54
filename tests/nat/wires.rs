//! Cables between namespaces.

use std::process::Command;

use support::{Namespace, run_ok};

/// Joins two namespaces by a cable; both ends are up.
pub(crate) fn cable(one: &Namespace, end: &str, other: &Namespace, other_end: &str) {
    let first = ["link", "add", end, "netns", &one.name, "type", "veth"];
    let second = ["peer", "name", other_end, "netns", &other.name];
    run_ok(Command::new("ip").args(first).args(second));
    one.ip(&["link", "set", end, "up"]);
    other.ip(&["link", "set", other_end, "up"]);
}

/// Has packets leave whole and summed, as on a wire.
pub(crate) fn no_offloads(space: &Namespace, interface: &str) {
    let off = ["tx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off"];
    run_ok(space.command("ethtool").args(["-K", interface]).args(off));
}
