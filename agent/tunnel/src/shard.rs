//! The thread that carries all packets, and the handle by which the rest of the process holds it.
//!
//! One turn: sleep until something is ready or due; do what is due; take a bounded number of commands, messages and
//! frames from whatever is ready; send and write all that came of it. Nothing is kept back for a later turn, so
//! batching adds no delay. While the socket is full, devices are not read: their queues hold the packets instead.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver as Commands, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock;
use crate::engine::{Engine, NetworkSettings};
use crate::limits;
use crate::mailbox::{self, Command, Event, NetworkConfig, NetworkId, SendError};
use crate::random;
use crate::stats::Stats;
use crate::udp::poll::{Poll, Ready, Waker};
use crate::udp::receive::Receiver;
use crate::udp::socket::{self, UdpSocket};

mod io_output;

use io_output::IoOutput;

/// How long [`Tunnel::stats`] waits; the shard answers within one turn.
const STATS_PATIENCE: Duration = Duration::from_secs(2);

/// Ports tried before giving up on one that is free in both families.
const PORT_TRIES: usize = 16;

const MAILBOX: u64 = 0;
const SOCKET_V4: u64 = 1;
const SOCKET_V6: u64 = 2;
const FIRST_DEVICE: u64 = 16;

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
    /// Called on the shard's thread with every event. It must not block.
    pub events: Box<dyn Fn(Event) + Send>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("port", &self.port).field("ipv6", &self.ipv6).finish_non_exhaustive()
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

/// A running data plane. Dropping it stops the thread and closes its sockets and devices.
#[derive(Debug)]
pub struct Tunnel {
    commands: mailbox::Sender,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    port: u16,
    ipv6: bool,
}

impl Tunnel {
    /// Binds the sockets and starts the shard.
    ///
    /// # Errors
    /// When the port is taken or the kernel refuses what the shard needs.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let step = |step| move |source| StartError::Start { step, source };
        let (v4, v6) = bind(config.port, config.ipv6)?;
        let port = v4.port().map_err(step("reading the port"))?;
        let waker = Arc::new(Waker::new().map_err(step("making an eventfd"))?);
        let poll = Poll::new().map_err(step("making an epoll set"))?;
        poll.add(&*waker, MAILBOX).map_err(step("watching the mailbox"))?;
        poll.add(&v4, SOCKET_V4).map_err(step("watching the IPv4 socket"))?;
        if let Some(v6) = &v6 {
            poll.add(v6, SOCKET_V6).map_err(step("watching the IPv6 socket"))?;
        }
        let ipv6 = v6.is_some();
        let (commands, queue) = mailbox::mailbox(waker.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let shard = Shard {
            engine: Engine::new(clock::now(), random::seed(), socket::segment_limit()),
            io: IoOutput::new(v4, v6, config.events),
            poll,
            commands: queue,
            waker: waker.clone(),
            stop: stop.clone(),
            receiver: Receiver::new(),
            frame: vec![0; limits::FRAME].into_boxed_slice(),
            held: false,
        };
        let builder = std::thread::Builder::new().name(String::from("lacis-shard"));
        let thread = builder.spawn(move || shard.run()).map_err(step("starting a thread"))?;
        Ok(Self { commands, waker, stop, thread: Some(thread), port, ipv6 })
    }

    /// Returns the UDP port in use.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether there is an IPv6 socket.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.ipv6
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

/// Everything the thread owns.
struct Shard {
    engine: Engine,
    io: IoOutput,
    poll: Poll,
    commands: Commands<Command>,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    receiver: Receiver,
    frame: Box<[u8]>,
    /// Whether devices are left unread because the socket is full.
    held: bool,
}

impl Shard {
    fn run(mut self) {
        let mut ready: Vec<Ready> = Vec::with_capacity(64);
        while !self.stop.load(Ordering::Relaxed) {
            ready.clear();
            let before = clock::now();
            let timeout = self.engine.deadline(before).map(|at| at.saturating_duration_since(before));
            match self.poll.wait(timeout) {
                Ok(events) => ready.extend(events),
                Err(error) => {
                    tracing::error!(%error, "the data plane cannot wait for packets");
                    self.io.tell(Event::Fatal { reason: error.to_string() });
                    return;
                }
            }
            self.io.counters.wakeups += 1;
            let now = clock::now();
            // First the clocks: a tunnel is ticked before it is touched, also after a long sleep.
            if self.engine.deadline(now).is_some_and(|at| at <= now) {
                self.engine.on_tick(now, &mut self.io);
            }
            for event in &ready {
                self.serve(now, *event);
            }
            self.engine.flush(&mut self.io);
            self.settle();
        }
    }

    fn serve(&mut self, now: Instant, event: Ready) {
        match event.token {
            MAILBOX => self.take_commands(now),
            SOCKET_V4 | SOCKET_V6 => {
                let v6 = event.token == SOCKET_V6;
                if event.writable {
                    self.io.send_parked();
                }
                if event.readable {
                    self.receive(now, v6);
                }
            }
            token => {
                if event.readable
                    && let Ok(slot) = u32::try_from(token - FIRST_DEVICE)
                {
                    self.read_device(now, slot);
                }
            }
        }
    }

