//! `lacis status`: who is there, and how things stand.

use super::{Failure, failed, print};
use crate::{
    config::{Format, StatusArgs},
    socket::{Reply, Request, Until, ask},
    status::{GroupStatus, NamesStatus, PeerStatus, Status},
};

pub(super) async fn status(args: StatusArgs) -> Result<(), Failure> {
    let socket = &args.common.socket;
    if let Some(until) = &args.wait {
        let until = if until == "ready" { Until::Ready } else { Until::Peer(until.clone()) };
        let timeout_ms = super::ping::millis(args.timeout);
        match ask(socket, &Request::Wait { until, timeout_ms }).await?.next().await? {
            Reply::Done {} => {}
            other @ (Reply::Status(_)
            | Reply::Explained(_)
            | Reply::Netcheck(_)
            | Reply::Pong(_)
            | Reply::Log { .. }
            | Reply::Journal { .. }
            | Reply::Error { .. }) => return Err(failed(other)),
        }
    }
    match ask(socket, &Request::Status {}).await?.next().await? {
        Reply::Status(status) if args.common.format == Format::Json => print::json(&status),
        Reply::Status(status) => show(&status, args.verbose),
        other @ (Reply::Pong(_)
        | Reply::Explained(_)
        | Reply::Netcheck(_)
        | Reply::Done {}
        | Reply::Log { .. }
        | Reply::Journal { .. }
        | Reply::Error { .. }) => return Err(failed(other)),
    }
    Ok(())
}

fn show(status: &Status, verbose: bool) {
    let state = if status.ready { "ready" } else { "not ready" };
    print::line(&format!("{}  {state}, UDP port {}, agent {}", status.node, status.port, status.agent));
    print::line(&control(status));
    for alarm in &status.alarms {
        let used = if alarm.refused { "it is refused" } else { "it is used all the same (--proofs warn)" };
        print::line(&format!("ALARM {}: {}; {used}", alarm.subject, alarm.text));
    }
    for group in &status.groups {
        print::line("");
        show_group(group);
    }
    for gone in &status.gone {
        print::line("");
        print::line(&format!("! group {} is gone: {}", gone.label, gone.why));
    }
    if let Some(names) = names(&status.names) {
        print::line(&names);
    }
    if let Some(relays) = relays(status) {
        print::line(&relays);
    }
    if verbose {
        print::line("tunnel, since the start:");
        let counted = status.tunnel.iter().filter(|(_, count)| **count > 0);
        print::table(&counted.map(|(name, count)| vec![name.clone(), count.to_string()]).collect::<Vec<_>>());
    }
    for degradation in &status.degraded {
        print::line(&format!("! {}; {}", degradation.what, degradation.remedy));
    }
}

fn names(names: &NamesStatus) -> Option<String> {
    let by = match (names.resolved, names.file, names.by_hand) {
        (true, true, _) => "systemd-resolved and /etc/resolv.conf ask this agent".to_owned(),
        (true, false, _) => "systemd-resolved asks this agent".to_owned(),
        (false, true, _) => "/etc/resolv.conf names this agent".to_owned(),
        (false, false, Some(address)) => format!("by hand: have this host's resolver ask {address}"),
        (false, false, None) => return None,
    };
    let upstream: Vec<String> = names.upstream.iter().map(|server| server.ip().to_string()).collect();
    let others =
        if upstream.is_empty() { String::new() } else { format!(", others from {}", upstream.join(", ")) };
    Some(format!("names: {by}{others}"))
}

fn relays(status: &Status) -> Option<String> {
    let used = status.relays.iter().filter_map(|relay| {
        let transport = relay.transport.as_ref()?.to_uppercase();
        let rtt = relay.rtt_ms.map(|rtt| format!(", {rtt:.0} ms")).unwrap_or_default();
        Some(format!("{} over {transport}{rtt}", relay.label))
    });
    let used: Vec<String> = used.collect();
    match (used.is_empty(), status.relays.is_empty()) {
        (_, true) => None,
        (true, false) => Some("relays: none answers; `lacis netcheck` tells more".to_owned()),
        (false, false) => Some(format!("relays: {}", used.join("; "))),
    }
}

