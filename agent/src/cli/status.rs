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
            short(&peer.name),
            peer.address4.to_string(),
            path(peer),
            print::ago(peer.last_handshake_s),
            print::bytes(peer.rx_bytes),
            print::bytes(peer.tx_bytes),
        ]);
    }
    print::table(&rows);
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

/// The first label of a name: it tells the peers of one group apart, and fits a terminal.
fn short(name: &str) -> String {
    name.split('.').next().unwrap_or(name).to_owned()
}
