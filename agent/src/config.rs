//! Arguments and environment of `lacis`: raw text in, checked options out. The only reader of the
//! environment.

pub mod ng;

use std::{
    fs,
    io::Read as _,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use lacis_proto::{DialAddress, Endpoint, EndpointKind, GatewayReport, JoinToken, MAX_ENDPOINTS};
use lacis_tunnel::{Core, Offloads, Shards};

use crate::{Clock, DEFAULT_MTU, HostDns, Interfaces, Logs, Options, Proxy, ProxyError};
use lacis_agent_core::Proofs;

/// Smallest MTU of an overlay interface: IPv6 does not work below (RFC 8200 §5).
const MIN_MTU: u16 = 1280;

/// Where the agent keeps its state unless told otherwise.
pub(crate) const STATE: &str = "/var/lib/lacis";

/// Where the agent answers unless told otherwise.
pub(crate) const SOCKET: &str = "/run/lacis/agent.sock";

/// The file that names a host's name servers (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A private network for applications: names and encrypted addresses for what you run.
#[derive(Debug, Parser)]
#[command(name = "lacis", version, about, after_help = AFTER_HELP)]
pub struct Cli {
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
    /// How much to log to standard error: error, warn, info, debug, trace, or a filter such as lacis_agent=debug.
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

const AFTER_HELP: &str = "\
First steps:
  lacis-control serve        on the machine that introduces the others; prints a join token
  lacis up TOKEN             on each machine
  lacis status               who is there
  lacis ping NAME            is it reachable
  lacis explain NAME         why it is reached the way it is; `lacis netcheck` tells of this node's network
  lacis join TOKEN           one more group; `lacis leave GROUP` ends it

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not so in time or no answer, 4 no agent runs here,
5 and 6 see `lacis ng --help`.";

/// What `lacis` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Join with a token, or start again from what is known, and stay in the foreground.
    Up(Box<UpArgs>),
    /// End the agent that runs here; membership stays, and `lacis up` goes on.
    Down(Common),
    /// Join one more group with a token, while the agent runs.
    Join(JoinArgs),
    /// Leave a group, or everything.
    Leave(LeaveArgs),
    /// Take a new WireGuard key in a group, or in all; peers learn of it from control, signed by this node.
    RotateKey(RotateKeyArgs),
    /// Show this node, its groups and their peers.
    Status(StatusArgs),
    /// Ask a peer for an echo through its tunnel, by name, label, id or address.
    Ping(PingArgs),
    /// Tell why a peer is reached the way it is: what became of each address at which it may be, and of each relay.
    Explain(ExplainArgs),
    /// Find out what this node's network lets through: UDP, IPv6, the kind of NAT, the relays and how far they are.
    Netcheck(Common),
    /// Manage network groups through control's API.
    Ng(Box<ng::NgArgs>),
    /// Show what the agent says.
    Logs(LogsArgs),
    /// Touch this host's resolver for an agent on standard input, and restore it when the agent is gone.
    #[command(hide = true)]
    Guard(GuardArgs),
    /// Print the completion script of a shell, with live names of groups, members and peers.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

/// How output looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON value per line.
    Json,
}

/// Where the agent's socket is, and how output looks.
#[derive(Debug, Args)]
pub struct Common {
    /// Socket of the agent.
    #[arg(long, env = "LACIS_SOCKET", default_value = SOCKET, value_name = "PATH")]
    pub socket: PathBuf,
    /// How output looks.
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Arguments of `lacis up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Join token; "-" reads it from standard input. Not needed again once this node has joined with it.
    #[arg(env = "LACIS_JOIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// File that holds the join token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Folder of keys and cached state, private to this agent.
    #[arg(long, env = "LACIS_STATE", default_value = STATE, value_name = "DIR")]
    pub state: PathBuf,
    /// What this node calls itself; its host name where absent.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// UDP port of the tunnels; where absent the last one, else 47820, else any.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// MTU of overlay interfaces, in bytes.
    #[arg(long, default_value_t = DEFAULT_MTU, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(i64::from(MIN_MTU)..=65_000))]
    pub mtu: u16,
    /// What carries the tunnels: own or boringtun. Both speak the same protocol.
    #[arg(long, default_value = Core::default().name(), value_name = "NAME", value_parser = core)]
    pub core: Core,
    /// Threads that share the peers: 1 to 16, or auto, which is one below four cores.
    #[arg(long, default_value = "auto", value_name = "N", value_parser = shards)]
    pub shards: Shards,
    /// Offloads of the kernel not to use, to find out which one fails: reads, sends, receives, writes.
    #[arg(long, default_value = "none", value_name = "LIST", value_parser = without)]
    pub without: Offloads,
    /// A peer whose key its node has not signed, or another identity than before: tell of it and go on, or refuse it.
    #[arg(long, env = "LACIS_PROOFS", value_enum, default_value = "warn")]
    pub proofs: ProofsArg,
    /// Publish this endpoint instead of the host's addresses. Repeatable.
    #[arg(long, value_name = "IP:PORT")]
    pub endpoint: Vec<SocketAddr>,
    /// Do not ask the gateway for a port by PCP, NAT-PMP or UPnP.
    #[arg(long)]
    pub no_portmap: bool,
    /// Find direct paths past a NAT that takes a random port for each peer by trying up to 1,024 ports of it, where
    /// both peers are started so and have been relayed for a while.
    #[arg(long)]
    pub birthday: bool,
    /// Be a gateway of the groups: plain WireGuard clients dial this node, or HOST:PORT, an address that moves from
    /// gateway to gateway or a name. A gateway sees in clear what it passes on.
    #[arg(long, value_name = "HOST:PORT", num_args = 0..=1, require_equals = true)]
    pub gateway: Option<Option<DialAddress>>,
    /// Who has this host's resolver ask the agent for names of its groups.
    #[arg(long, env = "LACIS_DNS", value_enum, default_value = "host", value_name = "WHO")]
    pub dns: HostDns,
    /// The file that names this host's name servers.
    #[arg(long, default_value = RESOLV_CONF, value_name = "FILE", hide = true)]
    pub resolv_conf: PathBuf,
    /// Socket of a service manager that starts the guard of the host's resolver with more rights than the agent has.
    #[arg(long, default_value = "/run/lacis-guard.sock", value_name = "PATH", hide_short_help = true)]
    pub guard: PathBuf,
    /// Offer /healthz, /readyz and /metrics on this address too; the agent's socket always does.
    #[arg(long, env = "LACIS_METRICS", value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Come back once the agent is ready, and leave it in the background.
    #[arg(long, conflicts_with = "install")]
    pub detach: bool,
    /// The agent that `--detach` leaves in the background.
    #[arg(long, hide = true)]
    pub detached: bool,
    /// Make the agent a service of this host, with these arguments, and start it.
    #[arg(long)]
    pub install: bool,
    /// Install below this folder, for a system that does not run.
    #[arg(long, value_name = "DIR", requires = "install")]
    pub root: Option<PathBuf>,
    /// Only say what would be written and run.
    #[arg(long, requires = "install")]
    pub dry_run: bool,
    /// Socket and format.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `lacis logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// How many of the last lines.
    #[arg(short = 'n', long, default_value_t = 100, value_name = "N")]
    pub lines: u32,
    /// Go on with what it says from now on.
    #[arg(short, long)]
    pub follow: bool,
    /// Socket and format.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `lacis guard`.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The file that names this host's name servers.
    #[arg(long, default_value = RESOLV_CONF, value_name = "FILE")]
    pub resolv_conf: PathBuf,
}

/// How strictly peers must prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProofsArg {
    /// An alarm tells of what does not fit; the peer is used.
    Warn,
    /// A peer is used once its proof is there and fits.
    Require,
}

