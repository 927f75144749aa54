//! `lacis-control node`.

use std::io::Write as _;

use clap::Subcommand;

use super::{Common, Format, ask::ask, table};
use crate::{
    admin::{Call, NodeEntry},
    clock,
};

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Lists nodes: who is connected, since when, from where, with which agent.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Shows one node and the peers that it hosts.
    Show {
        #[command(flatten)]
        common: Common,
        /// The node's id or label.
        node: String,
    },
    /// Shuts a node out for good: its peers go at once, its identity is never let in again.
    Revoke {
        #[command(flatten)]
        common: Common,
        /// The node's id or label.
        node: String,
    },
}

pub(super) async fn node(command: NodeCommand) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match command {
        NodeCommand::List { common } => {
            let nodes: Vec<NodeEntry> = ask(&common.data, Call::ListNodes).await?.value;
            match common.format {
                Format::Json => {
                    for node in &nodes {
                        writeln!(out, "{}", serde_json::to_string(node)?)?;
                    }
                }
                Format::Human => write!(out, "{}", list(&nodes))?,
            }
        }
        NodeCommand::Show { common, node } => {
            let node: NodeEntry = ask(&common.data, Call::ShowNode { node }).await?.value;
            match common.format {
                Format::Json => writeln!(out, "{}", serde_json::to_string(&node)?)?,
                Format::Human => write!(out, "{}", show(&node))?,
            }
        }
        NodeCommand::Revoke { common, node } => {
            let node: NodeEntry = ask(&common.data, Call::RevokeNode { node }).await?.value;
            match common.format {
                Format::Json => writeln!(out, "{}", serde_json::to_string(&node)?)?,
                Format::Human => writeln!(out, "{} ({}) is revoked", node.id, node.label)?,
            }
        }
    }
    Ok(())
}

fn list(nodes: &[NodeEntry]) -> String {
    let names = ["NODE", "LABEL", "STATE", "CONNECTED", "FROM", "AGENT", "PEERS"].map(str::to_owned);
    let rows = nodes.iter().map(|node| {
        [
            node.id.to_string(),
            node.label.clone(),
            node.state.clone(),
            connected(node),
            or_dash(node.underlay.as_deref()),
            or_dash(node.agent.as_deref()),
            node.peers.len().to_string(),
        ]
    });
    table(std::iter::once(names).chain(rows))
}

fn show(node: &NodeEntry) -> String {
    let NodeEntry { id, label, state, .. } = node;
    let (from, agent) = (or_dash(node.underlay.as_deref()), or_dash(node.agent.as_deref()));
    let connected = connected(node);
    let head = format!("{label}  {id}, {state}\nconnected {connected}, from {from}, agent {agent}\n");
    let copies: String = node
        .copies
        .iter()
        .map(|copy| format!("! refused: host {:?} at {} has the same identity\n", copy.host, copy.from))
        .collect();
    let head = head + &copies;
    let names = ["GROUP", "MEMBER", "PEER", "ADDRESS", "VERSION", "APPLIED"].map(str::to_owned);
    let rows = node.peers.iter().map(|peer| {
        [
            peer.group_label.clone(),
            peer.member.to_string(),
            peer.id.to_string(),
            or_dash(peer.address4.as_deref()),
            peer.version.to_string(),
            peer.applied.map_or_else(|| "-".to_owned(), |applied| applied.to_string()),
        ]
    });
    if node.peers.is_empty() {
        head
    } else {
        format!("{head}\n{}", table(std::iter::once(names).chain(rows)))
    }
}

/// For how long a node is connected, or when it last was.
fn connected(node: &NodeEntry) -> String {
    let ago_s = |ms: u64| clock::unix_ms().saturating_sub(ms) / 1_000;
    match (node.since_ms, node.last_seen_ms) {
        (Some(since), _) => format!("for {} s", ago_s(since)),
        (None, Some(last)) => format!("no, left {} s ago", ago_s(last)),
        (None, None) => "no".to_owned(),
    }
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}
