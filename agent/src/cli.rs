//! The command line: asks the agent, prints, and turns failures into exit codes.

mod detach;
mod explain;
mod install;
mod logs;
mod membership;
mod netcheck;
pub mod ng;
mod ping;
mod print;
mod status;
mod up;

use std::process::ExitCode;

use crate::{
    Logs,
    config::{Cli, Command},
    socket::{AskError, ErrorKind, Reply},
};

/// Why a command failed; each has its exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    NotInTime(String),
    #[error("{0}")]
    NoAgent(String),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    NoControl(String),
    #[error("{0}")]
    NoSuchThing(String),
    #[error("{0}")]
    NotAllowed(String),
}

impl Failure {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NotInTime(_) => 3,
            Self::NoAgent(_) | Self::NoControl(_) => 4,
            Self::NoSuchThing(_) => 5,
            Self::NotAllowed(_) => 6,
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NoAgent { .. } => Self::NoAgent(error.to_string()),
            AskError::BrokenOff => Self::Failed(error.to_string()),
        }
    }
}

/// Runs a command to its end.
pub async fn run(cli: Cli, logs: Logs) -> ExitCode {
    let result = match cli.command {
        Command::Up(args) => up::up(*args, logs).await,
        Command::Down(args) => membership::down(args).await,
        Command::Join(args) => membership::join(args).await,
        Command::Leave(args) => membership::leave(args).await,
        Command::RotateKey(args) => membership::rotate_key(args).await,
        Command::Status(args) => status::status(args).await,
        Command::Ping(args) => ping::ping(args).await,
        Command::Explain(args) => explain::explain(args).await,
        Command::Netcheck(args) => netcheck::netcheck(args).await,
        Command::Ng(args) => ng::ng(*args).await,
        Command::Completion { shell } => ng::complete::script(shell),
        Command::Logs(args) => logs::logs(args).await,
        Command::Guard(args) => {
            let done = crate::host::guard::run(args.resolv_conf).await;
            done.map_err(|error| Failure::Failed(format!("the host's resolver is not restored: {error}")))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::error(&failure.to_string());
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Says that an argument cannot be used.
pub fn usage_error(text: &str) {
    print::error(text);
}

/// A reply that is a failure.
fn failed(reply: Reply) -> Failure {
    match reply {
        Reply::Error { kind: ErrorKind::TimedOut, message } => Failure::NotInTime(message),
        Reply::Error {
            kind:
                ErrorKind::BadRequest
                | ErrorKind::UnknownPeer
                | ErrorKind::Stopping
                | ErrorKind::Forbidden
                | ErrorKind::Failed,
            message,
        } => Failure::Failed(message),
        Reply::Status(_)
        | Reply::Explained(_)
        | Reply::Netcheck(_)
        | Reply::Pong(_)
        | Reply::Log { .. }
        | Reply::Journal { .. }
        | Reply::Done {} => {
            Failure::Failed("the agent answered something else; are both of the same version?".to_owned())
        }
    }
}
