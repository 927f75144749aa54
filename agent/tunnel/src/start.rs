//! Starting the data plane, and the handle by which the rest of the process holds it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::mailbox::{self, Command, Event, SendError};
use crate::shard::{IoOutput, Shard};
use crate::stats::Stats;
use crate::tunnel::Core;
use crate::udp::poll::Waker;
use crate::udp::socket::UdpSocket;

/// How long [`Tunnel::stats`] waits; the shard answers within one turn.
const STATS_PATIENCE: Duration = Duration::from_secs(2);

/// Ports tried before giving up on one that is free in both families.
const PORT_TRIES: usize = 16;

/// Which UDP port to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// This port or none.
    Exactly(u16),
    /// This port, or any other when it is in use; 0 means any.
    Prefer(u16),
}

/// How to start a tunnel.
pub struct Config {
    /// The port of both sockets.
    pub port: Port,
    /// Whether to carry tunnels over IPv6 as well. A host without IPv6 is fine.
    pub ipv6: bool,
    /// What carries the tunnels.
    pub core: Core,
    /// Whether packets go ahead of other programs where the host allows it.
    pub ahead: bool,
    /// Called on the shard's thread with every event. It must not block.
    pub events: Box<dyn Fn(Event) + Send>,
}

impl Config {
    /// Both families, and the default core.
    #[must_use]
    pub fn new(port: Port, events: Box<dyn Fn(Event) + Send>) -> Self {
        Self { port, ipv6: true, core: Core::default(), ahead: true, events }
    }
}

/// Which offloads of the kernel to use. All of them by default; turning one off helps to find out which one fails.
///
/// Those of a device are chosen when it is opened: [`Device::open_tun_plain`](crate::Device::open_tun_plain).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Send trains with one system call (`UDP_SEGMENT`).
    pub segmented_sends: bool,
    /// Receive datagrams that the kernel merged (`UDP_GRO`).
    pub merged_receives: bool,
    /// Write packets of one flow to the device as one.
    pub coalesced_writes: bool,
}

impl Default for Offloads {
    fn default() -> Self {
        Self { segmented_sends: true, merged_receives: true, coalesced_writes: true }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("port", &self.port)
            .field("ipv6", &self.ipv6)
            .field("core", &self.core)
            .field("ahead", &self.ahead)
            .finish_non_exhaustive()
    }
}

/// Why a tunnel could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program has the port.
    #[error("UDP port {port} is in use by another program")]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// Binding failed otherwise.
    #[error("cannot bind UDP port {port}")]
    Bind {
        /// The port.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused what the shard needs to run.
    #[error("cannot start the data plane: {step}")]
    Start {
        /// What was attempted.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The UDP sockets of a data plane, bound to one port.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) v4: UdpSocket,
    pub(crate) v6: Option<UdpSocket>,
}

/// A running data plane. Dropping it stops the thread and closes its sockets and devices.
#[derive(Debug)]
pub struct Tunnel {
    commands: mailbox::Sender,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    port: AtomicU16,
    ipv6: bool,
}

impl Tunnel {
    /// Binds the sockets and starts the shard.
    ///
    /// # Errors
    /// When the port is taken or the kernel refuses what the shard needs.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Offloads::default())
    }

    /// Does what [`Tunnel::start`] does, with some offloads turned off.
    ///
    /// # Errors
    /// As [`Tunnel::start`].
    pub fn start_with(config: Config, offloads: Offloads) -> Result<Self, StartError> {
        let step = |step| move |source| StartError::Start { step, source };
        let (v4, v6) = bind(config.port, config.ipv6)?;
        let port = v4.port().map_err(step("reading the port"))?;
        let waker = Arc::new(Waker::new().map_err(step("making an eventfd"))?);
        let ipv6 = v6.is_some();
        let (commands, queue) = mailbox::mailbox(waker.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let io = IoOutput::new(v4, v6, config.events, offloads);
        let shard = Shard::new(io, offloads, config.core, queue, waker.clone(), stop.clone())
            .map_err(step("watching the sockets"))?;
        let ahead = config.ahead;
        let builder = std::thread::Builder::new().name(String::from("lacis-shard"));
        let thread = builder.spawn(move || shard.run(ahead)).map_err(step("starting a thread"))?;
        Ok(Self { commands, waker, stop, thread: Some(thread), port: AtomicU16::new(port), ipv6 })
    }

    /// Returns the UDP port in use.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Whether there is an IPv6 socket.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.ipv6
    }

    /// Moves to another port without touching networks, peers or sessions; 0 means any.
    ///
    /// # Errors
    /// When the port is taken, which leaves everything as it was, or when the shard has ended.
    pub fn rebind(&self, port: u16) -> Result<(), StartError> {
        if port == self.port() {
            return Ok(());
        }
        let (v4, v6) = bind(Port::Exactly(port), self.ipv6)?;
        let step = |step| move |source| StartError::Start { step, source };
        let bound = v4.port().map_err(step("reading the port"))?;
        let delivered = self.deliver(Command::SetSockets(Box::new(Sockets { v4, v6 })));
        delivered.map_err(|error| step("handing over the sockets")(io::Error::other(error)))?;
        self.port.store(bound, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the shard a command without waiting.
    ///
    /// # Errors
    /// [`SendError::Full`] returns the command to be sent again; [`SendError::Closed`] when the shard has ended.
    pub fn send(&self, command: Command) -> Result<(), SendError> {
        self.commands.send(command)
    }

    /// Gives the shard a command, waiting for room in the mailbox.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the shard has ended.
    pub fn deliver(&self, command: Command) -> Result<(), SendError> {
        self.commands.deliver(command)
    }

    /// Returns the figures of the moment. Blocks until the commands before it are done, usually well under a
    /// millisecond.
    ///
    /// # Errors
    /// When the shard has ended.
    pub fn stats(&self) -> Result<Stats, SendError> {
        let (reply, answer) = sync_channel(1);
        self.deliver(Command::Stats(reply))?;
        answer.recv_timeout(STATS_PATIENCE).map_err(|_| SendError::Closed)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the data plane ended with a panic");
        }
    }
}

/// Binds both families to one port.
fn bind(port: Port, ipv6: bool) -> Result<(UdpSocket, Option<UdpSocket>), StartError> {
    let (wanted, any) = match port {
        Port::Exactly(port) => (port, false),
        Port::Prefer(port) => (port, true),
    };
    match bind_both(wanted, ipv6) {
        Err(StartError::PortInUse { .. }) if any => {}
        bound => return bound,
    }
    let mut last = StartError::PortInUse { port: wanted };
    for _ in 0..PORT_TRIES {
        match bind_both(0, ipv6) {
            Err(error @ StartError::PortInUse { .. }) => last = error,
            bound => return bound,
        }
    }
    Err(last)
}

fn bind_both(port: u16, ipv6: bool) -> Result<(UdpSocket, Option<UdpSocket>), StartError> {
    let failed = |port| {
        move |source: io::Error| {
            if source.kind() == io::ErrorKind::AddrInUse {
                StartError::PortInUse { port }
            } else {
                StartError::Bind { port, source }
            }
        }
    };
    let v4 = UdpSocket::bind(false, port).map_err(failed(port))?;
    if !ipv6 {
        return Ok((v4, None));
    }
    let port = v4.port().map_err(failed(port))?;
    match UdpSocket::bind(true, port) {
        Ok(v6) => Ok((v4, Some(v6))),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(StartError::PortInUse { port }),
        Err(error) => {
            tracing::info!(%error, "no IPv6 socket, tunnels run over IPv4 alone");
            Ok((v4, None))
        }
    }
}
