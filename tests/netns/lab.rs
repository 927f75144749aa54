//! Control and nodes, each on a host of its own.

use std::{fs, process::Command};

use serde_json::Value;
use support::{Bridge, Host, Process, binary, logging};
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

/// A node on a host of its own.
pub(crate) type Node = support::Node<Host>;

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
        let mut node = Node::new(Host::new(&self.bridge, number), self.dir.path(), name);
        node.logs = self.log;
        node
    }
}

/// The JSON text at a key.
#[track_caller]
pub(crate) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}")).to_owned()
}
