//! Every limit of the data plane, each with the reason for its value.

use std::time::Duration;

/// Largest UDP payload over IPv4: 65,535 less the IP and UDP headers. IPv6 carries 20 B more, which we leave.
pub(crate) const UDP_PAYLOAD: usize = 65_507;

/// Bytes WireGuard adds to a packet: a 16 B header and a 16 B tag.
pub(crate) const SEAL_OVERHEAD: usize = 32;

/// Segments per `UDP_SEGMENT` send that every kernel with the option takes.
pub(crate) const SEGMENTS_OLD_KERNEL: usize = 64;
/// Segments per `UDP_SEGMENT` send since Linux 6.9.
pub(crate) const SEGMENTS_NEW_KERNEL: usize = 128;

/// Trains open at once, each for another peer. More would spread the working set past the L2 cache.
pub(crate) const OPEN_TRAINS: usize = 8;

/// Trains kept while the socket's send buffer is full; past that the oldest stays and the new one is dropped.
pub(crate) const PARKED_TRAINS: usize = 32;

/// Where the shard stands among ordinary threads, as setpriority(2) counts: ahead of all. With less, a ping beside a
/// stream waits for whoever makes the stream.
pub(crate) const SHARD_NICE: i32 = -20;
/// Turns that the shard asks of the scheduler: a few trains. Short turns come sooner after a wake-up.
pub(crate) const SHARD_SLICE: Duration = Duration::from_micros(300);

/// So many packets a second, in trains shorter than [`FLOOD_TRAIN`], are a flood of lone packets: a core is about full of
/// wake-ups then. A call has a hundredth of it.
pub(crate) const FLOOD_PER_SECOND: u64 = 60_000;
/// Packets in a train, by the mean, from which on a shard need not step back: those of a flood have 1 to 8, those of a
/// stream and its acknowledgements 20 and more.
pub(crate) const FLOOD_TRAIN: u64 = 12;
/// How often a shard looks whether there is a flood: some hundred packets of one.
pub(crate) const FLOOD_SPAN: Duration = Duration::from_millis(2);
/// A flood has ended when there was none for so long; two changes of place cost microseconds.
pub(crate) const FLOOD_CALM: Duration = Duration::from_millis(20);

/// Datagram slots of one receive call: 0.5 MB, a quarter of the L2 cache of current servers.
pub(crate) const RECEIVE_SLOTS: usize = 8;

/// A path found narrow is tried anew after this long, as the kernel does with what it learnt (RFC 1191 §6.3).
pub(crate) const PATH_MTU_AGE: Duration = Duration::from_secs(600);

/// An offload that the kernel refused is tried again after this long.
pub(crate) const OFFLOAD_REST: Duration = Duration::from_secs(60);

/// Packet every IPv6 host may send whole (RFC 8200 §5).
pub(crate) const LEAST_V6: usize = 1280;
/// Packet every IPv4 host must take (RFC 791 §3.1).
pub(crate) const LEAST_V4: usize = 576;

/// Room for opened packets between two flushes towards the devices: four full receives.
pub(crate) const ARENA: usize = 4 * lacis_udp::SLOT;

/// Super-packets read from one device before others get their turn.
pub(crate) const DEVICE_BUDGET: usize = 8;

/// Receive calls on one socket before the devices get their turn.
pub(crate) const SOCKET_BUDGET: usize = 2;

/// Largest frame a device can hand over: virtio header and a 64 KiB packet, with room to pad to 16 B.
pub(crate) const FRAME: usize = 65_536 + 256;

/// Segments in one coalesced packet: what the kernel's own GRO allows.
pub(crate) const RUN_SEGMENTS: usize = 64;
/// Runs and pieces the coalescer holds before it asks for a flush.
pub(crate) const RUNS: usize = 512;
/// Flows that can be coalesced side by side; the least recently opened gives way.
pub(crate) const OPEN_FLOWS: usize = 8;