fn control(status: &Status) -> String {
    let url = status.control.url.as_deref().unwrap_or("not reached yet");
    let age = print::ago(status.control.last_word_s);
    if status.control.connected {
        format!("control {url}, last word {age}")
    } else {
        let trouble = status.control.trouble.as_deref().unwrap_or("connecting");
        format!("control {url}, last word {age}, now away: {trouble}; tunnels and names stay as they are")
    }
}

fn show_group(group: &GroupStatus) {
    let interface = group.interface.as_deref().unwrap_or("no interface");
    let GroupStatus { label, version, name, address4, address6, .. } = group;
    print::line(&format!("group {label}, version {version}, on {interface}"));
    print::line(&format!("this is {name}, {address4}, {address6}"));
    if let Some(clients) = group.gateway {
        print::line(&format!(
            "gateway for plain WireGuard clients, {clients} of them here; it sees in clear what it passes on"
        ));
    }
    if group.peers.is_empty() {
        print::line("nobody else yet: `lacis up TOKEN` on another machine");
        return;
    }
    let head = ["PEER", "ADDRESS", "PATH", "HANDSHAKE", "RECEIVED", "SENT"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for peer in &group.peers {
        rows.push(vec![
            called(peer, group),
            peer.address4.to_string(),
            path(peer),
            print::ago(peer.last_handshake_s),
            print::bytes(peer.rx_bytes),
            print::bytes(peer.tx_bytes),
        ]);
    }
    print::table(&rows);
    for peer in &group.peers {
        let birthday = peer.via.as_ref().and_then(|via| via.birthday.as_ref());
        if let Some(birthday) = birthday.filter(|birthday| birthday.state != "found") {
            print::line(&format!("birthday probing with {}: {}", short(&peer.name), birthday.text));
        }
    }
}

/// How packets to a peer travel, in a cell.
fn path(peer: &PeerStatus) -> String {
    let rtt =
        peer.via.as_ref().and_then(|via| via.rtt_ms).map(|rtt| format!(" {rtt:.0} ms")).unwrap_or_default();
    match (&peer.via, peer.endpoint) {
        (Some(via), _) if peer.path == "relayed" => {
            let transport = if via.transport.as_deref() == Some("tls") { " over TLS" } else { "" };
            format!("relay {}{transport}{rtt}", via.relay.as_deref().unwrap_or("unknown"))
        }
        (_, Some(endpoint)) if peer.path != "none" => format!("{} {endpoint}{rtt}", peer.path),
        (_, _) => peer.path.clone(),
    }
}

/// What a peer is called in a table: its name, and which instance it is where its member has several.
fn called(peer: &PeerStatus, group: &GroupStatus) -> String {
    let name = short(&peer.name);
    let others = group.peers.iter().filter(|other| other.id != peer.id).map(|other| &other.name);
    let is_alone = !others.chain([&group.name]).any(|other| *other == peer.name);
    if is_alone { name } else { format!("{name} ({})", peer.instance) }
}

/// The first label of a name: it tells the members of one group apart, and fits a terminal.
fn short(name: &str) -> String {
    name.split('.').next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instances_of_one_member_stand_in_different_rows() {
        let id = |number: u8| format!("00000000-0000-4000-8000-00000000000{number}");
        let peer = |number: u8, name: &str| {
            json!({
                "id": id(number), "member": "app_1", "name": name, "instance": format!("host-{number}"),
                "address4": "10.128.0.6", "address6": "fd00::6", "path": "none", "endpoint": null,
                "last_handshake_s": null, "rx_bytes": 0, "tx_bytes": 0
            })
        };
        let group = json!({
            "id": "ng_00000000-0000-4000-8000-000000000001", "label": "main", "interface": null, "version": 1,
            "member": "app_2", "peer": id(5), "name": "db.main.lacis.internal",
            "address4": "10.128.0.5", "address6": "fd00::5", "resolver4": "10.128.0.1", "resolver6": "fd00::1",
            "peers": [
                peer(1, "web.main.lacis.internal"),
                peer(2, "web.main.lacis.internal"),
                peer(3, "mail.main.lacis.internal"),
                peer(4, "db.main.lacis.internal"),
            ]
        });
        let group: GroupStatus = serde_json::from_value(group).unwrap();
        let names: Vec<String> = group.peers.iter().map(|peer| called(peer, &group)).collect();
        assert_eq!(names, ["web (host-1)", "web (host-2)", "mail", "db (host-4)"]);
    }
}
