//! Finds the ways to peers: joins the path agent and the lease client with the tunnel.
//!
//! ```text
//! tunnel events ─┐                                  ┌─▶ ways, leases, datagrams ─▶ tunnel
//! records, maps ─┼─▶ Finder: Paths ◀─ leases ─ Relays
//! signals ───────┘                                  └─▶ errands ─▶ event loop: signals, reports, the disk
//! ```
//! Nothing is decided here: an event goes to the machine that it concerns, and their actions are performed until there
//! are none. What needs more than the tunnel becomes an [`Errand`] for the event loop.

mod candidates;
mod convert;
mod count;
mod nat64;
mod sleep;
mod tls;
mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use lacis_agent_core::{
    LastGood, Nat64, Nat64Prefix, PathAction, PathEvent, Paths, PathsBoot, PeerWays, RelayAction, RelayEvent,
    RelayLease, RelayWay, Relays, RelaysBoot, RemotePeer, Seed, Shared, Way,
};
use lacis_proto::{Endpoint, GroupId, PeerId, PublicKey, RecordId, RelayHome, RelayId, relay};
use lacis_tunnel::{Command, Lease, NetworkId};

pub(crate) use self::convert::from_tunnel;
pub(crate) use self::tls::Bridges;
use self::{candidates::Own, sleep::Sleep, tls::Bridge};
use crate::overlay::Overlay;

/// The first byte of path frames.
const PATH_FRAME: u8 = 0x0D;

/// Relays that do not answer for so long are worth a word: UDP, TLS and a restart of control have had their time.
const RELAY_LACKED: Duration = Duration::from_secs(10);

/// What the event loop is to do.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Pass this on to a peer through control.
    Signal { group: GroupId, to: PeerId, payload: Vec<u8> },
    /// Tell control where peers find this node.
    Home(Vec<RelayHome>),
    /// Write to disk which direct paths worked.
    KeepLastGood,
}

/// What happened that concerns ways.
#[derive(Debug)]
pub(crate) enum Found {
    /// For the path agent.
    Path(PathEvent),
    /// For the lease client.
    Relay(RelayEvent),
    /// A datagram that is no message of WireGuard's.
    Datagram { way: Way, payload: Vec<u8> },
    /// A datagram could not be sent: the host knows no way there.
    Refused(SocketAddr),
    /// The host has other addresses.
    Moved,
    /// The host's resolver knows of a NAT64, or of none.
    Nat64(Option<Nat64Prefix>),
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Finder {
    paths: Paths,
    /// Whether the path agent takes part in birthday probing.
    birthday: bool,
    relays: Relays,
    /// MTU of the overlay.
    mtu: u16,
    /// Peers that the path agent knows.
    roster: BTreeMap<(GroupId, PublicKey), RemotePeer>,
    own: BTreeMap<GroupId, PublicKey>,
    candidates: Own,
    nat64: Nat64,
    leases: Vec<RelayLease>,
    /// The groups' names in the tunnel, as it was last told leases by.
    networks: BTreeMap<GroupId, NetworkId>,
    /// Since when no lease is held, though there are relays.
    without_lease: Option<Duration>,
    /// Changes of ways to peers since the start.
    moves: u64,
    ways: BTreeMap<(GroupId, PublicKey), PeerWays>,
    map: relay::Relays,
    errands: VecDeque<Errand>,
    bridges: Bridges,
    /// Connections over TLS, by relay.
    open: BTreeMap<RelayId, Bridge>,
    sleep: Sleep,
}

impl Finder {
    /// Starts with what earlier runs have left: paths that worked, and relays.
    pub(crate) fn new(
        seed: [u8; 32],
        unix_ms: u64,
        (mtu, birthday): (u16, bool),
        last_good: Vec<LastGood>,
        bridges: Bridges,
    ) -> Self {
        let spread = u64::from_be_bytes(*seed.first_chunk().expect("a seed is longer"));
        let seed = Seed(zeroize::Zeroizing::new(seed));
        Self {
            paths: Paths::new(PathsBoot { seed, boot: unix_ms, mtu, last_good, birthday }),
            birthday,
            mtu,
            relays: Relays::new(RelaysBoot { seed: spread, epoch_ms: unix_ms }),
            roster: BTreeMap::new(),
            own: BTreeMap::new(),
            candidates: Own::default(),
            nat64: Nat64::default(),
            leases: Vec::new(),
            networks: BTreeMap::new(),
            without_lease: None,
            moves: 0,
            ways: BTreeMap::new(),
            map: relay::Relays::default(),
            errands: VecDeque::new(),
            bridges,
            open: BTreeMap::new(),
            sleep: Sleep::default(),
        }
    }

