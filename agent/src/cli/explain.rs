//! `lacis explain`: why a peer is reached the way it is.

use super::{Failure, failed, print};
use crate::{
    config::{ExplainArgs, Format},
    socket::{Reply, Request, ask},
    status::{CandidateStatus, Explained, ViaStatus},
};

pub(super) async fn explain(args: ExplainArgs) -> Result<(), Failure> {
    let request = Request::Explain { target: args.target };
    match ask(&args.common.socket, &request).await?.next().await? {
        Reply::Explained(told) if args.common.format == Format::Json => print::json(&told),
        Reply::Explained(told) => show(&told),
        other @ (Reply::Status(_)
        | Reply::Pong(_)
        | Reply::Netcheck(_)
        | Reply::Done {}
        | Reply::Log { .. }
        | Reply::Journal { .. }
        | Reply::Error { .. }) => return Err(failed(other)),
    }
    Ok(())
}

fn show(told: &Explained) {
    match &told.via {
        Some(via) => print::line(&format!("{} is reached {}", told.name, in_words(via))),
        None if told.path == "none" => {
            print::line(&format!(
                "{} is not in use: nothing is tried before there is traffic for it",
                told.name
            ));
        }
        None => print::line(&format!("{} is reached directly, without an agent to ask", told.name)),
    }
    if let Some(why) = told.via.as_ref().map(|via| via.why.as_str()).filter(|why| !why.is_empty()) {
        print::line(&format!("why: {why}"));
    }
    if let Some(birthday) = told.via.as_ref().and_then(|via| via.birthday.as_ref()) {
        print::line(&format!("birthday probing: {}", birthday.text));
    }
    if !told.candidates.is_empty() {
        print::line("");
        let mut rows = vec![["WAY", "ADDRESS", "FATE", "RTT", "PROBES"].map(str::to_owned).to_vec()];
        rows.extend(told.candidates.iter().map(row));
        print::table(&rows);
    }
}

/// A way in a few words, as a clause.
fn in_words(via: &ViaStatus) -> String {
    let way = match (via.kind.as_str(), &via.relay) {
        ("relay", relay) => {
            let transport = via.transport.as_deref().unwrap_or("udp").to_uppercase();
            format!("through relay {} over {transport}", relay.as_deref().unwrap_or("unknown"))
        }
        ("lan", _) => "directly, in the local network".to_owned(),
        ("v6", _) => "directly over IPv6".to_owned(),
        (_, _) => "directly over IPv4".to_owned(),
    };
    let rtt = via.rtt_ms.map(|rtt| format!(", {rtt:.1} ms")).unwrap_or_default();
    let loss = if via.loss_percent > 0 { format!(", {} % lost", via.loss_percent) } else { String::new() };
    let both = if via.both_ways { ", and a second way while this one is tried" } else { "" };
    format!("{way}{rtt}{loss}{both}")
}

fn row(candidate: &CandidateStatus) -> Vec<String> {
    let kind = match (candidate.kind.as_str(), &candidate.relay) {
        ("host", _) => "its interface".to_owned(),
        ("static", _) => "configured".to_owned(),
        ("portmap", _) => "mapped port".to_owned(),
        ("reflexive", _) => "seen from outside".to_owned(),
        ("peer_reflexive", _) => "its probe came from".to_owned(),
        ("guess", _) => "guessed".to_owned(),
        ("predicted", _) => "predicted port".to_owned(),
        ("last_good", _) => "worked before".to_owned(),
        ("relay", Some(relay)) => format!("relay {relay}"),
        (other, _) => other.to_owned(),
    };
    let rtt = candidate.rtt_ms.map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.1} ms"));
    let probes = format!("{} of {} answered", candidate.answers, candidate.probes);
    vec![kind, candidate.address.to_string(), candidate.text.clone(), rtt, probes]
}
