//! The relay in this process: its key, its port, and the addresses under which members reach it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lacis_proto::relay::{DEFAULT_PORT, RelayEntry, TLS_PATH};
use lacis_relay::{Limits, Relay, Settings, StartError, beside};

use super::key::{KEY, KeyFileError, key_in_file};
use crate::{
    config::{Config, RelayListen},
    data::DataFolder,
    hosts,
    keys::Keys,
};

/// The relay of this process did not start.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It has no key.
    #[error("the relay has no key")]
    Key {
        /// Why.
        source: KeyFileError,
    },
    /// It cannot listen.
    #[error(
        "the relay does not start; name another port with --relay-listen ADDR:PORT, or leave it out with --no-relay"
    )]
    Start {
        /// Why.
        source: StartError,
    },
}

/// The relay of this process.
#[derive(Debug)]
pub(crate) struct Embedded {
    relay: Relay,
    entry: RelayEntry,
}

impl Embedded {
    /// Starts it, beside a control that listens at `control` and is reached under `urls`.
    pub(crate) async fn start(
        folder: &DataFolder,
        keys: &Keys,
        config: &Config,
        control: SocketAddr,
        urls: &[String],
    ) -> Result<Option<Self>, RelayError> {
        let (wanted, is_default) = match config.relay {
            RelayListen::Off => return Ok(None),
            RelayListen::At(addr) => (addr, false),
            // A control on any free port, of a test, has a relay on any free port.
            RelayListen::Default if config.listen.is_some_and(|listen| listen.port() == 0) => {
                (SocketAddr::new(control.ip(), 0), false)
            }
            RelayListen::Default => (SocketAddr::new(control.ip(), DEFAULT_PORT), true),
        };
        let settings = Settings {
            key: key_in_file(&folder.file(KEY)).map_err(|source| RelayError::Key { source })?,
            controls: vec![keys.public],
            listen: wanted,
            others: beside(wanted.port()),
            workers: None,
            limits: Limits::default(),
            // The database has them.
            revocations: None,
        };
        let relay = match lacis_relay::start(settings.clone()) {
            Err(StartError::Listen { addr, source })
                if is_default && source.kind() == io::ErrorKind::AddrInUse =>
            {
                tracing::warn!(
                    %addr,
                    "another program has the relay's port; taking a free one, which must be let through firewalls: \
                     name one with --relay-listen ADDR:PORT"
                );
                lacis_relay::start(Settings {
                    listen: SocketAddr::new(wanted.ip(), 0),
                    others: beside(0),
                    ..settings
                })
            }
            started => started,
        };
        let relay = relay.map_err(|source| RelayError::Start { source })?;
        let entry = describe(&relay, urls, &addresses(&relay, urls).await);
        tracing::info!(addr = %relay.addr(), "the relay is ready");
        Ok(Some(Self { relay, entry }))
    }

    pub(crate) fn relay(&self) -> &Relay {
        &self.relay
    }

    pub(crate) fn entry(&self) -> &RelayEntry {
        &self.entry
    }
}

/// The addresses of control are the relay's, of those families that it takes. A name is looked up once, here.
async fn addresses(relay: &Relay, urls: &[String]) -> Vec<IpAddr> {
    let bound = relay.addr().ip();
    if !bound.is_unspecified() {
        return vec![bound];
    }
    let mut found: Vec<IpAddr> = Vec::new();
    for host in urls.iter().filter_map(|url| hosts::host_of(url)) {
        match host.parse() {
            Ok(ip) => found.push(ip),
            Err(_) => match tokio::net::lookup_host((host.as_str(), 0)).await {
                Ok(looked_up) => found.extend(looked_up.map(|addr| addr.ip())),
                Err(error) => tracing::warn!(%host, %error, "cannot look up a public name for the relay"),
            },
        }
    }
    if found.is_empty() {
        found = hosts::addresses().await;
        found.retain(|ip| !ip.is_loopback());
    }
    if found.is_empty() {
        found.extend([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
    }
    found.retain(|ip| ip.is_ipv4() || bound.is_ipv6());
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|ip| seen.insert(*ip));
    found
}

fn describe(relay: &Relay, urls: &[String], ips: &[IpAddr]) -> RelayEntry {
    let at = |port| ips.iter().map(move |ip| SocketAddr::new(*ip, port));
    RelayEntry {
        id: super::id_of(&relay.public()),
        label: "control".to_owned(),
        key: relay.public(),
        udp: at(relay.addr().port()).collect(),
        stun: at(relay.addr().port()).chain(relay.other_ports().iter().copied().flat_map(at)).collect(),
        tls: urls
            .iter()
            .filter_map(|url| Some(format!("wss{}{TLS_PATH}", url.strip_prefix("https")?)))
            .collect(),
        // Nodes know whom they take for control.
        pins: Vec::new(),
    }
}
