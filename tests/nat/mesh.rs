//! Control with its relay on the public side, and agents behind NATs: the built programs.

use std::{fs, net::Ipv4Addr, path::PathBuf, process::Command, sync::Arc, time::Duration};

use serde_json::Value;
use support::{Namespace, Process, binary, eventually, run_ok};
use tempfile::TempDir;

use crate::internet::{Internet, PublicHost};

/// Control, ready, and the Internet that it is on.
pub(crate) struct Mesh {
    pub(crate) dir: TempDir,
    pub(crate) internet: Internet,
    pub(crate) server: PublicHost,
    pub(crate) ready: Value,
    control: Option<Process>,
}

impl Mesh {
    /// Control on an Internet with so much from a port to the middle.
    pub(crate) fn new(half: Duration) -> Self {
        let mut internet = Internet::new(half);
        let server = internet.host(&[10, 11]);
        let dir = TempDir::new().unwrap();
        let mut mesh = Self { dir, internet, server, ready: Value::Null, control: None };
        mesh.ready = mesh.start_control();
        mesh
    }

    /// Starts control where everybody is let out to, even those without UDP.
    pub(crate) fn start_control(&mut self) -> Value {
        let mut command = self.server.space.command(binary("lacis-control"));
        command.args(["serve", "--listen", "198.51.100.10:443", "--format", "json"]);
        command.arg("--data").arg(self.dir.path().join("control"));
        let mut control = Process::start(&mut command, &self.dir.path().join("control.log"));
        let ready = serde_json::from_str(&control.line()).unwrap();
        self.control = Some(control);
        ready
    }

    /// A node on a host, not started.
    pub(crate) fn node(&self, host: &Arc<Namespace>, name: &str) -> Node {
        let path = |end: &str| self.dir.path().join(format!("{name}{end}"));
        Node {
            host: Arc::clone(host),
            name: name.to_owned(),
            options: Vec::new(),
            state: path(""),
            fresh: path(".fresh"),
            socket: path(".sock"),
            log: path(".log"),
            agent: None,
        }
    }

    /// A node on a host, joined.
    pub(crate) fn joined(&self, host: &Arc<Namespace>, name: &str, options: &[&str]) -> Node {
        let mut node = self.node(host, name);
        node.options = options.iter().map(|option| (*option).to_owned()).collect();
        node.up(Some(self.ready["join_token"].as_str().unwrap()));
        node
    }
}

/// A node: an agent on a host of its own.
pub(crate) struct Node {
    pub(crate) host: Arc<Namespace>,
    pub(crate) name: String,
    /// Further arguments of `lacis up`.
    pub(crate) options: Vec<String>,
    state: PathBuf,
    /// The state as it was when this node knew nothing but its group.
    fresh: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    agent: Option<Process>,
}

impl Node {
    /// Starts the agent and waits until it is ready.
    #[track_caller]
    pub(crate) fn up(&mut self, token: Option<&str>) {
        let mut command = self.host.command(binary("lacis"));
        command.arg("up").args(token).args(["--name", &self.name, "--format", "json"]).args(&self.options);
        command.arg("--state").arg(&self.state).arg("--socket").arg(&self.socket);
        let mut agent = Process::start(&mut command, &self.log);
        agent.line();
        self.agent = Some(agent);
    }

    /// Asks the agent to end, and gives its exit code.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.agent.take().unwrap().terminate()
    }

    /// Kills the agent without a warning.
    pub(crate) fn kill(&mut self) {
        self.agent = None;
    }

    /// Keeps what the agent, which is down, knows now as what it will know after [`Node::up_fresh`].
    pub(crate) fn keep_fresh(&self) {
        run_ok(Command::new("cp").arg("-a").arg(&self.state).arg(&self.fresh));
    }

    /// Starts the agent, which is down, as one that has never spoken to a peer.
    #[track_caller]
    pub(crate) fn up_fresh(&mut self) {
        fs::remove_dir_all(&self.state).unwrap();
        run_ok(Command::new("cp").arg("-a").arg(&self.fresh).arg(&self.state));
        self.up(None);
    }

    /// A `lacis` command that asks this node's agent.
    pub(crate) fn lacis(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(binary("lacis"));
        command.args(arguments).arg("--socket").arg(&self.socket);
        command
    }

    /// The node's only group in its status.
    #[track_caller]
    pub(crate) fn group(&self) -> Value {
        let text = run_ok(&mut self.lacis(&["status", "--format", "json"]));
        serde_json::from_str::<Value>(&text).unwrap()["groups"][0].clone()
    }

    /// Its overlay address.
    #[track_caller]
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.group()["address4"].as_str().unwrap().parse().unwrap()
    }

    /// Waits until this node knows a peer, without speaking to it.
    #[track_caller]
    pub(crate) fn knows(&self, peer: &str) {
        eventually(&format!("{} knows {peer}", self.name), || {
            let group = self.group();
            let peers = group["peers"].as_array()?;
            peers.iter().any(|known| known.to_string().contains(peer)).then_some(())
        });
    }

    /// Waits until this node has a lease at a relay.
    #[track_caller]
    pub(crate) fn has_a_relay(&self) {
        eventually(&format!("{} has a lease", self.name), || {
            let text = run_ok(&mut self.lacis(&["status", "--format", "json"]));
            let status: Value = serde_json::from_str(&text).unwrap();
            status["relays"][0]["transport"].is_string().then_some(())
        });
    }

    /// The agent's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
