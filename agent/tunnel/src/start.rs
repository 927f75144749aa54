//! Starting the data plane, and the handle by which the rest of the process holds it.

use std::io;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::auxiliary::{Auxiliary, AuxiliarySockets, Opened};
use crate::limits;
use crate::mailbox::{self, Command, Event, SendError};
use crate::mailboxes::Mailboxes;
use crate::offloads::Offloads;
use crate::part;
use crate::post::Post;
use crate::shard::{IoOutput, Shard};
use crate::sockets::{Families, Sockets};
use crate::stats::Stats;
use crate::tun::device::{Device, DeviceError};
use crate::tunnel::Core;
use crate::udp::poll::Waker;

/// How long [`Tunnel::stats`] waits; the shard answers within one turn.
const STATS_PATIENCE: Duration = Duration::from_secs(2);

/// Which UDP port to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// This port or none.
    Exactly(u16),
    /// This port, or any other when it is in use; 0 means any.
    Prefer(u16),
}

/// How many shards to run: threads of which each carries the packets of its peers.
///
/// One peer's packets are one shard's, so more shards help where several peers are busy at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shards {
    /// One below four cores; from there on half as many as cores, up to four.
    #[default]
    Automatic,
    /// This many, 1 to 16.
    Exactly(u8),
}

impl Shards {
    /// The number that was written down: `auto`, or 1 to 16.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Automatic),
            number => {
                let number = number.parse().ok().filter(|number| (1..=part::MOST).contains(number))?;
                Some(Self::Exactly(number))
            }
        }
    }

    fn count(self) -> u8 {
        match self {
            Self::Automatic => on_cores(std::thread::available_parallelism().map_or(1, NonZero::get)),
            Self::Exactly(number) => number.clamp(1, part::MOST),
        }
    }
}

impl std::fmt::Display for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Automatic => f.write_str("auto"),
            Self::Exactly(number) => number.fmt(f),
        }
    }
}

/// How many shards a host with so many cores is good for.
fn on_cores(cores: usize) -> u8 {
    if cores < limits::CORES_FOR_SHARDS {
        return 1;
    }
    u8::try_from((cores / 2).min(limits::SHARDS_AUTOMATIC)).unwrap_or(1)
}

/// How to start a tunnel.
pub struct Config {
    /// The port of both sockets.
    pub port: Port,
    /// Whether to carry tunnels over IPv6 as well. A host that has one family alone is fine.
    pub ipv6: bool,
    /// What carries the tunnels.
    pub core: Core,
    /// How many threads carry packets.
    pub shards: Shards,
    /// Whether packets go ahead of other programs where the host allows it.
    pub ahead: bool,
    /// Which offloads of the kernel to use.
    pub offloads: Offloads,
    /// Called on a shard's thread with every event. It must neither block nor send commands.
    pub events: Box<dyn Fn(Event) + Send + Sync>,
}