    fn receive(&mut self, now: Instant, v6: bool) {
        for _ in 0..limits::SOCKET_BUDGET {
            let Some(socket) = self.io.socket(v6) else { return };
            // Errors here are those of earlier sends, reported late; the next call goes on.
            let Ok(count) = self.receiver.receive(socket) else { return };
            self.io.counters.receives += 1;
            for at in 0..count {
                if let Some(message) = self.receiver.message(at) {
                    self.engine.on_wire(now, &message, &mut self.io);
                }
            }
            self.engine.flush_runs(&mut self.io);
            if count < limits::RECEIVE_SLOTS {
                return;
            }
        }
    }

    fn read_device(&mut self, now: Instant, slot: u32) {
        for _ in 0..limits::DEVICE_BUDGET {
            let Some(device) = self.io.device(slot) else { return };
            let room = self.frame.len() - 16;
            match device.read(&mut self.frame[..room]) {
                Ok(0) => return self.lose_device(slot, &io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.engine.on_tun(now, slot, &mut self.frame, length, &mut self.io),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
                {
                    return;
                }
                Err(error) => return self.lose_device(slot, &error),
            }
            if self.io.is_blocked() {
                return;
            }
        }
    }

    fn lose_device(&mut self, slot: u32, error: &io::Error) {
        if let Some(device) = self.io.remove_device(slot) {
            tracing::warn!(device = device.name(), %error, "device lost");
            let _ = self.poll.remove(&device);
        }
        if let Some(network) = self.engine.network_id(slot) {
            self.io.tell(Event::DeviceGone { network });
        }
    }

    /// Brings what is watched in line with what the last turn found.
    fn settle(&mut self) {
        if let Some(merging) = self.io.merging_changed() {
            self.engine.set_coalescing(merging.any, merging.udp);
        }
        let blocked = self.io.is_blocked();
        if blocked == self.held {
            return;
        }
        self.held = blocked;
        for (slot, device) in self.io.devices() {
            let _ = self.poll.watch(device, FIRST_DEVICE + u64::from(slot), !blocked, false);
        }
        for v6 in [false, true] {
            if let Some(socket) = self.io.socket(v6) {
                let token = if v6 { SOCKET_V6 } else { SOCKET_V4 };
                let _ = self.poll.watch(socket, token, true, blocked);
            }
        }
    }

    fn take_commands(&mut self, now: Instant) {
        self.waker.clear();
        for _ in 0..limits::MAILBOX_BUDGET {
            let Ok(command) = self.commands.try_recv() else { return };
            self.obey(now, command);
        }
        // More may wait; packets get their turn first.
        self.waker.wake();
    }

    fn obey(&mut self, now: Instant, command: Command) {
        match command {
            Command::AddNetwork(config) => self.add_network(now, *config),
            Command::RemoveNetwork(id) => self.remove_network(id),
            Command::SetAddresses { network, addresses, accepted } => {
                self.engine.set_addresses(network, addresses, accepted);
            }
            Command::SetPeer(config) => self.engine.set_peer(now, *config, &mut self.io),
            Command::RemovePeer { network, key } => self.engine.remove_peer(network, &key),
            Command::Probe { network, target, ident, seq } => {
                self.engine.probe(now, network, (target, ident, seq), &mut self.io);
            }
            Command::SetMtu { network, mtu } => {
                self.engine.set_mtu(network, mtu);
                if let Some(device) = self.engine.slot(network).and_then(|slot| self.io.device(slot)) {
                    device.limit_segments(mtu);
                }
            }
            Command::Stats(reply) => {
                let mut stats = self.engine.stats(now);
                stats.counters.add(&self.io.counters);
                // Whoever asked may have stopped waiting.
                let _ = reply.try_send(stats);
            }
        }
    }

    fn add_network(&mut self, now: Instant, config: NetworkConfig) {
        self.remove_network(config.id);
        let NetworkConfig { id, device, private_key, addresses, accepted, pools, mtu } = config;
        let settings = NetworkSettings { id, private_key, addresses, accepted, pools, mtu };
        let slot = self.engine.add_network(now, settings);
        if let Err(error) = self.poll.add(&device, FIRST_DEVICE + u64::from(slot)) {
            tracing::warn!(device = device.name(), %error, "device cannot be watched");
            self.io.tell(Event::DeviceGone { network: id });
            return;
        }
        if self.held {
            let _ = self.poll.watch(&device, FIRST_DEVICE + u64::from(slot), false, false);
        }
        self.io.add_device(slot, device);
    }

    fn remove_network(&mut self, id: NetworkId) {
        // Runs under construction name the network's slot, which may soon belong to another.
        self.engine.flush(&mut self.io);
        if let Some(slot) = self.engine.remove_network(id)
            && let Some(device) = self.io.remove_device(slot)
        {
            let _ = self.poll.remove(&device);
        }
    }
}

/// Whether an address can be reached with the sockets there are.
pub(crate) fn is_v6(to: SocketAddr) -> bool {
    match to {
        SocketAddr::V4(_) => false,
        SocketAddr::V6(address) => address.ip().to_ipv4_mapped().is_none(),
    }
}

#[cfg(test)]
mod tests;
