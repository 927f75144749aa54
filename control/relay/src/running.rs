//! A relay that runs: its sockets, its threads, and how it is told to stop.

use std::{
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use lacis_proto::{ControlId, IdentityKey, PublicKey, relay::RelayRevocation};
use x25519_dalek::{PublicKey as Point, StaticSecret};

use crate::{
    clock::{self, Clock},
    cookie::Cookies,
    desk::{self, Desk, Inbox},
    figures::{Figures, Snapshot},
    kept::{Found, Kept},
    lease::{Identity, Leases, Revocation},
    limits::{self, Limits},
    table::{Rates, Table},
    tls::{Clients, TlsLeg},
    told::Told,
    udp::{
        socket::{Stop, UdpSocket},
        worker::{Shared, Worker},
    },
};

/// A relay's static key. Never printed.
#[derive(Clone)]
pub struct RelayKey(StaticSecret);

impl RelayKey {
    /// Takes 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }

    /// What members know it by.
    ///
    /// # Panics
    /// Never: the public half of a key is not zero.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let public = Point::from(&self.0).to_bytes();
        PublicKey::try_new(public).expect("a clamped key times the base point is not zero")
    }

    /// X25519 with another's public key; `None` for a point of small order.
    fn agree(&self, other: &PublicKey) -> Option<[u8; 32]> {
        let shared = self.0.diffie_hellman(&Point::from(*other.as_bytes()));
        shared.was_contributory().then(|| shared.to_bytes())
    }
}

impl fmt::Debug for RelayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayKey({})", self.public())
    }
}

/// Settings of one relay.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its static key.
    pub key: RelayKey,
    /// Controls whose tokens it takes.
    pub controls: Vec<IdentityKey>,
    /// Where it listens. An unspecified address takes both families, port 0 any port.
    pub listen: SocketAddr,
    /// Further ports on the same address, 0 for any, that answer STUN alone: a second tells kinds of NAT apart, and a
    /// third what a sequential one adds from mapping to mapping. Those that are taken are left out.
    pub others: Vec<u16>,
    /// Threads of the data path; `None` for half of the cores.
    pub workers: Option<usize>,
    /// What an operator may set.
    pub limits: Limits,
    /// The file in which it keeps what controls elsewhere tell of members that are out; without one it forgets that when
    /// it stops.
    pub revocations: Option<PathBuf>,
}

/// A relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or not ours to take.
    #[error("cannot listen for datagrams on {addr}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The file of revocations cannot be read, or not be written.
    #[error("cannot keep revocations in {path:?}; let this user read and write it")]
    Revocations {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No thread, or no descriptor.
    #[error("cannot start a thread of the relay")]
    Thread {
        /// Why.
        source: io::Error,
    },
}

/// A relay that runs in this process, until it is dropped or [`Relay::stop`].
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    public: PublicKey,
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    count: Arc<AtomicUsize>,
    stop: Arc<Stop>,
    others: Vec<u16>,
    damaged: u64,
    is_kept: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Ports for STUN alone beside a port: the two that follow it, or any two beside any.
#[must_use]
pub fn beside(port: u16) -> Vec<u16> {
    if port == 0 { vec![0, 0] } else { (1..=2).filter_map(|next| port.checked_add(next)).collect() }
}

/// Starts a relay.
///
/// # Errors
/// Why it did not start; nothing is left running.
pub fn start(settings: Settings) -> Result<Relay, StartError> {
    let Settings { key, controls, listen, others, workers, limits, revocations } = settings;
    let (kept, found) = keep(revocations, &controls)?;
    let sockets = bind(listen, workers.unwrap_or_else(workers_by_default).clamp(1, limits::WORKERS))
        .map_err(|source| StartError::Listen { addr: listen, source })?;
    let failed = |source| StartError::Thread { source };
    let addr = sockets[0].address().map_err(failed)?;
    let others: Vec<Arc<UdpSocket>> = others
        .into_iter()
        .filter_map(|port| bind(SocketAddr::new(addr.ip(), port), 1).ok())
        .flatten()
        .collect();
    let other_ports = others.iter().filter_map(|other| Some(other.address().ok()?.port())).collect();
    let stop = Arc::new(Stop::new().map_err(failed)?);
    let (mut desk, inbox, shared) = wire(&key, controls, limits, &sockets[0]);
    desk.told = Told::new(kept);
    for RelayRevocation { control, group, key, before_ms, until_ms, signature: _ } in found.revocations {
        desk.leases.revoke(&control, &[Revocation { group, key, before_ms, until_ms }]);
    }
    let (count, socket) = (Arc::clone(&desk.count), Arc::clone(&sockets[0]));
    let is_kept = Arc::clone(&desk.told.is_kept);
    let threads = Mutex::default();
    // From here on a relay that is dropped ends what it has started.
    let relay = Relay {
        addr,
        public: key.public(),
        shared: Arc::clone(&shared),
        socket,
        count,
        stop,
        others: other_ports,
        damaged: found.damaged,
        is_kept,
        threads,
    };
    relay.spawn("relay-desk", move || desk.run(&inbox)).map_err(failed)?;
    for socket in sockets {
        let (worker, stop) = (Worker::new(Arc::clone(&shared), socket), Arc::clone(&relay.stop));
        relay.spawn("relay-udp", move || worker.run(&stop)).map_err(failed)?;
    }
    for socket in others {
        let (worker, stop) = (Worker::for_stun(Arc::clone(&shared), socket), Arc::clone(&relay.stop));
        relay.spawn("relay-stun", move || worker.run(&stop)).map_err(failed)?;
    }
    Ok(relay)
}

