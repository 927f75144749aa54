//! `lacis ping`: echoes through the tunnel of a peer.

use serde_json::json;

use super::{Failure, failed, print};
use crate::{
    config::{Format, PingArgs},
    socket::{PingRequest, Reply, Request, ask},
    status::Pong,
};

pub(super) async fn ping(args: PingArgs) -> Result<(), Failure> {
    let family = match (args.ipv4, args.ipv6) {
        (true, _) => Some(4),
        (_, true) => Some(6),
        (false, false) => None,
    };
    let request = PingRequest {
        target: args.target.clone(),
        count: args.count,
        interval_ms: millis(args.interval),
        timeout_ms: millis(args.timeout),
        family,
    };
    let mut replies = ask(&args.common.socket, &Request::Ping(request)).await?;
    let (mut sent, mut times) = (0u32, Vec::new());
    loop {
        match replies.next().await? {
            Reply::Pong(pong) => {
                sent += 1;
                times.extend(pong.rtt_ms);
                show(&pong, args.common.format);
            }
            Reply::Done {} => break,
            other @ (Reply::Status(_)
            | Reply::Explained(_)
            | Reply::Netcheck(_)
            | Reply::Log { .. }
            | Reply::Journal { .. }
            | Reply::Error { .. }) => {
                return Err(failed(other));
            }
        }
    }
    summary(sent, &times, args.common.format);
    if times.is_empty() {
        return Err(Failure::NotInTime(format!("{} did not answer", args.target)));
    }
    Ok(())
}

fn show(pong: &Pong, format: Format) {
    if format == Format::Json {
        return print::json(pong);
    }
    let Pong { seq, address, name, .. } = pong;
    let relay = pong.via.as_ref().and_then(|via| Some((via.relay.as_ref()?, via.transport.as_deref()?)));
    if let (Some(rtt), Some((relay, transport))) = (pong.rtt_ms, relay) {
        let over = transport.to_uppercase();
        return print::line(&format!(
            "{name} ({address}): seq {seq}, {rtt:.3} ms, relay {relay} over {over}"
        ));
    }
    match (pong.rtt_ms, pong.endpoint, pong.path.as_deref()) {
        (Some(rtt), Some(endpoint), Some(path)) => {
            print::line(&format!("{name} ({address}): seq {seq}, {rtt:.3} ms, {path} {endpoint}"));
        }
        (Some(rtt), ..) => print::line(&format!("{name} ({address}): seq {seq}, {rtt:.3} ms, this node")),
        (None, ..) => print::line(&format!("{name} ({address}): seq {seq}, no answer")),
    }
}

fn summary(sent: u32, times: &[f64], format: Format) {
    let received = times.len();
    let least = times.iter().copied().reduce(f64::min);
    let most = times.iter().copied().reduce(f64::max);
    if format == Format::Json {
        let summary =
            json!({"event": "summary", "sent": sent, "received": received, "min_ms": least, "max_ms": most});
        return print::json(&summary);
    }
    match least.zip(most) {
        Some((least, most)) => {
            print::line(&format!("{received} of {sent} answered, {least:.3} to {most:.3} ms"))
        }
        None => print::line(&format!("0 of {sent} answered")),
    }
}

/// Seconds as whole milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "arguments are checked to lie between 0 and a day"
)]
pub(super) fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}