    /// Lets the path agent start again, under a larger number of its start. It looks for the peers in use at once.
    pub(crate) fn begin_anew(&mut self, now: Duration, seed: [u8; 32], unix_ms: u64, overlay: &mut Overlay) {
        let last_good = self.paths.last_good();
        let seed = Seed(zeroize::Zeroizing::new(seed));
        let (boot, mtu, birthday) = (unix_ms, self.mtu, self.birthday);
        self.paths = Paths::new(PathsBoot { seed, boot, mtu, last_good, birthday });
        overlay.tunnel.close_all_auxiliary();
        let in_use = std::mem::take(&mut self.ways);
        for peer in self.roster.values() {
            self.paths.handle(now, PathEvent::Peer(peer.clone()));
        }
        self.paths.handle(now, PathEvent::Nat(self.relays.view().nat));
        self.paths.handle(now, PathEvent::Nat64(self.nat64.prefix()));
        self.tell_candidates(now);
        self.tell_leases(now, overlay);
        for (group, key) in in_use.into_keys() {
            self.paths.handle(now, PathEvent::Wanted { group, key });
        }
        self.drain(now, overlay);
    }

    /// Takes in what happened, and does what follows from it.
    pub(crate) fn take(&mut self, now: Duration, found: Found, overlay: &mut Overlay) {
        match found {
            Found::Path(event) => {
                if matches!(event, PathEvent::Silent { .. }) {
                    self.relays.handle(now, RelayEvent::Suspect);
                }
                self.paths.handle(now, event);
            }
            Found::Relay(event) => self.relays.handle(now, event),
            Found::Datagram { way, payload } if payload.first() == Some(&PATH_FRAME) => {
                self.paths.handle(now, PathEvent::Frame { way, payload });
            }
            Found::Datagram { way, payload } => {
                self.relays.handle(now, RelayEvent::Frame { from: way.remote, payload });
            }
            Found::Refused(to) => {
                self.relays.handle(now, RelayEvent::Refused { to });
                self.paths.handle(now, PathEvent::Refused { to });
            }
            Found::Moved => {
                self.relays.handle(now, RelayEvent::NetworkChanged);
                self.paths.handle(now, PathEvent::NetworkChanged);
                self.look_for_nat64(now);
            }
            Found::Nat64(prefix) => {
                if self.nat64.answered(now, prefix) {
                    self.use_nat64(now);
                }
            }
        }
        self.drain(now, overlay);
    }

    /// When [`Finder::tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let machines = [self.paths.deadline(), self.relays.deadline(), self.nat64.deadline()];
        machines.into_iter().flatten().min()
    }

    /// The deadline has come, or has not: that costs nothing.
    pub(crate) fn tick(&mut self, now: Duration, overlay: &mut Overlay) {
        if let Some(asleep) = sleep::uptime().and_then(|uptime| self.sleep.look(now, uptime)) {
            tracing::info!(asleep_s = asleep.as_secs(), "this host slept; every way is tried anew");
            self.relays.handle(now, RelayEvent::NetworkChanged);
            self.paths.handle(now, PathEvent::Resumed { asleep });
        }
        self.relays.handle(now, RelayEvent::Tick);
        self.paths.handle(now, PathEvent::Tick);
        self.ask_for_nat64(now);
        self.drain(now, overlay);
    }

    /// These relays there are, and these tokens for them.
    pub(crate) fn use_relays(&mut self, now: Duration, map: relay::Relays, overlay: &mut Overlay) {
        self.map = map;
        self.look_for_leases(now);
        self.tell_map(now);
        self.drain(now, overlay);
    }

    /// This node may be reached at these addresses, as far as it knows itself. Returns whether that is news.
    pub(crate) fn reachable_at(
        &mut self,
        now: Duration,
        endpoints: &[Endpoint],
        overlay: &mut Overlay,
    ) -> bool {
        let is_news = self.candidates.set_endpoints(endpoints);
        if is_news {
            self.tell_candidates(now);
            self.look_for_nat64(now);
            self.drain(now, overlay);
        }
        is_news
    }

    /// Whether no relay has answered for a while, though there are some.
    pub(crate) fn lacks_relay(&self, now: Duration) -> bool {
        self.without_lease.is_some_and(|since| since + RELAY_LACKED <= now)
    }

