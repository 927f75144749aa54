//! The command line of `lacis-control`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

mod ask;
mod node;
mod owner;
mod relay;
mod serve;
mod service;
mod status;
mod token;

use lacis_control_core::limits;

use crate::config;

/// The Lacis control service.
#[derive(Debug, Parser)]
#[command(name = "lacis-control", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What is logged to stderr, as `info` or `lacis_control=debug`.
    #[arg(long, global = true, env = "LACIS_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// How the log looks: text, or one JSON object per line.
    #[arg(
        long,
        global = true,
        env = "LACIS_LOG_FORMAT",
        value_enum,
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs control in the foreground; the first start makes everything it needs.
    Serve(ServeArgs),
    /// Makes, lists and ends join tokens.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Makes API tokens.
    #[command(subcommand)]
    ApiToken(token::ApiTokenCommand),
    /// Revokes nodes.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Shows groups, nodes and who is connected.
    Status(Common),
    /// Runs a relay alone, beside any number of controls, which it knows by their keys.
    Relay(relay::RelayArgs),
    /// Tells nodes of relays outside of this control.
    #[command(subcommand)]
    RelayMap(relay::MapCommand),
    /// Makes and lists owners.
    #[command(subcommand)]
    Owner(owner::OwnerCommand),
    /// Prints the document of the management API, as control serves it at /openapi.json.
    Openapi,
    /// Prints a completion script for a shell.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// One JSON object per line, for programs.
    Json,
}

#[derive(Debug, Args)]
struct Common {
    /// The data folder.
    #[arg(long, env = "LACIS_CONTROL_DATA", default_value = config::DATA, value_name = "DIR")]
    data: PathBuf,
    /// How results are printed.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    common: Common,
    /// Where to listen; port 0 lets the kernel choose [default: every address of the host, port 8443].
    #[arg(long, env = "LACIS_CONTROL_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// An address under which agents reach this control; repeatable [default: all addresses of the host].
    #[arg(long = "public-url", env = "LACIS_CONTROL_PUBLIC_URL", value_delimiter = ',', value_name = "URL")]
    public_urls: Vec<String>,
    /// Offer /metrics on this address, over plain HTTP; the admin socket always does.
    #[arg(long, env = "LACIS_CONTROL_METRICS", value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
    /// Where the relay takes datagrams [default: the addresses of control, UDP port 3478].
    #[arg(long, env = "LACIS_CONTROL_RELAY_LISTEN", value_name = "ADDR:PORT", conflicts_with = "no_relay")]
    relay_listen: Option<SocketAddr>,
    /// Run no relay in this process.
    #[arg(long, env = "LACIS_CONTROL_NO_RELAY", value_parser = clap::builder::FalseyValueParser::new())]
    no_relay: bool,
    /// The rate class of this control's members at relays that have classes.
    #[arg(long, env = "LACIS_CONTROL_RELAY_CLASS", default_value_t = 0, value_name = "CLASS",
        value_parser = clap::value_parser!(u8).range(0..=lacis_relay::CLASSES as i64))]
    relay_class: u8,
    /// A zone suffix of new groups, the first is the default; repeatable.
    #[arg(long = "dns-suffix", env = "LACIS_CONTROL_DNS_SUFFIX", value_delimiter = ',', value_name = "SUFFIX",
        default_value = limits::DEFAULT_SUFFIX)]
    suffixes: Vec<String>,
    /// An OAuth 1.0 consumer that is taken; repeatable [default: any, and that of the platform's clients where
    /// requests are signed].
    #[arg(long = "oauth-consumer", env = "LACIS_CONTROL_OAUTH_CONSUMER", value_delimiter = ',',
        value_parser = consumer, value_name = "KEY:SECRET")]
    consumers: Vec<(String, String)>,
    /// Forget what was done after this long, as a number and s, m, h or d; or never.
    #[arg(long, env = "LACIS_CONTROL_KEEP_AUDIT", default_value = "400d", value_parser = token::lifetime, value_name = "TIME")]
    keep_audit: token::Lifetime,
    /// Forget tokens that ended, and nodes that were revoked or left every group, after this long; or never.
    #[arg(long, env = "LACIS_CONTROL_KEEP_ENDED", default_value = "90d", value_parser = token::lifetime, value_name = "TIME")]
    keep_ended: token::Lifetime,
    /// Callers of the management API may send as much as they can: for load tests.
    #[arg(long)]
    no_limits: bool,
}

fn consumer(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once(':').filter(|(key, secret)| !key.is_empty() && !secret.is_empty());
    pair.map(|(key, secret)| (key.to_owned(), secret.to_owned())).ok_or_else(|| "write KEY:SECRET".to_owned())
}

impl Cli {
    /// Does what the arguments ask for.
    ///
    /// # Errors
    /// What went wrong; the chain is for a person.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(args) => serve::serve(args).await,
            Command::Token(command) => token::token(command).await,
            Command::ApiToken(command) => token::api_token(command).await,
            Command::Node(command) => node::node(command).await,
            Command::Status(common) => status::status(common).await,
            Command::Relay(args) => relay::relay(args).await,
            Command::RelayMap(command) => relay::map(command).await,
            Command::Owner(command) => owner::owner(command).await,
            Command::Openapi => {
                std::io::Write::write_all(&mut std::io::stdout(), crate::openapi()?.as_bytes())?;
                Ok(())
            }
            Command::Completion { shell } => {
                let mut command = <Self as clap::CommandFactory>::command();
                clap_complete::generate(shell, &mut command, "lacis-control", &mut std::io::stdout());
                Ok(())
            }
        }
    }
}

/// Rows in columns as wide as their widest entry.
fn table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        text.push_str(cells.trim_end());
        text.push('\n');
    }
    text
}

/// A call as the commands make it.
#[cfg(test)]
pub(crate) async fn ask_for_tests(data: &std::path::Path, call: crate::admin::Call) -> serde_json::Value {
    ask::ask(data, call).await.unwrap().value
}
