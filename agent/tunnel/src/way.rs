//! The ways that lead to a peer: straight to an address, or through a relay.
//!
//! A relay carries a datagram inside a frame of its own (`relay.rs`) and is named by its address like any other place.
//! Whoever chooses between ways tells the choice with [`Command::SetWays`](crate::Command::SetWays); a peer that was
//! told ways keeps to them, all others are followed to wherever their authentic packets come from.

use std::net::SocketAddr;

use crate::auxiliary::Auxiliary;
use crate::limits;
use crate::mailbox::NetworkId;

/// Where a datagram goes, or where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// The peer's endpoint, or the relay's.
    pub remote: SocketAddr,
    /// What the relay must be told; `None` for a way without one.
    pub relay: Option<Hop>,
    /// The socket at our end; `None` for the one that everybody knows.
    pub auxiliary: Option<Auxiliary>,
}

/// A relay's part of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// Our lease with the relay.
    pub lease: u32,
    /// The relay address of the other end.
    pub address: u64,
}

/// By which ways a peer is sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// The way of data. Without one, data goes where the next handshake is answered from.
    pub primary: Option<Way>,
    /// A second way, which handshakes go as well.
    pub also: Option<Way>,
    /// How many data packets go the second way too; [`u32::MAX`] means all of them.
    pub also_for: u32,
    /// The longest packet that these ways carry, where it was found to be less than the overlay's MTU.
    pub packet: Option<u16>,
    /// Where else initiations go while there is no primary way or it is silent; those past the sixth are ignored.
    pub greet: Vec<Way>,
}

/// Leave to use a relay: frames are taken from its address with this number alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The relay.
    pub relay: SocketAddr,
    /// The lease's number there.
    pub lease: u32,
    /// The network whose peers it leads to.
    pub network: NetworkId,
}

impl Way {
    /// The way straight to an address.
    #[must_use]
    pub const fn straight(remote: SocketAddr) -> Self {
        Self { remote, relay: None, auxiliary: None }
    }

    /// The way through a relay.
    #[must_use]
    pub const fn relayed(remote: SocketAddr, hop: Hop) -> Self {
        Self { remote, relay: Some(hop), auxiliary: None }
    }
}

impl From<SocketAddr> for Way {
    fn from(remote: SocketAddr) -> Self {
        Self::straight(remote)
    }
}

impl Ways {
    /// Cuts the list to what is kept.
    pub(crate) fn limited(mut self) -> Self {
        self.greet.truncate(limits::GREETED);
        self.greet.shrink_to_fit();
        self
    }
}