/// Opens the file of revocations, where there is to be one.
fn keep(path: Option<PathBuf>, controls: &[IdentityKey]) -> Result<(Option<Kept>, Found), StartError> {
    let Some(path) = path else { return Ok((None, Found::default())) };
    let opened = Kept::open(&path, controls, Clock::start().now().unix_ms);
    let (kept, found) = opened.map_err(|source| StartError::Revocations { path: path.clone(), source })?;
    if found.damaged > 0 {
        tracing::error!(
            ?path,
            damaged = found.damaged,
            kept = found.revocations.len(),
            "revocations are damaged: members that were put out may come back until their control tells of them again, \
             at its next start"
        );
    }
    Ok((Some(kept), found))
}

/// The desk, and what it shares with workers.
fn wire(
    key: &RelayKey,
    controls: Vec<IdentityKey>,
    limits: Limits,
    socket: &Arc<UdpSocket>,
) -> (Desk, Inbox, Arc<Shared>) {
    let (clock, figures) = (Clock::start(), Arc::new(Figures::default()));
    let table = Arc::new(Table::new(u64::from_be_bytes(clock::random())));
    let rates = Rates::new(&limits);
    let (cookies, clients) = (Cookies::new(clock::random()), Arc::new(Clients::new(clock)));
    let (letters, inbox) = desk::inbox(cookies.clone());
    let own = key.clone();
    let identity = Identity { controls, own: key.public(), agree: Box::new(move |other| own.agree(other)) };
    let desk = Desk {
        leases: Leases::new(identity, cookies, limits, clock.now().unix_ms, Arc::clone(&table)),
        table: Arc::clone(&table),
        figures: Arc::clone(&figures),
        rates,
        clock,
        socket: Arc::clone(socket),
        clients: Arc::clone(&clients),
        count: Arc::default(),
        told: Told::new(None),
    };
    (desk, inbox, Arc::new(Shared { table, figures, letters, rates, limits, clock, clients }))
}

fn bind(listen: SocketAddr, count: usize) -> io::Result<Vec<Arc<UdpSocket>>> {
    let is_any = listen.ip().is_unspecified();
    let first = if is_any { UdpSocket::bind_any(listen.port())? } else { UdpSocket::bind(listen)? };
    let others: io::Result<Vec<_>> = (1..count).map(|_| first.another()).collect();
    Ok(std::iter::once(first).chain(others?).map(Arc::new).collect())
}

fn workers_by_default() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get() / 2)
}

impl Relay {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The ports that answer STUN alone.
    #[must_use]
    pub fn other_ports(&self) -> &[u16] {
        &self.others
    }

    /// What members know it by.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// What it has done.
    #[must_use]
    pub fn figures(&self) -> Snapshot {
        self.shared.figures.snapshot()
    }

    /// How many leases it holds.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes a member that has connected by a stream, from this address. `None` where there are too many.
    #[must_use]
    pub fn connect(&self, from: SocketAddr) -> Option<TlsLeg> {
        TlsLeg::connect(Arc::clone(&self.shared), Arc::clone(&self.socket), from)
    }

    /// How many members are connected by a stream.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.shared.clients.count()
    }

    /// Frames dropped because their receiver reads its stream too slowly.
    #[must_use]
    pub fn slow_drops(&self) -> u64 {
        self.shared.clients.dropped()
    }

    /// Revocations that were found damaged at the start: their members may come back until control tells of them again.
    #[must_use]
    pub fn damaged_revocations(&self) -> u64 {
        self.damaged
    }

    /// Whether the disk took what controls have told last.
    #[must_use]
    pub fn keeps_revocations(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    /// Ends leases of members that a control has put out.
    pub fn revoke(&self, control: ControlId, revocations: Vec<Revocation>) {
        self.shared.letters.revoke(control, revocations);
    }

    /// Tells every member to go elsewhere, and goes on forwarding.
    pub fn say_farewell(&self) {
        self.shared.letters.say_farewell();
    }

    /// Stops, after what it was told before.
    pub fn stop(&self) {
        self.shared.letters.stop();
        self.stop.stop();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the relay has failed");
            }
        }
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(body)?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}
