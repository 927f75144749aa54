//! Control with its relay on the public side, and agents behind NATs: the built programs.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::Duration,
};

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
        let path = |end: &str| self.dir.path().join(format!("{name}{end}"));
        Node {
            host: Arc::clone(host),
            name: name.to_owned(),
            options: Vec::new(),
            env: Vec::new(),
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
    /// What stands in the environment of `lacis up`.
    pub(crate) env: Vec<(&'static str, String)>,
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
        let mut agent = self.start(token);
        agent.line();
        self.agent = Some(agent);
    }

    fn start(&self, token: Option<&str>) -> Process {
        let mut command = self.host.command(binary("lacis"));
        command.arg("up").args(token).args(["--name", &self.name, "--format", "json"]).args(&self.options);
        command.arg("--state").arg(&self.state).arg("--socket").arg(&self.socket);
        command.envs(self.env.iter().cloned());
        Process::start(&mut command, &self.log)
    }

    /// Starts the agent without waiting for it.
    pub(crate) fn begin(&mut self) {
        self.agent = Some(self.start(None));
    }

    /// Has the agent stand still, or go on.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        let signal = if is_frozen { "-STOP" } else { "-CONT" };
        run_ok(Command::new("kill").args([signal, &self.agent.as_ref().unwrap().id().to_string()]));
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
        let _ = fs::remove_dir_all(&self.fresh);
        run_ok(Command::new("cp").arg("-a").arg(&self.state).arg(&self.fresh));
    }

    /// Starts the agent, which is down, as one that has never spoken to a peer.
    #[track_caller]
    pub(crate) fn up_fresh(&mut self) {
        self.refresh();
        self.up(None);
    }

    /// Has the agent, which is down, forget that it ever spoke to a peer.
    pub(crate) fn refresh(&self) {
        fs::remove_dir_all(&self.state).unwrap();
        run_ok(Command::new("cp").arg("-a").arg(&self.fresh).arg(&self.state));
    }

    /// A `lacis` command that asks this node's agent.
    pub(crate) fn lacis(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(binary("lacis"));
        command.args(arguments).arg("--socket").arg(&self.socket);
        command
    }

    /// The status, as JSON.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&run_ok(&mut self.lacis(&["status", "--format", "json"]))).unwrap()
    }

    /// The node's only group in its status.
    #[track_caller]
    pub(crate) fn group(&self) -> Value {
        self.status()["groups"][0].clone()
    }

    /// A figure of its tunnel.
    #[track_caller]
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let status = self.status();
        status["tunnel"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {}", status["tunnel"]))
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
        self.has_relays(1);
    }

    /// Waits until this node has leases at so many relays.
    #[track_caller]
    pub(crate) fn has_relays(&self, count: usize) {
        eventually(&format!("{} has {count} leases", self.name), || {
            let status = self.status();
            let leases = status["relays"].as_array()?.iter().filter(|relay| relay["transport"].is_string());
            (leases.count() >= count).then_some(())
        });
    }

    /// The process of the agent, which is up.
    pub(crate) fn pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// The agent's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
