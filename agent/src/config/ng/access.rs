//! Arguments of the verbs that let somebody in: join tokens, API tokens, nodes, profiles.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCompleter;
use lacis_proto::LifetimeError;

use super::GroupName;
use crate::cli::ng::complete;

/// How long a token may be used; `None` for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(pub Option<u64>);

/// Verbs of join tokens.
#[derive(Debug, Subcommand)]
pub enum JoinTokenCommand {
    /// Make a join token and print it, this once.
    Create {
        /// Which group it lets into.
        #[command(flatten)]
        group: GroupName,
        /// Member whose peers it lets run [default: each node is a member of its own].
        #[arg(long, value_name = "MEMBER", add = ArgValueCompleter::new(complete::members))]
        member: Option<String>,
        /// How many nodes may use it; 0 for any number.
        #[arg(long, default_value_t = 0, value_name = "N")]
        uses: u32,
        /// How long it may be used, as 30m, 24h or 7d, or never to end by itself.
        #[arg(long, default_value = "24h", value_parser = lifetime, value_name = "TIME")]
        expires: Lifetime,
        /// Write it to this file, readable by this user alone, instead of printing it.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// List join tokens, without their secrets.
    List(GroupName),
    /// End a join token; nodes that have joined with it stay.
    Revoke {
        /// Id of the token.
        id: String,
        /// Of which group.
        #[command(flatten)]
        group: GroupName,
        /// Show what would end, and end nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// What an API token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Access {
    /// To look.
    Read,
    /// To look and to change.
    Write,
}

/// Verbs of API tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make an API token and print it, this once.
    Create {
        /// What it is for.
        #[arg(long)]
        label: Option<String>,
        /// What it allows.
        #[arg(long, value_enum, default_value = "write")]
        access: Access,
        /// Only these groups, by id or label; repeatable [default: all of the owner].
        #[arg(long = "group", value_name = "GROUP", add = ArgValueCompleter::new(complete::groups))]
        groups: Vec<String>,
        /// How long it may be used, as 30m, 24h or 7d, or never to end by itself.
        #[arg(long, default_value = "never", value_parser = lifetime, value_name = "TIME")]
        expires: Lifetime,
        /// Write the bearer string to this file, readable by this user alone, instead of printing it.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// List API tokens, without their secrets.
    List,
    /// End an API token.
    Revoke {
        /// Id or label of the token.
        id: String,
        /// Show what would end, and end nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Verbs of nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List nodes, and who is connected.
    List,
    /// Show a node and its peers.
    Show {
        /// Id or label of the node.
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
    /// Shut a node out for good: its peers go at once, its identity is never let in again.
    Revoke {
        /// Id or label of the node.
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        node: String,
        /// Show what would go, and revoke nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Arguments of `lacis ng login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Name of the profile.
    #[arg(default_value = "default", value_name = "PROFILE")]
    pub name: String,
}

/// Arguments of `lacis ng profile`.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// What is to be done; without it, profiles are listed.
    #[command(subcommand)]
    pub command: Option<ProfileCommand>,
}

/// Verbs of profiles.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// List profiles, without their secrets.
    List,
    /// Use this profile from now on.
    Use {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::profiles))]
        name: String,
    },
    /// Forget a profile.
    Remove {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::profiles))]
        name: String,
    },
}

/// A time with its unit, in seconds.
pub(super) fn lifetime(text: &str) -> Result<Lifetime, LifetimeError> {
    lacis_proto::parse_lifetime(text).map(|time| Lifetime(time.map(|time| time.as_secs())))
}