    fn look_for_leases(&mut self, now: Duration) {
        let lacking = self.leases.is_empty() && !self.map.relays.is_empty() && !self.map.tokens.is_empty();
        self.without_lease = lacking.then(|| self.without_lease.unwrap_or(now));
    }

    /// The next thing that the event loop is to do.
    pub(crate) fn next_errand(&mut self) -> Option<Errand> {
        self.errands.pop_front()
    }

    /// Direct paths that worked.
    pub(crate) fn last_good(&self) -> Vec<LastGood> {
        self.paths.last_good()
    }

    /// These peers there are: this node's own key in each group, and others that run an agent. The tunnel knows them.
    pub(crate) fn peers(
        &mut self,
        now: Duration,
        own: BTreeMap<GroupId, PublicKey>,
        peers: BTreeMap<(GroupId, PublicKey), RemotePeer>,
        overlay: &mut Overlay,
    ) {
        let networks = own.keys().filter_map(|group| Some((group.clone(), overlay.network_of(group)?)));
        let networks = networks.collect();
        if self.networks != networks {
            // An interface was made anew: the tunnel has forgotten the leases of its group.
            self.networks = networks;
            self.tell_leases(now, overlay);
        }
        if self.own != own {
            self.own.clone_from(&own);
            self.relays.handle(now, RelayEvent::Own(own));
        }
        let before = std::mem::replace(&mut self.roster, peers);
        for (group, key) in before.keys().filter(|name| !self.roster.contains_key(*name)).cloned() {
            self.ways.remove(&(group.clone(), key));
            self.paths.handle(now, PathEvent::PeerGone { group, key });
        }
        let changed = self.roster.iter().filter(|(name, peer)| before.get(*name) != Some(*peer));
        for (_, peer) in changed {
            self.paths.handle(now, PathEvent::Peer(peer.clone()));
        }
        self.drain(now, overlay);
    }

    /// The interface of a group is made anew: the tunnel has forgotten ways and leases of it.
    pub(crate) fn forget(&mut self, now: Duration, group: &GroupId, overlay: &mut Overlay) {
        let (gone, kept) = std::mem::take(&mut self.roster).into_iter().partition(|((of, _), _)| of == group);
        self.roster = kept;
        let gone: BTreeMap<(GroupId, PublicKey), RemotePeer> = gone;
        for (group, key) in gone.into_keys() {
            self.ways.remove(&(group.clone(), key));
            self.paths.handle(now, PathEvent::PeerGone { group, key });
        }
        self.drain(now, overlay);
    }

    /// Performs actions of both machines until there are none.
    fn drain(&mut self, now: Duration, overlay: &mut Overlay) {
        loop {
            if let Some(action) = self.relays.poll() {
                self.perform_relay(now, action, overlay);
            } else if let Some(action) = self.paths.poll() {
                self.perform_path(now, action, overlay);
            } else {
                return;
            }
        }
    }

    fn perform_relay(&mut self, now: Duration, action: RelayAction, overlay: &Overlay) {
        match action {
            RelayAction::Send { to, payload } => {
                let way = lacis_tunnel::Way::straight(to);
                // A full mailbox is like a full network: what is lost is sent again.
                let _ = overlay.tunnel.send(Command::SendTo { way, payload, ttl: None, whole: false });
            }
            RelayAction::Agree { group, relay } => {
                let shared = overlay.agree(&group, &relay).map(Shared);
                self.relays.handle(now, RelayEvent::Agreed { group, relay, shared });
            }
            RelayAction::Leases(leases) => {
                self.leases = leases;
                self.look_for_leases(now);
                self.tell_leases(now, overlay);
            }
            RelayAction::Outside { addresses, nat } => {
                self.candidates.outside = addresses;
                self.paths.handle(now, PathEvent::Nat(nat));
                self.tell_candidates(now);
            }
            RelayAction::PeerUnknown { remote, lease, address } => {
                self.paths.handle(now, PathEvent::PeerUnknown { way: Way::relayed(remote, lease, address) });
            }
            RelayAction::OpenTls { relay, urls, pins } => {
                let bridge = self.bridges.open(relay.clone(), urls, pins);
                self.open.insert(relay, bridge);
            }
            RelayAction::CloseTls { relay } => drop(self.open.remove(&relay)),
            RelayAction::Home(homes) => self.errands.push_back(Errand::Home(homes)),
        }
    }

