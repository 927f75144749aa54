//! The guard: the one process that touches the host's resolver, and restores it when the agent is gone,
//! however it went.
//!
//! ```text
//! agent ── Wanted, a line of JSON ──▶ guard ─┬▶ systemd-resolved, per interface
//!       ◀── Managed, a line of JSON ──       └▶ /etc/resolv.conf
//! agent gone: end of input ─▶ everything as it was ─▶ exit
//! ```
//! The agent starts it as `lacis guard` with pipes; where the agent has no right to touch the host's
//! resolver, the service manager starts it on a socket (`deploy/systemd`). It outlives signals that are meant for
//! the agent, and ends by the end of its input alone. What a guard that was killed has left is repaired by
//! the next one.

mod file;
mod resolved;

use std::{collections::BTreeMap, io, net::IpAddr, path::PathBuf, time::Duration};

use lacis_agent_core::ways;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use self::{file::ResolvConf, resolved::Resolved};

/// Longest line in either direction: 256 domains on each of a hundred interfaces.
pub(super) const MAX_LINE: u64 = 4 << 20;

/// How the guard is called on the command line.
pub(super) const COMMAND: &str = "guard";

/// How often the file is looked at, for edits of others: as soon as somebody would try again by hand.
const LOOK: Duration = Duration::from_secs(3);

/// What the agent wants; nothing in it: everything as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// What each overlay interface tells, by its number.
    pub(crate) links: BTreeMap<u32, Link>,
}

/// What one interface tells the host's resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// Where names are answered.
    pub(crate) servers: Vec<IpAddr>,
    /// Domains that are asked there and nowhere else.
    pub(crate) domains: Vec<String>,
}

/// What the guard came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Managed {
    /// systemd-resolved was told.
    pub(crate) resolved: bool,
    /// The file names this agent.
    pub(crate) file: bool,
    /// The file's former name servers, as written there.
    pub(crate) upstream: Vec<String>,
    /// What failed.
    pub(crate) trouble: Option<String>,
}

/// Runs a guard on standard input and output until the agent is gone.
///
/// # Errors
/// What could not be restored.
pub(crate) async fn run(path: PathBuf) -> io::Result<()> {
    let _deaf = deaf()?;
    let mut guard =
        Guard { file: ResolvConf::new(path), resolved: Resolved::default(), wanted: Wanted::default() };
    let mut told = Managed::default();
    let mut input = BufReader::new(tokio::io::stdin().take(MAX_LINE));
    let mut output = tokio::io::stdout();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut line = Vec::new();
    loop {
        let is_asked = tokio::select! {
            read = input.read_until(b'\n', &mut line) => match read {
                Ok(read) if read > 0 && line.ends_with(b"\n") => {
                    let Ok(wanted) = serde_json::from_slice(&line) else { break };
                    guard.wanted = wanted;
                    line.clear();
                    input.get_mut().set_limit(MAX_LINE);
                    true
                }
                Ok(_) | Err(_) => break,
            },
            _ = look.tick() => false,
        };
        let managed = if is_asked { guard.manage().await } else { guard.look_again(&told) };
        if is_asked || managed != told {
            let mut reply = serde_json::to_vec(&managed).expect("a reply has a JSON form");
            reply.push(b'\n');
            // An agent that does not listen is about to be gone; the end of input says so.
            let _ = output.write_all(&reply).await;
            let _ = output.flush().await;
            told = managed;
        }
    }
    guard.wanted = Wanted::default();
    guard.manage().await.trouble.map_or(Ok(()), |trouble| Err(io::Error::other(trouble)))
}

/// Signals that ask the agent to end reach its guard as well, and mean nothing to it.
fn deaf() -> io::Result<[Signal; 3]> {
    Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?])
}

struct Guard {
    file: ResolvConf,
    resolved: Resolved,
    wanted: Wanted,
}

impl Guard {
    /// Makes the host's resolver what is wanted.
    async fn manage(&mut self) -> Managed {
        let by = if self.wanted.links.is_empty() {
            lacis_agent_core::Ways::default()
        } else {
            ways(Resolved::runs().await, &self.file.in_force())
        };
        let mut managed = Managed { resolved: by.resolved, ..Managed::default() };
        let links = if by.resolved { self.wanted.links.clone() } else { BTreeMap::new() };
        if let Err(error) = self.resolved.set(links).await {
            managed = Managed { resolved: false, trouble: Some(error), ..managed };
        }
        self.manage_file(by.file, managed)
    }

    /// Manages the file anew where others have changed it; systemd-resolved keeps what it was told.
    fn look_again(&mut self, told: &Managed) -> Managed {
        if !told.file || !self.file.look() {
            return told.clone();
        }
        self.manage_file(true, Managed { resolved: told.resolved, ..Managed::default() })
    }

    fn manage_file(&mut self, wanted: bool, managed: Managed) -> Managed {
        if !wanted {
            let trouble = self.file.restore().err().map(|error| error.to_string());
            return Managed { trouble: managed.trouble.or(trouble), ..managed };
        }
        let servers: Vec<IpAddr> = self.wanted.links.values().flat_map(|link| link.servers.clone()).collect();
        match self.file.manage(&servers) {
            Ok(upstream) => Managed { file: true, upstream, ..managed },
            Err(error) => Managed { trouble: Some(error.to_string()), ..managed },
        }
    }
}
