//! External peers: plain WireGuard clients without an agent.

use hyper::Method;
use lacis_proto::{MemberId, PublicKey};
use serde_json::{Value, json};

use super::{
    Failure, Session,
    key::{self, Key},
    member::peers_of,
    peer::{self, peer_id, place, text},
    print,
};
use crate::{
    clock,
    config::{
        Format,
        ng::{CreateExternalArgs, DeletePeerArgs, ExternalCommand, Output, Wait},
    },
    management::{Group, Peer},
};

pub(super) async fn external(session: &Session, command: ExternalCommand) -> Result<(), Failure> {
    match command {
        ExternalCommand::List(name) => peer::list(session, &name.group, Peer::is_external).await,
        ExternalCommand::Create(args) => create(session, args).await,
        ExternalCommand::Delete(args) => delete(session, args).await,
    }
}

/// `lacis ng create external LABEL GROUP PUBLIC-KEY`, as the platform's command line has it.
pub(super) async fn create_with_key(
    session: &Session,
    label: &str,
    group: &str,
    public_key: PublicKey,
) -> Result<(), Failure> {
    let group = session.group(group).await?;
    let mut body = json!({"publicKey": public_key});
    place(&mut body, None);
    let (id, written) = make(session, &group, label, None, &body, NOW).await?;
    let text =
        format!("{label} is {id}; `lacis ng get-config {id} {}` prints its configuration", group.label);
    session.say(&text, &written.answer);
    Ok(())
}

/// Without waiting for nodes.
const NOW: Wait = Wait { wait: None };

async fn create(session: &Session, args: CreateExternalArgs) -> Result<(), Failure> {
    let group = session.group(&args.group.group).await?;
    let key = args.public_key.is_none().then(Key::generate);
    let public = args.public_key.or_else(|| key.as_ref().map(Key::public));
    let mut body = json!({"publicKey": public});
    place(&mut body, args.server);
    let member = args.member.as_deref().map(|wanted| group.member(wanted)).transpose()?;
    let member = member.map(|member| member.id.clone());
    let (id, written) = make(session, &group, &args.label, member, &body, args.wait).await?;
    // From here on the peer is there: what fails is told together with how to go on.
    let delivered = deliver(session, &group, &id, key.as_ref(), &args.output).await;
    let delivered = delivered.map_err(|error| {
        let label = &group.label;
        Failure::Failed(format!(
            "{id} is made, but its configuration could not be delivered: {error}; \
            remove it with `lacis ng external delete {id} {label}` and begin again"
        ))
    })?;
    match session.format {
        Format::Human => delivered.print(),
        Format::Json => {
            let (files, text) = (&delivered.files, &delivered.text);
            print::json(&json!({"peerId": id, "group": group.id, "publicKey": public,
                "configuration": text, "files": files}));
        }
    }
    written.applied(session)
}

async fn deliver(
    session: &Session,
    group: &Group,
    id: &str,
    key: Option<&Key>,
    output: &Output,
) -> Result<super::output::Delivered, Failure> {
    let mut text = text(session, group, id).await?;
    if let Some(key) = key {
        text = key::put_in(&text, key)?;
    }
    output.deliver(&text)
}

/// Makes a peer, and an external member of its own for it where no other was named.
async fn make(
    session: &Session,
    group: &Group,
    label: &str,
    member: Option<String>,
    body: &Value,
    wait: Wait,
) -> Result<(String, super::session::Written), Failure> {
    let of_its_own = member.is_none();
    let member = match member {
        Some(member) => member,
        None => {
            let id = MemberId::external_from_random(clock::random());
            let body = json!({"id": id, "kind": "EXTERNAL", "label": label});
            session.write(Method::POST, &session.of_group(&group.id, "/members"), Some(&body), NOW).await?;
            id.to_string()
        }
    };
    let mut body = body.clone();
    body["label"] = json!(label);
    body["parentMember"] = json!(member);
    let path = session.of_group(&group.id, "/external-peers");
    match session.write(Method::POST, &path, Some(&body), wait).await {
        Ok(written) => Ok((peer_id(&written.answer)?, written)),
        Err(error) => {
            if of_its_own {
                let path = session.of_group(&group.id, &format!("/members/{member}"));
                // What is left over if this fails too is a member without peers.
                let _ = session.write(Method::DELETE, &path, None, NOW).await;
            }
            Err(error)
        }
    }
}

/// Deletes a peer, and with its last peer the external member.
pub(super) async fn delete(session: &Session, args: DeletePeerArgs) -> Result<(), Failure> {
    let group = session.group(&args.group.group).await?;
    let peer = group.peer(&args.peer)?;
    if !peer.is_external() {
        let text = format!("{} runs on a node; `lacis ng peer delete` deletes it", peer.id);
        return Err(Failure::Usage(text));
    }
    peer::delete(session, &group, peer, false, &args).await?;
    let member = group.members.iter().find(|member| member.id == peer.parent_member);
    let last = member.filter(|member| member.kind == "EXTERNAL" && peers_of(&group, member).len() == 1);
    if let (Some(member), false) = (last, args.removal.dry_run) {
        let path = session.of_group(&group.id, &format!("/members/{}", member.id));
        session.write(Method::DELETE, &path, None, NOW).await?;
    }
    Ok(())
}
