//! `lacis-control owner`.

use std::io::Write as _;

use clap::Subcommand;
use lacis_proto::OwnerId;

use super::{Common, Format, ask::ask, table};
use crate::admin::{Call, OwnerEntry};

#[derive(Debug, Subcommand)]
pub(super) enum OwnerCommand {
    /// Makes an owner, or gives one that is there another label.
    Create {
        #[command(flatten)]
        common: Common,
        /// What people call it.
        label: String,
        /// Its id, as `orga_<uuid>` or `user_<uuid>` [default: a new one].
        #[arg(long)]
        id: Option<OwnerId>,
    },
    /// Lists owners.
    List {
        #[command(flatten)]
        common: Common,
    },
}

pub(super) async fn owner(command: OwnerCommand) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match command {
        OwnerCommand::Create { common, label, id } => {
            let made: OwnerEntry = ask(&common.data, Call::PutOwner { id, label }).await?.value;
            match common.format {
                Format::Json => writeln!(out, "{}", serde_json::to_string(&made)?)?,
                Format::Human => writeln!(out, "{}", made.id)?,
            }
        }
        OwnerCommand::List { common } => {
            let owners: Vec<OwnerEntry> = ask(&common.data, Call::ListOwners).await?.value;
            match common.format {
                Format::Json => writeln!(out, "{}", serde_json::to_string(&owners)?)?,
                Format::Human => {
                    let rows = owners.into_iter().map(|owner| [owner.id.to_string(), owner.label]);
                    let head = ["ID", "LABEL"].map(str::to_owned);
                    write!(out, "{}", table(std::iter::once(head).chain(rows)))?;
                }
            }
        }
    }
    Ok(())
}
