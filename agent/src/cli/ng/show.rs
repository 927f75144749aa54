//! Answers as tables and lines for people.

use serde_json::Value;

use super::{Failure, Session, print};
use crate::{
    clock::Clock,
    management::{AuditEntry, Group, Member, Peer, Presence},
};

/// What stands for nothing in a table.
pub(super) const NONE: &str = "-";

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let head = head.map(str::to_owned).to_vec();
    print::fitting(&std::iter::once(head).chain(rows.map(|row| row.to_vec())).collect::<Vec<_>>());
}

pub(super) fn groups(groups: &[Group]) {
    if groups.is_empty() {
        return print::line("no group yet: `lacis ng create LABEL`");
    }
    table(
        ["LABEL", "RANGE", "MEMBERS", "PEERS", "ID"],
        groups.iter().map(|group| {
            [
                group.label.clone(),
                group.network_ip.clone(),
                group.members.len().to_string(),
                group.peers.len().to_string(),
                group.id.clone(),
            ]
        }),
    );
}

pub(super) fn group(group: &Group) {
    let Group { id, label, network_ip, network_ip6, version, .. } = group;
    print::line(&format!("{label}  {id}, version {version}"));
    print::line(&format!("range  {network_ip}  {network_ip6}").replace("  \n", "\n"));
    if !group.description.is_empty() {
        print::line(&group.description);
    }
    if !group.tags.is_empty() {
        print::line(&format!("tags   {}", group.tags.join(", ")));
    }
    for (things, show) in [(group.members.len(), members as fn(&Group)), (group.peers.len(), peers_of_group)]
    {
        if things > 0 {
            print::line("");
            show(group);
        }
    }
}

fn peers_of_group(group: &Group) {
    peers(&group.peers);
}

pub(super) fn members(group: &Group) {
    if group.members.is_empty() {
        return print::line(&format!("no member yet: `lacis ng link ID {}`", group.label));
    }
    let peers = |member: &Member| group.peers.iter().filter(|peer| peer.parent_member == member.id).count();
    table(
        ["LABEL", "KIND", "PEERS", "MEMBER", "NAME"],
        group.members.iter().map(|member| {
            [
                if member.label == member.id { NONE.to_owned() } else { member.label.clone() },
                member.kind.to_lowercase(),
                peers(member).to_string(),
                member.id.clone(),
                member.domain_name.clone(),
            ]
        }),
    );
}

pub(super) fn peers(peers: &[Peer]) {
    if peers.is_empty() {
        return print::line("no peer yet: `lacis ng join-token create GROUP`");
    }
    let now = Clock::start().unix_ms();
    table(
        ["LABEL", "ADDRESS", "CONNECTED", "FROM", "PEER"],
        peers.iter().map(|peer| {
            let presence = peer.presence.clone().unwrap_or_default();
            let term = peer.endpoint.public_term.as_ref().map(|term| format!("{}:{}", term.host, term.port));
            [
                peer.label.clone(),
                peer.address4().unwrap_or(NONE).to_owned(),
                if peer.is_external() { "external".to_owned() } else { connected(&presence, now) },
                presence.underlay.or(term).unwrap_or_else(|| NONE.to_owned()),
                peer.id.clone(),
            ]
        }),
    );
}

/// Since when somebody is connected.
pub(super) fn connected(presence: &Presence, now_ms: u64) -> String {
    match presence.since_ms.filter(|_| presence.connected) {
        Some(since) => duration(now_ms.saturating_sub(since)),
        None if presence.connected => "yes".to_owned(),
        None => "no".to_owned(),
    }
}

/// When something ends.
pub(super) fn expiry(at_ms: Option<u64>, now_ms: u64) -> String {
    match at_ms {
        None => "never".to_owned(),
        Some(at) if at <= now_ms => "over".to_owned(),
        Some(at) => format!("in {}", duration(at - now_ms)),
    }
}

/// When something was.
pub(super) fn since(at_ms: Option<u64>, now_ms: u64) -> String {
    at_ms.map_or_else(|| "never".to_owned(), |at| format!("{} ago", duration(now_ms.saturating_sub(at))))
}

/// A time in its largest unit of which there are two, rounded.
fn duration(ms: u64) -> String {
    let of = |unit_ms: u64| (ms + unit_ms / 2) / unit_ms;
    match ms / 1_000 {
        0..=119 => format!("{} s", of(1_000)),
        120..=7_199 => format!("{} min", of(60_000)),
        7_200..=172_799 => format!("{} h", of(3_600_000)),
        172_800.. => format!("{} d", of(86_400_000)),
    }
}

