//! Control and nodes, each on a host of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use support::{Bridge, Host, Process, binary, run, run_ok};
use tempfile::TempDir;

/// Control on its host, and what it printed when it was ready.
pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) bridge: Bridge,
    pub(crate) host: Host,
    pub(crate) ready: Value,
    /// What everybody logs, where that is not the usual; in JSON then.
    log: Option<&'static str>,
    control: Option<Process>,
}

/// A node: an agent on a host of its own.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) name: String,
    pub(crate) state: PathBuf,
    /// Further arguments of `lacis up`.
    pub(crate) options: Vec<String>,
    /// What stands in the environment of `lacis up`.
    pub(crate) env: Vec<(&'static str, String)>,
    socket: PathBuf,
    log: PathBuf,
    logs: Option<&'static str>,
    agent: Option<Process>,
}

impl Lab {
    /// Control on an empty folder, ready.
    pub(crate) fn new() -> Self {
        Self::make(None)
    }

    /// The same, where everybody logs so much, in JSON.
    pub(crate) fn new_with_log(filter: &'static str) -> Self {
        Self::make(Some(filter))
    }

    fn make(log: Option<&'static str>) -> Self {
        let dir = TempDir::new().unwrap();
        let bridge = Bridge::new();
        let host = Host::new(&bridge, 1);
        let mut lab = Self { dir, bridge, host, ready: Value::Null, log, control: None };
        lab.ready = lab.start_control();
        lab
    }

    /// Two nodes that have joined and know each other.
    pub(crate) fn with_two_nodes() -> (Self, Node, Node) {
        let lab = Self::new();
        let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
        web.up(Some(&lab.token()));
        db.up(Some(&lab.token()));
        web.wait("db");
        (lab, web, db)
    }

    /// Starts control and gives what it prints when it is ready.
    pub(crate) fn start_control(&mut self) -> Value {
        self.start_control_with(&[])
    }

    /// Starts control with further arguments.
    pub(crate) fn start_control_with(&mut self, arguments: &[&str]) -> Value {
        let listen = format!("{}:8443", self.host.v4());
        let serve = ["serve", "--listen", &listen, "--format", "json"];
        let mut command = self.control(&[&serve, arguments].concat());
        let mut control = Process::start(&mut command, &self.dir.path().join("control.log"));
        let ready = serde_json::from_str(&control.line()).unwrap();
        self.control = Some(control);
        ready
    }

    /// A `lacis-control` command on control's host and folder.
    pub(crate) fn control(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(binary("lacis-control"));
        command.args(arguments).arg("--data").arg(self.dir.path().join("control"));
        logging(&mut command, self.log);
        command
    }

    /// Control's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("control.log")).unwrap_or_default()
    }

    /// Starts control again without waiting for it.
    pub(crate) fn start_control_again(&mut self) {
        let listen = format!("{}:8443", self.host.v4());
        let mut command = self.control(&["serve", "--listen", &listen, "--format", "json"]);
        self.control = Some(Process::start(&mut command, &self.dir.path().join("control.log")));
    }

    /// The process id of control.
    pub(crate) fn control_id(&self) -> u32 {
        self.control.as_ref().unwrap().id()
    }

    /// Kills control without a warning.
    pub(crate) fn kill_control(&mut self) {
        self.control = None;
    }

    /// Asks control to end, and gives its exit code.
    pub(crate) fn stop_control(&mut self) -> Option<i32> {
        self.control.take().unwrap().terminate()
    }

    /// The join token that control printed at its first start.
    pub(crate) fn token(&self) -> String {
        self.ready["join_token"].as_str().unwrap().to_owned()
    }

    /// A node that has not been started.
    pub(crate) fn node(&self, number: u8, name: &str) -> Node {
        let path = |end: &str| self.dir.path().join(format!("{name}{end}"));
        Node {
            host: Host::new(&self.bridge, number),
            name: name.to_owned(),
            state: path(""),
            options: Vec::new(),
            env: Vec::new(),
            socket: path(".sock"),
            log: path(".log"),
            logs: self.log,
            agent: None,
        }
    }
}

impl Node {
    /// Starts the agent and waits until it is ready; gives what it prints then.
    #[track_caller]
    pub(crate) fn up(&mut self, token: Option<&str>) -> Value {
        let mut agent = self.start(token);
        let ready = serde_json::from_str(&agent.line()).unwrap();
        self.agent = Some(agent);
        ready
    }

    /// Starts another program as the agent and waits until it is ready.
    #[track_caller]
    pub(crate) fn up_with(&mut self, program: &Path) {
        let mut command = self.up_command_of(program, None);
        let mut agent = Process::start(command.args(["--format", "json"]), &self.log);
        agent.line();
        self.agent = Some(agent);
    }

    /// The process id of the agent.
    pub(crate) fn id(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// Starts the agent again without waiting for it.
    pub(crate) fn start_again(&mut self) {
        self.agent = Some(self.start(None));
    }

    /// Starts the agent and leaves it to the caller.
    pub(crate) fn start(&self, token: Option<&str>) -> Process {
        let mut command = self.up_command(token);
        command.args(["--format", "json"]);
        Process::start(&mut command, &self.log)
    }

    /// `lacis up` on this node.
    pub(crate) fn up_command(&self, token: Option<&str>) -> Command {
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

    /// Kills the agent without a warning.
    pub(crate) fn kill(&mut self) {
        self.agent = None;
    }

    /// Asks the agent to end, and gives its exit code.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.agent.take().unwrap().terminate()
    }

    /// Waits until the agent ends by itself, and gives its exit code.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.agent.take().unwrap().exit_code()
    }

    /// The process id of the agent. `ip netns exec` becomes the program.
    pub(crate) fn pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// The socket of the agent.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
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

    /// Waits until a peer answers this node.
    #[track_caller]
    pub(crate) fn wait(&self, peer: &str) {
        run_ok(&mut self.lacis(&["status", "--wait", peer, "--timeout", "30"]));
    }

    /// Whether a peer answers this node within a moment.
    pub(crate) fn reaches(&self, peer: &str) -> bool {
        let mut command = self.lacis(&["ping", peer, "-c", "1", "-W", "0.5", "--format", "json"]);
        run(&mut command).status.success()
    }

    /// What `dig` prints, line by line, for a question to this node's resolver.
    #[track_caller]
    pub(crate) fn dig(&self, arguments: &[&str]) -> Vec<String> {
        let resolver = format!("@{}", self.group()["resolver4"].as_str().unwrap());
        let mut command = self.host.command("dig");
        command.args([&resolver, "+time=3", "+tries=2"]).args(arguments);
        run_ok(&mut command).lines().map(str::to_owned).collect()
    }

    /// The agent's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Has a program log so much, in JSON, where a filter is given.
fn logging(command: &mut Command, filter: Option<&str>) {
    if let Some(filter) = filter {
        command.env("LACIS_LOG", filter).env("LACIS_LOG_FORMAT", "json");
    }
}

/// The JSON text at a key.
#[track_caller]
pub(crate) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}")).to_owned()
}
