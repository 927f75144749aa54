//! `lacis netcheck`: what this node's network lets through.

use super::{Failure, failed, print};
use crate::{
    config::{Common, Format},
    socket::{Reply, Request, ask},
    status::{Netcheck, RelayStatus},
};

pub(super) async fn netcheck(args: Common) -> Result<(), Failure> {
    match ask(&args.socket, &Request::Netcheck {}).await?.next().await? {
        Reply::Netcheck(found) if args.format == Format::Json => print::json(&found),
        Reply::Netcheck(found) => show(&found),
        other @ (Reply::Status(_)
        | Reply::Pong(_)
        | Reply::Explained(_)
        | Reply::Done {}
        | Reply::Log { .. }
        | Reply::Journal { .. }
        | Reply::Error { .. }) => return Err(failed(other)),
    }
    Ok(())
}

fn show(found: &Netcheck) {
    print::line(&format!("UDP           {}", udp(found)));
    print::line(&format!(
        "IPv6          {}",
        if found.ipv6 { "reaches the outside" } else { "not seen from outside" }
    ));
    print::line(&format!("NAT           {}", nat(found)));
    if let Some(prefix) = &found.nat64 {
        print::line(&format!("NAT64         {prefix}: IPv4 is reached by it, this host has none"));
    }
    let outside: Vec<String> = found.outside.iter().map(ToString::to_string).collect();
    let outside =
        if outside.is_empty() { "nobody has seen this node".to_owned() } else { outside.join(", ") };
    print::line(&format!("seen as       {outside}"));
    let mapped = if found.port_mapped { "a router maps a port to this node" } else { "none" };
    print::line(&format!("port mapping  {mapped}"));
    if found.relays.is_empty() {
        print::line("relays        none: peers that no direct path leads to cannot be reached");
        return;
    }
    print::line("");
    let mut rows = vec![["RELAY", "USE", "OVER", "RTT", "NOTE"].map(str::to_owned).to_vec()];
    rows.extend(found.relays.iter().map(row));
    print::table(&rows);
}

fn udp(found: &Netcheck) -> &'static str {
    match found.udp {
        Some(true) => "leaves and comes back",
        Some(false) => "nothing comes back: a firewall drops it, and relays are reached over TLS",
        None => "nobody to ask: control has told of no relay",
    }
}

fn nat(found: &Netcheck) -> String {
    let step = found.port_step.map(|step| format!(", ports {step:+} apart")).unwrap_or_default();
    match found.nat.as_str() {
        "none" => "none: this node is seen at its own address".to_owned(),
        "endpoint_independent" => "easy: the same outside address for every destination".to_owned(),
        "address_dependent" => format!("hard: another outside address for each destination{step}"),
        "address_and_port_dependent" => format!("hard: another outside port for each destination{step}"),
        _ => "unknown: it takes two answers to tell".to_owned(),
    }
}

fn row(relay: &RelayStatus) -> Vec<String> {
    let rank = match relay.rank {
        Some(0) => "home",
        Some(_) => "backup",
        None => "-",
    };
    let over = relay.transport.clone().unwrap_or_else(|| "-".to_owned());
    let rtt = relay.rtt_ms.map_or_else(|| "no answer".to_owned(), |rtt| format!("{rtt:.1} ms"));
    let note = if relay.leaving { Some("is about to stop".to_owned()) } else { relay.trouble.clone() };
    vec![relay.label.clone(), rank.to_owned(), over, rtt, note.unwrap_or_default()]
}
