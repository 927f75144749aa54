//! A control on loopback, and the clients that manage it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use support::{Process, binary, run, run_ok};
use tempfile::TempDir;

/// A control on an empty folder.
pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) ready: Value,
    _control: Process,
}

impl Lab {
    pub(crate) fn new() -> Self {
        assert!(support::in_a_world(), "run this through ./tests/run clients");
        let dir = TempDir::new().unwrap();
        let mut command = Command::new(binary("lacis-control"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--format", "json", "--data"]);
        command.arg(dir.path().join("control"));
        let mut control = Process::start(&mut command, &dir.path().join("control.log"));
        let ready = serde_json::from_str(&control.line()).unwrap();
        Self { dir, ready, _control: control }
    }

    /// What control printed when it was ready.
    #[track_caller]
    pub(crate) fn word(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("{key} in {}", self.ready))
    }

    /// A command of a user without any settings, whose home is empty at first.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let home = self.dir.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        command.env_clear().env("PATH", path()).env("HOME", &home).current_dir(&home);
        command
    }

    /// `lacis ng` with the first API token.
    pub(crate) fn ng_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(binary("lacis"));
        command.arg("ng").args(arguments);
        for (name, word) in [("LACIS_API", "api"), ("LACIS_CA", "ca"), ("LACIS_API_TOKEN", "api_token")] {
            command.env(name, self.word(word));
        }
        command
    }

    /// What `lacis ng` prints.
    #[track_caller]
    pub(crate) fn ng(&self, arguments: &[&str]) -> String {
        run_ok(&mut self.ng_command(arguments))
    }

    /// What `lacis ng --format json` prints.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = run_ok(self.ng_command(arguments).args(["--format", "json"]));
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{arguments:?} printed {text}"))
    }

    /// Runs `lacis ng`, which ends with this code and says this.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], code: i32, says: &[&str]) -> Output {
        let output = run(&mut self.ng_command(arguments));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        for part in says {
            assert!(stderr.contains(part), "{arguments:?} lacks {part:?}: {stderr}");
        }
        output
    }

    /// What the API itself holds: the groups of the first owner, asked without any of our code.
    #[track_caller]
    pub(crate) fn groups(&self) -> Vec<Value> {
        let (api, owner) = (self.word("api"), self.word("owner"));
        let url = format!("{api}/v4/networkgroups/organisations/{owner}/networkgroups");
        let bearer = format!("Authorization: Bearer {}", self.word("api_token"));
        let mut curl = self.command("curl");
        curl.args(["-sS", "--fail", "--cacert", self.word("ca"), "-H", &bearer, &url]);
        let groups: Value = serde_json::from_str(&run_ok(&mut curl)).unwrap();
        groups.as_array().unwrap().clone()
    }

    /// The group with this label, as the API holds it.
    #[track_caller]
    pub(crate) fn group(&self, label: &str) -> Value {
        let groups = self.groups();
        let found = groups.iter().find(|group| group["label"] == label);
        found.unwrap_or_else(|| panic!("no group {label}: {groups:?}")).clone()
    }
}

#[expect(clippy::disallowed_methods, reason = "programs are found where this test finds them")]
fn path() -> String {
    std::env::var("PATH").unwrap()
}

/// The ids of the things in a field of a group.
pub(crate) fn ids(group: &Value, field: &str) -> Vec<String> {
    let things = group[field].as_array().unwrap();
    things.iter().map(|thing| thing["id"].as_str().unwrap().to_owned()).collect()
}

/// Where `./tests/run` installs the platform's clients; `None`, and said aloud, where it could not.
pub(crate) fn platform() -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let modules = target.join("clients/node_modules");
    if modules.join("clever-tools").exists() {
        return Some(modules);
    }
    println!("passed over, not installed: the platform's clients");
    None
}