/// One thing that was asked for by name.
pub(super) fn thing(session: &Session, value: &Value) -> Result<(), Failure> {
    if value["type"] == "NetworkGroup" {
        group(&session.client.read(value)?);
    } else {
        fields(value);
    }
    Ok(())
}

/// Things that a search found, one on a line.
pub(super) fn found(all: &[Value]) {
    if all.is_empty() {
        return print::line("nothing found");
    }
    table(
        ["TYPE", "LABEL", "ID"],
        all.iter().map(|thing| {
            ["type", "label", "id"].map(|field| thing[field].as_str().unwrap_or(NONE).to_owned())
        }),
    );
}

/// The fields of an object, one on a line; nested ones by their path.
pub(super) fn fields(value: &Value) {
    let mut rows = Vec::new();
    gather(&mut rows, "", value);
    print::table(&rows);
}

fn gather(rows: &mut Vec<Vec<String>>, path: &str, value: &Value) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                gather(rows, &below(name), value);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object()) => {
            for (number, item) in items.iter().enumerate() {
                gather(rows, &below(&number.to_string()), item);
            }
        }
        Value::Null => {}
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            rows.push(vec![path.to_owned(), plain(value)]);
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Null => NONE.to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// What was done to a group, the newest first.
pub(super) fn audit(entries: &[AuditEntry]) {
    if entries.is_empty() {
        return print::line("nothing recorded");
    }
    let now = Clock::start().unix_ms();
    table(
        ["VERSION", "WHEN", "WHAT", "TO", "BY"],
        entries.iter().map(|entry| {
            [
                entry.version.to_string(),
                since(Some(entry.at_ms), now),
                entry.action.clone(),
                entry.target.clone(),
                entry.actor.clone(),
            ]
        }),
    );
}

/// One event of a group on a line, or nothing for one that people need not see.
pub(super) fn event(kind: &str, place: Option<&str>, data: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let thing = || ["group", "member", "peer"].into_iter().find(|what| data[what].is_object());
    Some(match kind {
        "reset" => "everything there is:".to_owned(),
        "put" => {
            let what = thing()?;
            let label = text(&data[what]["label"]);
            let address =
                [&data[what]["domainName"], &data[what]["endpoint"]["ngIp"], &data[what]["networkIp"]];
            let address = address.into_iter().map(text).find(|text| !text.is_empty()).unwrap_or_default();
            format!("  + {what:7} {}  {label}  {address}", text(&data["id"])).trim_end().to_owned()
        }
        "del" => format!("  - {}", text(&data["id"])),
        "at" => format!("version {}, place {}", data["version"], place.unwrap_or(NONE)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn moments_are_told_in_words() {
        assert_eq!(expiry(None, 0), "never");
        assert_eq!(expiry(Some(5), 5), "over");
        assert_eq!(expiry(Some(90_000), 0), "in 90 s");
        assert_eq!(expiry(Some(86_399_000), 0), "in 24 h");
        assert_eq!(since(Some(0), 600_000), "10 min ago");
        let presence = Presence { connected: true, since_ms: Some(1_000), ..Presence::default() };
        assert_eq!(connected(&presence, 4_000), "3 s");
        assert_eq!(connected(&Presence::default(), 4_000), "no");
    }

    #[test]
    fn an_answer_of_any_shape_has_a_line_for_each_field() {
        let value = json!({"a": 1, "b": {"c": "x", "d": null}, "e": ["y", "z"], "f": [{"g": true}]});
        let mut rows = Vec::new();
        gather(&mut rows, "", &value);
        let lines: Vec<String> = rows.iter().map(|row| row.join("=")).collect();
        assert_eq!(lines, ["a=1", "b.c=x", "e=y, z", "f.0.g=true"]);
    }

    #[test]
    fn events_are_told_in_few_words() {
        let member = json!({"id": "app_1", "version": 2, "member": {"label": "web", "domainName": "web.shop.internal"}});
        assert_eq!(event("put", None, &member).unwrap(), "  + member  app_1  web  web.shop.internal");
        assert_eq!(event("del", None, &json!({"id": "app_1"})).unwrap(), "  - app_1");
        assert_eq!(event("at", Some("x"), &json!({"version": 3})).unwrap(), "version 3, place x");
        assert_eq!(event("HEARTBEAT", None, &json!({})), None);
    }
}