/// Arguments of `lacis join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Join token; "-" reads it from standard input.
    #[arg(
        env = "LACIS_JOIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        required_unless_present = "token_file"
    )]
    pub token: Option<String>,
    /// File that holds the join token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Socket and format.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `lacis leave`.
#[derive(Debug, Args)]
pub struct LeaveArgs {
    /// Id or label of the group.
    #[arg(value_name = "GROUP", required_unless_present = "purge")]
    pub group: Option<String>,
    /// Leave every group, end the agent, and leave nothing behind on this host.
    #[arg(long, conflicts_with = "group")]
    pub purge: bool,
    /// Socket and format.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `lacis rotate-key`.
#[derive(Debug, Args)]
pub struct RotateKeyArgs {
    /// Id or label of the group; every group of this node without it.
    #[arg(value_name = "GROUP")]
    pub group: Option<String>,
    /// Socket and format.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `lacis status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Wait until "ready", or until this peer answers, and only then exit with 0.
    #[arg(long, value_name = "ready|PEER")]
    pub wait: Option<String>,
    /// Show what the tunnel counts, too.
    #[arg(short, long)]
    pub verbose: bool,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", requires = "wait", value_parser = seconds)]
    pub timeout: f64,
    /// Socket and format.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `lacis ping`.
#[derive(Debug, Args)]
pub struct PingArgs {
    /// Name, label, id or overlay address of a peer.
    pub target: String,
    /// How many times; 0 is until interrupted.
    #[arg(short, long, default_value_t = 4, value_name = "N")]
    pub count: u32,
    /// Seconds from one to the next.
    #[arg(short, long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    pub interval: f64,
    /// Seconds that an answer may take.
    #[arg(short = 'W', long, default_value_t = 2.0, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: f64,
    /// Ask its IPv4 address.
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Ask its IPv6 address.
    #[arg(short = '6')]
    pub ipv6: bool,
    /// Socket and format.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `lacis explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Name, label, id or overlay address of a peer.
    pub target: String,
    /// Socket and format.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file or standard input that was to hold the token.
    #[error("cannot read the token from {from}")]
    TokenFile {
        /// Where it was to come from.
        from: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Text that is no join token.
    #[error(transparent)]
    Token(#[from] lacis_proto::TokenError),
    /// A proxy that is none.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// More endpoints than a peer may have.
    #[error("a peer publishes at most {MAX_ENDPOINTS} endpoints")]
    Endpoints,
}

impl UpArgs {
    /// Checked options out of the arguments.
    ///
    /// # Errors
    /// The argument that cannot be used, and why.
    pub fn into_options(self, logs: Logs) -> Result<Options, ConfigError> {
        if self.endpoint.len() > MAX_ENDPOINTS {
            return Err(ConfigError::Endpoints);
        }
        let token = self.join_token()?;
        let endpoints = self.endpoint.into_iter().map(|addr| Endpoint { kind: EndpointKind::Static, addr });
        Ok(Options {
            state: self.state,
            socket: self.common.socket,
            token,
            host_name: self.name.unwrap_or_else(host_name),
            port: self.port,
            mtu: self.mtu,
            core: self.core,
            shards: self.shards,
            offloads: self.without,
            endpoints: endpoints.collect(),
            gateway: self.gateway.map(|endpoint| GatewayReport {
                offered: true,
                endpoint,
                ..GatewayReport::default()
            }),
            proofs: match self.proofs {
                ProofsArg::Warn => Proofs::Warn,
                ProofsArg::Require => Proofs::Require,
            },
            clock: Clock::start(),
            interfaces: Interfaces::Kernel,
            dns: self.dns,
            resolv_conf: self.resolv_conf,
            helper: self.guard,
            portmap: !self.no_portmap,
            birthday: self.birthday,
            metrics: self.metrics,
            journal: journal_unit(),
            proxy: proxy()?,
            logs,
        })
    }

    /// The token, checked.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn join_token(&self) -> Result<Option<JoinToken>, ConfigError> {
        let text = token_text(self.token.as_deref(), self.token_file.as_deref())?;
        Ok(text.map(|text| text.parse()).transpose()?)
    }

    /// The arguments that a service is to be started with, beside those that every service has.
    pub(crate) fn service_arguments(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut add = |name: &str, value: String| all.extend([name.to_owned(), value]);
        if let Some(name) = &self.name {
            add("--name", name.clone());
        }
        if let Some(port) = self.port {
            add("--port", port.to_string());
        }
        if self.mtu != DEFAULT_MTU {
            add("--mtu", self.mtu.to_string());
        }
        if self.core != Core::default() {
            add("--core", self.core.name().to_owned());
        }
        if self.shards != Shards::default() {
            add("--shards", self.shards.to_string());
        }
        if self.without != Offloads::default() {
            add("--without", self.without.to_string());
        }
        for endpoint in &self.endpoint {
            add("--endpoint", endpoint.to_string());
        }
        match self.dns {
            HostDns::Host => {}
            HostDns::Manual => add("--dns", "manual".to_owned()),
            HostDns::Off => add("--dns", "off".to_owned()),
        }
        match self.proofs {
            ProofsArg::Warn => {}
            ProofsArg::Require => add("--proofs", "require".to_owned()),
        }
        if let Some(metrics) = self.metrics {
            add("--metrics", metrics.to_string());
        }
        if self.no_portmap {
            all.push("--no-portmap".to_owned());
        }
        if self.birthday {
            all.push("--birthday".to_owned());
        }
        match &self.gateway {
            Some(Some(endpoint)) => all.push(format!("--gateway={endpoint}")),
            Some(None) => all.push("--gateway".to_owned()),
            None => {}
        }
        all
    }
}

impl JoinArgs {
    /// The token, checked.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn token(&self) -> Result<JoinToken, ConfigError> {
        let text = token_text(self.token.as_deref(), self.token_file.as_deref())?;
        Ok(text.unwrap_or_default().parse()?)
    }
}

fn core(name: &str) -> Result<Core, String> {
    Core::named(name).ok_or_else(|| String::from("choose own or boringtun"))
}

fn shards(number: &str) -> Result<Shards, String> {
    Shards::parse(number).ok_or_else(|| String::from("choose auto, or a number from 1 to 16"))
}

fn without(list: &str) -> Result<Offloads, String> {
    Offloads::without(list)
        .ok_or_else(|| String::from("name reads, sends, receives, writes, with commas between"))
}

/// A token as it stands on the command line, in a file or on standard input.
pub(crate) fn token_text(token: Option<&str>, file: Option<&Path>) -> Result<Option<String>, ConfigError> {
    if let Some(path) = file {
        let from = path.display().to_string();
        let text = fs::read_to_string(path);
        return text.map(Some).map_err(|source| ConfigError::TokenFile { from, source });
    }
    if token == Some("-") {
        let mut text = String::new();
        let read = std::io::stdin().take(lacis_proto::MAX_TOKEN_TEXT as u64 + 1).read_to_string(&mut text);
        let from = "standard input".to_owned();
        return read.map(|_| Some(text)).map_err(|source| ConfigError::TokenFile { from, source });
    }
    Ok(token.map(str::to_owned))
}

/// Where profiles of `lacis ng` are kept (XDG Base Directory Specification), where this user has a home.
#[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
pub(crate) fn profiles_path() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var(name).ok().map(PathBuf::from).filter(|path| path.is_absolute());
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
    Some(config.join("lacis/profiles.json"))
}

/// The proxy for HTTPS, where the environment names one, as curl(1) reads it.
///
/// # Errors
/// What it names is no proxy that we can use.
#[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
pub(crate) fn proxy() -> Result<Option<Arc<Proxy>>, ProxyError> {
    let either = |lower: &str, upper: &str| {
        let text = std::env::var(lower).or_else(|_| std::env::var(upper)).ok()?;
        (!text.is_empty()).then_some(text)
    };
    let Some(proxy) = either("https_proxy", "HTTPS_PROXY") else { return Ok(None) };
    let except = either("no_proxy", "NO_PROXY").unwrap_or_default();
    Ok(Some(Arc::new(proxy.parse::<Proxy>()?.except(&except))))
}

/// The unit under which the journal keeps what this process says, where its standard error leads there
/// (systemd.exec(5), `JOURNAL_STREAM`).
#[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
fn journal_unit() -> Option<String> {
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let ours = fs::metadata("/proc/self/fd/2").ok()?;
    if stream != format!("{}:{}", ours.dev(), ours.ino()) {
        return None;
    }
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let unit = groups.lines().find_map(|line| line.strip_prefix("0::"))?.rsplit('/').next()?;
    unit.ends_with(".service").then(|| unit.to_owned())
}

/// The host's name, as the kernel has it.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "node".to_owned() } else { name.to_owned() }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=86_400.0).contains(&value) => Ok(value),
        Ok(_) | Err(_) => Err("a number of seconds from 0 to 86400".to_owned()),
    }
}
