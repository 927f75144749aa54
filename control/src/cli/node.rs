//! `lacis-control node`.

use std::io::Write as _;

use clap::Subcommand;
use lacis_proto::NodeId;

use super::{Common, Format, ask::ask};
use crate::admin::Call;

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Shuts a node out for good: its peers go at once, its identity is never let in again.
    Revoke {
        #[command(flatten)]
        common: Common,
        /// The node's id, from `lacis-control status`.
        id: NodeId,
    },
}

pub(super) async fn node(command: NodeCommand) -> anyhow::Result<()> {
    let NodeCommand::Revoke { common, id } = command;
    let () = ask(&common.data, Call::RevokeNode { node: id.clone() }).await?.value;
    let mut out = std::io::stdout();
    match common.format {
        Format::Json => writeln!(out, "{}", serde_json::json!({"id": id, "state": "revoked"}))?,
        Format::Human => writeln!(out, "{id} is revoked")?,
    }
    Ok(())
}
