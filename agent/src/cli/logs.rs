//! `lacis logs`: what the agent says, from the journal where it writes there, else from its own memory.

use std::{os::unix::process::CommandExt as _, process::Command};

use super::{Failure, failed, print};
use crate::{
    config::LogsArgs,
    socket::{Reply, Request, ask},
};

pub(super) async fn logs(args: LogsArgs) -> Result<(), Failure> {
    let request = Request::Logs { lines: args.lines, follow: args.follow };
    let mut replies = ask(&args.common.socket, &request).await?;
    loop {
        match replies.next().await? {
            Reply::Log { line } => print::line(&line),
            Reply::Journal { unit } => return Err(journal(&unit, &args)),
            Reply::Done {} => return Ok(()),
            other @ (Reply::Status(_)
            | Reply::Pong(_)
            | Reply::Explained(_)
            | Reply::Netcheck(_)
            | Reply::Error { .. }) => return Err(failed(other)),
        }
    }
}

/// Becomes `journalctl`; comes back only where that cannot be.
fn journal(unit: &str, args: &LogsArgs) -> Failure {
    let mut command = Command::new("journalctl");
    command.args(["--unit", unit, "--lines", &args.lines.to_string(), "--output", "cat"]);
    if args.follow {
        command.arg("--follow");
    }
    Failure::Failed(format!(
        "the agent writes to the journal of {unit}, and journalctl does not start: {}",
        command.exec()
    ))
}
