//! Gateways: who lets plain WireGuard clients in, and what a change means for the files that they have.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::{Failure, Session, print, session::Written, show::NONE};
use crate::{
    config::{
        Format,
        ng::{GatewayCommand, Removal, Wait},
    },
    management::{GatewayPeer, Gateways, Group, Peer},
};

/// How long an agent may take to become a gateway, or to make another key: it hears of it at once, asks the other
/// gateways each half second, and reports.
const SETTLES_WITHIN: Duration = Duration::from_secs(15);

/// Between two looks at whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

pub(super) async fn gateway(session: &Session, command: GatewayCommand) -> Result<(), Failure> {
    match command {
        GatewayCommand::List(name) => {
            let group = session.group(&name.group).await?;
            let (all, value) = gateways(session, &group).await?;
            match session.format {
                Format::Json => print::json(&value),
                Format::Human => list(&all, &group),
            }
            Ok(())
        }
        GatewayCommand::Add { peer, group, endpoint, wait } => {
            let group = session.group(&group.group).await?;
            let peer = group.peer(&peer)?;
            let endpoint = endpoint.map(|endpoint| endpoint.to_string());
            add(session, &group, peer, endpoint, wait).await
        }
        GatewayCommand::Remove { peer, group, force, removal } => {
            let group = session.group(&group.group).await?;
            let peer = group.peer(&peer)?;
            remove(session, &group, peer, force, removal).await
        }
        GatewayCommand::RotateKey { group, dry_run } => {
            let group = session.group(&group.group).await?;
            rotate_key(session, &group, dry_run).await
        }
    }
}

/// The gateways of a group, and the answer as it came.
async fn gateways(session: &Session, group: &Group) -> Result<(Gateways, Value), Failure> {
    let value = session.client.get(&session.of_group(&group.id, "/gateways")).await?;
    Ok((session.client.read(&value)?, value))
}

