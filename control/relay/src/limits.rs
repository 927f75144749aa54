//! Every number of the relay, with its reason.

use std::time::Duration;

use lacis_proto::relay::REVOCATION_BYTES;

/// What an operator may set.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most leases. A lease takes less than 512 bytes, so that the default is 128 MB at worst.
    pub leases: u32,
    /// Most leases of one group, lest one fills the relay.
    pub leases_of_group: u32,
    /// Bytes per second that one lease may send; 0 for as many as there is room for. Holds for tokens of class 0 and of
    /// classes that nothing is said of, as the next.
    pub bytes_per_second: u64,
    /// Bytes per second that all leases of a group may send together; 0 for as many as there is room for.
    pub group_bytes_per_second: u64,
    /// The same for tokens of class 1 and on.
    pub classes: [Option<ClassRate>; CLASSES],
    /// HELLO and REFRESH frames per second from one source address, of which twice as many may come at once: a whole
    /// office behind one NAT that comes back after a power cut, 100 members within a second or two.
    pub hellos_per_second: u32,
    /// STUN requests and probes per second from one source address (nat-traversal: 100 answers).
    pub probes_per_second: u32,
}

/// What tokens of one class may send, in bytes per second; 0 for as many as there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRate {
    /// One lease.
    pub bytes_per_second: u64,
    /// All leases of its group together.
    pub group_bytes_per_second: u64,
}

/// Rate classes beside class 0: more than anybody sells.
pub const CLASSES: usize = 7;

impl Default for Limits {
    fn default() -> Self {
        Self {
            leases: 262_144,
            leases_of_group: 65_536,
            bytes_per_second: 0,
            group_bytes_per_second: 0,
            classes: [None; CLASSES],
            hellos_per_second: 100,
            probes_per_second: 100,
        }
    }
}

/// Bits of a lease's number that say where it stands in the slab: a million leases, and 12 bits of generation, so that
/// a place is reused 4,095 times before an old number means something again.
pub(crate) const PLACE_BITS: u32 = 20;

/// How far a first HELLO's counter, its sender's clock, may be from ours without a cookie. Less than the life of a
/// lease: a HELLO that is replayed after its lease has gone needs a cookie, too.
pub(crate) const FRESH_MS: u64 = 60_000;

/// How far clocks of control and relay may differ when a token begins or ends to be valid.
pub(crate) const TOKEN_SLACK_MS: u64 = 5 * 60_000;

/// A cookie is good in the period it was made in and in the next.
pub(crate) const COOKIE_PERIOD: Duration = Duration::from_secs(60);

/// HELLOs that wait at the desk. One costs 100 µs at most, so the last of them waits for 50 ms.
pub(crate) const HELLOS: usize = 512;

/// From so many on the desk counts as busy, and a HELLO needs a cookie to get into the queue.
pub(crate) const BUSY: usize = 64;

/// Other frames that wait at the desk. One costs 2 µs.
pub(crate) const REFRESHES: usize = 4_096;

/// Buckets by source address, for each worker. Two sources share a bucket with a chance of 1 in 4,096.
pub(crate) const SOURCES: usize = 4_096;

/// NOT_BOUND and PEER_UNKNOWN frames per second to one source address: a member acts on the first.
pub(crate) const REFUSALS_PER_SECOND: u32 = 20;

/// How long a lease or a group may send faster than its rate.
pub(crate) const BURST: Duration = Duration::from_millis(300);

/// How often leases that have ended are looked for.
pub(crate) const SWEEP: Duration = Duration::from_secs(5);

/// Ends that one lease may block at a time. More are of no use: who is that unloved leaves the group.
pub(crate) const BLOCKS: usize = 4;

/// Revocations that a relay keeps: those of the last 30 days, the life of a token.
pub(crate) const REVOCATIONS: usize = 100_000;

/// Revocations that are written to disk at once before they are answered: one flush costs milliseconds, and control
/// waits for three seconds.
pub(crate) const REVOCATIONS_AT_ONCE: usize = 256;

/// Longest file of revocations before those that are over are taken out: twice as many as are kept.
pub(crate) const REVOCATIONS_FILE: u64 = 2 * (REVOCATIONS * REVOCATION_BYTES) as u64;

/// Messages that one call receives, each up to 64 KiB of merged datagrams.
pub(crate) const RECEIVE_SLOTS: usize = 16;

/// The bits of a traffic class that routers may change (RFC 3168 §5); the others stay before the relay.
pub(crate) const ECN: u8 = 3;

/// Datagram runs that one call sends: two for each message of a call, before the queue is handed over early.
pub(crate) const SENDS: usize = 2 * RECEIVE_SLOTS;

/// Bytes of socket buffers: 40 ms at 1 Gbit/s, asked for by force where privileged.
pub(crate) const SOCKET_BUFFER: usize = 4 << 20;

/// Most workers: beyond, one network card's queues are the limit.
pub(crate) const WORKERS: usize = 8;

/// Members come back after a GOAWAY at moments spread over so long, lest all come at once.
pub const COME_BACK: Duration = Duration::from_secs(3);

/// Members behind TLS at once. Each has a descriptor, and 40 KB in the process.
pub(crate) const TLS_CLIENTS: usize = 8_000;

/// How long a member that sends faster than it may is not read from: a tenth of the burst or less.
pub(crate) const TLS_PAUSE: Duration = Duration::from_millis(10);
