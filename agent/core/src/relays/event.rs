//! What happens to the lease client, and what it wants done.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use lacis_proto::{GroupId, Pin, PublicKey, RelayHome, RelayId, relay::Relays as RelayMap};

use crate::path::{NatSummary, Shared};

/// What the lease client starts from.
#[derive(Clone, Copy, Debug)]
pub struct RelaysBoot {
    /// Random; spreads what many nodes do.
    pub seed: u64,
    /// Unix milliseconds at the origin of the machine's time: counters begin there, so that they grow over restarts.
    pub epoch_ms: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum RelayEvent {
    /// Control told, or the disk remembered, which relays there are and what this node may use them with.
    Map(RelayMap),
    /// This node's peers: their groups and keys.
    Own(BTreeMap<GroupId, PublicKey>),
    /// The secret of a peer of this node with a relay; `None` where the relay's key is none.
    Agreed {
        /// The group.
        group: GroupId,
        /// The relay's key.
        relay: PublicKey,
        /// What X25519 gave.
        shared: Option<Shared>,
    },
    /// A relay frame or a STUN answer came.
    Frame {
        /// From here.
        from: SocketAddr,
        /// All of it.
        payload: Vec<u8>,
    },
    /// The network refused to carry a datagram there.
    Refused {
        /// Where it was to go.
        to: SocketAddr,
    },
    /// A connection over TLS is up and can be used as if the relay were at this address.
    TlsUp {
        /// To this relay.
        relay: RelayId,
        /// The near end of the bridge.
        at: SocketAddr,
    },
    /// A connection over TLS is over, or did not come about.
    TlsDown {
        /// To this relay.
        relay: RelayId,
        /// Why, for people.
        why: String,
    },
    /// A peer is wanted whose home or backup is this relay.
    Wanted(RelayId),
    /// Peers behind relays are silent: whether the relays are there is found out now.
    Suspect,
    /// The host's addresses or routes changed, or it was asleep.
    NetworkChanged,
    /// Somebody wants to know how things stand now: relays are measured and observers asked.
    Measure,
    /// The deadline has come.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayAction {
    /// Send this from the socket of the tunnels.
    Send {
        /// To here.
        to: SocketAddr,
        /// All of it.
        payload: Vec<u8>,
    },
    /// Make the secret of this node's peer in the group with a relay; then tell [`RelayEvent::Agreed`].
    Agree {
        /// The group.
        group: GroupId,
        /// The relay's key.
        relay: PublicKey,
    },
    /// These leases are held, and no others: packets inside frames are taken by them alone.
    Leases(Vec<RelayLease>),
    /// This node is seen from outside as this.
    Outside {
        /// Its addresses, best first.
        addresses: Vec<SocketAddr>,
        /// What stands between.
        nat: NatSummary,
    },
    /// Nobody has this relay address at a relay.
    PeerUnknown {
        /// The relay.
        remote: SocketAddr,
        /// The lease by which it was sent to.
        lease: u32,
        /// The address.
        address: u64,
    },
    /// Connect to a relay over TLS; then tell [`RelayEvent::TlsUp`] or [`RelayEvent::TlsDown`].
    OpenTls {
        /// The relay.
        relay: RelayId,
        /// Where it answers, tried in turn.
        urls: Vec<String>,
        /// What its certificate authority is known by; without any it is control's, or one of this host's.
        pins: Vec<Pin>,
    },
    /// Give up the connection over TLS.
    CloseTls {
        /// To this relay.
        relay: RelayId,
    },
    /// Peers find this node at these relays; told only where there is a choice.
    Home(Vec<RelayHome>),
}

/// A lease that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayLease {
    /// At this relay.
    pub relay: RelayId,
    /// For this node's peer in the group.
    pub group: GroupId,
    /// Where the relay is: its address, or the near end of a bridge.
    pub remote: SocketAddr,
    /// The relay's number for it.
    pub lease: u32,
    /// Smoothed round trip to the relay.
    pub rtt: Option<Duration>,
    /// Whether it is reached over TLS.
    pub tls: bool,
    /// The relay is silent or about to stop: another one is better.
    pub doubtful: bool,
}
