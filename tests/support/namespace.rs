//! A network namespace of a test: what runs in it, and threads that go in to open sockets there.

use std::{
    ffi::OsStr,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::sched::{CloneFlags, setns};

use crate::{host::in_a_world, run, run_ok};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A number that no other call in this process gives: names of namespaces and links end in it.
#[must_use]
pub fn serial() -> u32 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A network namespace with files of `/etc` of its own. Gone when dropped.
#[derive(Debug)]
pub struct Namespace {
    /// What `ip netns` calls it.
    pub name: String,
}

impl Namespace {
    /// An empty namespace whose loopback is up.
    #[must_use]
    pub fn new() -> Self {
        assert!(in_a_world(), "this test makes networks: run it through ./tests/run");
        let name = format!("h{}", serial());
        run_ok(Command::new("ip").args(["netns", "add", &name]));
        let space = Self { name };
        std::fs::create_dir_all(space.etc()).unwrap();
        std::fs::write(space.resolv_conf(), format!("# of {}\n", space.name)).unwrap();
        space.ip(&["link", "set", "lo", "up"]);
        space
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

    /// Runs `ip` in here.
    #[track_caller]
    pub fn ip(&self, arguments: &[&str]) -> String {
        run_ok(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// A command that runs in here.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a program in here that reads `input`, and gives what it prints; panics unless it succeeds.
    #[track_caller]
    pub fn feed(&self, program: &str, arguments: &[&str], input: &str) -> String {
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} failed: {said}\n{input}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a script of the shell in here, up to the first command that fails.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.feed("sh", &["-e"], script)
    }

    /// Acts in a thread that is in here. Sockets that it opens stay in here.
    ///
    /// # Panics
    /// Where the namespace is gone, or `act` panics.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let door = File::open(Path::new("/run/netns").join(&self.name)).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(door, CloneFlags::CLONE_NEWNET).unwrap();
                act()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(Command::new("ip").args(["netns", "del", &self.name]));
        let _ = std::fs::remove_dir_all(self.etc());
    }
}
