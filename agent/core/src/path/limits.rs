//! Every number of the path agent, each with its reason.

use std::time::Duration;

/// Ways that the first initiation goes to: a relay and its backup, and four addresses; more would look like a scan.
pub const MAX_GREET: usize = 6;

/// Of these, ways through relays: the best one and its backup.
pub const MAX_GREET_RELAYS: usize = 2;

/// An agent of a peer is dropped when nothing has happened for so long: as long as tunnels live without traffic.
pub const IDLE_AFTER: Duration = Duration::from_secs(300);

/// An agent that frames have called up, none of which was authentic, is kept for so long with its keys: a forger costs
/// one agreement a minute for each peer that it can name.
pub const CALLED_FOR: Duration = Duration::from_secs(60);

/// A peer is in use while data left for it in so long a time; five reports of the tunnel.
pub const IN_USE_FOR: Duration = Duration::from_secs(10);

/// A direct path that once worked is tried first for so long: a week without control, and a day (DESIGN ruling 18).
pub const LAST_GOOD_FOR: Duration = Duration::from_secs(8 * 24 * 3600);

/// Most direct paths remembered over restarts: about 100 bytes each on disk.
pub const MAX_LAST_GOOD: usize = 4_096;

/// Direct paths that worked are written to disk at most so often.
pub const KEEP_EVERY: Duration = Duration::from_secs(60);

/// Data packets that go both ways after a switch: at 200 packets a second the new way is then proven by them, too.
pub const ALSO_FOR: u32 = 10;

/// Candidates that one message offers: with the longest addresses it stays below 600 bytes.
pub const MAX_OFFERED: usize = 16;

/// Of these, addresses of interfaces: more are bridges and leftovers.
pub const MAX_OFFERED_HOSTS: usize = 8;

/// Relays whose distance one message tells: home and backup of both ends.
pub const MAX_OFFERED_RELAYS: usize = 4;

/// Addresses that are kept of a peer: what it may offer, what its record says, and what probes came from.
pub const MAX_CANDIDATES: usize = 24;

/// Of these, sources of probes that nobody had offered: one per NAT on the way, and room for a move.
pub const MAX_PEER_REFLEXIVE: usize = 4;

/// Relays that are considered for a peer: all of a map of usual size that this node has leases at.
pub const MAX_RELAYS: usize = 8;

/// Frames that wait for the agreement with a peer: one exchange and its repetition.
pub const MAX_WAITING: usize = 4;

/// Probes whose answers are waited for on one path: twelve of a ladder, and some of a doubt.
pub const MAX_PENDING: usize = 16;

/// Ports that are predicted for a NAT that counts: the flows to a peer's other candidates take some of them.
pub const PREDICTED_PORTS: i32 = 8;

/// Ports at which a counted flow is expected: the flows to a peer's other addresses, and of others, lie in between.
pub const EXPECTED_PORTS: i32 = 8;

/// Ports of flows that were opened at once lie at most so far apart where a NAT counts; of 64,000 that are drawn, three lie
/// so near once in a million times.
pub const STEPS_APART: u16 = 32;

/// Flows are counted so long after those to the peer were opened: they have left by then, on whatever thread.
pub const COUNT_AFTER: Duration = Duration::from_millis(5);

/// So long an answer to a count is waited for before probes begin without one: observers are as near as relays.
pub const COUNT_TAKES: Duration = Duration::from_millis(150);

/// When the first probes of a candidate leave, in milliseconds: dense while the peer begins, then sparse.
pub const LADDER_MS: [u64; 7] = [0, 20, 50, 100, 200, 400, 800];

/// After the dense ones a candidate is probed so often.
pub const LADDER_STEP: Duration = Duration::from_secs(1);

/// Probes of a candidate in one round: five seconds, in which a lossy path answers at least once.
pub const LADDER_LEN: u8 = 12;

/// Probes of a known candidate in a search for something better: nothing hangs on it.
pub const SEARCH_LEN: u8 = 3;

