//! Every number of the lease client, each with its reason.

use std::time::Duration;

/// A lease is refreshed at least so often: the shortest common time after which NATs forget a UDP mapping is 30 s.
pub const REFRESH_EVERY: Duration = Duration::from_secs(25);

/// By so much a refresh may come earlier, so that the leases of many nodes do not fall into step.
pub const REFRESH_SPREAD: Duration = Duration::from_millis(2_500);

/// Over TLS nothing forgets that soon: proxies keep an idle connection for a minute.
pub const TLS_REFRESH_EVERY: Duration = Duration::from_secs(50);

/// Waits between hellos that nobody answers: one lost datagram costs little, and a network without UDP is found out
/// within the first second. Afterwards the wait doubles.
pub const HELLO_WAITS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];

/// Longest wait between hellos that nobody answers, and between looks whether UDP works again beside TLS.
pub const UDP_AGAIN: Duration = Duration::from_secs(60);

/// The connection over TLS is begun when UDP has been silent for so long: a round trip over most of the world.
pub const TLS_AFTER: Duration = Duration::from_millis(300);

/// A connection over TLS stays for so long after UDP is back: what came back once may go again.
pub const TLS_KEPT: Duration = Duration::from_secs(60);

/// Waits between refreshes that nobody answers; after the last one the lease counts as lost. Together they leave a
/// relayed pair its three seconds when its relay dies.
pub const REFRESH_WAITS: [Duration; 3] =
    [Duration::from_millis(400), Duration::from_millis(600), Duration::from_millis(1000)];

/// What all waits for an answer to a refresh add up to: an address that has answered since is not lost.
pub const LOST_AFTER: Duration = Duration::from_millis(2_000);

/// Relays are suspected at most so often, however many peers are silent.
pub const SUSPECT_EVERY: Duration = Duration::from_secs(1);

/// A relay that says it does not know us is believed at most so often: anybody can say so.
pub const NOT_BOUND_EVERY: Duration = Duration::from_millis(200);

/// Hellos and refreshes whose answer may still come; older ones are forgotten.
pub const MAX_ASKED: usize = 8;

/// Most relays of a map that are looked at.
pub const MAX_RELAYS: usize = 32;

/// Most UDP addresses of one relay that are tried: two ports over both families.
pub const MAX_ADDRESSES: usize = 4;

/// Most relays that are measured beside home and backup in a round, once there is a home; then others have their turn.
pub const MAX_MEASURED: usize = 8;

/// Relays are measured so often: distances change rarely, and a round costs a datagram for each.
pub const MEASURE_EVERY: Duration = Duration::from_secs(300);

/// Answers of a round come within this, or the relay counts as dead for it.
pub const MEASURE_WAIT: Duration = Duration::from_secs(1);

/// A home moves only for a relay that is nearer by this …
pub const HOME_GAIN: Duration = Duration::from_millis(10);

/// … and by this share of the former distance, in percent, …
pub const HOME_GAIN_PERCENT: u32 = 20;

/// … in so many rounds in a row.
pub const HOME_ROUNDS: u32 = 2;

/// A lease at a relay that is only some peer's home is kept for so long after it was last wanted: the life of an idle
/// tunnel (DESIGN ruling 13).
pub const GUEST_FOR: Duration = Duration::from_secs(300);

/// Most relays where leases are held for the sake of peers: home and backup of peers in eight places.
pub const MAX_GUESTS: usize = 16;

/// STUN requests go out at these moments after a change (nat-traversal §4); then nobody is waited for.
pub const STUN_WAITS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(700)];

/// Most STUN addresses that are asked: the three ports of a server, in both families.
pub const MAX_STUN: usize = 6;

/// Most observers whose word is kept.
pub const MAX_SIGHTINGS: usize = 16;

/// A relay that goes away is left within this, spread over its clients (nat-traversal §3.3).
pub const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// A round trip that differs by less than this, or by a fifth, is no news.
pub const RTT_NEWS: Duration = Duration::from_millis(2);
