//! Every number of the agent's rules, each with its reason.

use std::time::Duration;

/// MTU of an overlay interface: a packet of this size, relayed over IPv6, still fits 1500 (DESIGN ruling 14).
pub const DEFAULT_MTU: u16 = 1400;

/// TTL of every answer and negative answer, in seconds: an address may be given to another peer after it.
pub const DNS_TTL_S: u32 = 5;

/// Most addresses of one family in an answer: both families of so many fit one TCP message of 64 KiB.
pub const MAX_ADDRESSES: usize = 1_000;

/// How long a peer whose handshake went unanswered stands last in answers (DESIGN §6).
pub const DEMOTED_FOR: Duration = Duration::from_secs(30);

/// The resolver is asked for a NAT64 again after this: a network that has just come up has no resolver yet.
pub const NAT64_AGAIN: Duration = Duration::from_secs(5);

/// Longest pause between such questions: a network without a NAT64 rarely gets one.
pub const NAT64_AGAIN_MAX: Duration = Duration::from_secs(3_600);

/// Addresses of one name that are tried: with a quarter of a second between them all have begun within the patience of one.
pub const MAX_DIALED: usize = 8;

/// Connecting and the first line share this watchdog: three round trips over a bad satellite link.
pub const FIRST_LINE_WITHIN: Duration = Duration::from_secs(10);

/// A stream without a line for so many beats is dead: two lost beats may be a proxy's pause, three are not.
pub const SILENT_BEATS: u32 = 3;

/// Shortest beat that is believed, in seconds: three of it still cover a lost packet's retransmissions.
pub const MIN_BEAT_S: u32 = 2;

/// Longest beat that is believed, in seconds: longer, and a dead stream would go unnoticed for a quarter of an hour.
pub const MAX_BEAT_S: u32 = 300;

/// Shortest wait before any connection attempt: keeps every loop below five attempts a second.
pub const RETRY_MIN: Duration = Duration::from_millis(200);

/// Longest wait before the first attempt after a loss: control restarts within a second.
pub const FIRST_RETRY_MAX: Duration = Duration::from_secs(1);

/// Longest wait between attempts: a returned control has everybody back after five minutes.
pub const RETRY_MAX: Duration = Duration::from_secs(300);

/// Failures that a refusal which only a person can lift (revoked, too old) counts for at least:
/// attempts are then 64 s to 300 s apart.
pub const REFUSED_FAILURES: u32 = 8;

/// Failures that count at most once a stream has been in sync: the next wait is 16 s at most, so that ten thousand
/// agents of a control that dies again and again ask it a thousand times a second, which it can bear.
pub const SYNCED_FAILURES: u32 = 4;

/// In sync for so long, a stream has proven that control is well, and failures are forgotten.
pub const STEADY_AFTER: Duration = Duration::from_secs(60);

/// Offers of an older snapshot in the same epoch that are refused before one is taken: a lagging replica
/// catches up in that time, a control that lost its last commits never does.
pub const OLD_OFFERS_REFUSED: u32 = 3;

/// Changed endpoints are reported after this pause, because interfaces come up in bursts.
pub const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// Reports of changed endpoints are at least so far apart: a flapping interface costs control six commits a minute.
pub const REPORT_SPACING: Duration = Duration::from_secs(10);

/// Nobody has answered for so long after the first call in vain: two calls with their repetitions.
pub const UNANSWERED_AFTER: Duration = Duration::from_secs(10);

/// An answer, or a call in vain, says so much about the way for this long: the life of a session
/// (WireGuard paper §6.1).
pub const ANSWER_COUNTS: Duration = Duration::from_secs(180);

/// While control is away, peers that did not answer a call are called again after this: they may have been
/// restarting, and five minutes are as long as control itself may be asked for.
pub const CALL_AGAIN: Duration = Duration::from_secs(300);

/// Most peers called in one round: a site of so many finds itself again without control, and the tunnel paces them.
pub const MAX_CALLS: usize = 256;

/// Peers that are met, or new, at once are asked about together, after this: their nodes state their keys with the first
/// report. A peer that takes another key has stated it, and is asked about without a pause.
pub const PROOF_PAUSE: Duration = Duration::from_millis(200);

/// A proof that was not there is asked for again after twice this, then ever more rarely: a node states a new key
/// with its next report, a moment after control has the key.
pub const PROOF_AGAIN: Duration = Duration::from_secs(1);

/// A peer in doubt is asked about at least so often: a node that was upgraded states its key when it starts.
pub const PROOF_AGAIN_MAX: Duration = Duration::from_secs(300);

/// So many answers without the proof, over a quarter of a minute, are no accident.
pub const PROOF_TRIES: u32 = 4;

/// Most peers whose identity is remembered: two groups of the largest size. About 300 bytes each on disk.
pub const MAX_PINS: usize = 20_000;

/// Peers of a group that are gone from it and are still remembered, for their nodes may come back as other peers: a
/// few hundred machines that are made anew. More would grow with every instance that ever was, in memory and on disk.
pub const MAX_PINS_GONE: usize = 256;

/// A copy of this machine is told of for this long after it was last refused: a refused agent asks again sooner.
pub const COPY_COUNTS: Duration = Duration::from_secs(600);

/// Gateways of a group tell one another that they live this often.
pub const GATEWAY_BEAT: Duration = Duration::from_millis(500);

/// A gateway that was not heard for so long is gone: six beats, so that loss on the way is no death, and its clients
/// are called within five seconds.
pub const GATEWAY_SILENT: Duration = Duration::from_secs(3);

/// Most clients that one datagram between gateways tells of: it fits the least MTU of IPv6.
pub const GATEWAY_CLAIMS: usize = 20;

/// Most such datagrams in one beat: ten thousand clients are told of within a minute or so, for 90 kB/s.
pub const GATEWAY_DATAGRAMS: usize = 4;

/// Most notices that wait to be taken; later ones are counted only.
pub const MAX_NOTICES: usize = 64;

/// Most odd records of one netmap that are named; the rest is left out in silence, one report suffices.
pub const MAX_ODD: usize = 32;