/// Frames one peer may have waiting for its session.
pub(crate) const PENDING_FRAMES: usize = 32;
/// Bytes one peer may have waiting: one full super-packet and its header.
pub(crate) const PENDING_BYTES: usize = 64 * 1024 + 64;
/// Bytes all peers of a shard together may have waiting, so that thousands of unreachable peers cannot fill the memory.
pub(crate) const PENDING_TOTAL: usize = 16 << 20;

/// Candidates kept of a peer; one initiation goes to each of them.
pub(crate) const CANDIDATES: usize = 8;

/// Ways that an initiation goes beside the primary one: two relays, and an endpoint or two of each family.
pub(crate) const GREETED: usize = 6;
/// Leases kept: every group of a node on two relays, and more than any node has.
pub(crate) const LEASES: usize = 256;
/// Longest datagram that the control side sends or is told of: a probe of jumbo frames.
pub(crate) const RAW_DATAGRAM: usize = 9216;
/// Datagrams of each kind, path frames, relays' frames and others, that the control side is told of each second: ten
/// times what an agent sends at most while it looks for paths. A thousandth of a core.
pub(crate) const RAW_PER_SECOND: u32 = 2000;
/// Such datagrams told at once.
pub(crate) const RAW_BURST: u32 = 1000;

/// Data packets without an answer, and how long, before a peer that had been answering is found silent. Five are more
/// than a lost burst of a quiet connection, and a second is more than three round trips around the world.
pub(crate) const SILENT_PACKETS: u32 = 5;
/// See [`SILENT_PACKETS`]; also how often silence is told while it lasts.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);
/// Data in both directions within this time is a conversation.
pub(crate) const MUTUAL: Duration = Duration::from_secs(2);
/// How often the control side is told that data leaves: its measurements of a way in use are three seconds apart.
pub(crate) const SENDING_INTERVAL: Duration = Duration::from_secs(2);
/// How often the control side is told that a peer speaks by another way.
pub(crate) const HEARD_INTERVAL: Duration = Duration::from_millis(200);
/// How often the control side is told that a place cannot be reached, all places together.
pub(crate) const REFUSALS_PER_SECOND: u32 = 20;
/// Such refusals told at once: every candidate of two peers.
pub(crate) const REFUSAL_BURST: u32 = 20;

/// Auxiliary sockets open at once: those of one attempt of birthday probing, and as many that earlier ones have left.
pub(crate) const AUXILIARY: usize = 512;
/// Descriptors that auxiliary sockets leave to the rest of the process: with the usual limit of 1,024 there is room for
/// 256 of them beside devices, connections and files.
pub(crate) const DESCRIPTORS_LEFT: u64 = 256;

/// Handshake messages per second and key before senders must prove their address with a cookie: answering that many
/// takes about a tenth of a core.
pub(crate) const HANDSHAKES_PER_SECOND: u64 = 500;

/// Initiations of others answered between two looks at the packets: about two milliseconds.
pub(crate) const HANDSHAKES_PER_TURN: u32 = 8;
/// Initiations that wait for their turn: 200 B each, half a storm of ten thousand peers.
pub(crate) const HANDSHAKES_WAITING: usize = 4096;

/// Tunnels looked at between two looks at the packets: about a millisecond.
pub(crate) const TICKS_PER_TURN: usize = 512;

/// Initiations per second that we start ourselves: about a twelfth of a core. Several shards share them.
pub(crate) const INITIATIONS_PER_SECOND: u32 = 500;
/// Initiations that may leave at once before pacing sets in.
pub(crate) const INITIATION_BURST: u32 = 50;

/// Waits between initiations of one round. The first are short because a lost packet after a restart must not cost
/// five seconds; the last repeats (WireGuard paper §6.4: `REKEY_TIMEOUT`).
pub(crate) const RETRIES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5)];
/// Random part added to each wait (WireGuard paper §6.1).
pub(crate) const RETRY_JITTER_MS: u64 = 333;

