//! Maps the tunnels' port on the gateway, beside everything else: nobody ever waits for it.
//!
//! A task of its own feeds the rules (`lacis_agent_core::PortMap`) with the gateway, its datagrams and time, and
//! performs what they say. Where this node is reached by a mapping stands in [`PortMapper::mapped`]. At the end the
//! mapping is given back.

mod upnp;

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use lacis_agent_core::{
    Gateway, PortMap, PortMapAction, PortMapEvent, portmap_limits::SERVER_PORT, upnp::Refusal,
};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    clock::{Clock, random},
    host::Host,
};

/// Longest answer of a gateway (RFC 6887 §7: 1,100 bytes).
const MAX_DATAGRAM: usize = 1_100;

/// A gateway gets so long to take a mapping back; a node that is stopped does not wait longer for it.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// Without anything due the task looks again after this.
const IDLE: Duration = Duration::from_secs(3_600);

/// The task that maps a port. See the module's text.
#[derive(Debug)]
pub(crate) struct PortMapper {
    /// One waiting note suffices: whoever hears it looks anew. Closed, it ends the task.
    changed: mpsc::Sender<()>,
    mapped: watch::Receiver<Option<SocketAddrV4>>,
    task: JoinHandle<()>,
}

impl PortMapper {
    /// Begins for a UDP port of this host; `note` is called when the mapping is another.
    pub(crate) fn start(clock: Clock, host: Host, port: u16, note: Note) -> Self {
        let (changed, changes) = mpsc::channel(1);
        let (told, mapped) = watch::channel(None);
        let (done, outcomes) = mpsc::channel(1);
        let rules = PortMap::new(port, random());
        let task =
            tokio::spawn(Task { calls: 0, clock, host, rules, told, note, done }.run(changes, outcomes));
        Self { changed, mapped, task }
    }

    /// Where this node is reached from outside by a mapping.
    pub(crate) fn mapped(&self) -> Option<SocketAddrV4> {
        *self.mapped.borrow()
    }

    /// Addresses of the host have come or gone.
    pub(crate) fn network_changed(&self) {
        // Full means that it has been told already.
        let _ = self.changed.try_send(());
    }

    /// Gives the mapping back and ends.
    pub(crate) async fn end(self) {
        drop(self.changed);
        // A gateway that is slow now forgets by itself later.
        let _ = timeout(GIVE_BACK, self.task).await;
    }
}

/// Tells that something has changed.
type Note = Box<dyn Fn() + Send + Sync>;

type Outcome = Result<SocketAddrV4, Refusal>;

struct Task {
    /// Calls by UPnP that have not been answered yet.
    calls: usize,
    clock: Clock,
    host: Host,
    rules: PortMap,
    told: watch::Sender<Option<SocketAddrV4>>,
    note: Note,
    done: mpsc::Sender<Outcome>,
}

impl Task {
    async fn run(mut self, mut changes: mpsc::Receiver<()>, mut outcomes: mpsc::Receiver<Outcome>) {
        let socket = match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(%error, "no port is mapped: there is no socket for it");
                return;
            }
        };
        let mut buffer = [0; MAX_DATAGRAM];
        self.look(&socket).await;
        loop {
            let wait = self.rules.deadline().map_or(IDLE, |due| due.saturating_sub(self.clock.now()));
            let event = tokio::select! {
                change = changes.recv() => match change {
                    Some(()) => PortMapEvent::Gateway(self.gateway().await),
                    None => break,
                },
                Some(outcome) = outcomes.recv() => {
                    self.calls -= 1;
                    PortMapEvent::Upnp(outcome)
                }
                heard = socket.recv_from(&mut buffer) => match heard {
                    Ok((length, SocketAddr::V4(from))) if from.port() == SERVER_PORT => {
                        PortMapEvent::Datagram { from: *from.ip(), payload: buffer[..length].to_vec() }
                    }
                    // Somebody else, or "port unreachable" of a gateway that maps nothing.
                    Ok(_) | Err(_) => PortMapEvent::Tick,
                },
                () = sleep_until(Instant::now() + wait) => PortMapEvent::Tick,
            };
            self.take(&socket, event).await;
        }
        // A mapping that is being made would stay behind.
        while self.calls > 0
            && let Some(outcome) = outcomes.recv().await
        {
            self.calls -= 1;
            self.rules.handle(self.clock.now(), PortMapEvent::Upnp(outcome));
        }
        self.take(&socket, PortMapEvent::Stop).await;
    }

    async fn look(&mut self, socket: &UdpSocket) {
        let gateway = self.gateway().await;
        self.take(socket, PortMapEvent::Gateway(gateway)).await;
    }

    async fn gateway(&self) -> Option<Gateway> {
        let address = self.host.gateway().await.ok().flatten()?;
        // The kernel says which of this host's addresses it would send from.
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
        socket.connect((address, SERVER_PORT)).await.ok()?;
        match socket.local_addr().ok()? {
            SocketAddr::V4(local) => Some(Gateway { address, local: *local.ip() }),
            SocketAddr::V6(_) => None,
        }
    }

    async fn take(&mut self, socket: &UdpSocket, event: PortMapEvent) {
        let is_stop = event == PortMapEvent::Stop;
        self.rules.handle(self.clock.now(), event);
        while let Some(action) = self.rules.poll() {
            match action {
                PortMapAction::Send { to, payload } => {
                    // What is not sent is asked again.
                    let _ = socket.send_to(&payload, (to, SERVER_PORT)).await;
                }
                PortMapAction::AddByUpnp { gateway, external, port, lease_s } => {
                    let done = self.done.clone();
                    self.calls += 1;
                    tokio::spawn(async move {
                        // The task may have ended since.
                        let _ = done.send(upnp::add(gateway, external, port, lease_s).await).await;
                    });
                }
                PortMapAction::DeleteByUpnp { gateway, external } if is_stop => {
                    upnp::delete(gateway, external).await;
                }
                PortMapAction::DeleteByUpnp { gateway, external } => {
                    tokio::spawn(upnp::delete(gateway, external));
                }
                PortMapAction::Mapped(mapped) => {
                    tracing::info!(
                        mapped = mapped.is_some(),
                        "the gateway's mapping of our port has changed"
                    );
                    tracing::debug!(?mapped, "mapped");
                    self.told.send_replace(mapped);
                    (self.note)();
                }
            }
        }
    }
}
