//! A process that serves until it is told to end, and says how it is to a service manager, where there is one.

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Interval, interval},
};

/// The signals that end this process.
#[derive(Debug)]
pub(super) struct Service {
    terminate: Signal,
    interrupt: Signal,
}

impl Service {
    /// Taken before anything begins, so that no signal ends the process halfway.
    pub(super) fn new() -> anyhow::Result<Self> {
        let wait_for = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            terminate: wait_for(SignalKind::terminate())?,
            interrupt: wait_for(SignalKind::interrupt())?,
        })
    }

    /// Says that everything is ready, then twice in the time that a watchdog waits that it still lives, until a signal
    /// comes; then that it stops. Whoever started this without a service manager is told nothing.
    pub(super) async fn until_told_to_end(mut self) {
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        let mut alive = sd_notify::watchdog_enabled().map(|patience| interval(patience / 2));
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                () = tick(&mut alive) => drop(sd_notify::notify(&[NotifyState::Watchdog])),
            }
        }
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
    }
}

async fn tick(alive: &mut Option<Interval>) {
    match alive {
        Some(alive) => drop(alive.tick().await),
        None => std::future::pending().await,
    }
}