/// Unanswered initiations after which the caller is told, once per round: about 3.5 s of silence.
pub(crate) const UNANSWERED_AFTER: u32 = 3;

/// An initiation drawn from a peer by data that we cannot place happens at most this often.
pub(crate) const NUDGE_INTERVAL: Duration = Duration::from_secs(1);

/// How long the answer to an initiation is kept for identical copies that came by other paths.
pub(crate) const REPLY_CACHE: Duration = Duration::from_secs(10);

/// A tunnel without data for this long gives its memory back.
pub(crate) const IDLE: Duration = Duration::from_secs(300);
/// A tunnel that a stranger's initiation opened and no data confirmed goes sooner.
pub(crate) const UNCONFIRMED_IDLE: Duration = Duration::from_secs(15);

/// A suspension longer than this draws new handshakes: mappings on the way are gone, and the other side may have given
/// up. Shorter ones are bridged by the sessions.
pub(crate) const SUSPENSION: Duration = Duration::from_secs(20);
/// Keys are not used past this age (WireGuard paper §6.1: `REJECT_AFTER_TIME`).
pub(crate) const SESSION_AGE: Duration = Duration::from_secs(180);

/// How often a peer is looked at while its handshake runs.
pub(crate) const TICK_HANDSHAKE: Duration = Duration::from_millis(250);
/// How often a peer with a session is looked at: boringtun's clock moves only then. Our own core may ask for less.
pub(crate) const TICK_SESSION: Duration = Duration::from_secs(1);

/// ICMP errors per second and network that we answer with. Several shards share them.
pub(crate) const ICMP_PER_SECOND: u32 = 200;
/// ICMP errors that may leave at once.
pub(crate) const ICMP_BURST: u32 = 50;

/// Probes of one network that wait for their answer; the oldest is forgotten first.
pub(crate) const PROBES: usize = 256;

/// Commands that wait for the shard.
pub(crate) const MAILBOX: usize = 1024;
/// Commands taken between two looks at the packets.
pub(crate) const MAILBOX_BUDGET: usize = 64;

/// Shards started by themselves at most: more have not been measured.
pub(crate) const SHARDS_AUTOMATIC: usize = 4;
/// Cores from which there is more than one shard: each wants a core, and whoever makes the traffic wants another.
pub(crate) const CORES_FOR_SHARDS: usize = 4;

/// Buffers of a shard for frames and messages that it hands to others: a burst of small packets until the other has
/// woken. The kernel gives them memory as far as they were filled, 4 MB at most.
pub(crate) const PARCEL_BUFFERS: usize = 64;
/// Parcels from one other shard that wait for a shard; handshakes and small errands come beside the buffers.
pub(crate) const PARCELS: usize = 128;
/// Parcels of other shards taken between two looks at the shard's own packets.
pub(crate) const PARCEL_BUDGET: usize = 16;
/// Endpoints per second that sent data nobody can place and of which a shard tells the others.
pub(crate) const NUDGES_PASSED_PER_SECOND: u32 = 100;
/// Such endpoints told at once.
pub(crate) const NUDGES_PASSED_BURST: u32 = 50;

/// Kernel buffer of the UDP sockets. A 64 KiB train is charged in full, the default of 208 KiB holds three.
pub(crate) const SOCKET_BUFFER: usize = 8 << 20;

/// Packets the kernel keeps for a device that we have not read yet; super-packets count once.
pub(crate) const DEVICE_QUEUE: u32 = 500;

/// Bytes of one line on the control socket of `lacis-tunnel`: the longest that has a meaning is a key of 80.
pub(crate) const UAPI_LINE: u64 = 256;
/// Bytes of one request on that socket: ten thousand peers with twenty prefixes each take half of it.
pub(crate) const UAPI_REQUEST: usize = 16 << 20;
/// Clients of that socket at once; each has a thread.
pub(crate) const UAPI_CLIENTS: usize = 16;
/// Silence after which a client of that socket is let go.
pub(crate) const UAPI_PATIENCE: Duration = Duration::from_secs(60);
