//! Peers: list, register, change, delete, and their WireGuard configuration.

use std::{fs, net::SocketAddr, path::Path};

use hyper::Method;
use lacis_proto::PublicKey;
use serde_json::{Map, Value, json};

use super::{
    Failure, Session,
    group::set,
    key::{self, Key},
    print, show,
};
use crate::{
    config::{
        Format,
        ng::{DeletePeerArgs, GetConfigArgs, PeerCommand},
    },
    management::{Group, Peer},
};

pub(super) async fn peer(session: &Session, command: PeerCommand) -> Result<(), Failure> {
    match command {
        PeerCommand::List(name) => list(session, &name.group, |_| true).await,
        PeerCommand::Create { member, group, public_key, label, server, wait } => {
            let group = session.group(&group.group).await?;
            let member = group.member(&member)?;
            let mut body = json!({"id": uuid(), "parentMember": member.id, "publicKey": public_key});
            set(&mut body, "label", label);
            place(&mut body, server);
            let path = session.of_group(&group.id, "/peers");
            let written = session.write(Method::POST, &path, Some(&body), wait).await?;
            let id = peer_id(&written.answer)?;
            session.say(&format!("{id} is a peer of {}", member.id), &written.answer);
            written.applied(session)
        }
        PeerCommand::Edit {
            peer,
            group,
            label,
            public_key,
            server,
            gateway,
            gateway_endpoint,
            force,
            wait,
        } => {
            let group = session.group(&group.group).await?;
            let peer = group.peer(&peer)?;
            let mut body = changes(label, public_key, server);
            set(&mut body, "gateway", gateway);
            set(&mut body, "gatewayEndpoint", gateway_endpoint);
            set(&mut body, "force", force.then_some(true));
            let path = session.of_group(&group.id, &format!("/peers/{}", peer.id));
            let written = session.write(Method::PATCH, &path, Some(&body), wait).await?;
            session.say(&format!("{} is changed", peer.id), &written.answer);
            written.applied(session)
        }
        PeerCommand::Delete { args, force } => {
            let group = session.group(&args.group.group).await?;
            let peer = group.peer(&args.peer)?;
            delete(session, &group, peer, force, &args).await
        }
    }
}

fn changes(label: Option<String>, public_key: Option<PublicKey>, server: Option<SocketAddr>) -> Value {
    let mut body = Value::Object(Map::new());
    set(&mut body, "label", label);
    set(&mut body, "publicKey", public_key);
    set(&mut body, "ip", server.map(|at| at.ip()));
    set(&mut body, "port", server.map(|at| at.port()));
    body
}

/// Says whether a peer can be dialled, and where.
pub(super) fn place(body: &mut Value, server: Option<SocketAddr>) {
    body["peerRole"] = json!(if server.is_some() { "SERVER" } else { "CLIENT" });
    set(body, "ip", server.map(|at| at.ip()));
    set(body, "port", server.map(|at| at.port()));
}

/// The id that control gave a new peer.
pub(super) fn peer_id(answer: &Value) -> Result<String, Failure> {
    let id = answer["peerId"].as_str().or_else(|| answer["id"].as_str()).map(str::to_owned);
    id.ok_or_else(|| Failure::Failed("control made a peer and did not say which".to_owned()))
}

pub(super) async fn list(session: &Session, group: &str, wanted: fn(&Peer) -> bool) -> Result<(), Failure> {
    let (group, value) = session.group_value(group).await?;
    match session.format {
        Format::Json => {
            let all = value["peers"].as_array().into_iter().flatten();
            let peers: Vec<&Value> =
                all.zip(&group.peers).filter(|(_, peer)| wanted(peer)).map(|(value, _)| value).collect();
            print::json(&peers);
        }
        Format::Human => show::peers(&group.peers.into_iter().filter(wanted).collect::<Vec<_>>()),
    }
    Ok(())
}

pub(super) async fn delete(
    session: &Session,
    group: &Group,
    peer: &Peer,
    force: bool,
    args: &DeletePeerArgs,
) -> Result<(), Failure> {
    let what = format!("{} ({}) of {}", peer.label, peer.id, group.label);
    if args.removal.dry_run {
        let value = json!({"dryRun": true, "delete": peer.id, "group": group.id, "label": peer.label});
        session.say(&format!("would delete {what}"), &value);
        return Ok(());
    }
    let kind = if peer.is_external() { "external-peers" } else { "peers" };
    let path = session.of_group(&group.id, &format!("/{kind}/{}", peer.id));
    let written = session.remove(&path, force, args.removal.wait).await?;
    session.say(&format!("deleted {what}"), &json!({"deleted": peer.id, "group": group.id}));
    written.applied(session)
}

/// `lacis ng get-config`.
pub(super) async fn configuration(session: &Session, args: GetConfigArgs) -> Result<(), Failure> {
    let group = session.group(&args.group.group).await?;
    let peer = group.peer(&args.peer)?;
    if args.url {
        let path =
            session.of_group(&group.id, &format!("/peers/{}/wireguard/configuration/presigned-url", peer.id));
        let answer = session.client.get(&path).await?;
        session.say(answer["url"].as_str().unwrap_or_default(), &answer);
        return Ok(());
    }
    let mut text = text(session, &group, &peer.id).await?;
    if let Some(path) = &args.private_key_file {
        text = key::put_in(&text, &private_key(path, peer)?)?;
    }
    let delivered = args.output.deliver(&text)?;
    match session.format {
        Format::Human => delivered.print(),
        Format::Json => {
            let (files, text) = (&delivered.files, &delivered.text);
            print::json(&json!({"peer": peer.id, "group": group.id, "configuration": text, "files": files}));
        }
    }
    Ok(())
}

/// The wg-quick text of a peer, as control makes it: with a placeholder for the private key.
pub(super) async fn text(session: &Session, group: &Group, peer: &str) -> Result<String, Failure> {
    let path = session.of_group(&group.id, &format!("/peers/{peer}/wireguard/configuration"));
    Ok(session.client.text(&path).await?)
}

/// The key in a file, if it is this peer's.
fn private_key(path: &Path, peer: &Peer) -> Result<Key, Failure> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| Failure::Failed(format!("cannot read {path:?}: {error}")))?;
    let key = Key::parse(text.trim()).ok_or_else(|| {
        Failure::Usage(format!("{path:?} holds no WireGuard private key: 44 characters of base64"))
    })?;
    if Some(key.public().to_string()) != peer.public_key {
        return Err(Failure::Usage(format!("the key in {path:?} is not the one of {}", peer.label)));
    }
    Ok(key)
}

/// A fresh id for a peer.
fn uuid() -> String {
    lacis_proto::PeerId::from_random(crate::clock::random()).to_string()
}
