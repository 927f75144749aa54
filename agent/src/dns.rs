//! The resolver of this node's groups: answers over UDP and TCP out of [`Zones`].
//!
//! Life-cycle: made once with a view of the zones ([`DnsServer::new`]); addresses come and go with the
//! interfaces of groups ([`DnsServer::bind`], [`DnsServer::unbind`]); each question looks at the zones as
//! they are at that moment, so that a new netmap needs no word to this module.
//!
//! Invariants: an address is bound over both transports or not at all; whatever comes in is answered,
//! or dropped, by a bounded number of tasks; a question that came through a tunnel sees the group of that
//! tunnel only (DESIGN ruling 22), and only this host's own questions go upstream, none about a name below a
//! suffix of its groups. What a name means is decided in the core.

mod forward;
mod handler;
mod tcp;

use std::{collections::BTreeMap, io, net::SocketAddr};

use hickory_server::Server;
use lacis_agent_core::Zones;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
    task::JoinHandle,
};

pub(crate) use self::forward::Forwarder;
use self::handler::Resolver;

/// Answers names on the resolver addresses of the node's groups.
#[derive(Debug)]
pub(crate) struct DnsServer {
    resolver: Resolver,
    bound: BTreeMap<SocketAddr, Bound>,
}

/// An address on which no names are answered.
#[derive(Debug, thiserror::Error)]
#[error("cannot answer names on {addr} over {transport}: {remedy}")]
pub(crate) struct BindError {
    /// The address.
    pub(crate) addr: SocketAddr,
    /// `UDP` or `TCP`.
    pub(crate) transport: &'static str,
    /// What to do about it.
    pub(crate) remedy: &'static str,
    /// What the operating system said.
    pub(crate) source: io::Error,
}

/// The tasks of one address. Dropping them closes its sockets.
struct Bound {
    udp: Server<Resolver>,
    tcp: JoinHandle<()>,
}

impl DnsServer {
    /// A server that listens nowhere yet.
    pub(crate) const fn new(zones: watch::Receiver<Zones>, forwarder: Forwarder) -> Self {
        Self { resolver: Resolver::new(zones, forwarder), bound: BTreeMap::new() }
    }

    /// Answers on an address from now on. One that is already bound stays bound.
    ///
    /// # Errors
    /// Why not, and what to do. Others are unaffected.
    pub(crate) async fn bind(&mut self, addr: SocketAddr) -> Result<(), BindError> {
        if self.bound.contains_key(&addr) {
            return Ok(());
        }
        let udp = UdpSocket::bind(addr).await.map_err(|source| BindError::new(addr, "UDP", source))?;
        let addr = udp.local_addr().map_err(|source| BindError::new(addr, "UDP", source))?;
        let tcp = TcpListener::bind(addr).await.map_err(|source| BindError::new(addr, "TCP", source))?;
        let mut server = Server::new(self.resolver.clone());
        server.register_socket(udp);
        let tcp = tokio::spawn(tcp::serve(tcp, self.resolver.clone()));
        self.bound.insert(addr, Bound { udp: server, tcp });
        Ok(())
    }

    /// Answers there no more; questions under way are dropped. The sockets are closed on return.
    pub(crate) async fn unbind(&mut self, addr: SocketAddr) {
        let Some(mut bound) = self.bound.remove(&addr) else { return };
        bound.tcp.abort();
        // Both only end by being told to, and there is nobody left to tell about it.
        let _ = (&mut bound.tcp).await;
        let _ = bound.udp.shutdown_gracefully().await;
    }

    /// Addresses where names are answered.
    #[cfg(test)]
    pub(crate) fn bound(&self) -> impl Iterator<Item = SocketAddr> {
        self.bound.keys().copied()
    }
}

impl BindError {
    fn new(addr: SocketAddr, transport: &'static str, source: io::Error) -> Self {
        let remedies = [
            (
                io::ErrorKind::PermissionDenied,
                "ports below 1024 need CAP_NET_BIND_SERVICE: run as root or grant it to the agent",
            ),
            (
                io::ErrorKind::AddrInUse,
                "another DNS server listens there: have it listen on its own addresses only",
            ),
            (io::ErrorKind::AddrNotAvailable, "no interface of this host has the address"),
        ];
        let known = remedies.into_iter().find(|(kind, _)| *kind == source.kind());
        let remedy = known.map_or("names stay unanswered there, tunnels are unaffected", |(_, text)| text);
        Self { addr, transport, remedy, source }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.tcp.abort();
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