    fn perform_path(&mut self, now: Duration, action: PathAction, overlay: &mut Overlay) {
        match action {
            PathAction::Send { way, payload, ttl, whole } => {
                let way = convert::to_tunnel(way);
                let _ = overlay.tunnel.send(Command::SendTo { way, payload, ttl, whole });
            }
            PathAction::Signal { group, to, payload } => {
                self.errands.push_back(Errand::Signal { group, to, payload });
            }
            PathAction::SetWays { group, key, ways } => {
                if let Some(network) = overlay.network_of(&group) {
                    let ways = convert::ways(&ways);
                    overlay.command(Command::SetWays { network, key: *key.as_bytes(), ways });
                }
                self.ways.insert((group, key), ways);
            }
            PathAction::Agree { group, key } => {
                let shared = overlay.agree(&group, &key).map(Shared);
                self.paths.handle(now, PathEvent::Agreed { group, key, shared });
            }
            PathAction::Initiate { group, key } => overlay.initiate(&group, &[(key, None)].into()),
            PathAction::CountFlows => self.count_flows(),
            PathAction::OpenSockets { group, key, count } => {
                let opened = overlay.tunnel.open_auxiliary(*key.as_bytes(), count);
                if opened.len() < count {
                    let opened = opened.len();
                    tracing::warn!(%group, count, opened, "descriptors are short, birthday probing opens fewer sockets");
                }
                let sockets = opened.into_iter().map(convert::socket_from_tunnel).collect();
                self.paths.handle(now, PathEvent::SocketsOpened { group, key, sockets });
            }
            PathAction::CloseSockets(sockets) => {
                let sockets: Vec<_> = sockets.into_iter().filter_map(convert::socket_to_tunnel).collect();
                overlay.tunnel.close_auxiliary(&sockets);
            }
            PathAction::NeedRelay { relay, .. } => {
                if let Ok(relay) = RelayId::parse(relay.as_str()) {
                    self.relays.handle(now, RelayEvent::Wanted(relay));
                }
            }
            PathAction::KeepLastGood => self.errands.push_back(Errand::KeepLastGood),
            PathAction::Moved { group, peer, from, to } => {
                self.moves += 1;
                let shown = |way: Option<Way>| way.map_or_else(|| "none".to_owned(), |way| way.to_string());
                tracing::debug!(%group, %peer, from = shown(from), to = shown(to), "the way to a peer changed");
            }
        }
    }

    /// Has flows opened and counted, beside the loop.
    fn count_flows(&self) {
        let prefix = self.nat64.prefix();
        let of_v4 = |relay: &relay::RelayEntry| {
            let servers = relay.stun.iter().filter(|server| server.is_ipv4());
            let servers = servers.map(|server| prefix.map_or(*server, |prefix| prefix.lead_to(*server)));
            servers.take(count::FLOWS).collect::<Vec<SocketAddr>>()
        };
        let servers = self.map.relays.iter().map(of_v4).find(|servers| servers.len() == count::FLOWS);
        let (Some(servers), found) = (servers, self.bridges.found.clone()) else { return };
        tokio::spawn(async move {
            let seen = count::count(servers).await;
            // The loop has ended: nobody waits for it.
            let _ = found.send(Found::Path(PathEvent::Counted { seen })).await;
        });
    }

    fn tell_candidates(&mut self, now: Duration) {
        self.paths.handle(now, PathEvent::OwnCandidates(self.candidates.all()));
    }

    /// Tells who needs to know which leases are held: the tunnel all of them, the path agent those that work.
    fn tell_leases(&mut self, now: Duration, overlay: &Overlay) {
        let of_tunnel = self.leases.iter().filter_map(|lease| {
            let network = overlay.network_of(&lease.group)?;
            Some(Lease { relay: lease.remote, lease: lease.lease, network })
        });
        overlay.command(Command::SetLeases(of_tunnel.collect()));
        let only_doubtful =
            |group: &GroupId| self.leases.iter().all(|lease| lease.group != *group || lease.doubtful);
        let usable = self.leases.iter().filter(|lease| !lease.doubtful || only_doubtful(&lease.group));
        let ways = usable.map(|lease| RelayWay {
            relay: RecordId::from(&lease.relay),
            group: lease.group.clone(),
            remote: lease.remote,
            lease: lease.lease,
            rtt: lease.rtt,
            tls: lease.tls,
        });
        self.paths.handle(now, PathEvent::Relays(ways.collect()));
    }
}
