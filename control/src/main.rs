//! `lacis-control`: arguments, log, exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use lacis_control::cli::{Cli, LogFormat};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(&cli.log).context("--log is no filter; write info or debug")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match cli.log_format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => log.json().init(),
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    runtime.block_on(cli.run())
}

#[expect(clippy::print_stderr, reason = "the error of a command belongs to the person who gave it")]
fn report(error: &anyhow::Error) {
    eprintln!("lacis-control: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because {cause}");
    }
}
