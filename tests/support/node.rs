//! An agent on a host of its own, as a process and as who answers questions.

use std::{
    fs,
    net::Ipv4Addr,
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{Namespace, Process, binary, eventually, run, run_ok};

/// A node: an agent in the network namespace of its host, whatever else that host is.
#[derive(Debug)]
pub struct Node<H> {
    /// Where it runs.
    pub host: H,
    /// What it is called.
    pub name: String,
    /// Its state folder.
    pub state: PathBuf,
    /// Further arguments of `lacis up`.
    pub options: Vec<String>,
    /// What stands in the environment of `lacis up`.
    pub env: Vec<(&'static str, String)>,
    /// What it logs, where that is not the usual; in JSON then.
    pub logs: Option<&'static str>,
    socket: PathBuf,
    log: PathBuf,
    /// The state as it was when this node knew nothing but its group.
    fresh: PathBuf,
    agent: Option<Process>,
}

impl<H: Deref<Target = Namespace>> Node<H> {
    /// A node that has not been started; all that it has is in a folder of the test.
    #[must_use]
    pub fn new(host: H, folder: &Path, name: &str) -> Self {
        let path = |end: &str| folder.join(format!("{name}{end}"));
        Self {
            host,
            name: name.to_owned(),
            state: path(""),
            options: Vec::new(),
            env: Vec::new(),
            logs: None,
            socket: path(".sock"),
            log: path(".log"),
            fresh: path(".fresh"),
            agent: None,
        }
    }

    /// Starts the agent and waits until it is ready; gives what it prints then.
    #[track_caller]
    pub fn up(&mut self, token: Option<&str>) -> Value {
        let mut agent = self.start(token);
        let ready = serde_json::from_str(&agent.line()).unwrap();
        self.agent = Some(agent);
        ready
    }

    /// Starts another program as the agent and waits until it is ready.
    #[track_caller]
    pub fn up_with(&mut self, program: &Path) {
        let mut command = self.up_command_of(program, None);
        let mut agent = Process::start(command.args(["--format", "json"]), &self.log);
        agent.line();
        self.agent = Some(agent);
    }

    /// Starts the agent again without waiting for it.
    pub fn start_again(&mut self) {
        self.agent = Some(self.start(None));
    }

    /// Starts the agent and leaves it to the caller.
    #[must_use]
    pub fn start(&self, token: Option<&str>) -> Process {
        let mut command = self.up_command(token);
        command.args(["--format", "json"]);
        Process::start(&mut command, &self.log)
    }

    /// `lacis up` on this node.
    #[must_use]
    pub fn up_command(&self, token: Option<&str>) -> Command {
        self.up_command_of(&binary("lacis"), token)
    }

    /// `lacis up` on this node, with a program of its own.
    fn up_command_of(&self, program: &Path, token: Option<&str>) -> Command {
        let mut command = self.host.command(program);
        logging(&mut command, self.logs);
        command.arg("up").args(token).args(["--name", &self.name]).args(&self.options);
        command.arg("--state").arg(&self.state).arg("--socket").arg(&self.socket);
        command.envs(self.env.iter().cloned());
        command
    }

    /// Has the agent stand still, or go on.
    pub fn freeze(&self, is_frozen: bool) {
        let signal = if is_frozen { "-STOP" } else { "-CONT" };
        run_ok(Command::new("kill").args([signal, &self.id().to_string()]));
    }

    /// Kills the agent without a warning.
    pub fn kill(&mut self) {
        self.agent = None;
    }

    /// Asks the agent to end, and gives its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.agent.take().unwrap().terminate()
    }

    /// Waits until the agent ends by itself, and gives its exit code.
    #[track_caller]
    pub fn exit_code(&mut self) -> Option<i32> {
        self.agent.take().unwrap().exit_code()
    }

    /// Keeps what the agent, which is down, knows now as what it will know after [`Node::up_fresh`].
    pub fn keep_fresh(&self) {
        let _ = fs::remove_dir_all(&self.fresh);
        run_ok(Command::new("cp").arg("-a").arg(&self.state).arg(&self.fresh));
    }

    /// Starts the agent, which is down, as one that has never spoken to a peer.
    #[track_caller]
    pub fn up_fresh(&mut self) {
        self.refresh();
        self.up(None);
    }

    /// Has the agent, which is down, forget that it ever spoke to a peer.
    pub fn refresh(&self) {
        fs::remove_dir_all(&self.state).unwrap();
        run_ok(Command::new("cp").arg("-a").arg(&self.fresh).arg(&self.state));
    }

    /// The process id of the agent, which is up. `ip netns exec` becomes the program.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// The socket of the agent.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The agent's log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A `lacis` command that asks this node's agent.
    #[must_use]
    pub fn lacis(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(binary("lacis"));
        command.args(arguments).arg("--socket").arg(&self.socket);
        command
    }

    /// The status, as JSON.
    #[track_caller]
    #[must_use]
    pub fn status(&self) -> Value {
        serde_json::from_str(&run_ok(&mut self.lacis(&["status", "--format", "json"]))).unwrap()
    }

    /// The node's only group in its status.
    #[track_caller]
    #[must_use]
    pub fn group(&self) -> Value {
        self.status()["groups"][0].clone()
    }

    /// Its overlay address.
    #[track_caller]
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.group()["address4"].as_str().unwrap().parse().unwrap()
    }

    /// A figure of its tunnel.
    #[track_caller]
    #[must_use]
    pub fn figure(&self, name: &str) -> u64 {
        let status = self.status();
        status["tunnel"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {}", status["tunnel"]))
    }

    /// Waits until a peer answers this node.
    #[track_caller]
    pub fn wait(&self, peer: &str) {
        run_ok(&mut self.lacis(&["status", "--wait", peer, "--timeout", "30"]));
    }

    /// Whether a peer answers this node within a moment.
    pub fn reaches(&self, peer: &str) -> bool {
        let mut command = self.lacis(&["ping", peer, "-c", "1", "-W", "0.5", "--format", "json"]);
        run(&mut command).status.success()
    }

    /// Waits until this node knows a peer, without speaking to it.
    #[track_caller]
    pub fn knows(&self, peer: &str) {
        eventually(&format!("{} knows {peer}", self.name), || {
            let group = self.group();
            let peers = group["peers"].as_array()?;
            peers.iter().any(|known| known.to_string().contains(peer)).then_some(())
        });
    }

    /// Waits until this node has a lease at a relay.
    #[track_caller]
    pub fn has_a_relay(&self) {
        self.has_relays(1);
    }

    /// Waits until this node has leases at so many relays.
    #[track_caller]
    pub fn has_relays(&self, count: usize) {
        eventually(&format!("{} has {count} leases", self.name), || {
            let status = self.status();
            let leases = status["relays"].as_array()?.iter().filter(|relay| relay["transport"].is_string());
            (leases.count() >= count).then_some(())
        });
    }

    /// What `dig` prints, line by line, for a question to this node's resolver.
    #[track_caller]
    pub fn dig(&self, arguments: &[&str]) -> Vec<String> {
        let resolver = format!("@{}", self.group()["resolver4"].as_str().unwrap());
        let mut command = self.host.command("dig");
        command.args([&resolver, "+time=3", "+tries=2"]).args(arguments);
        run_ok(&mut command).lines().map(str::to_owned).collect()
    }
}

/// Has a program log so much, in JSON, where a filter is given.
pub fn logging(command: &mut Command, filter: Option<&str>) {
    if let Some(filter) = filter {
        command.env("LACIS_LOG", filter).env("LACIS_LOG_FORMAT", "json");
    }
}
