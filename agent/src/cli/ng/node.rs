//! Nodes: who is there, and shutting one out.

use hyper::Method;
use serde_json::{Value, json};

use super::{
    Failure, Session, print,
    show::{self, NONE},
};
use crate::{
    clock::Clock,
    config::{
        Format,
        ng::{NodeCommand, Wait},
    },
    management::{Node, one},
};

pub(super) async fn node(session: &Session, command: NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::List => {
            let value = all(session).await?;
            match session.format {
                Format::Json => print::json(&value),
                Format::Human => list(&session.client.read::<Vec<Node>>(&value)?),
            }
        }
        NodeCommand::Show { node } => {
            let id = find(session, &node).await?.id;
            let value = session.client.get(&session.of_owner(&format!("nodes/{id}"))).await?;
            match session.format {
                Format::Json => print::json(&value),
                Format::Human => show::fields(&value),
            }
        }
        NodeCommand::Revoke { node, dry_run } => {
            let node = find(session, &node).await?;
            let what = format!("{} ({}) with {} peers", node.label, node.id, node.peers.len());
            if dry_run {
                session.say(&format!("would revoke {what}"), &json!({"dryRun": true, "revoke": node.id}));
                return Ok(());
            }
            let path = session.of_owner(&format!("nodes/{}", node.id));
            session.write(Method::DELETE, &path, None, Wait { wait: None }).await?;
            session.say(&format!("revoked {what}"), &json!({"revoked": node.id}));
        }
    }
    Ok(())
}

async fn all(session: &Session) -> Result<Value, Failure> {
    Ok(session.client.get(&session.of_owner("nodes")).await?)
}

async fn find(session: &Session, wanted: &str) -> Result<Node, Failure> {
    let nodes: Vec<Node> = session.client.read(&all(session).await?)?;
    Ok(one("node", &nodes, wanted)?.clone())
}

fn list(nodes: &[Node]) {
    if nodes.is_empty() {
        return print::line("no node yet: `lacis ng join-token create GROUP`");
    }
    let now = Clock::start().unix_ms();
    let head = ["LABEL", "CONNECTED", "FROM", "AGENT", "PEERS", "NODE"].map(str::to_owned);
    let rows = nodes.iter().map(|node| {
        let presence = node.presence.clone();
        vec![
            node.label.clone(),
            if node.revoked { "revoked".to_owned() } else { show::connected(&presence, now) },
            presence.underlay.unwrap_or_else(|| NONE.to_owned()),
            presence.agent.unwrap_or_else(|| NONE.to_owned()),
            node.peers.len().to_string(),
            node.id.clone(),
        ]
    });
    print::fitting(&std::iter::once(head.to_vec()).chain(rows).collect::<Vec<_>>());
}
