//! `lacis`: the agent and the command line in one program.

use std::process::ExitCode;

use clap::Parser as _;
use lacis_agent::{cli, config::Cli};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = Cli::parse();
    let filter = EnvFilter::try_new(&arguments.log).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // One thread: packets have a thread of their own, and what is left is waiting.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(arguments)),
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            ExitCode::FAILURE
        }
    }
}
