//! Hosts in network namespaces on a switch, as `ip` makes them. Only inside a world of its own
//! (`deploy/world`), so that nothing of it is seen or left outside.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{run, run_ok};

static NEXT: AtomicU32 = AtomicU32::new(1);

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
        let name = format!("br{}", NEXT.fetch_add(1, Ordering::Relaxed));
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
    pub name: String,
    /// The N of its addresses.
    pub number: u8,
}

impl Host {
    /// A host on a switch.
    #[must_use]
    pub fn new(bridge: &Bridge, number: u8) -> Self {
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("h{serial}");
        let outside = format!("v{serial}");
        ip(&["netns", "add", &name]);
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &name]);
        ip(&["link", "set", &outside, "master", &bridge.name, "up"]);
        let host = Self { name, number };
        let folder = host.etc();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(host.resolv_conf(), format!("# of {}\n", host.name)).unwrap();
        host.ip(&["link", "set", "lo", "up"]);
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

    /// Its own files of `/etc`: `ip netns exec` mounts each over the common one.
    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    /// The file that is mounted over its `/etc/resolv.conf`. At first it names no server.
    #[must_use]
    pub fn resolv_conf(&self) -> PathBuf {
        self.etc().join("resolv.conf")
    }

    /// Runs `ip` on the host.
    #[track_caller]
    pub fn ip(&self, arguments: &[&str]) -> String {
        run_ok(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// A command that runs on the host.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        run(Command::new("ip").args(["netns", "del", &self.name]));
        let _ = std::fs::remove_dir_all(self.etc());
    }
}