/// The same, once they are as they are to be, or when that has taken too long.
async fn settled(
    session: &Session,
    group: &Group,
    is_settled: impl Fn(&Gateways) -> bool,
) -> Result<(Gateways, Value), Failure> {
    let looks = SETTLES_WITHIN.as_millis() / LOOK_AGAIN.as_millis();
    for _ in 1..looks {
        let (all, value) = gateways(session, group).await?;
        if is_settled(&all) {
            return Ok((all, value));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    gateways(session, group).await
}

async fn change(
    session: &Session,
    group: &Group,
    peer: &Peer,
    body: &Value,
    wait: Wait,
) -> Result<Written, Failure> {
    let path = session.of_group(&group.id, &format!("/peers/{}", peer.id));
    session.write(Method::PATCH, &path, Some(body), wait).await
}

async fn add(
    session: &Session,
    group: &Group,
    peer: &Peer,
    endpoint: Option<String>,
    wait: Wait,
) -> Result<(), Failure> {
    let (before, _) = gateways(session, group).await?;
    let mut body = json!({"gateway": true});
    super::group::set(&mut body, "gatewayEndpoint", endpoint);
    let written = change(session, group, peer, &body, wait).await?;
    let is_connected = peer.presence.as_ref().is_some_and(|presence| presence.connected);
    let serves = |all: &Gateways| !is_connected || all.of(&peer.id).is_some_and(|found| found.serving);
    let (after, value) = settled(session, group, serves).await?;
    let mut lines = vec![came_of_it(after.of(&peer.id), peer, group)];
    lines.extend(files_after_adding(&before, &after, group));
    session.say(&lines.join("\n"), &value);
    written.applied(session)
}

fn came_of_it(found: Option<&GatewayPeer>, peer: &Peer, group: &Group) -> String {
    let (label, group) = (&peer.label, &group.label);
    match found {
        Some(GatewayPeer { serving: true, endpoint: Some(endpoint), .. }) => {
            format!(
                "{label} is a gateway of {group}: clients can dial it at {endpoint}; it sees in clear what it passes on"
            )
        }
        Some(GatewayPeer { serving: true, endpoint: None, .. }) => format!(
            "{label} is a gateway of {group}, but nothing says where clients dial it: \
             `lacis ng gateway add {label} {group} --endpoint HOST:PORT`"
        ),
        Some(GatewayPeer { connected: true, .. }) => {
            format!(
                "{label} is to be a gateway of {group}, and is one once its agent holds the group's gateway key"
            )
        }
        Some(_) | None => {
            format!(
                "{label} is to be a gateway of {group}, and is one once its agent is connected to control"
            )
        }
    }
}

/// What another gateway means for the files of clients.
fn files_after_adding(before: &Gateways, after: &Gateways, group: &Group) -> Option<String> {
    let group = &group.label;
    match (&before.endpoint, &after.endpoint) {
        (None, Some(_)) if after.clients > 0 => Some(format!(
            "plain clients come in by it alone from now on: each of the {} needs a new file, \
             `lacis ng get-config CLIENT {group}`",
            after.clients
        )),
        (Some(old), Some(new)) if old != new => Some(format!(
            "new files of clients name {new}; those that name {old} stay true as long as a gateway is there"
        )),
        _ => None,
    }
}

async fn remove(
    session: &Session,
    group: &Group,
    peer: &Peer,
    force: bool,
    removal: Removal,
) -> Result<(), Failure> {
    let (before, _) = gateways(session, group).await?;
    if removal.dry_run {
        let others = before.gateways.iter().filter(|other| other.peer_id != peer.id && other.serving).count();
        let text = format!(
            "would have {} be no gateway of {}, which has {others} other gateways that serve and {} plain clients",
            peer.label, group.label, before.clients
        );
        let value = json!({"dryRun": true, "remove": peer.id, "others": others, "clients": before.clients});
        session.say(&text, &value);
        return Ok(());
    }
    let body = json!({"gateway": false, "force": force});
    let written = change(session, group, peer, &body, removal.wait).await?;
    let (after, value) = gateways(session, group).await?;
    let text = format!(
        "{} is no gateway of {} any more; {}",
        peer.label,
        group.label,
        files_after_removing(&before, &after, group)
    );
    session.say(&text, &value);
    written.applied(session)
}

/// What a gateway that is gone means for the files of clients.
fn files_after_removing(before: &Gateways, after: &Gateways, group: &Group) -> String {
    let (clients, group) = (after.clients, &group.label);
    match (&before.endpoint, &after.endpoint) {
        (old, new) if old == new => "files of clients stay true".to_owned(),
        (Some(old), Some(new)) => format!(
            "files of clients that name {old} lead nowhere from now on: each needs the line `Endpoint = {new}`, \
             or a new file, `lacis ng get-config CLIENT {group}`"
        ),
        (_, None) => format!(
            "no gateway is left that can be dialled: the files of {clients} plain clients lead nowhere; a new file, \
             `lacis ng get-config CLIENT {group}`, names the peers that can be dialled themselves, if there are any"
        ),
        (None, Some(new)) => format!("clients dial {new}"),
    }
}

async fn rotate_key(session: &Session, group: &Group, dry_run: bool) -> Result<(), Failure> {
    let (before, _) = gateways(session, group).await?;
    let clients: Vec<&Peer> =
        group.peers.iter().filter(|peer| peer.is_external() && peer.public_key.is_some()).collect();
    let named = clients.iter().map(|client| client.label.as_str()).collect::<Vec<_>>().join(", ");
    let ids: Vec<&str> = clients.iter().map(|client| client.id.as_str()).collect();
    let Some(old) = before.key else {
        let text = format!("{} has no gateway key to retire; its first gateway makes one", group.label);
        return Err(Failure::NoSuchThing(text));
    };
    if dry_run {
        let text = format!(
            "would retire the gateway key {old} of {}; plain clients that would need a new file: {}",
            group.label,
            or_nobody(&named)
        );
        session.say(&text, &json!({"dryRun": true, "retire": old, "newFilesFor": ids}));
        return Ok(());
    }
    let path = session.of_group(&group.id, "/gateways/rotate-key");
    session.write(Method::POST, &path, Some(&json!({"key": old})), Wait { wait: None }).await?;
    let (after, mut value) = settled(session, group, |all| all.key.is_some()).await?;
    value["retired"] = json!(old);
    value["newFilesFor"] = json!(ids);
    let Some(new) = after.key else {
        let text = format!(
            "{old} is retired, and no gateway has made another key yet: a gateway does when it is connected to \
             control; `lacis ng gateway list {}` shows it then",
            group.label
        );
        session.say(&text, &value);
        return Err(Failure::NotInTime(format!("{} has no gateway key", group.label)));
    };
    let text = format!(
        "the gateway key {old} of {group} is retired, and refused from now on; the key is {new}\n\
         EVERY PLAIN CLIENT IS CUT OFF until its file has the new key: {}\n\
         change the line to `PublicKey = {new}`, or fetch its file anew: `lacis ng get-config CLIENT {group}`",
        or_nobody(&named),
        group = group.label
    );
    session.say(&text, &value);
    Ok(())
}

fn or_nobody(named: &str) -> &str {
    if named.is_empty() { "none" } else { named }
}

fn list(all: &Gateways, group: &Group) {
    let label = &group.label;
    if all.gateways.is_empty() {
        return print::line(&format!(
            "no gateway yet: `lacis ng gateway add PEER {label}`, or `lacis up --gateway`"
        ));
    }
    let key = all.key.as_deref().unwrap_or("no key yet");
    match &all.endpoint {
        Some(endpoint) => {
            print::line(&format!("plain clients: {}; they dial {endpoint}; key {key}", all.clients))
        }
        None => {
            print::line(&format!("plain clients: {}; nothing says where they dial; key {key}", all.clients))
        }
    }
    let head =
        ["LABEL", "ADDRESS", "GATEWAY", "DIALLED AT", "CONNECTED", "CLIENTS", "PEER"].map(str::to_owned);
    let rows = all.gateways.iter().map(|found| {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.to_owned());
        vec![
            found.label.clone(),
            or_none(&found.ng_ip),
            state_of(found).to_owned(),
            or_none(&found.endpoint),
            if found.connected { "yes" } else { "no" }.to_owned(),
            found.clients.map_or_else(|| NONE.to_owned(), |clients| clients.to_string()),
            found.peer_id.clone(),
        ]
    });
    print::fitting(&std::iter::once(head.to_vec()).chain(rows).collect::<Vec<_>>());
}

/// Whether clients can come in by a gateway, in a word or two.
const fn state_of(found: &GatewayPeer) -> &'static str {
    match (found.serving, found.connected, found.endpoint.is_some()) {
        (false, _, _) => "has no key yet",
        (true, false, _) => "away",
        (true, true, false) => "not dialled",
        (true, true, true) => "up",
    }
}

#[cfg(test)]
mod tests;
