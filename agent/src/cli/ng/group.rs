//! Groups: list, make, change, delete; find things by name; receipts.

use hyper::Method;
use serde_json::{Map, Value, json};

use super::{Failure, Session, print, show};
use crate::{
    config::{
        Format,
        ng::{CreateArgs, EditArgs, GetArgs, Kind, ReceiptArgs, Removal, SearchArgs},
    },
    management::{Group, Named, Receipt, one},
};

pub(super) async fn list(session: &Session) -> Result<(), Failure> {
    let value = session.client.get(&session.of_owner("networkgroups")).await?;
    match session.format {
        Format::Json => print::json(&value),
        Format::Human => show::groups(&session.client.read::<Vec<Group>>(&value)?),
    }
    Ok(())
}

pub(super) async fn create(session: &Session, args: CreateArgs) -> Result<(), Failure> {
    let label = args.label.unwrap_or_default();
    let mut body = json!({"label": label, "ownerId": session.owner});
    let members = args.link.iter().map(|id| json!({"id": id, "kind": super::member::kind_of(id)}));
    let members: Vec<Value> = members.collect();
    set(&mut body, "members", (!members.is_empty()).then_some(members));
    set(&mut body, "description", args.description);
    set(&mut body, "tags", args.tags);
    set(&mut body, "networkIp", args.range);
    set(&mut body, "id", args.id);
    let path = session.of_owner("networkgroups");
    let written = session.write(Method::POST, &path, Some(&body), args.wait).await?;
    match session.format {
        Format::Json => print::json(&written.answer),
        Format::Human => {
            let group: Group = session.client.read(&written.answer)?;
            print::line(&format!("{} is made: {}, {}", group.label, group.id, group.network_ip));
            for member in &group.members {
                print::line(&format!("  {} is {}", member.id, member.domain_name));
            }
        }
    }
    written.applied(session)
}

/// Puts a field into a body where there is a value for it.
pub(super) fn set(body: &mut Value, field: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        body[field] = json!(value);
    }
}

pub(super) async fn edit(session: &Session, args: EditArgs) -> Result<(), Failure> {
    let group = session.group(&args.group.group).await?;
    let mut body = Value::Object(Map::new());
    set(&mut body, "label", args.label);
    set(&mut body, "description", args.description);
    set(&mut body, "tags", args.tags);
    set(&mut body, "networkIp", args.range);
    let path = session.of_group(&group.id, "");
    let written = session.write(Method::PATCH, &path, Some(&body), args.wait).await?;
    match session.format {
        Format::Json => print::json(&written.answer),
        Format::Human => show::group(&session.client.read(&written.answer)?),
    }
    written.applied(session)
}

pub(super) async fn delete(session: &Session, wanted: &str, removal: Removal) -> Result<(), Failure> {
    let group = session.group(wanted).await?;
    let (members, peers) = (group.members.len(), group.peers.len());
    let what = format!("{} ({}) with {members} members and {peers} peers", group.label, group.id);
    if removal.dry_run {
        let ids = |things: Vec<&str>| json!(things);
        let value = json!({"dryRun": true, "delete": group.id, "label": group.label,
            "members": ids(group.members.iter().map(Named::id).collect()),
            "peers": ids(group.peers.iter().map(Named::id).collect())});
        session.say(&format!("would delete {what}"), &value);
        return Ok(());
    }
    let path = session.of_group(&group.id, "");
    let written = session.write(Method::DELETE, &path, None, removal.wait).await?;
    session.say(&format!("deleted {what}"), &json!({"deleted": group.id, "label": group.label}));
    written.applied(session)
}

impl Kind {
    /// The kind as the API names it.
    const fn word(self) -> &'static str {
        match self {
            Self::NetworkGroup => "NetworkGroup",
            Self::Member => "Member",
            Self::CleverPeer => "CleverPeer",
            Self::ExternalPeer => "ExternalPeer",
        }
    }

    /// The kind in a sentence.
    const fn noun(self) -> &'static str {
        match self {
            Self::NetworkGroup => "group",
            Self::Member => "member",
            Self::CleverPeer => "peer of a node",
            Self::ExternalPeer => "external peer",
        }
    }
}

