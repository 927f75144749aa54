//! One running control: wires the parts, starts and drains them.
//!
//! ```text
//! start:  folder and lock ─▶ database ─▶ keys ─▶ installation (first start only) ─▶ live ─▶ writer
//!         ─▶ sockets ─▶ ready
//! drain:  no more connections ─▶ `bye` to watchers, answers to requests in flight ─▶ writer ─▶ database
//! ```
//! A first start is made by one commit, that of the installation row. What a start that died before it has
//! left behind is kept where it is whole and made again where it is not.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use lacis_control_core::{Actor, Batch, Command, Facts, Install, Random, Reply, State, decide};
use lacis_proto::{
    ApiToken, Epoch, GroupId, JoinToken, NameError, OwnerId, Problem, Secret, TokenId, check_suffix,
};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin, clock,
    config::{self, Config},
    data::{DataError, DataFolder},
    hosts::{self, UrlError},
    http::{self, Consumers, Limiter},
    keys::{self, Keys, KeysError},
    listener::{self, Bounds, Drain},
    live::{Live, Places, Uses},
    metrics,
    relays::{Embedded, RelayError, Relays},
    retention,
    store::{AuditLog, Installation, Store, StoreError},
    tls::{self, Leaf, LeafError},
    writer::Writer,
};

/// The file that holds the database.
const DATABASE: &str = "control.db";

/// The file that holds the addresses of the last start.
const URLS: &str = "urls";

/// How long a drain waits for requests in flight and for watchers to take their `bye`.
const DRAIN: Duration = Duration::from_secs(5);

/// How long the last use of an API token may stay unwritten.
const WRITE_USES: Duration = Duration::from_secs(30);

/// Control did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A public URL is none.
    #[error("the settings are wrong")]
    Url {
        /// Why.
        source: UrlError,
    },
    /// A zone suffix is none.
    #[error("the settings are wrong")]
    Suffix {
        /// Why.
        source: NameError,
    },
    /// The data folder cannot be used.
    #[error("cannot use the data folder")]
    Data {
        /// Why.
        source: DataError,
    },
    /// The keys of an installation are there, and the database has none.
    #[error(
        "the database {path:?} holds no installation, but beside it stands {beside:?} of one; restore the database from a \
         backup, or begin anew in an empty folder"
    )]
    Lost {
        /// The database.
        path: PathBuf,
        /// What tells that there was an installation.
        beside: PathBuf,
    },
    /// The database cannot be used.
    #[error("cannot use the database")]
    Store {
        /// Why.
        source: StoreError,
    },
    /// The keys cannot be used.
    #[error("cannot use the keys of this installation")]
    Keys {
        /// Why.
        source: KeysError,
    },
    /// The rows of the database contradict each other.
    #[error("the database contradicts itself; restore it from a backup")]
    Scope {
        /// How.
        source: lacis_proto::ScopeError,
    },
    /// The first start was refused by the rules.
    #[error("cannot make the installation")]
    Install {
        /// Why.
        source: Problem,
    },
    /// No certificate.
    #[error("cannot make the server's certificate")]
    Leaf {
        /// Why.
        source: LeafError,
    },
    /// The port is taken or not ours to take.
    #[error("cannot listen on {addr}; stop what uses that port, or choose another with --listen ADDR:PORT")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The relay in this process does not start.
    #[error("cannot start the relay")]
    Relay {
        /// Why.
        source: RelayError,
    },
    /// The admin socket cannot be made.
    #[error("cannot open the admin socket {path:?}")]
    Admin {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a start tells.
#[derive(Clone)]
pub struct Ready {
    /// The first address of control.
    pub api: String,
    /// The certificate of the authority, for clients.
    pub ca: PathBuf,
    /// The first owner.
    pub owner: OwnerId,
    /// The first group.
    pub group: GroupId,
    /// A join token for the first group, on the first start only. Secret.
    pub join_token: Option<String>,
    /// An API token of the first owner, on the first start only. Secret.
    pub api_token: Option<String>,
}

/// Without the tokens: this may end up in a log.
impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("api", &self.api).field("group", &self.group).finish_non_exhaustive()
    }
}