/// A better path is looked for so often.
pub const SEARCH_EVERY: Duration = Duration::from_secs(60);

/// No better path is looked for where the round trip is this short.
pub const GOOD_ENOUGH: Duration = Duration::from_millis(5);

/// Probes that discover, a second, of the whole agent: a busy hub that restarts must not look like a scan.
pub const DISCOVERY_RATE: u32 = 200;

/// Agreements a second that frames of peers nobody uses may cost: 5 ms of one core.
pub const CALLED_RATE: u32 = 50;

/// Peers that are probed for at the same time; the others stay on their relay a moment longer.
pub const MAX_ROUNDS: usize = 256;

/// A round that found no place is tried again after this.
pub const ROUND_POSTPONED: Duration = Duration::from_secs(1);

/// The second round, after the first one: 97.6 % of meetings succeed at once, this one is for lost packets.
pub const SECOND_ROUND_AFTER: Duration = Duration::from_secs(2);

/// The third round, after the second one.
pub const THIRD_ROUND_AFTER: Duration = Duration::from_secs(8);

/// Silence at the beginning of the third round: a clashed mapping of Linux lives for 30 s after the last probe.
pub const CLASH_SILENCE: Duration = Duration::from_secs(35);

/// Later rounds follow after this, then twice as much.
pub const LATER_ROUND_AFTER: Duration = Duration::from_secs(60);

/// Longest pause between rounds.
pub const LATER_ROUND_MAX: Duration = Duration::from_secs(600);

/// Shortest time between two rounds, whatever happens: a flapping interface starts one a second.
pub const ROUND_SPACING: Duration = Duration::from_secs(1);

/// From the second round on, both ends wait at least this, so that an opener can leave before.
pub const LATER_WAIT: Duration = Duration::from_millis(40);

/// An opener leaves so long before the probes: it has passed this node's NAT when they follow.
pub const OPENER_BEFORE: Duration = Duration::from_millis(30);

/// Hops of an opener: beyond this node's own routers and short of the peer's NAT.
pub const OPENER_TTL: u8 = 4;

/// Birthday probing begins once a pair has been relayed for so long, in use: most calls and pages are over by then.
pub const BIRTHDAY_RELAYED: Duration = Duration::from_secs(30);

/// It begins as well once so many bytes went through the relay: then a relay's bandwidth is worth a thousand probes.
pub const BIRTHDAY_BYTES: u64 = 10_000_000;

/// Sockets that the end behind the harder NAT opens in the first attempt and in the second: with `BIRTHDAY_PROBES`, 64 %
/// and 98 % succeed.
pub const BIRTHDAY_SOCKETS: [usize; 2] = [64, 256];

/// Probes of the other end in one attempt, each to another port.
pub const BIRTHDAY_PROBES: usize = 1_024;

/// Probes of it leave so often, `BIRTHDAY_AT_ONCE` together: three quarters of `DISCOVERY_RATE`, the rest is for others.
pub const BIRTHDAY_EVERY: Duration = Duration::from_millis(20);

/// Probes that leave together.
pub const BIRTHDAY_AT_ONCE: usize = 3;

/// In the second attempt sockets are opened so much later than probes begin to leave: all of them have left, and no NAT
/// has forgotten them.
pub const BIRTHDAY_HEAD_START: Duration = Duration::from_millis(7_500);

/// An attempt is over after this: head start, two seconds of packets from 256 sockets, and answers.
pub const BIRTHDAY_LASTS: Duration = Duration::from_secs(12);

/// The second attempt follows the first after this: what clashed in a NAT is forgotten (`CLASH_SILENCE`).
pub const BIRTHDAY_AGAIN: Duration = Duration::from_secs(40);

/// A pair rests for so long after both attempts failed: a NAT that could not be met will hardly be met soon.
pub const BIRTHDAY_REST: Duration = Duration::from_secs(3_600);

/// A peer that does not answer a call is called again after this: it rests, or is at work with another one.
pub const BIRTHDAY_CALL_AGAIN: Duration = Duration::from_secs(60);

