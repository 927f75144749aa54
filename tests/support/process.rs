//! Processes that end with the test that started them.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use crate::eventually;

/// A line comes within this, or the process hangs: twice what a condition is waited for.
const LINE_WITHIN: Duration = Duration::from_secs(60);

/// Lines that a process may be ahead of its test; then it waits, as with any pipe.
const LINES_AHEAD: usize = 1_024;

/// A built program of this workspace.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.exists(), "{path:?} is not built; ./tests/run builds it");
    path
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command to its end and gives its standard output; panics unless it succeeds.
#[track_caller]
pub fn run_ok(command: &mut Command) -> String {
    let output = run(command);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed with {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// A process in the background. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Process {
    /// Starts a command; its standard error goes to a file.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let errors = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().unwrap();
        let (send, lines) = sync_channel(LINES_AHEAD);
        thread::spawn(move || read(stdout, &send));
        Self { child, lines, log: log.to_owned() }
    }

    /// The next line that the process prints; panics with its log when it ends instead, or prints nothing for a minute.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(LINE_WITHIN) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the process printed nothing and ended:\n{}", self.log())
            }
            Err(RecvTimeoutError::Timeout) => {
                panic!("the process printed nothing within {LINE_WITHIN:?}:\n{}", self.log())
            }
        }
    }

    /// What the process has written to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills the process without a warning, and waits until it is gone.
    pub fn kill(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the process to end, and gives its exit code.
    #[track_caller]
    pub fn terminate(&mut self) -> Option<i32> {
        run_ok(Command::new("kill").args(["-TERM", &self.child.id().to_string()]));
        self.exit_code()
    }

    /// Waits until the process ends by itself, and gives its exit code.
    #[track_caller]
    pub fn exit_code(&mut self) -> Option<i32> {
        eventually("the process ends", || self.child.try_wait().unwrap()).code()
    }

    /// What is left of standard output, after the end of the process.
    pub fn rest(&mut self) -> String {
        self.lines.iter().collect()
    }
}

/// Hands on what a process prints, line by line, until it ends or nobody listens.
fn read(stdout: ChildStdout, lines: &SyncSender<String>) {
    let (mut stdout, mut line) = (BufReader::new(stdout), Vec::new());
    while stdout.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
        line.clear();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