/// What requests are served from.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) keys: Keys,
    pub(crate) live: Arc<Live>,
    pub(crate) writer: Writer,
    pub(crate) urls: Vec<String>,
    pub(crate) audit: AuditLog,
    pub(crate) limits: Limiter,
    pub(crate) consumers: Consumers,
    pub(crate) uses: Uses,
    pub(crate) relays: Arc<Relays>,
    /// Zone suffixes of new groups.
    pub(crate) suffixes: Vec<String>,
    /// Places for event streams of the management API.
    pub(crate) streams: Arc<Places>,
    pub(crate) beat: Duration,
    pub(crate) max_age: Duration,
    pub(crate) stuck: Duration,
    pub(crate) drain: Drain,
}

/// A control that runs in this process.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What the start told.
    pub ready: Ready,
    drain: Drain,
    relays: Arc<Relays>,
    writer: JoinHandle<()>,
    socket: PathBuf,
    _folder: DataFolder,
}

/// An installation that is open and held, before it listens.
pub(crate) struct Opened {
    pub(crate) folder: DataFolder,
    pub(crate) store: Store,
    pub(crate) change: i64,
    pub(crate) keys: Keys,
    pub(crate) epoch: Epoch,
    pub(crate) state: State,
    first: Option<[(TokenId, Secret); 2]>,
}

/// A control that is wired and does not listen.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) control: Arc<Control>,
    pub(crate) writer: JoinHandle<()>,
    pub(crate) folder: DataFolder,
}

/// Starts a control. It runs until [`Running::shutdown`].
///
/// # Errors
/// Why it did not start; nothing is left running.
pub async fn serve(config: Config) -> Result<Running, StartError> {
    hosts::check_public_urls(&config.public_urls).map_err(|source| StartError::Url { source })?;
    for suffix in &config.suffixes {
        check_suffix(suffix).map_err(|source| StartError::Suffix { source })?;
    }
    let opened = open(&config.data, &config.suffixes).await?;
    let listener = listener::bind(config.listen, config::PORT)
        .map_err(|(addr, source)| StartError::Listen { addr, source })?;
    let figures = match config.metrics {
        Some(addr) => {
            let listener = listener::bind(Some(addr), 0);
            Some(listener.map_err(|(addr, source)| StartError::Listen { addr, source })?)
        }
        None => None,
    };
    let addr = listener.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], config::PORT).into());
    let host = hosts::addresses().await;
    let urls = hosts::urls(&config.public_urls, addr, &host);
    let names = hosts::names(&urls, &host);
    let leaf = Leaf::try_new(&opened.keys.ca, &names, clock::unix_ms()).map(Arc::new);
    let leaf = leaf.map_err(|source| StartError::Leaf { source })?;
    let tls = TlsAcceptor::from(leaf.server().map_err(|source| StartError::Leaf { source })?);
    let ready = ready(&opened, &urls);
    let own = Embedded::start(&opened.folder, &opened.keys, &config, addr, &urls).await;
    let own = own.map_err(|source| StartError::Relay { source })?;
    let relays = Relays::open(&opened.folder, own, config.relay_class)
        .map_err(|source| StartError::Data { source })?;
    let relays = Arc::new(relays);
    opened.remember_urls(&urls)?;
    let Stopped { control, writer, folder } = opened.wire(urls, &config, Arc::clone(&relays)).await?;
    let drain = control.drain.clone();
    let socket = folder.file(admin::SOCKET);
    let admin = admin::bind(&socket).map_err(|source| StartError::Admin { path: socket.clone(), source })?;
    drain.tasks.spawn(admin::accept(admin, admin::routes(&control), drain.clone()));
    if let Some(listener) = figures {
        drain.tasks.spawn(metrics::accept(listener, metrics::alone(&control), drain.clone()));
    }
    let accept = listener::accept(listener, tls, http::routes(&control), drain.clone(), Bounds::PUBLIC);
    drain.tasks.spawn(accept);
    drain.tasks.spawn(write_uses(Arc::clone(&control)));
    drain.tasks.spawn(retention::run(Arc::clone(&control), config.keep));
    drain.tasks.spawn(follow_departures(Arc::clone(&control)));
    let (relays_elsewhere, begun) = (Arc::clone(&relays), drain.begun.clone());
    drain.tasks.spawn(async move { relays_elsewhere.push(begun).await });
    drain.tasks.spawn(renew(control, leaf, names));
    Ok(Running { addr, ready, drain, relays, writer, socket, _folder: folder })
}

