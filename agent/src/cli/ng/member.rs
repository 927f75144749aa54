//! Members: link, unlink, list, change.

use hyper::Method;
use lacis_proto::MemberId;
use serde_json::{Map, Value, json};

use super::{Failure, Session, group::set, print, show};
use crate::{
    config::{
        Format,
        ng::{LinkArgs, MemberCommand, UnlinkArgs},
    },
    management::{Group, Member},
};

/// The kind of a member, which its id tells.
pub(super) fn kind_of(id: &MemberId) -> &'static str {
    match id.as_str().split('_').next() {
        Some("app") => "APPLICATION",
        Some("external") => "EXTERNAL",
        Some(_) | None => "ADDON",
    }
}

pub(super) async fn link(session: &Session, args: LinkArgs) -> Result<(), Failure> {
    let group = session.group(&args.group.group).await?;
    let mut body = json!({"id": args.member, "kind": kind_of(&args.member)});
    set(&mut body, "label", args.label);
    set(&mut body, "domainName", args.domain_name);
    let path = session.of_group(&group.id, "/members");
    let written = session.write(Method::POST, &path, Some(&body), args.wait).await?;
    let text = format!("{} is a member of {}", args.member, group.label);
    session.say(&text, &written.answer);
    written.applied(session)
}

pub(super) async fn unlink(session: &Session, args: UnlinkArgs) -> Result<(), Failure> {
    let group = session.group(&args.group.group).await?;
    let member = group.member(&args.member)?;
    let peers = peers_of(&group, member);
    let what = format!("{} of {} with {} peers", member.id, group.label, peers.len());
    if args.removal.dry_run {
        let value = json!({"dryRun": true, "unlink": member.id, "group": group.id, "peers": peers});
        session.say(&format!("would unlink {what}"), &value);
        return Ok(());
    }
    let path = session.of_group(&group.id, &format!("/members/{}", member.id));
    let written = session.remove(&path, args.force, args.removal.wait).await?;
    session.say(&format!("unlinked {what}"), &json!({"unlinked": member.id, "group": group.id}));
    written.applied(session)
}

/// Ids of the peers of a member.
pub(super) fn peers_of<'a>(group: &'a Group, member: &Member) -> Vec<&'a str> {
    let peers = group.peers.iter().filter(|peer| peer.parent_member == member.id);
    peers.map(|peer| peer.id.as_str()).collect()
}

pub(super) async fn member(session: &Session, command: MemberCommand) -> Result<(), Failure> {
    match command {
        MemberCommand::List(name) => {
            let (group, value) = session.group_value(&name.group).await?;
            match session.format {
                Format::Json => print::json(&value["members"]),
                Format::Human => show::members(&group),
            }
            Ok(())
        }
        MemberCommand::Edit { member, group, label, domain_name, wait } => {
            let group = session.group(&group.group).await?;
            let member = group.member(&member)?;
            let mut body = Value::Object(Map::new());
            set(&mut body, "label", label);
            set(&mut body, "domainName", domain_name);
            let path = session.of_group(&group.id, &format!("/members/{}", member.id));
            let written = session.write(Method::PATCH, &path, Some(&body), wait).await?;
            let field = |name: &str| written.answer[name].as_str().unwrap_or_default().to_owned();
            let text = format!("{} is {}, {}", member.id, field("label"), field("domainName"));
            session.say(&text, &written.answer);
            written.applied(session)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_resource_tells_its_kind() {
        for (id, kind) in [("app_1", "APPLICATION"), ("external_1", "EXTERNAL"), ("postgresql_1", "ADDON")] {
            assert_eq!(kind_of(&MemberId::parse(id).unwrap()), kind);
        }
    }
}
