//! `lacis-control relay`: a relay alone, which needs nothing of a control but its public key.
//!
//! ```text
//! start:  folder and lock ─▶ key, revocations ─▶ datagrams ─▶ certificate ─▶ TLS ─▶ figures ─▶ ready
//! end:    farewell, forwarding goes on for 3 s ─▶ no more connections ─▶ the relay
//! ```
//! ```text
//! DIR/                   0700
//!   lock                 held while the relay runs
//!   relay.key            0600, by which members know it
//!   ca.key  ca.pem       0600, its own certificate authority, where no certificate is given
//!   revoked              0600, members that controls have put out
//! ```

mod certificate;
mod http;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use lacis_proto::{IdentityKey, Pin, PublicKey};
use lacis_relay::{Limits, Relay};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::certificate::Certificate;
pub(crate) use self::certificate::{CertificateError, Given};
use crate::{
    config,
    data::{DataError, DataFolder},
    listener::{self, Bounds, Drain},
    metrics,
    relays::{self, KeyFileError},
};

/// The file of revocations.
const REVOKED: &str = "revoked";

/// How long connections may take to end.
const DRAIN: Duration = Duration::from_secs(3);

/// Settings of a relay alone.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Its folder.
    pub(crate) state: PathBuf,
    /// The file of its key, where that is elsewhere.
    pub(crate) key: Option<PathBuf>,
    /// Whose members may use it.
    pub(crate) controls: Vec<IdentityKey>,
    /// Where it takes datagrams.
    pub(crate) listen: SocketAddr,
    /// Where it takes TLS.
    pub(crate) tls: TlsListen,
    /// Its certificate, where it is not to make one itself.
    pub(crate) given: Option<Given>,
    /// Where it offers figures and health over plain HTTP.
    pub(crate) metrics: Option<SocketAddr>,
    /// What members may send.
    pub(crate) limits: Limits,
}

/// Where a relay alone takes TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsListen {
    /// At the usual port, of every address of the host.
    Default,
    /// There.
    At(SocketAddr),
    /// Nowhere: datagrams alone.
    Off,
}

/// A relay alone did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StandaloneError {
    #[error("the state folder is not to be used")]
    Data(#[source] DataError),
    #[error("there is no key")]
    Key(#[source] KeyFileError),
    #[error("the relay does not start; stop what uses its port, or choose another with --listen ADDR:PORT")]
    Relay(#[source] lacis_relay::StartError),
    #[error("there is no certificate")]
    Certificate(#[source] CertificateError),
    #[error(
        "cannot listen for TLS on {addr}; choose another port with --tls-listen ADDR:PORT, or leave TLS out with --no-tls"
    )]
    Tls { addr: SocketAddr, source: io::Error },
    #[error("cannot offer figures on {addr}; choose another address with --metrics ADDR:PORT")]
    Metrics { addr: SocketAddr, source: io::Error },
}

/// A relay that runs alone in this process.
#[derive(Debug)]
pub(crate) struct Standalone {
    relay: Arc<Relay>,
    tls: Option<(SocketAddr, Option<Pin>)>,
    /// Where figures are offered.
    pub(crate) metrics: Option<SocketAddr>,
    drain: Drain,
    _folder: DataFolder,
}

/// Starts a relay alone.
pub(crate) async fn start(settings: Settings) -> Result<Standalone, StandaloneError> {
    let folder = DataFolder::open(&settings.state).map_err(StandaloneError::Data)?;
    let key = match &settings.key {
        Some(path) => relays::key_in_file(path),
        None => relays::key_in_file(&folder.file(relays::KEY)),
    };
    let relay = lacis_relay::start(lacis_relay::Settings {
        key: key.map_err(StandaloneError::Key)?,
        controls: settings.controls,
        listen: settings.listen,
        others: lacis_relay::beside(settings.listen.port()),
        workers: None,
        limits: settings.limits,
        revocations: Some(folder.file(REVOKED)),
    });
    let relay = Arc::new(relay.map_err(StandaloneError::Relay)?);
    let drain = Drain { begun: CancellationToken::new(), tasks: TaskTracker::new() };
    let tls = listen_for_tls(&folder, settings.tls, settings.given, &relay, &drain).await?;
    let metrics = match settings.metrics {
        Some(addr) => {
            let listener = listener::bind(Some(addr), 0);
            let listener = listener.map_err(|(addr, source)| StandaloneError::Metrics { addr, source })?;
            let bound = listener.local_addr().ok();
            let routes = http::inner(&relay, &drain);
            drain.tasks.spawn(metrics::accept(listener, routes, drain.clone()));
            bound
        }
        None => None,
    };
    Ok(Standalone { relay, tls, metrics, drain, _folder: folder })
}

async fn listen_for_tls(
    folder: &DataFolder,
    listen: TlsListen,
    given: Option<Given>,
    relay: &Arc<Relay>,
    drain: &Drain,
) -> Result<Option<(SocketAddr, Option<Pin>)>, StandaloneError> {
    let listen = match listen {
        TlsListen::Off => return Ok(None),
        TlsListen::Default => None,
        TlsListen::At(addr) => Some(addr),
    };
    let certificate = Certificate::open(folder, given, &relay.public()).await;
    let certificate = certificate.map_err(StandaloneError::Certificate)?;
    let acceptor = TlsAcceptor::from(certificate.server().map_err(StandaloneError::Certificate)?);
    let listener = listener::bind(listen, config::PORT);
    let listener = listener.map_err(|(addr, source)| StandaloneError::Tls { addr, source })?;
    let addr = listener.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], config::PORT).into());
    let pin = certificate.pin();
    let routes = http::outer(relay, drain);
    drain.tasks.spawn(listener::accept(listener, acceptor, routes, drain.clone(), Bounds::PUBLIC));
    let begun = drain.begun.clone();
    drain.tasks.spawn(async move { certificate.keep_fresh(begun).await });
    Ok(Some((addr, pin)))
}

impl Standalone {
    /// By which members know it.
    pub(crate) fn public(&self) -> PublicKey {
        self.relay.public()
    }

    /// Where it takes datagrams.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.relay.addr()
    }

    /// Where it takes TLS, and what its authority is known by; without a pin by the authorities of members' systems.
    pub(crate) const fn tls(&self) -> Option<(SocketAddr, Option<Pin>)> {
        self.tls
    }

    /// Tells members to go elsewhere, forwards what is on its way, and stops.
    pub(crate) async fn shutdown(self) {
        self.relay.say_farewell();
        tokio::time::sleep(lacis_relay::COME_BACK).await;
        self.drain.begun.cancel();
        self.drain.tasks.close();
        if tokio::time::timeout(DRAIN, self.drain.tasks.wait()).await.is_err() {
            tracing::info!("some connections did not end in time");
        }
        let relay = Arc::clone(&self.relay);
        let _ = tokio::task::spawn_blocking(move || relay.stop()).await;
    }
}