/// A thing that a search found.
struct Found(Value);

impl Named for Found {
    fn id(&self) -> &str {
        self.0["id"].as_str().unwrap_or_default()
    }
    fn label(&self) -> &str {
        self.0["label"].as_str().unwrap_or_default()
    }
}

async fn found(session: &Session, query: &str, kind: Option<Kind>) -> Result<Vec<Found>, Failure> {
    let Value::Array(all) = session.search(query).await? else {
        return Err(Failure::Failed("control answered a search with something else".to_owned()));
    };
    let of_kind = |thing: &Value| kind.is_none_or(|kind| thing["type"] == kind.word());
    Ok(all.into_iter().filter(of_kind).map(Found).collect())
}

pub(super) async fn get(session: &Session, args: GetArgs) -> Result<(), Failure> {
    let mut all = found(session, &args.name, args.r#type).await?;
    leave_out_parents(&mut all, &args.name);
    let mut same = all.iter().filter(|thing| thing.id() == args.name);
    if let (Some(first), Some(second)) = (same.next(), same.next()) {
        // A resource may be a member of several groups.
        let groups = [first, second].into_iter().chain(same);
        let groups: Vec<&str> =
            groups.map(|thing| thing.0["networkGroupId"].as_str().unwrap_or_default()).collect();
        return Err(Failure::Usage(format!(
            "{} is in several groups; `lacis ng member list GROUP` shows it in one of them:\n  {}",
            args.name,
            groups.join("\n  ")
        )));
    }
    let thing = one(args.r#type.map_or("group, member or peer", Kind::noun), &all, &args.name)?;
    match session.format {
        Format::Json => print::json(&thing.0),
        Format::Human => show::thing(session, &thing.0)?,
    }
    Ok(())
}

/// An external peer and the member that was made for it have one label: whoever says it means the peer.
fn leave_out_parents(all: &mut Vec<Found>, wanted: &str) {
    let parents: Vec<(String, String)> = all
        .iter()
        .filter_map(|thing| Some((thing.0["parentMember"].as_str()?.to_owned(), thing.label().to_owned())))
        .collect();
    let is_parent =
        |thing: &Found| parents.iter().any(|(id, label)| id == thing.id() && label == thing.label());
    all.retain(|thing| thing.id() == wanted || thing.0["type"] != "Member" || !is_parent(thing));
}

pub(super) async fn search(session: &Session, args: SearchArgs) -> Result<(), Failure> {
    let all: Vec<Value> =
        found(session, &args.query, args.r#type).await?.into_iter().map(|found| found.0).collect();
    match session.format {
        Format::Json => print::json(&all),
        Format::Human => show::found(&all),
    }
    Ok(())
}

pub(super) async fn receipt(session: &Session, args: ReceiptArgs) -> Result<(), Failure> {
    let group = session.group(&args.group.group).await?;
    let version = args.version.unwrap_or(group.version);
    let path = session.of_group(&group.id, &format!("/receipts/{version}"));
    let written = session.write(Method::GET, &path, None, args.wait).await?;
    let receipt: Receipt = session.client.read(&written.answer)?;
    session.say(&receipt.to_string(), &written.answer);
    if receipt.complete { Ok(()) } else { Err(Failure::NotInTime("not everywhere yet".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_a_peer_and_its_member_means_the_peer() {
        let member = json!({"type": "Member", "id": "external_1", "label": "phone"});
        let peer = json!({"type": "ExternalPeer", "id": "external_2", "label": "phone", "parentMember": "external_1"});
        let left = |wanted: &str| {
            let mut all = vec![Found(member.clone()), Found(peer.clone())];
            leave_out_parents(&mut all, wanted);
            all.iter().map(|thing| thing.id().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(left("phone"), ["external_2"]);
        assert_eq!(left("external_1"), ["external_1", "external_2"]);
    }
}
