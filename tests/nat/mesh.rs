//! Control with its relay on the public side, and agents behind NATs: the built programs.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use serde_json::Value;
use support::{Namespace, Process, binary};
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

    /// The agent's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