impl Running {
    /// The relays, for tests.
    #[cfg(test)]
    pub(crate) fn relays_for_tests(&self) -> &Relays {
        &self.relays
    }

    /// Drains and stops. The data folder is free afterwards.
    pub async fn shutdown(self) {
        self.relays.say_farewell();
        self.drain.begun.cancel();
        self.drain.tasks.close();
        if tokio::time::timeout(DRAIN, self.drain.tasks.wait()).await.is_err() {
            tracing::info!("some connections did not end in time");
        }
        let _ = std::fs::remove_file(&self.socket);
        let relays = Arc::clone(&self.relays);
        let _ = tokio::task::spawn_blocking(move || relays.stop()).await;
        // Connections that did not end hold the writer's queue open; what they asked for is not waited for.
        if tokio::time::timeout(DRAIN, self.writer).await.is_err() {
            tracing::warn!("the writer did not end in time");
        }
    }
}

impl Opened {
    /// Wires a control that does not listen, for a command beside a stopped one.
    pub(crate) async fn without_listening(self) -> Result<Stopped, StartError> {
        let urls = self.folder.read(URLS).map_err(|source| StartError::Data { source })?;
        let urls = urls.unwrap_or_default().lines().map(str::to_owned).collect();
        let relays = Relays::open(&self.folder, None, 0).map_err(|source| StartError::Data { source })?;
        self.wire(urls, &Config::new(""), Arc::new(relays)).await
    }

    async fn wire(
        self,
        urls: Vec<String>,
        config: &Config,
        relays: Arc<Relays>,
    ) -> Result<Stopped, StartError> {
        let live = Live::try_new(self.epoch, self.state).map_err(|source| StartError::Scope { source })?;
        let live = Arc::new(live);
        let audit = self.store.audit().await.map_err(|source| StartError::Store { source })?;
        let (writer, writing) = Writer::start(self.store, self.change, Arc::clone(&live));
        let control = Arc::new(Control {
            keys: self.keys,
            live,
            writer,
            urls,
            audit,
            limits: Limiter::new(config.limits),
            consumers: Consumers::new(&config.consumers),
            uses: Uses::default(),
            relays,
            suffixes: config.suffixes.clone(),
            streams: Arc::default(),
            beat: config.beat,
            max_age: config.max_age,
            stuck: config.stuck,
            drain: Drain { begun: CancellationToken::new(), tasks: TaskTracker::new() },
        });
        Ok(Stopped { control, writer: writing, folder: self.folder })
    }

    /// Keeps the addresses for tokens that are made while no control runs.
    fn remember_urls(&self, urls: &[String]) -> Result<(), StartError> {
        let failed = |source| StartError::Data { source };
        let text: String = urls.iter().map(|url| format!("{url}\n")).collect();
        if self.folder.read(URLS).is_ok_and(|held| held.as_deref() == Some(&text)) {
            return Ok(());
        }
        self.folder.write(URLS, &text).map_err(failed)
    }
}

/// Opens the installation of a folder, and makes it where there is none.
pub(crate) async fn open(data: &std::path::Path, suffixes: &[String]) -> Result<Opened, StartError> {
    let folder = DataFolder::open(data).map_err(|source| StartError::Data { source })?;
    let failed = |source| StartError::Store { source };
    let lost = |sign: &str| StartError::Lost { path: folder.file(DATABASE), beside: folder.file(sign) };
    // A first start makes the database before any key, and writes its addresses down after the installation.
    if let Some(sign) = keys::FILES.into_iter().find(|key| !folder.holds(DATABASE) && folder.holds(key)) {
        return Err(lost(sign));
    }
    let database = folder.private(DATABASE).map_err(|source| StartError::Data { source })?;
    let mut store = Store::open(&database).await.map_err(failed)?;
    let known = store.installation().await.map_err(failed)?;
    if known.is_none() && folder.holds(URLS) {
        return Err(lost(URLS));
    }
    let keys = Keys::open(&folder, known.as_ref().map(|known| &known.control));
    let keys = keys.map_err(|source| StartError::Keys { source })?;
    let (epoch, first) = match known {
        Some(known) => (known.epoch, None),
        None => {
            let made = Installation {
                control: keys.control.clone(),
                epoch: Epoch(u64::from_be_bytes(clock::random())),
            };
            let first = install(&mut store, &made, suffixes).await?;
            (made.epoch, Some(first))
        }
    };
    let loaded = store.load().await.map_err(failed)?;
    let mut state = State::default();
    state.apply(loaded.rows);
    Ok(Opened { folder, store, change: loaded.change, keys, epoch, state, first })
}

