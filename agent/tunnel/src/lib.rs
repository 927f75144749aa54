//! User-space WireGuard in trains: TUN, UDP and the protocol on one thread, or on several.
//!
//! A *train* is one TUN super-packet for one peer, sealed segment by segment into one buffer and sent with one
//! `UDP_SEGMENT` system call; in the other direction it is one `UDP_GRO` receive that leaves as a few gathered TUN
//! writes. Whatever can be paid once per train (system call, look-up, endpoint, counters) is paid once per train.
//!
//! ```text
//!  TUN ─read─▶ split ─▶ route ─▶ seal ─▶ train ─sendmsg(UDP_SEGMENT)─▶ UDP
//!  TUN ◀writev─ coalesce ◀─ checks ◀─ open ◀─ index ◀─recvmmsg(UDP_GRO)─ UDP
//! ```
//!
//! [`Tunnel::start`] runs one *shard* or more: threads of which each has sockets, device queues and buffers of its own and
//! the state of its peers. A peer is one shard's; what comes in for it elsewhere is handed over. The control side talks
//! to them through bounded mailboxes ([`Tunnel::send`]) and hears [`Event`]s; a shard never waits for anybody. Many *networks* share the one UDP port: each has its own device, key, addresses and peers, and
//! a packet never passes from one to another.
//!
//! The middle of the crate, `engine`, is pure: time comes in, bytes come in, effects go to a sink. Only the
//! shard, the device and the socket files make system calls.
//!
//! Invariants:
//! - a packet from the wire reaches a device only if its source belongs to the peer that sealed it and its
//!   destination to this node, both within the same network;
//! - packets of one flow leave in the order in which they came;
//! - bytes from the wire or from a device never cause a panic, every queue has a limit (`limits.rs`).

mod aead;
mod auxiliary;
#[doc(hidden)]
pub mod bench;
mod checksum;
mod clock;
mod ecn;
mod engine;
#[doc(hidden)]
pub mod fuzz;
mod icmp;
mod index;
mod limits;
mod mailbox;
mod mailboxes;
mod mss;
mod noise;
mod offloads;
mod own;
mod packet;
mod part;
mod path;
mod post;
mod probe;
#[doc(hidden)]
pub mod program;
mod random;
mod relay;
mod route;
mod session;
mod shard;
mod sockets;
mod start;
mod stats;
mod timers;
mod tun;
mod tunnel;
mod uapi;
mod udp;
mod way;
mod wire;

pub use auxiliary::{Auxiliary, AuxiliarySockets};
pub use mailbox::{Command, Event, NetworkConfig, NetworkId, PeerConfig, SendError};
pub use offloads::Offloads;
pub use sockets::Sockets;
pub use start::{Config, Port, Shards, StartError, Tunnel};
pub use stats::{Counters, NetworkStats, PeerStats, Stats};
pub use tun::device::{Device, DeviceError, MemoryTun};
pub use tunnel::{Core, PresharedKey, PrivateKey, generate_private_key, public_key};
pub use way::{Hop, Lease, Way, Ways};
