//! Every number of the path agent, each with its reason.

use std::time::Duration;

/// Ways that the first initiation goes to: a relay and its backup, and four addresses; more would look like a scan.
pub const MAX_GREET: usize = 6;

/// An agent of a peer is dropped when nothing has happened for so long: as long as tunnels live without traffic.
pub const IDLE_AFTER: Duration = Duration::from_secs(300);

/// A direct path that once worked is tried first for so long: a week without control, and a day (DESIGN ruling 18).
pub const LAST_GOOD_FOR: Duration = Duration::from_secs(8 * 24 * 3600);

/// Most direct paths remembered over restarts: about 100 bytes each on disk.
pub const MAX_LAST_GOOD: usize = 4_096;

/// Data packets that go both ways after a switch: at 200 packets a second the new way is then proven by them, too.
pub const ALSO_FOR: u32 = 10;
