//! The interface as it was configured: what `wg` set, and what follows from it for the data plane. Pure.
//!
//! While there is no private key the data plane knows no peer, so nothing is sent and nobody is answered.
//!
//! Invariants: a prefix belongs to one peer, and `owners` says to which; this interface's own key is nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::NETWORK;
use crate::mailbox::{Command, PeerConfig};
use crate::stats::{PeerStats, Stats};
use crate::tunnel::{PresharedKey, PrivateKey};
use crate::uapi::{self, Changes, DeviceView, Given, PeerChanges, PeerView};

/// Where commands for the data plane go.
type Send<'a> = &'a mut dyn FnMut(Command);

/// The configuration.
#[derive(Debug, Default)]
pub(super) struct Interface {
    private_key: Option<PrivateKey>,
    fwmark: u32,
    peers: BTreeMap<[u8; 32], Known>,
    owners: BTreeMap<IpNetwork, [u8; 32]>,
}

/// What was configured of a peer.
#[derive(Debug, Default)]
struct Known {
    preshared_key: Option<PresharedKey>,
    /// Seconds; 0 means none.
    keepalive: u16,
    /// As configured last; where the peer was found is in the data plane's figures.
    endpoint: Option<SocketAddr>,
    allowed: Vec<IpNetwork>,
}

/// Both families whole.
pub(super) fn everything() -> Vec<IpNetwork> {
    let v4 = Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).map(IpNetwork::V4);
    let v6 = Ipv6Network::new(Ipv6Addr::UNSPECIFIED, 0).map(IpNetwork::V6);
    [v4, v6].into_iter().flatten().collect()
}

impl Interface {
    /// Takes in a change, but for the port, and sends what follows from it.
    pub(super) fn change(&mut self, changes: Changes, send: Send<'_>) {
        if let Some(mark) = changes.fwmark.filter(|mark| *mark != self.fwmark) {
            self.fwmark = mark;
            send(Command::SetMark(mark));
        }
        if let Some(key) = changes.private_key {
            self.change_key(key, send);
        }
        if changes.replace_peers {
            let keys: Vec<_> = self.peers.keys().copied().collect();
            for key in keys {
                self.forget(&key, send);
            }
        }
        for peer in changes.peers {
            self.change_peer(peer, send);
        }
    }

    /// Prints the answer to `get=1`. `now` counts from 1970.
    pub(super) fn write(
        &self,
        out: &mut impl Write,
        port: u16,
        stats: &Stats,
        now: Duration,
    ) -> io::Result<()> {
        let device =
            DeviceView { private_key: self.private_key.as_ref(), listen_port: port, fwmark: self.fwmark };
        uapi::write_device(out, &device)?;
        let found = stats.networks.iter().find(|network| network.id == NETWORK);
        let found: &[PeerStats] = found.map_or(&[], |network| &network.peers);
        for (key, peer) in &self.peers {
            let figures = found.binary_search_by(|figures| figures.key.cmp(key)).ok().map(|at| &found[at]);
            let age = figures.and_then(|figures| figures.last_handshake);
            uapi::write_peer(
                out,
                &PeerView {
                    key,
                    preshared_key: peer.preshared_key.as_ref(),
                    endpoint: figures.and_then(|figures| figures.way).map(|way| way.remote).or(peer.endpoint),
                    last_handshake: age.map_or(Duration::ZERO, |age| now.saturating_sub(age)),
                    tx_bytes: figures.map_or(0, |figures| figures.tx_bytes),
                    rx_bytes: figures.map_or(0, |figures| figures.rx_bytes),
                    keepalive: peer.keepalive,
                    allowed: &peer.allowed,
                },
            )?;
        }
        Ok(())
    }

