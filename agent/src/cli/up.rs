//! `lacis up`: the agent in the foreground.

use sd_notify::NotifyState;
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Interval, interval},
};

use super::{Failure, detach, install, print};
use crate::{
    Logs,
    app::Agent,
    config::{Format, UpArgs},
    status::Status,
};

pub(super) async fn up(args: UpArgs, logs: Logs) -> Result<(), Failure> {
    if args.install {
        return install::install(&args);
    }
    if args.detach {
        return detach::detach(&args).await;
    }
    let format = args.common.format;
    let options = args.into_options(logs).map_err(|error| failure(&error))?;
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
    let mut alive = watchdog();
    loop {
        tokio::select! {
            is_ready = &mut ready, if !announced => {
                announced = true;
                if let (Some(()), Some(status)) = (is_ready, agent.status().await) {
                    announce(&status, format);
                    // Whoever started this without a service manager is told nothing.
                    let _ = sd_notify::notify(&[NotifyState::Ready]);
                }
            }
            () = tick(&mut alive) => {
                // Only a loop that still answers is alive.
                if agent.status().await.is_some() {
                    let _ = sd_notify::notify(&[NotifyState::Watchdog]);
                }
            }
            ended = agent.ended() => return ended.map_err(|error| failure(&error)),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    agent.stop().await.map_err(|error| failure(&error))
}

/// Ticks twice in the time that the service manager waits for a sign of life, where it does.
fn watchdog() -> Option<Interval> {
    sd_notify::watchdog_enabled().map(|patience| interval(patience / 2))
}

async fn tick(alive: &mut Option<Interval>) {
    match alive {
        Some(alive) => drop(alive.tick().await),
        None => std::future::pending().await,
    }
}

pub(super) fn announce(status: &Status, format: Format) {
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
