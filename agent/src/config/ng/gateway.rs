//! Arguments of `lacis ng gateway`.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use lacis_proto::DialAddress;

use super::{GroupName, Removal, Wait};
use crate::cli::ng::complete;

const AFTER_HELP: &str = "\
A gateway lets plain WireGuard clients in and sees in clear what it passes on. `lacis up --gateway` offers a node as one.

  lacis ng gateway add edge-1 shop --endpoint 192.0.2.100:47820   an address that clients reach
  lacis ng gateway list shop                                      who is one, is it up, how many clients it has
  lacis ng gateway remove edge-1 shop                             its clients go by another, if there is one
  lacis ng gateway rotate-key shop                                the key leaked: every client needs a new file";

/// Arguments of `lacis ng gateway`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct GatewayArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub command: GatewayCommand,
}

/// Verbs of gateways.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// List the gateways of a group: where clients dial them, whether they are up, how many clients they have.
    #[command(visible_alias = "ls")]
    List(GroupName),
    /// Make a peer with an agent a gateway for plain WireGuard clients. It sees in clear what it passes on.
    Add {
        /// Id or label of the peer.
        #[arg(add = ArgValueCompleter::new(complete::peers))]
        peer: String,
        /// Where.
        #[command(flatten)]
        group: GroupName,
        /// Where clients dial it: an address that moves from gateway to gateway, or a name [default: its best endpoint].
        #[arg(long, value_name = "HOST:PORT")]
        endpoint: Option<DialAddress>,
        /// How long to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Have a peer be no gateway any more, even if its agent offers to be one.
    #[command(visible_alias = "rm")]
    Remove {
        /// Id or label of the peer.
        #[arg(add = ArgValueCompleter::new(complete::peers))]
        peer: String,
        /// Where.
        #[command(flatten)]
        group: GroupName,
        /// Even if it is the last gateway, and plain clients come in by it.
        #[arg(long)]
        force: bool,
        /// Whether it is only shown.
        #[command(flatten)]
        removal: Removal,
    },
    /// Retire the key by which clients know the gateways, at once: every plain client is cut off until it has a new file.
    RotateKey {
        /// Of which group.
        #[command(flatten)]
        group: GroupName,
        /// Show whose files would have to change, and retire nothing.
        #[arg(long)]
        dry_run: bool,
    },
}
