//! Control with its relay on the public side, and agents behind NATs: the built programs.

use std::{net::IpAddr, process::Command, sync::Arc, time::Duration};

use serde_json::Value;
use support::{Namespace, Process, binary, run_ok};
use tempfile::TempDir;

use crate::internet::{Internet, PublicHost};

/// A node on a host behind a NAT, which others may be on as well.
pub(crate) type Node = support::Node<Arc<Namespace>>;

/// Control, ready, and the Internet that it is on.
pub(crate) struct Mesh {
    pub(crate) dir: TempDir,
    pub(crate) internet: Internet,
    pub(crate) server: PublicHost,
    pub(crate) ready: Value,
    listen: &'static str,
    control: Option<Process>,
    /// Relays apart from control's, each on a host of its own.
    apart: Vec<(PublicHost, Process)>,
}

impl Mesh {
    /// Control on an Internet with so much from a port to the middle.
    pub(crate) fn new(half: Duration) -> Self {
        Self::listening(half, "198.51.100.10:443")
    }

    /// The same, in both families.
    pub(crate) fn dual(half: Duration) -> Self {
        Self::listening(half, "[::]:443")
    }

    fn listening(half: Duration, listen: &'static str) -> Self {
        let mut internet = Internet::new(half);
        let server = internet.host(&[10, 11]);
        let dir = TempDir::new().unwrap();
        let (ready, control, apart) = (Value::Null, None, Vec::new());
        let mut mesh = Self { dir, internet, server, ready, listen, control, apart };
        mesh.ready = mesh.start_control();
        mesh
    }

    /// Starts control where everybody is let out to, even those without UDP. Whoever tests loads may send as they like.
    pub(crate) fn start_control(&mut self) -> Value {
        let mut command =
            self.control(&["serve", "--listen", self.listen, "--no-limits", "--format", "json"]);
        let mut control = Process::start(&mut command, &self.dir.path().join("control.log"));
        let ready = serde_json::from_str(&control.line()).unwrap();
        self.control = Some(control);
        ready
    }

    /// A `lacis-control` command on control's host and folder.
    fn control(&self, arguments: &[&str]) -> Command {
        let mut command = self.server.space.command(binary("lacis-control"));
        command.args(arguments).arg("--data").arg(self.dir.path().join("control"));
        command
    }

    /// Kills control without a warning, and its relay with it.
    pub(crate) fn kill_control(&mut self) {
        self.control = None;
    }

    /// Starts a relay apart from control at 198.51.100.N, and tells nodes of it.
    pub(crate) fn add_relay(&mut self, number: u8) -> IpAddr {
        let host = self.internet.host(&[number]);
        let status = run_ok(&mut self.control(&["status", "--format", "json"]));
        let status: Value = serde_json::from_str(&status).unwrap();
        let path = |end: &str| self.dir.path().join(format!("relay-{number}{end}"));
        let mut command = host.space.command(binary("lacis-control"));
        command.args(["relay", "--control-key", status["key"].as_str().unwrap(), "--state"]).arg(path(""));
        let mut relay = Process::start(&mut command, &path(".log"));
        let key = std::iter::repeat_with(|| relay.line()).find_map(|line| {
            let (_, rest) = line.split_once("--key ")?;
            rest.split(' ').next().map(str::to_owned)
        });
        let address = host.v4()[0];
        let (udp, label) = (format!("{address}:3478"), format!("relay-{number}"));
        let add = ["relay-map", "add", "--key", &key.unwrap(), "--udp", &udp, "--label", &label];
        run_ok(&mut self.control(&add));
        self.apart.push((host, relay));
        address
    }

    /// The addresses of all relays.
    pub(crate) fn relays(&self) -> Vec<IpAddr> {
        let apart = self.apart.iter().flat_map(|(host, _)| host.v4());
        [self.server.v4(), self.server.v6()].concat().into_iter().chain(apart).collect()
    }

    /// A node on a host, not started.
    pub(crate) fn node(&self, host: &Arc<Namespace>, name: &str) -> Node {
        Node::new(Arc::clone(host), self.dir.path(), name)
    }

    /// A node on a host, joined.
    pub(crate) fn joined(&self, host: &Arc<Namespace>, name: &str, options: &[&str]) -> Node {
        let mut node = self.node(host, name);
        node.options = options.iter().map(|option| (*option).to_owned()).collect();
        node.up(Some(self.ready["join_token"].as_str().unwrap()));
        node
    }
}
