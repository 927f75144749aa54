//! What goes into the path agent and what comes out.

use std::{fmt, net::SocketAddr, time::Duration};

use lacis_proto::{Endpoint, GroupId, PeerId, PublicKey, RecordId, RelayHome};
use zeroize::Zeroizing;

use super::candidate::{Candidate, NatSummary};
use crate::{
    nat64::Nat64Prefix,
    way::{Auxiliary, PeerWays, Way},
};

/// What the path agent starts from.
#[derive(Clone, Debug, Default)]
pub struct PathsBoot {
    /// Random bytes, fresh at each start: nonces and transaction ids come out of them.
    pub seed: Seed,
    /// Number of this start; it grows over restarts, so that peers tell a restart from a replay.
    pub boot: u64,
    /// MTU of the overlay: whether packets of this length pass is found out of each path.
    pub mtu: u16,
    /// Direct paths that worked before.
    pub last_good: Vec<LastGood>,
    /// Whether this node takes part in birthday probing.
    pub birthday: bool,
}

/// Random bytes that must not be logged.
#[derive(Clone, Default)]
pub struct Seed(pub Zeroizing<[u8; 32]>);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A direct path that worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastGood {
    /// The group.
    pub group: GroupId,
    /// The peer's key.
    pub key: PublicKey,
    /// Where the peer was.
    pub remote: SocketAddr,
    /// How long ago it last worked.
    pub age: Duration,
}

/// A peer of another node, as its record tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePeer {
    /// The group.
    pub group: GroupId,
    /// Key of the own peer in that group.
    pub own: PublicKey,
    /// The peer's key.
    pub key: PublicKey,
    /// The peer.
    pub peer: PeerId,
    /// The peer's relay address.
    pub address: u64,
    /// Where the peer may be reached, as it reported.
    pub endpoints: Vec<Endpoint>,
    /// Relays at which the peer holds leases; empty means at any of the map.
    pub relays: Vec<RelayHome>,
}

/// A lease of this node at a relay, ready to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayWay {
    /// The relay.
    pub relay: RecordId,
    /// The group of the lease.
    pub group: GroupId,
    /// The relay's address, or that of the bridge to its TLS leg.
    pub remote: SocketAddr,
    /// The lease.
    pub lease: u32,
    /// Round trip between this node and the relay.
    pub rtt: Option<Duration>,
    /// Whether the leg is TLS.
    pub tls: bool,
}

/// The secret that two static keys agree on. Never logged.
#[derive(Clone)]
pub struct Shared(pub Zeroizing<[u8; 32]>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(..)")
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum PathEvent {
    /// A peer of another node came or its record changed.
    Peer(RemotePeer),
    /// A peer went.
    PeerGone {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
    },
    /// Answer to [`PathAction::Agree`].
    Agreed {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
        /// The secret; none if the peer's key is no key to agree with.
        shared: Option<Shared>,
    },
    /// This node may be reached at these addresses: interfaces, configuration, port mappings, and what relays see.
    OwnCandidates(Vec<Candidate>),
    /// What is known of this node's NAT.
    Nat(NatSummary),
    /// The NAT64 of this node's network, where the node has no IPv4 and there is one.
    Nat64(Option<Nat64Prefix>),
    /// Answer to [`PathAction::CountFlows`].
    Counted {
        /// As what the flows were seen, in the order in which they were opened; empty where that is not known of each.
        seen: Vec<SocketAddr>,
    },
    /// All leases of this node that can be used now.
    Relays(Vec<RelayWay>),
    /// There is traffic for a peer without a tunnel, or an initiation of it came.
    Wanted {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
    },
    /// Data leaves for the peer; told at most every two seconds.
    Sending {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
        /// Bytes of packets that went to the peer and came from it so far.
        carried: u64,
    },
    /// Packets left and nothing authentic came back for a second, though traffic had been both ways.
    Silent {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
    },
    /// Packets left and nothing at all came back for a second, not so much as an empty message.
    Unanswered {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
    },
    /// Authentic data came by another way than before.
    Heard {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
        /// The way it came by.
        way: Way,
    },
    /// A handshake with the peer is complete.
    Handshake {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
        /// The way its last message came by.
        way: Way,
    },
    /// The operating system has no way to this address.
    Refused {
        /// The address.
        to: SocketAddr,
    },
    /// A relay says that the other end of this way has no lease there.
    PeerUnknown {
        /// The way.
        way: Way,
    },
    /// A path frame came.
    Frame {
        /// The way it came by.
        way: Way,
        /// The datagram.
        payload: Vec<u8>,
    },
    /// A path frame came through control. Who sent it is told by the frame, not by control.
    Signal {
        /// The group.
        group: GroupId,
        /// The frame.
        payload: Vec<u8>,
    },
    /// Answer to [`PathAction::OpenSockets`].
    SocketsOpened {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
        /// The sockets; fewer than asked for where descriptors are short.
        sockets: Vec<Auxiliary>,
    },
    /// Addresses or routes of this host changed.
    NetworkChanged,
    /// The host slept.
    Resumed {
        /// For so long.
        asleep: Duration,
    },
    /// This node stops or leaves the group: peers are told.
    Leaving {
        /// The group.
        group: GroupId,
    },
    /// The deadline has come.
    Tick,
}

/// What to do. Actions are taken in the order in which they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathAction {
    /// Send a path frame.
    Send {
        /// By this way.
        way: Way,
        /// The datagram.
        payload: Vec<u8>,
        /// Time to live, where it is not the usual one.
        ttl: Option<u8>,
        /// The datagram must not be fragmented.
        whole: bool,
    },
    /// Send a path frame through control.
    Signal {
        /// The group.
        group: GroupId,
        /// The receiver.
        to: PeerId,
        /// The frame.
        payload: Vec<u8>,
    },
    /// Tell the tunnel which ways to use towards a peer.
    SetWays {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
        /// The ways.
        ways: PeerWays,
    },
    /// Agree on a secret with a peer, then tell [`PathEvent::Agreed`].
    Agree {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
    },
    /// Start a handshake with the peer: its session is void, because it restarted.
    Initiate {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
    },
    /// Open three flows to observers at once, from a socket of their own, then tell [`PathEvent::Counted`]: the NAT counts
    /// flows, and only new ones tell how far it is.
    CountFlows,
    /// Open so many auxiliary sockets for a peer, then tell [`PathEvent::SocketsOpened`].
    OpenSockets {
        /// The group.
        group: GroupId,
        /// The peer's key.
        key: PublicKey,
        /// How many.
        count: usize,
    },
    /// Close auxiliary sockets.
    CloseSockets(Vec<Auxiliary>),
    /// A lease at this relay is needed: a peer that is wanted has its home or its backup there.
    NeedRelay {
        /// The group.
        group: GroupId,
        /// The relay.
        relay: RecordId,
    },
    /// Write the direct paths that worked to disk: `Paths::last_good` has them.
    KeepLastGood,
    /// A peer is reached in another way than before, for the log.
    Moved {
        /// The group.
        group: GroupId,
        /// The peer.
        peer: PeerId,
        /// The way before.
        from: Option<Way>,
        /// The way now; none where no way is left.
        to: Option<Way>,
    },
}
