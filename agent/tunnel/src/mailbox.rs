//! What the control side says to a shard, and what it hears back.
//!
//! Commands wait in a bounded queue; an eventfd wakes the shard. Events leave through a callback that must not block.
//! A full mailbox is the sender's problem: it gets the command back and tries again.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::auxiliary::{Auxiliary, AuxiliarySockets};
use crate::limits;
use crate::sockets::Sockets;
use crate::stats::Stats;
use crate::tun::device::Device;
use crate::tunnel::{PresharedKey, PrivateKey};
use crate::udp::poll::Waker;
use crate::way::{Lease, Way, Ways};

/// Names one network (a network group) within this process; chosen by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u32);

/// A network to carry: one device, one key, its own peers.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The caller's name for it; adding a network whose id exists replaces that network and forgets its peers.
    pub id: NetworkId,
    /// Where its packets come from and go to.
    pub device: Device,
    /// This node's key in the network.
    pub private_key: PrivateKey,
    /// This node's own overlay addresses: sources of probes, accepted as destinations.
    pub addresses: Vec<IpAddr>,
    /// Further accepted destinations: the resolver's address, prefixes this node serves.
    pub accepted: Vec<IpNetwork>,
    /// The pools of the network: packets for an address in here without a peer are answered "host unreachable".
    pub pools: Vec<IpNetwork>,
    /// Largest packet the network carries.
    pub mtu: u16,
}

/// What is known of one peer.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// The network it belongs to.
    pub network: NetworkId,
    /// Its public key, which is its identity.
    pub key: [u8; 32],
    /// Prefixes it may send from, hence routed to it. A prefix given to another peer before moves to this one.
    pub allowed: Vec<IpNetwork>,
    /// Endpoints not yet proven, best first; those past the eighth are ignored.
    pub candidates: Vec<SocketAddr>,
    /// Seconds between keepalives that hold a mapping open.
    pub keepalive: Option<u16>,
    /// Symmetric key mixed into the handshake.
    pub preshared_key: Option<PresharedKey>,
    /// Start a handshake now, paced with others, rather than with the first packet.
    pub initiate: bool,
}

/// What the control side can ask of the shard.
#[derive(Clone, Debug)]
pub enum Command {
    /// Adds or replaces a network.
    AddNetwork(Box<NetworkConfig>),
    /// Removes a network, its peers and its device. The interface is gone once a later command was answered, for
    /// example [`Tunnel::stats`](crate::Tunnel::stats); only then can one of that name be made again.
    RemoveNetwork(NetworkId),
    /// Changes this node's addresses and accepted destinations without touching peers.
    SetAddresses {
        /// The network.
        network: NetworkId,
        /// As [`NetworkConfig::addresses`].
        addresses: Vec<IpAddr>,
        /// As [`NetworkConfig::accepted`].
        accepted: Vec<IpNetwork>,
    },
    /// Adds a peer or changes one. An existing session survives unless the preshared key or keepalive changed.
    SetPeer(Box<PeerConfig>),
    /// Forgets a peer and its session.
    RemovePeer {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
    },
    /// Sends one echo request through the tunnel; the answer comes back as [`Event::ProbeReply`].
    Probe {
        /// The network.
        network: NetworkId,
        /// Overlay address to reach.
        target: IpAddr,
        /// Chosen by the caller, comes back in the reply.
        ident: u16,
        /// Chosen by the caller, comes back in the reply.
        seq: u16,
    },
    /// Changes the MTU of a network and the limits of its device that follow from it.
    SetMtu {
        /// The network.
        network: NetworkId,
        /// Largest packet from now on.
        mtu: u16,
    },
    /// Changes this node's key in a network. Sessions made with the former key end; peers stay.
    SetPrivateKey {
        /// The network.
        network: NetworkId,
        /// The key from now on.
        key: PrivateKey,
    },
    /// Makes this node a gateway of a network, or no longer one: peers that are its clients know it by this key. Their
    /// sessions end where it changes.
    SetGateway {
        /// The network.
        network: NetworkId,
        /// The gateway's key, apart from the node's own.
        key: Option<PrivateKey>,
    },
    /// Says what a known peer has to do with the gateways of its network.
    SetShared {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
        /// Prefixes that it may send from beside others. What is sent there goes to the one last heard from.
        shared: Vec<IpNetwork>,
        /// Whether the peer is a client: it knows this node by the gateway's key.
        client: bool,
    },
    /// Sends to shared prefixes through this peer from now on, until another one is heard from.
    Prefer {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
        /// The prefixes.
        shared: Vec<IpNetwork>,
    },
    /// Sends to a peer at `endpoint` from now on, until authenticated packets of it come from elsewhere.
    SetEndpoint {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
        /// Where it is.
        endpoint: SocketAddr,
    },
    /// Says by which ways a peer is sent to. From then on its packets never change their way by themselves;
    /// [`Event::Heard`] says where its own come from. An unknown peer is ignored.
    SetWays {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
        /// The ways.
        ways: Ways,
    },
    /// Sends one datagram as it is, in a frame of the relay if the way has one. One of more than 9,216 B is dropped.
    SendTo {
        /// Where to.
        way: Way,
        /// The datagram.
        payload: Vec<u8>,
        /// How many routers it may pass; the system's default if absent.
        ttl: Option<u8>,
        /// Whether it must not be cut on its way, nor limited to what the kernel believes of it.
        whole: bool,
    },
    /// Replaces the leases by which relayed datagrams are taken; those past the 256th are ignored.
    SetLeases(Vec<Lease>),
    /// Adds sockets by which datagrams of this peer may come and go; what
    /// [`Tunnel::open_auxiliary`](crate::Tunnel::open_auxiliary) sends.
    AddAuxiliary {
        /// The peer's public key: its shard watches them.
        key: [u8; 32],
        /// The sockets.
        sockets: AuxiliarySockets,
    },
    /// Lets go of such sockets; what [`Tunnel::close_auxiliary`](crate::Tunnel::close_auxiliary) sends.
    CloseAuxiliary(Vec<Auxiliary>),
    /// Changes the sockets for others; what [`Tunnel::rebind`](crate::Tunnel::rebind) sends.
    SetSockets(Sockets),
    /// Marks all sent packets for the host's routing rules (`SO_MARK`); 0 takes the mark away.
    SetMark(u32),
    /// Asks each shard for the figures of the moment; an answer that finds nobody waiting is dropped. For all of them
    /// together there is [`Tunnel::stats`](crate::Tunnel::stats).
    Stats(SyncSender<Stats>),
}

