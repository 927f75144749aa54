//! `lacis up`: the agent in the foreground.

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, print};
use crate::{
    app::Agent,
    config::{Format, UpArgs},
    status::Status,
};

pub(super) async fn up(args: UpArgs) -> Result<(), Failure> {
    let format = args.common.format;
    let options = args.into_options().map_err(|error| failure(&error))?;
    let stop = |kind| signal(kind).map_err(|error| failure(&error));
    let (mut interrupt, mut terminate) = (stop(SignalKind::interrupt())?, stop(SignalKind::terminate())?);
    let mut agent = tokio::select! {
        started = Agent::start(options) => started.map_err(|error| failure(&error))?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let ready = agent.ready();
    tokio::pin!(ready);
    let mut announced = false;
    loop {
        tokio::select! {
            is_ready = &mut ready, if !announced => {
                announced = true;
                if let (Some(()), Some(status)) = (is_ready, agent.status().await) {
                    announce(&status, format);
                }
            }
            ended = agent.ended() => return ended.map_err(|error| failure(&error)),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    agent.stop().await.map_err(|error| failure(&error))
}

fn announce(status: &Status, format: Format) {
    if format == Format::Json {
        let groups: Vec<_> = status
            .groups
            .iter()
            .map(|group| {
                json!({"id": group.id, "label": group.label, "interface": group.interface, "peer": group.peer,
                       "name": group.name, "address4": group.address4, "address6": group.address6})
            })
            .collect();
        print::json(&json!({"event": "ready", "node": status.node, "port": status.port, "groups": groups}));
        return;
    }
    for group in &status.groups {
        let interface = group.interface.as_deref().unwrap_or("no interface");
        print::line(&format!(
            "ready: {} is {} and {} ({interface})",
            group.name, group.address4, group.address6
        ));
    }
    print::line("next: `lacis status` shows who is there, `lacis ping NAME` whether it answers");
}

fn failure(error: &dyn std::error::Error) -> Failure {
    Failure::Failed(crate::overlay::report(error))
}