    fn change_key(&mut self, key: Option<PrivateKey>, send: Send<'_>) {
        let bytes = |key: &Option<PrivateKey>| key.as_ref().map(PrivateKey::to_bytes);
        if bytes(&key) == bytes(&self.private_key) {
            return;
        }
        let before = std::mem::replace(&mut self.private_key, key);
        let Some(key) = self.private_key.clone() else {
            for key in self.peers.keys() {
                send(Command::RemovePeer { network: NETWORK, key: *key });
            }
            // What is still on its way to the former key is not for us any more.
            send(Command::SetPrivateKey { network: NETWORK, key: PrivateKey::generate() });
            return;
        };
        self.forget(&key.public(), send);
        send(Command::SetPrivateKey { network: NETWORK, key });
        if before.is_none() {
            for (key, peer) in &self.peers {
                introduce(key, peer, peer.endpoint, send);
            }
        }
    }

    fn change_peer(&mut self, changes: PeerChanges, send: Send<'_>) {
        let key = changes.key;
        if changes.remove {
            return self.forget(&key, send);
        }
        let own = self.private_key.as_ref().is_some_and(|private| private.public() == key);
        if own || (changes.update_only && !self.peers.contains_key(&key)) {
            return;
        }
        let robbed = self.change_allowed(&key, changes.replace_allowed, &changes.allowed);
        for (other, prefixes) in robbed {
            if let Some(peer) = self.peers.get_mut(&other) {
                peer.allowed.retain(|prefix| !prefixes.contains(prefix));
            }
        }
        let peer = self.peers.entry(key).or_default();
        if let Some(preshared) = changes.preshared_key {
            peer.preshared_key = preshared;
        }
        peer.keepalive = changes.keepalive.unwrap_or(peer.keepalive);
        peer.endpoint = changes.endpoint.or(peer.endpoint);
        if self.private_key.is_some() {
            introduce(&key, peer, changes.endpoint, send);
        }
        self.check_invariants();
    }

    /// Gives prefixes to a peer and takes them away; returns who lost which.
    fn change_allowed(
        &mut self,
        key: &[u8; 32],
        replace: bool,
        changes: &[(IpNetwork, Given)],
    ) -> BTreeMap<[u8; 32], BTreeSet<IpNetwork>> {
        let mut robbed: BTreeMap<[u8; 32], BTreeSet<IpNetwork>> = BTreeMap::new();
        let peer = self.peers.entry(*key).or_default();
        if replace {
            for prefix in std::mem::take(&mut peer.allowed) {
                self.owners.remove(&prefix);
            }
        }
        for (prefix, given) in changes {
            match given {
                Given::Yes => match self.owners.insert(*prefix, *key) {
                    Some(owner) if owner == *key => {}
                    Some(owner) => {
                        robbed.entry(owner).or_default().insert(*prefix);
                        peer.allowed.push(*prefix);
                    }
                    None => peer.allowed.push(*prefix),
                },
                Given::Taken if self.owners.get(prefix) == Some(key) => {
                    self.owners.remove(prefix);
                    peer.allowed.retain(|other| other != prefix);
                }
                Given::Taken => {}
            }
        }
        peer.allowed.shrink_to_fit();
        robbed
    }

    fn forget(&mut self, key: &[u8; 32], send: Send<'_>) {
        let Some(peer) = self.peers.remove(key) else { return };
        for prefix in peer.allowed {
            self.owners.remove(&prefix);
        }
        if self.private_key.is_some() {
            send(Command::RemovePeer { network: NETWORK, key: *key });
        }
    }

    /// Checks in debug builds what must hold between entries.
    fn check_invariants(&self) {
        debug_assert_eq!(
            self.owners.len(),
            self.peers.values().map(|peer| peer.allowed.len()).sum::<usize>(),
            "each prefix has one owner"
        );
    }
}

/// Tells the data plane all about a peer, and where it is when that was said.
fn introduce(key: &[u8; 32], peer: &Known, endpoint: Option<SocketAddr>, send: Send<'_>) {
    send(Command::SetPeer(Box::new(PeerConfig {
        network: NETWORK,
        key: *key,
        allowed: peer.allowed.clone(),
        candidates: peer.endpoint.into_iter().collect(),
        keepalive: (peer.keepalive > 0).then_some(peer.keepalive),
        preshared_key: peer.preshared_key.clone(),
        initiate: false,
    })));
    if let Some(endpoint) = endpoint {
        send(Command::SetEndpoint { network: NETWORK, key: *key, endpoint });
    }
}

#[cfg(test)]
mod tests;
