//! `lacis`: the agent and the command line in one program.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser as _;
use lacis_agent::{
    Logs, cli,
    config::{Cli, Command, LogFormat},
};
use tracing_subscriber::{
    EnvFilter, Layer, fmt::MakeWriter, layer::SubscriberExt as _, registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// Libraries that speak of every query and every idle tunnel; a filter given by hand comes after.
const QUIET: &str = "hickory_server=warn,boringtun=off";

fn main() -> ExitCode {
    cli::ng::complete::answer();
    let arguments = Cli::parse();
    let Ok(filter) = EnvFilter::try_new(format!("{QUIET},{}", arguments.log)) else {
        cli::usage_error("--log is no filter; write info, debug, or lacis_agent=debug");
        return ExitCode::from(2);
    };
    let logs = Logs::default();
    let is_detached = matches!(&arguments.command, Command::Up(up) if up.detached);
    let everywhere =
        (!is_detached).then(|| layer(arguments.log_format, std::io::stderr().is_terminal(), std::io::stderr));
    let kept = layer(arguments.log_format, false, logs.clone());
    tracing_subscriber::registry().with(filter).with(everywhere).with(kept).init();
    // One thread: packets have a thread of their own, and what is left is waiting.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(arguments, logs)),
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            ExitCode::FAILURE
        }
    }
}

/// What writes events, in the wanted format.
fn layer<S, W>(format: LogFormat, ansi: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => layer.with_ansi(ansi).boxed(),
        LogFormat::Json => layer.json().boxed(),
    }
}
