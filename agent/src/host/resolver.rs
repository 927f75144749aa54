//! Has the host's resolver ask this agent: keeps a [guard], tells it what is wanted, and hears
//! what came of it.
//!
//! Life-cycle: nothing is started before something is wanted. A guard that goes away is replaced, and
//! told again. When this is [ended](HostResolver::end), the guard has restored everything before it returns.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, Take,
    },
    net::UnixStream,
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::guard::{self, MAX_LINE, Managed, Wanted};

/// A guard that went away is replaced after this: somebody who kills it on purpose kills it twice.
const AGAIN: Duration = Duration::from_secs(1);

/// A guard restores files in milliseconds; systemd-resolved may take a call's time per interface.
const RESTORE: Duration = Duration::from_secs(5);

/// Where the guard comes from, and what it guards.
#[derive(Clone, Debug)]
pub(crate) struct Guarding {
    /// A socket on which the service manager starts guards; where it is missing, the agent starts its own.
    pub(crate) helper: PathBuf,
    /// The file.
    pub(crate) resolv_conf: PathBuf,
}

/// Keeps the host's resolver asking this agent.
#[derive(Debug)]
pub(crate) struct HostResolver {
    wanted: watch::Sender<Wanted>,
    managed: watch::Receiver<Managed>,
    task: JoinHandle<()>,
}

impl HostResolver {
    /// Starts to keep it. Former name servers of the host go to `upstream`.
    pub(crate) fn start(guarding: Guarding, upstream: watch::Sender<Vec<SocketAddr>>) -> Self {
        let (wanted, wants) = watch::channel(Wanted::default());
        let (told, managed) = watch::channel(Managed::default());
        let task = tokio::spawn(keep(guarding, wants, Told { managed: told, upstream }));
        Self { wanted, managed, task }
    }

    /// Says what is wanted from now on.
    pub(crate) fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
    }

    /// Whether anything is wanted.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.wanted.borrow().links.is_empty()
    }

    /// What came of it.
    pub(crate) fn managed(&self) -> Managed {
        self.managed.borrow().clone()
    }

    /// Has everything restored.
    pub(crate) async fn end(self) {
        drop(self.wanted);
        if timeout(RESTORE, self.task).await.is_err() {
            tracing::warn!("the host's resolver is not restored yet; its guard goes on");
        }
    }
}

/// Where to tell what came of it.
struct Told {
    managed: watch::Sender<Managed>,
    upstream: watch::Sender<Vec<SocketAddr>>,
}

impl Told {
    fn tell(&self, managed: Managed, wanted: &Wanted) {
        if let Some(trouble) =
            managed.trouble.as_ref().filter(|_| self.managed.borrow().trouble != managed.trouble)
        {
            tracing::warn!(trouble, "the host's resolver does not ask this agent");
        }
        let own = |server: &SocketAddr| wanted.links.values().any(|link| link.servers.contains(&server.ip()));
        let upstream: Vec<SocketAddr> = managed.upstream.iter().filter_map(|text| server(text)).collect();
        let upstream: Vec<SocketAddr> = upstream.into_iter().filter(|server| !own(server)).collect();
        self.upstream.send_if_modified(|before| std::mem::replace(before, upstream.clone()) != upstream);
        self.managed.send_replace(managed);
    }
}

/// A running guard, and how to speak with it.
struct Guard {
    input: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    output: BufReader<Take<Box<dyn AsyncRead + Send + Unpin>>>,
    /// Absent where the service manager keeps it.
    child: Option<Child>,
}

async fn keep(guarding: Guarding, mut wants: watch::Receiver<Wanted>, told: Told) {
    while wants.wait_for(|wanted| !wanted.links.is_empty()).await.is_ok() {
        match Guard::start(&guarding).await {
            Ok(mut guard) => {
                guard.converse(&mut wants, &told).await;
                if wants.has_changed().is_err() {
                    return guard.end().await;
                }
            }
            Err(error) => {
                let trouble = format!("the guard of the host's resolver does not start: {error}");
                let managed = Managed { trouble: Some(trouble), ..Managed::default() };
                told.tell(managed, &wants.borrow().clone());
            }
        }
        sleep(AGAIN).await;
    }
}

