//! Every number that bounds what one installation holds or one call may bring, with its reason.

/// Owners of an installation: more than departments of a company, fewer than a platform's customers.
pub const MAX_OWNERS: usize = 1_000;

/// Groups of an installation: as many as the design is measured for.
pub const MAX_GROUPS: usize = 10_000;

/// Members of one group: as many as peers, the design's largest roster.
pub const MAX_MEMBERS: usize = 10_000;

/// Peers of one group: a snapshot of so many is 2 MB, which an agent still applies at once.
pub const MAX_PEERS: usize = 10_000;

/// Nodes of an installation: as many as the design is measured for.
pub const MAX_NODES: usize = 100_000;

/// Join tokens of one group, live or ended: a list that a person can still read page by page.
pub const MAX_JOIN_TOKENS: usize = 1_000;

/// API tokens of an installation: clients of management are people and pipelines, not machines by the thousand.
pub const MAX_API_TOKENS: usize = 1_000;

/// Longest label in characters: what the network-groups API allows.
pub const MAX_LABEL_CHARS: usize = 128;

/// Longest description in characters: fits the body of one call many times.
pub const MAX_DESCRIPTION_CHARS: usize = 1_024;

/// Groups that one API token may name: a list that a person can still read.
pub const MAX_TOKEN_GROUPS: usize = 100;

/// Deleted groups whose last revision is kept; a reader that holds an older one gets everything anew.
pub const MAX_DELETED_GROUPS: usize = 10_000;

/// Tags of one group.
pub const MAX_TAGS: usize = 32;

/// Longest host name in bytes (RFC 1035 §2.3.4).
pub const MAX_HOST_NAME_BYTES: usize = 253;

/// Longest instance name in bytes: room for a uuid with a word before it.
pub const MAX_INSTANCE_BYTES: usize = 128;

/// Longest version text of an agent in bytes.
pub const MAX_AGENT_BYTES: usize = 64;

/// How long a host number rests at least, in milliseconds: the TTL of every answer of the zone, so that
/// no cached name leads to another peer.
pub const HOST_REST_MS: u64 = 5_000;

/// Tombstones of one scope at most; readers that were away for more removals get everything once.
pub const MAX_TOMBSTONES: usize = 10_000;

/// Tombstones of one scope that are kept however little else it holds: more groups than a node is ever in, so that
/// a node that was away learns of each that it has lost.
pub const MIN_TOMBSTONES: usize = 1_000;

/// Host numbers of one group that may rest while there are some that nobody has had: beyond it the one that
/// rested longest is given, after so many others have gone, so that their list does not grow with every peer
/// that comes and goes.
pub const MAX_RESTING: usize = 1_000;

/// Attempts to make a label unique by a number behind it: more than members of a group can need.
pub const MAX_LABEL_NUMBER: usize = MAX_MEMBERS + 1;

/// Zone suffix of a group unless configured otherwise.
pub const DEFAULT_SUFFIX: &str = "lacis.internal";

/// Range that pools are taken from unless configured otherwise (ruling 6), by base and prefix: far from
/// the ranges that home routers and container engines take for themselves.
pub const SUPER_NET: (std::net::Ipv4Addr, u8) = (std::net::Ipv4Addr::new(10, 128, 0, 0), 9);

/// Prefix of a pool that control chooses: 128 of them fit the super-net, each with room for 65,530 peers.
pub const POOL_PREFIX: u8 = 16;

/// How long entries of the audit are kept unless configured otherwise, in milliseconds: somebody looks back a year, and a
/// month late.
pub const KEEP_AUDIT_MS: u64 = 400 * 24 * 60 * 60 * 1_000;

/// How long tokens and nodes that have ended are kept unless configured otherwise, in milliseconds: a quarter, in which
/// somebody who finds a machine of old still reads why it is not let in.
pub const KEEP_ENDED_MS: u64 = 90 * 24 * 60 * 60 * 1_000;

/// How long the join token of the first start may be used, in milliseconds: a day, as any token by default.
/// It is printed on a terminal, where it stays in sight.
pub const FIRST_TOKEN_MS: u64 = 24 * 60 * 60 * 1_000;

/// How long a relay token lives, in milliseconds: a node whose relay is not in control's process does without control
/// for 30 days (ruling 18).
pub const RELAY_TOKEN_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// Most tokens, uses of tokens, nodes or departures that ended and are forgotten by one commit: some 20 ms of the writer, in
/// which a join waits unnoticed. A first look at a database of years takes as many commits as it needs.
pub const FORGOTTEN_AT_ONCE: usize = 1_000;

/// Keys that are out and are remembered for relays: as many as a relay keeps.
pub const MAX_DEPARTED: usize = 100_000;

/// All relay tokens of one peer that are made within so long are the same, in milliseconds: a node that connects often
/// writes them to its disk once a day.
pub const RELAY_TOKEN_STEP_MS: u64 = 24 * 60 * 60 * 1_000;
