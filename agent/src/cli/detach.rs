//! `lacis up --detach`: the agent in the background, once it is ready.

use std::{
    ffi::OsString,
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, time::sleep};

use super::{Failure, up};
use crate::{
    config::UpArgs,
    socket::{Reply, Request, ask},
};

/// How often it is looked whether the agent is ready, or has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Starts this very command again in the background, waits until that agent is ready, and leaves it.
pub(super) async fn detach(args: &UpArgs) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::Failed(format!("cannot start the agent in the background: {error}"));
    let socket = &args.common.socket;
    if ask(socket, &Request::Status {}).await.is_ok() {
        return Err(Failure::Failed(format!("an agent already listens on {socket:?}; `lacis down` ends it")));
    }
    let token = args.join_token().map_err(|error| Failure::Failed(error.to_string()))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("lacis").args(arguments(std::env::args_os().skip(1), args.token.as_deref()));
    // A group of its own: what the terminal sends to this command is not for the agent. The token goes where
    // no list of processes shows it, for as long as the agent lives.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut agent = command.spawn().map_err(failed)?;
    if let Some(mut input) = agent.stdin.take() {
        let text = token.map(|token| token.to_string()).unwrap_or_default();
        input.write_all(text.as_bytes()).map_err(failed)?;
    }
    loop {
        if agent.try_wait().map_err(failed)?.is_some() {
            return Err(Failure::Failed(last_words(&mut agent).await));
        }
        if let Ok(mut replies) = ask(socket, &Request::Status {}).await
            && let Ok(Reply::Status(status)) = replies.next().await
            && status.ready
        {
            up::announce(&status, args.common.format);
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

/// Why the agent ended before it was ready.
async fn last_words(agent: &mut Child) -> String {
    let mut text = String::new();
    if let Some(Ok(mut errors)) = agent.stderr.take().map(tokio::process::ChildStderr::from_std) {
        // Whatever can be read says more than nothing.
        let _ = errors.read_to_string(&mut text).await;
    }
    let text = text.trim().trim_start_matches("lacis: ");
    if text.is_empty() { "the agent ended before it was ready".to_owned() } else { text.to_owned() }
}

/// The arguments of the agent, out of those of this command: the token is read from standard input.
fn arguments(all: impl Iterator<Item = OsString>, token: Option<&str>) -> Vec<OsString> {
    let arguments = all.map(|argument| match argument {
        detach if detach == "--detach" => "--detached".into(),
        secret if token.is_some_and(|token| secret == *token) => "-".into(),
        other => other,
    });
    arguments.collect()
}
