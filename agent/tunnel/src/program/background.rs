//! Going to the background: the program starts itself once more, and ends when that copy is ready.
//!
//! The copy makes everything and reports on its standard output before it lets go of the terminal. So whoever started
//! the program sees its errors and exit code, and can use `wg` at once after it has ended.
#![expect(unsafe_code, reason = "a session of its own and other standard streams take system calls")]

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, ExitCode, Stdio};

use super::arguments::{CORE, Carriers, DETACHED, SHARDS, WITHOUT};

const READY: &str = "ready\n";

/// Starts the detached copy; returns the exit code of this process once the copy is ready or has failed.
pub(super) fn start(name: &str, carriers: Carriers) -> io::Result<ExitCode> {
    let mut command = Command::new(std::env::current_exe()?);
    let (shards, without) = (carriers.shards.to_string(), carriers.offloads.to_string());
    command.args([CORE, carriers.core.name(), SHARDS, &shards, WITHOUT, &without, DETACHED, name]);
    let mut copy = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    if let Some(output) = copy.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    if line == READY {
        return Ok(ExitCode::SUCCESS);
    }
    // What went wrong is on standard error, which both share.
    let code = copy.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.filter(|code| *code != 0).unwrap_or(1)))
}

/// Says in the copy that it is ready, and lets go of terminal, folder and standard streams.
pub(super) fn ready() -> io::Result<()> {
    std::env::set_current_dir("/")?;
    // SAFETY: setsid takes nothing. It fails only for the leader of a group, which leads its own already.
    let _ = unsafe { libc::setsid() };
    let mut output = io::stdout();
    // Whoever started us may have gone; the interface is there all the same.
    let _ = output.write_all(READY.as_bytes()).and_then(|()| output.flush());
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for stream in 0..=2 {
        // SAFETY: both descriptors are numbers; `nowhere` is open, and nobody holds the standard streams as owned.
        if unsafe { libc::dup2(nowhere.as_raw_fd(), stream) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