/// What the shard tells the control side. Delivered on the shard's thread: the callback must not block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Both sides hold the same fresh keys.
    HandshakeDone {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
        /// How it was reached.
        way: Way,
    },
    /// Authenticated packets of the peer now come from somewhere else, and it is sent to there. Where it was found first
    /// is in [`Event::HandshakeDone`].
    EndpointChanged {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
        /// The new way.
        way: Way,
    },
    /// Several initiations in a row were not answered; the tunnel keeps trying.
    HandshakeUnanswered {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
    },
    /// The tunnel gave up after 90 s and dropped what waited; new traffic starts over.
    HandshakeFailed {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
    },
    /// A probe was answered.
    ProbeReply {
        /// The network.
        network: NetworkId,
        /// The address probed.
        target: IpAddr,
        /// As given in the probe.
        ident: u16,
        /// As given in the probe.
        seq: u16,
        /// Time from the command to the answer.
        rtt: Duration,
        /// How the answering peer is reached; `None` for this node's own addresses.
        way: Option<Way>,
    },
    /// No peer owns the probed address, or the network is unknown.
    ProbeFailed {
        /// The network.
        network: NetworkId,
        /// The address probed.
        target: IpAddr,
        /// As given in the probe.
        ident: u16,
        /// As given in the probe.
        seq: u16,
    },
    /// A datagram came that is no message of WireGuard's: a path frame, a relay's control frame or an answer of a STUN
    /// server. Nothing of it was checked but its first bytes.
    Datagram {
        /// How it came.
        way: Way,
        /// Our address it was sent to.
        local: Option<IpAddr>,
        /// The datagram.
        payload: Vec<u8>,
    },
    /// A peer without a tunnel has got one: there is traffic for it, or an initiation of its came.
    Wanted {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
    },
    /// Data leaves for a peer that was given ways; told every two seconds at most.
    Sending {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
        /// Bytes of packets that went to the peer and came from it since it is known.
        carried: u64,
    },
    /// A peer that was given ways no longer answers: five packets or more found nothing for a second, though data had
    /// gone both ways. Told once a second while it lasts and packets leave.
    Silent {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
    },
    /// Data leaves for a peer that was given ways and nothing has come back for a second, not so much as an empty message.
    /// Told once a second, as long as more leaves: a stream that is one-way, or a way that is dead.
    Unanswered {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
    },
    /// Authentic data of a peer that was given ways came by another way than before.
    Heard {
        /// The network.
        network: NetworkId,
        /// The peer's public key.
        key: [u8; 32],
        /// The way it came.
        way: Way,
    },
    /// The kernel knows no way to a place, or no socket is of its family. Told twenty times a second at most.
    Refused {
        /// The place.
        to: SocketAddr,
    },
    /// The device of a network is gone; the network carries nothing until it is added again.
    DeviceGone {
        /// The network.
        network: NetworkId,
    },
    /// The shard cannot go on and has ended.
    Fatal {
        /// What happened.
        reason: String,
    },
}

/// Why a command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Too many commands wait; the command comes back to be sent again.
    #[error("the tunnel's mailbox is full")]
    Full(Box<Command>),
    /// The shard has ended.
    #[error("the tunnel has stopped")]
    Closed,
}

/// The sending side of the mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    queue: SyncSender<Command>,
    waker: Arc<Waker>,
}

impl Sender {
    /// Puts a command in the mailbox without waiting.
    pub(crate) fn send(&self, command: Command) -> Result<(), SendError> {
        self.queue.try_send(command).map_err(|error| match error {
            TrySendError::Full(command) => SendError::Full(Box::new(command)),
            TrySendError::Disconnected(_) => SendError::Closed,
        })?;
        self.waker.wake();
        Ok(())
    }

    /// Puts a command in the mailbox, waiting for room.
    pub(crate) fn deliver(&self, command: Command) -> Result<(), SendError> {
        self.queue.send(command).map_err(|_| SendError::Closed)?;
        self.waker.wake();
        Ok(())
    }
}

/// Makes a mailbox that wakes through `waker`.
pub(crate) fn mailbox(waker: Arc<Waker>) -> (Sender, Receiver<Command>) {
    let (queue, commands) = sync_channel(limits::MAILBOX);
    (Sender { queue, waker }, commands)
}
