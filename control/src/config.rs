//! Settings of one control. Defaults stand here; the command line reads arguments and the environment
//! through the names given here.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use lacis_control_core::limits;

/// The port that control listens on unless told otherwise.
pub(crate) const PORT: u16 = 8443;

/// Where the data folder is unless told otherwise.
pub(crate) const DATA: &str = "/var/lib/lacis-control";

/// Settings of one control.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data folder: keys, certificate authority, database, lock, admin socket.
    pub data: PathBuf,
    /// Address and port to listen on; port 0 lets the kernel choose. Without one: every address of the
    /// host at port 8443, IPv4 alone where there is no IPv6.
    pub listen: Option<SocketAddr>,
    /// Addresses under which agents reach this control; without any, those of the host.
    pub public_urls: Vec<String>,
    /// Where figures are offered, over plain HTTP; without one, on the admin socket alone.
    pub metrics: Option<SocketAddr>,
    /// Where the relay in this process takes datagrams.
    pub relay: RelayListen,
    /// The rate class of relay tokens; what it stands for is set at each relay.
    pub relay_class: u8,
    /// Zone suffixes of new groups, the first is the default; of existing ones they stay.
    pub suffixes: Vec<String>,
    /// OAuth 1.0 consumers that are taken, key and secret; without any, those of the platform's clients.
    pub consumers: Vec<(String, String)>,
    /// Whether callers of the management API have a limited rate.
    pub limits: bool,
    /// How long what has ended is kept.
    pub keep: Keep,
    /// A line comes on each watch stream at least this often.
    pub beat: Duration,
    /// A watch stream ends cleanly after about this long.
    pub max_age: Duration,
    /// A reader of a stream that takes nothing for so long is gone or stuck.
    pub stuck: Duration,
}

/// How long what has ended is kept; for ever without a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Entries of the audit.
    pub audit: Option<Duration>,
    /// Tokens, and nodes that were revoked or are in no group any more.
    pub ended: Option<Duration>,
}

/// Where the relay in this process takes datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayListen {
    /// On the addresses of control at the usual port, or at a free one where another program has that.
    Default,
    /// There and nowhere else.
    At(SocketAddr),
    /// There is no relay in this process.
    Off,
}

impl Config {
    /// The usual settings for a data folder.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: None,
            public_urls: Vec::new(),
            metrics: None,
            relay: RelayListen::Default,
            relay_class: 0,
            suffixes: vec![limits::DEFAULT_SUFFIX.to_owned()],
            consumers: Vec::new(),
            limits: true,
            keep: Keep {
                audit: Some(Duration::from_millis(limits::KEEP_AUDIT_MS)),
                ended: Some(Duration::from_millis(limits::KEEP_ENDED_MS)),
            },
            // Short enough that proxies keep an idle stream, and three missed beats are still noticed soon.
            beat: Duration::from_secs(30),
            // Heals half-dead paths, and checks again who may read.
            max_age: Duration::from_secs(30 * 60),
            stuck: Duration::from_secs(60),
        }
    }
}