/// Half the round trip to a peer through a relay where nothing is known of it.
pub const USUAL_HALF: Duration = Duration::from_millis(75);

/// Longest half round trip that is believed: a relay on the other side of the world.
pub const MAX_HALF: Duration = Duration::from_millis(500);

/// An exchange is repeated at the earliest after this.
pub const EXCHANGE_AGAIN: Duration = Duration::from_millis(250);

/// How often an exchange is sent in one round: each time with one more carrier.
pub const EXCHANGE_TRIES: u8 = 4;

/// Answers in a row that a path must give before data goes there: one may be a fluke of a NAT that forgets.
pub const CONFIRMED: u8 = 2;

/// Within a tier, a path must be better by this much, or by a fifth if that is more.
pub const HYSTERESIS: Duration = Duration::from_millis(5);

/// IPv6 counts as so much faster: no NAT will forget it.
pub const V6_BONUS: Duration = Duration::from_millis(3);

/// Of the last 16 probes so many lost, a quarter, count as one tier worse.
pub const LOSSY: u32 = 4;

/// A direct path loses to a relay that is three times as fast, by at least this.
pub const DETOUR_BY: Duration = Duration::from_millis(50);

/// It loses after so long.
pub const DETOUR_FOR: Duration = Duration::from_secs(30);

/// The path in use is probed so often, while data leaves.
pub const HEARTBEAT: Duration = Duration::from_secs(3);

/// A probe without an answer is lost after this, or four round trips.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The same where no round trip is known: satellites take 600 ms.
pub const FIRST_PATIENCE: Duration = Duration::from_secs(3);

/// When probes as long as a packet leave, in milliseconds: one of three arrives where a third of all is lost, almost always.
pub const SOUND_MS: [u64; 3] = [0, 100, 300];

/// Answers to the last of them are waited for so long.
pub const SOUND_PATIENCE: Duration = Duration::from_millis(400);

/// A path that is wide is sounded again at most so often, while data finds no answer.
pub const SOUND_EVERY: Duration = Duration::from_secs(5);

/// A path that is narrow is sounded again after this, as kernels do with what they learnt (RFC 1191 §6.3).
pub const SOUND_AGAIN: Duration = Duration::from_secs(600);

/// Lengths of packets that are tried where the longest do not pass: what jumbo frames, Ethernet, PPPoE, tunnels of others
/// and the least MTU of IPv6 leave.
pub const PACKET_LENGTHS: [u16; 7] = [8_000, 4_000, 1_460, 1_400, 1_360, 1_320, NARROWEST];

/// The shortest packet that every path must carry (RFC 8200 §5): the underlay cuts it where it has to.
pub const NARROWEST: u16 = 1_280;

/// The longest packet that is tried: the longest frame, less what a probe has around it.
pub const WIDEST: u16 = 9_000;

/// Bytes around a packet that WireGuard has sealed (WireGuard paper §5.4.6).
pub const SEALED_BY: u16 = 32;

/// When a path in doubt is probed, in milliseconds from the beginning of the doubt.
pub const DOUBT_MS: [u64; 4] = [0, 200, 400, 700];

/// A path that answers is looked at for somebody's word alone at most so often: a forger costs one doubt, four probes.
pub const ACCUSED_EVERY: Duration = Duration::from_secs(5);

/// A direct path that was not proven for so long is in doubt when it is used again: NATs forget after 30 s.
pub const STALE_AFTER: Duration = Duration::from_secs(20);

/// A probe says that its sender moved for so long after it did.
pub const MOVED_FOR: Duration = Duration::from_secs(10);

/// Slept for so long, nothing that was known of paths holds.
pub const SLEPT: Duration = Duration::from_secs(20);

/// An earlier start of a peer is believed when the later one has been quiet for so long.
pub const QUIET_START: Duration = Duration::from_secs(5);

/// An agent is woken at most so often, whatever it waits for.
pub const SHORTEST_SLEEP: Duration = Duration::from_millis(1);