impl Guard {
    async fn start(guarding: &Guarding) -> io::Result<Self> {
        if let Ok(stream) = UnixStream::connect(&guarding.helper).await {
            let (output, input) = stream.into_split();
            return Ok(Self::new(Box::new(input), Box::new(output), None));
        }
        // The program that runs, even where its file has been replaced by a newer one.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("lacis").arg(guard::COMMAND).arg("--resolv-conf").arg(&guarding.resolv_conf);
        // In a group of its own: what a terminal sends to the agent's group is none of its business.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("it has no pipes"));
        };
        Ok(Self::new(Box::new(input), Box::new(output), Some(child)))
    }

    fn new(
        input: Box<dyn AsyncWrite + Send + Unpin>,
        output: Box<dyn AsyncRead + Send + Unpin>,
        child: Option<Child>,
    ) -> Self {
        Self { input: Some(input), output: BufReader::new(output.take(MAX_LINE)), child }
    }

    /// Tells it what is wanted and hears its answers, until either side is gone.
    async fn converse(&mut self, wants: &mut watch::Receiver<Wanted>, told: &Told) {
        let mut line = Vec::new();
        wants.mark_changed();
        loop {
            tokio::select! {
                changed = wants.changed() => {
                    let wanted = wants.borrow_and_update().clone();
                    if changed.is_err() || self.tell(&wanted).await.is_err() {
                        return;
                    }
                }
                read = self.output.read_until(b'\n', &mut line) => {
                    let managed = match read {
                        Ok(_) if line.ends_with(b"\n") => serde_json::from_slice(&line),
                        Ok(_) | Err(_) => return,
                    };
                    let Ok(managed) = managed else { return };
                    line.clear();
                    self.output.get_mut().set_limit(MAX_LINE);
                    let wanted = wants.borrow().clone();
                    told.tell(managed, &wanted);
                }
            }
        }
    }

    async fn tell(&mut self, wanted: &Wanted) -> io::Result<()> {
        let Some(input) = &mut self.input else { return Ok(()) };
        let mut line = serde_json::to_vec(wanted).expect("what is wanted has a JSON form");
        line.push(b'\n');
        input.write_all(&line).await?;
        input.flush().await
    }

    /// Lets it restore everything, and waits until it has.
    async fn end(mut self) {
        if let Some(mut input) = self.input.take() {
            // A guard that is gone already has restored everything.
            let _ = input.shutdown().await;
        }
        let mut rest = Vec::new();
        let _ = self.output.read_to_end(&mut rest).await;
        if let Some(mut child) = self.child {
            let _ = child.wait().await;
        }
    }
}

/// The address of a name server as it is written in the file; a scope may follow a `%` (RFC 4007 §11).
fn server(text: &str) -> Option<SocketAddr> {
    const DNS: u16 = 53;
    let Some((address, scope)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, DNS));
    };
    let number = || fs::read_to_string(format!("/sys/class/net/{scope}/ifindex")).ok()?.trim().parse().ok();
    let scope = scope.parse().ok().or_else(number)?;
    Some(SocketAddrV6::new(address.parse().ok()?, DNS, 0, scope).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_with_their_scopes() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1:53")),
            ("fd00::1", Some("[fd00::1]:53")),
            ("fe80::1%2", Some("[fe80::1%2]:53")),
            ("fe80::1%lo", Some("[fe80::1%1]:53")),
            ("fe80::1%../../etc", None),
            ("localhost", None),
        ] {
            assert_eq!(server(text).map(|server| server.to_string()).as_deref(), expected, "{text}");
        }
    }
}
