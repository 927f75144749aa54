//! Hosts in network namespaces on a switch, as `ip` makes them. Only inside a world of its own
//! (`deploy/world`), so that nothing of it is seen or left outside.

use std::{ops::Deref, process::Command};

use crate::{
    namespace::{Namespace, serial},
    run, run_ok,
};

/// Whether this process runs in a world of its own.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "deploy/world says so in the environment")]
pub fn in_a_world() -> bool {
    std::env::var("LACIS_WORLD").is_ok()
}

fn ip(arguments: &[&str]) -> String {
    run_ok(Command::new("ip").args(arguments))
}

/// A switch that joins hosts.
#[derive(Debug)]
pub struct Bridge {
    name: String,
}

impl Bridge {
    /// A switch without hosts.
    #[must_use]
    pub fn new() -> Self {
        assert!(in_a_world(), "this test makes networks: run it through ./tests/run");
        let name = format!("br{}", serial());
        ip(&["link", "add", &name, "type", "bridge"]);
        ip(&["link", "set", &name, "up"]);
        Self { name }
    }

    /// Lets packets of up to `mtu` bytes through, between the hosts there are.
    pub fn widen(&self, mtu: u16) {
        let ports: serde_json::Value =
            serde_json::from_str(&ip(&["-j", "link", "show", "master", &self.name])).unwrap();
        for port in ports.as_array().unwrap() {
            ip(&["link", "set", port["ifname"].as_str().unwrap(), "mtu", &mtu.to_string()]);
        }
    }
}

impl Default for Bridge {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        run(Command::new("ip").args(["link", "del", &self.name]));
    }
}

/// A host: a network namespace with one interface, `eth0`, at 192.0.2.N and 2001:db8::N.
#[derive(Debug)]
pub struct Host {
    /// Its network namespace.
    pub space: Namespace,
    /// The N of its addresses.
    pub number: u8,
}

impl Host {
    /// A host on a switch.
    #[must_use]
    pub fn new(bridge: &Bridge, number: u8) -> Self {
        let outside = format!("v{}", serial());
        let host = Self { space: Namespace::new(), number };
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &host.name]);
        ip(&["link", "set", &outside, "master", &bridge.name, "up"]);
        host.ip(&["link", "set", "eth0", "up"]);
        host.ip(&["addr", "add", &format!("{}/24", host.v4()), "dev", "eth0"]);
        host.ip(&["addr", "add", &format!("{}/64", host.v6()), "dev", "eth0", "nodad"]);
        host
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> String {
        format!("192.0.2.{}", self.number)
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(&self) -> String {
        format!("2001:db8::{:x}", self.number)
    }
}

/// What can be done in a namespace can be done on its host.
impl Deref for Host {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.space
    }
}
