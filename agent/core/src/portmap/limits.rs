//! Every number of port mapping, each with its reason.

use std::time::Duration;

/// Where PCP and NAT-PMP are answered (RFC 6887 §19, RFC 6886 §3).
pub const SERVER_PORT: u16 = 5351;

/// The lease asked for, in seconds: what RFC 6886 §3.3 recommends. A mapping that nobody removes is gone by then.
pub const LEASE_S: u32 = 7_200;

/// Waits after each question. RFC 6886 §3.1 begins with 250 ms and doubles nine times; a gateway is one hop away,
/// and nobody waits for the result.
pub const LADDER: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_millis(1_000)];

/// Shortest time to a renewal: a gateway that grants leases of a second is not asked every half of it.
pub const MIN_RENEWAL: Duration = Duration::from_secs(30);

/// Longest time to a renewal: a gateway that has restarted without a word, and without a link that went down, is
/// found out within this.
pub const MAX_RENEWAL: Duration = Duration::from_secs(600);

/// Where nobody maps ports, all is tried again after this: somebody may have switched it on.
pub const ASK_AGAIN: Duration = Duration::from_secs(600);

/// Other ports outside that are tried where the wanted one is somebody else's.
pub const MAX_CONFLICTS: u16 = 4;

/// A gateway whose clock lags behind ours by more than this, and a sixteenth, has restarted (RFC 6887 §8.5).
pub const EPOCH_SLACK_S: u64 = 2;

/// Longest text of a device that is read: descriptions of gateways have 5 to 20 KB.
pub const MAX_TEXT: usize = 64 << 10;

/// Longest address path on a gateway that is believed.
pub const MAX_PATH: usize = 256;
