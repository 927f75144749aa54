//! Where a datagram goes or came from: straight to an address, or through a relay.

use std::{fmt, net::SocketAddr};

/// One way between this node and another: straight to an address, or inside a relay's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// The other end's address, or the relay's.
    pub remote: SocketAddr,
    /// Set where `remote` is a relay.
    pub relay: Option<Hop>,
    /// This node's own end, where it is not the socket that everybody knows.
    pub auxiliary: Option<Auxiliary>,
}

/// Names a socket beside the usual ones, opened for one peer by birthday probing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Auxiliary(pub u32);

/// What a relay must be told to pass a datagram on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// This node's lease at the relay.
    pub lease: u32,
    /// The other end's relay address.
    pub address: u64,
}

impl Way {
    /// Straight to an address.
    #[must_use]
    pub const fn direct(remote: SocketAddr) -> Self {
        Self { remote, relay: None, auxiliary: None }
    }

    /// Straight to an address, from a socket of its own.
    #[must_use]
    pub const fn from_auxiliary(remote: SocketAddr, socket: Auxiliary) -> Self {
        Self { remote, relay: None, auxiliary: Some(socket) }
    }

    /// Through a relay, on this node's lease there.
    #[must_use]
    pub const fn relayed(remote: SocketAddr, lease: u32, address: u64) -> Self {
        Self { remote, relay: Some(Hop { lease, address }), auxiliary: None }
    }

    /// Whether no relay is in between.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        self.relay.is_none()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.relay {
            None => write!(f, "{}", self.remote),
            Some(_) => write!(f, "relay {}", self.remote),
        }
    }
}

/// The ways that a tunnel uses towards one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerWays {
    /// Data goes here; none while nothing is proven.
    pub primary: Option<Way>,
    /// A second way, so that nothing is lost while the first is new or in doubt.
    pub also: Option<Way>,
    /// So many data packets, and all handshake packets meanwhile, go both ways; `u32::MAX` until changed.
    pub also_for: u32,
    /// The longest packet that passes both, where longer ones were found not to.
    pub packet: Option<u16>,
    /// Initiations go to all of these while there is no primary or it is silent.
    pub greet: Vec<Way>,
}
