//! `lacis-control status`.

use std::io::Write as _;

use super::{Common, Format, ask::ask, table};
use crate::admin::{Call, Status};

pub(super) async fn status(common: Common) -> anyhow::Result<()> {
    let answer = ask::<Status>(&common.data, Call::Status).await?;
    let status = Status { running: answer.is_running, ..answer.value };
    let mut out = std::io::stdout();
    match common.format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(&status)?)?,
        Format::Human => write!(out, "{}", human(&status))?,
    }
    Ok(())
}

fn human(status: &Status) -> String {
    let state = if status.running { "running" } else { "stopped" };
    let (version, connected) = (&status.version, status.connected);
    let head =
        format!("control {version} is {state}, {connected} of {} nodes connected\n", status.nodes.len());
    let key = &status.key;
    let urls: String = status.urls.iter().map(|url| format!("  {url}\n")).collect();
    let relay = status.relay.as_ref().map_or_else(String::new, |relay| {
        let at: Vec<_> = relay.udp.iter().map(ToString::to_string).collect();
        format!(
            "relay in this process at UDP {}, {} leases; pairs that only it connects part when control stops\n",
            at.join(" and "),
            relay.leases
        )
    });
    let names = ["GROUP", "LABEL", "POOL", "MEMBERS", "PEERS", "VERSION"].map(str::to_owned);
    let groups = status.groups.iter().map(|group| {
        [
            group.id.to_string(),
            group.label.clone(),
            group.pool.clone(),
            group.members.to_string(),
            group.peers.to_string(),
            group.version.to_string(),
        ]
    });
    let groups = table(std::iter::once(names).chain(groups));
    let names = ["NODE", "LABEL", "CONNECTED", "FROM", "AGENT"].map(str::to_owned);
    let nodes = status.nodes.iter().map(|node| {
        let dash = || "-".to_owned();
        [
            node.id.to_string(),
            node.label.clone(),
            if node.revoked {
                "revoked".to_owned()
            } else {
                node.connected_s.map_or_else(dash, |seconds| format!("{seconds} s"))
            },
            node.underlay.clone().unwrap_or_else(dash),
            node.agent.clone().unwrap_or_else(dash),
        ]
    });
    let nodes = table(std::iter::once(names).chain(nodes));
    format!("{head}{urls}key {key}\n{relay}\n{groups}\n{nodes}")
}
