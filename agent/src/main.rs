//! `lacis`: the agent and the command line in one program.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser as _;
use lacis_agent::{cli, config::Cli};
use tracing_subscriber::EnvFilter;

/// Libraries that speak of every query and every idle tunnel; a filter given by hand comes after.
const QUIET: &str = "hickory_server=warn,boringtun=off";

fn main() -> ExitCode {
    cli::ng::complete::answer();
    let arguments = Cli::parse();
    let Ok(filter) = EnvFilter::try_new(format!("{QUIET},{}", arguments.log)) else {
        cli::usage_error("--log is no filter; write info, debug, or lacis_agent=debug");
        return ExitCode::from(2);
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(std::io::stderr().is_terminal()).init();
    // One thread: packets have a thread of their own, and what is left is waiting.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(arguments)),
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            ExitCode::FAILURE
        }
    }
}