async fn install(
    store: &mut Store,
    made: &Installation,
    suffixes: &[String],
) -> Result<[(TokenId, Secret); 2], StartError> {
    let install = Install {
        owner_label: "First owner".to_owned(),
        group_label: "main".to_owned(),
        suffixes: suffixes.to_vec(),
    };
    let (now_ms, random) = (clock::unix_ms(), Random::new(clock::random()));
    let facts = Facts { now_ms, by: Actor::Control, random, applied: None };
    let decided = decide(&State::default(), &Batch::default(), &Command::Install(install), facts);
    let decided = decided.map_err(|source| StartError::Install { source })?;
    store.install(made, &decided.rows).await.map_err(|source| StartError::Store { source })?;
    let Reply::Installed { join, api, .. } = decided.reply else {
        unreachable!("an installation is answered by its tokens");
    };
    Ok([join, api])
}

fn ready(opened: &Opened, urls: &[String]) -> Ready {
    let first = opened.state.groups().min_by_key(|group| (group.row.created_ms, &group.row.id));
    let first = first.expect("an installation has its first group");
    let tokens = opened.first.clone().map(|[join, api]| {
        let join = join_token(&opened.keys, urls, join.0, join.1);
        (join.to_string(), ApiToken { id: api.0, secret: api.1 }.to_string())
    });
    let (join_token, api_token) = tokens.unzip();
    Ready {
        api: urls.first().cloned().unwrap_or_default(),
        ca: opened.keys.ca_path.clone(),
        owner: first.row.owner.clone(),
        group: first.row.id.clone(),
        join_token,
        api_token,
    }
}

/// A join token as it is printed.
pub(crate) fn join_token(keys: &Keys, urls: &[String], id: TokenId, secret: Secret) -> JoinToken {
    JoinToken { id, secret, pins: vec![keys.pin], urls: urls.to_vec() }
}

/// Writes down when API tokens were last used, now and then and at the end.
async fn write_uses(control: Arc<Control>) {
    let mut has_ended = false;
    while !has_ended {
        tokio::select! {
            () = control.drain.begun.cancelled() => has_ended = true,
            () = tokio::time::sleep(WRITE_USES) => {}
        }
        let uses = control.uses.take();
        if !uses.is_empty()
            && let Err(error) = control.writer.ask(Command::NoteApiTokenUses { uses }).await
        {
            tracing::debug!(%error, "the last uses of API tokens are not written down");
        }
    }
}

/// Has relays drop peers that went, those of earlier runs first: relays may have forgotten them, or never heard of them.
async fn follow_departures(control: Arc<Control>) {
    let Some(mut departures) = control.live.departures() else { return };
    let kept: Vec<_> = control.live.read().state.departed().collect();
    control.relays.revoke(&control.keys, kept.into_iter());
    loop {
        tokio::select! {
            () = control.drain.begun.cancelled() => return,
            Some(departed) = departures.recv() => {
                control.relays.revoke(&control.keys, departed.into_iter());
            }
        }
    }
}

/// Renews the server's certificate in time, for as long as control runs.
async fn renew(control: Arc<Control>, leaf: Arc<Leaf>, names: Vec<String>) {
    loop {
        tokio::select! {
            () = control.drain.begun.cancelled() => return,
            () = tokio::time::sleep(tls::LOOK) => {}
        }
        match leaf.renew_when_due(&control.keys.ca, &names, clock::unix_ms()) {
            Ok(true) => tracing::info!("renewed the server's certificate"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "cannot renew the server's certificate"),
        }
    }
}