impl Config {
    /// Both families, the default core, and as many shards as the host is good for.
    #[must_use]
    pub fn new(port: Port, events: Box<dyn Fn(Event) + Send + Sync>) -> Self {
        Self {
            port,
            ipv6: true,
            core: Core::default(),
            shards: Shards::Automatic,
            ahead: true,
            offloads: Offloads::default(),
            events,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("port", &self.port)
            .field("ipv6", &self.ipv6)
            .field("core", &self.core)
            .field("shards", &self.shards)
            .field("ahead", &self.ahead)
            .field("offloads", &self.offloads)
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

/// A running data plane. Dropping it stops the threads and closes its sockets and devices.
#[derive(Debug)]
pub struct Tunnel {
    mailboxes: Mailboxes,
    wakers: Vec<Arc<Waker>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    port: AtomicU16,
    families: Families,
    offloads: Offloads,
    auxiliary: Opened,
}

impl Tunnel {
    /// Binds the sockets and starts the shards.
    ///
    /// # Errors
    /// When the port is taken or the kernel refuses what the shards need.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let step = |step| move |source| StartError::Start { step, source };
        let wanted = Families { v4: true, v6: config.ipv6 };
        let sockets = match Sockets::bind(config.port, wanted, config.shards.count()) {
            Err(StartError::Bind { source, .. }) if config.shards == Shards::Automatic => {
                tracing::debug!(%source, "the kernel cannot steer datagrams to several shards, one carries all");
                Sockets::bind(config.port, wanted, 1)?
            }
            bound => bound?,
        };
        let (port, families) = (sockets.port().map_err(step("reading the port"))?, sockets.families());
        let wakers: Result<Vec<_>, _> = (0..sockets.shards()).map(|_| Waker::new().map(Arc::new)).collect();
        let wakers = wakers.map_err(step("making an eventfd"))?;
        let (senders, queues): (Vec<_>, Vec<_>) =
            wakers.iter().map(|waker| mailbox::mailbox(waker.clone())).unzip();
        let stop = Arc::new(AtomicBool::new(false));
        let events: Arc<dyn Fn(Event) + Send + Sync> = config.events.into();
        let mailboxes = Mailboxes::new(senders);
        let (ahead, offloads) = (config.ahead, config.offloads);
        // From here on a failure stops the shards that run already.
        let (threads, port, auxiliary) = (Vec::new(), AtomicU16::new(port), Opened::default());
        let mut tunnel = Self { mailboxes, wakers, stop, threads, port, families, offloads, auxiliary };
        for (post, queue) in Post::connect(&tunnel.wakers).into_iter().zip(queues) {
            let number = usize::from(post.part().number());
            let io = IoOutput::new(sockets.clone(), post, events.clone(), offloads);
            let (waker, stop) = (tunnel.wakers[number].clone(), tunnel.stop.clone());
            let shard = Shard::new(io, offloads, config.core, queue, waker, stop)
                .map_err(step("watching the sockets"))?;
            let builder = std::thread::Builder::new().name(format!("lacis-shard-{number}"));
            tunnel.threads.push(builder.spawn(move || shard.run(ahead)).map_err(step("starting a thread"))?);
        }
        Ok(tunnel)
    }

    /// Creates the TUN interface `name`, or attaches to a persistent one of that name that nobody uses, with a queue for
    /// each shard.
    ///
    /// Asks for the offloads in use, and sets the link's segment limit and queue length for `mtu`. Any other [`Device`] works
    /// too; the first shard reads it for all.
    ///
    /// # Errors
    /// As [`DeviceError`] says; its text tells what to do.
    pub fn open_tun(&self, name: &str, mtu: u16) -> Result<Device, DeviceError> {
        Device::open_tun_queues(name, mtu, self.offloads.segmented_reads, self.shards())
    }

    /// Returns how many shards there are.
    #[must_use]
    pub fn shards(&self) -> u8 {
        u8::try_from(self.wakers.len()).unwrap_or(u8::MAX)
    }

    /// Returns the UDP port in use.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Whether there is a socket for an address's family.
    #[must_use]
    pub fn reaches(&self, ip: IpAddr) -> bool {
        self.families.have(ip)
    }

    /// Moves to another port without touching networks, peers or sessions; 0 means any.
    ///
    /// # Errors
    /// When the port is taken, which leaves everything as it was, or when the shard has ended.
    pub fn rebind(&self, port: u16) -> Result<(), StartError> {
        if port == self.port() {
            return Ok(());
        }
        let sockets = Sockets::bind(Port::Exactly(port), self.families, self.shards())?;
        let step = |step| move |source| StartError::Start { step, source };
        let bound = sockets.port().map_err(step("reading the port"))?;
        let delivered = self.deliver(Command::SetSockets(sockets));
        delivered.map_err(|error| step("handing over the sockets")(io::Error::other(error)))?;
        self.port.store(bound, Ordering::Relaxed);
        Ok(())
    }

    /// Opens further sockets of IPv4 by which datagrams of a peer may come and go, each on a port of its own; ways name
    /// them by the numbers that are returned. Fewer than `count` where descriptors are short.
    #[must_use]
    pub fn open_auxiliary(&self, key: [u8; 32], count: usize) -> Vec<Auxiliary> {
        let sockets = self.auxiliary.open(count);
        let numbers: Vec<Auxiliary> = sockets.iter().filter_map(|socket| socket.auxiliary).collect();
        let sockets = AuxiliarySockets(sockets);
        if !numbers.is_empty() && self.deliver(Command::AddAuxiliary { key, sockets }).is_err() {
            self.auxiliary.close(&numbers);
            return Vec::new();
        }
        numbers
    }

    /// Closes such sockets. Ways that name one of them lead nowhere from then on.
    pub fn close_auxiliary(&self, numbers: &[Auxiliary]) {
        self.let_go(self.auxiliary.close(numbers));
    }

    /// Closes all of them.
    pub fn close_all_auxiliary(&self) {
        self.let_go(self.auxiliary.close_all());
    }

    fn let_go(&self, closed: Vec<Auxiliary>) {
        if !closed.is_empty() {
            // Shards that have ended have closed their sockets.
            let _ = self.deliver(Command::CloseAuxiliary(closed));
        }
    }

    /// Gives the shards a command without waiting.
    ///
    /// # Errors
    /// [`SendError::Full`] returns the command to be sent again; [`SendError::Closed`] when the shard has ended.
    pub fn send(&self, command: Command) -> Result<(), SendError> {
        self.mailboxes.send(command)
    }

    /// Gives the shards a command, waiting for room in the mailbox.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the shard has ended.
    pub fn deliver(&self, command: Command) -> Result<(), SendError> {
        self.mailboxes.deliver(command)
    }

    /// Returns the figures of the moment. Blocks until the commands before it are done, usually well under a
    /// millisecond.
    ///
    /// # Errors
    /// When the shard has ended.
    pub fn stats(&self) -> Result<Stats, SendError> {
        let (reply, answers) = sync_channel(self.wakers.len());
        self.deliver(Command::Stats(reply))?;
        let mut sum = Stats::default();
        for _ in 0..self.shards() {
            sum.add(answers.recv_timeout(STATS_PATIENCE).map_err(|_| SendError::Closed)?);
        }
        Ok(sum)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wakers.iter().for_each(|waker| waker.wake());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("the data plane ended with a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cores_decide_how_many_shards_there_are() {
        let (from, most) = (limits::CORES_FOR_SHARDS, u8::try_from(limits::SHARDS_AUTOMATIC).unwrap());
        let table = [(1, 1), (2, 1), (from - 1, 1), (from, 2), (5, 2), (6, 3), (8, most), (64, most)];
        for (cores, shards) in table {
            assert_eq!(on_cores(cores), shards, "{cores} cores");
        }
    }

    #[test]
    fn a_number_of_shards_is_read_as_it_is_printed() {
        for text in ["auto", "1", "16"] {
            assert_eq!(Shards::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "0", "17", "-1", "two"] {
            assert_eq!(Shards::parse(text), None, "{text}");
        }
    }
}
