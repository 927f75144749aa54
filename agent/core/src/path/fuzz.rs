//! What fuzzing needs of the path agent, and nobody else does: what frames say without their seal, and frames of a peer
//! that says anything.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use lacis_proto::{GroupId, PeerId, PublicKey, RecordId};

use super::{
    Candidate, CandidateKind, Considered, Mapping, NatSummary, PathAction, PathEvent, Paths, PathsBoot,
    RelayWay, RemotePeer, Shared,
    body::Body,
    frame,
    keys::{PairKeys, tag_of},
    limits::{BIRTHDAY_SOCKETS, DISCOVERY_RATE, MAX_CANDIDATES, MAX_PEER_REFLEXIVE, MAX_RELAYS},
};
use crate::way::{Auxiliary, Way};

/// What a frame says is read or refused, and read again as it was written. The first byte is the type.
pub fn content(bytes: &[u8]) {
    let Some((number, content)) = bytes.split_first() else { return };
    let Some(body) = Body::read(*number, content) else { return };
    let mut written = Vec::new();
    body.write(&mut written);
    assert_eq!(Body::read(body.number(), &written), Some(body), "writing again changed the message");
}

/// A path agent survives whatever a peer and the tunnel say, in any order. Each event is three bytes, and a frame takes
/// the rest of its length from what follows.
pub fn machine(bytes: &[u8]) {
    let mut game = Game::new();
    let mut rest = bytes;
    while let [what, which, pause, after @ ..] = rest {
        rest = after;
        // The longest pause is beyond a sleep, the shortest is none.
        game.now += Duration::from_millis(u64::from(*pause).pow(2));
        if what % 16 < 6 {
            let (content, after) = rest.split_at(usize::from(*which % 64).min(rest.len()));
            rest = after;
            game.peer_says(*what, *which, content);
        } else {
            game.happens(*what, *which);
        }
        game.settle();
    }
}

/// One path agent with one peer.
struct Game {
    paths: Paths,
    now: Duration,
    group: GroupId,
    own: PublicKey,
    peer: PublicKey,
    seq: u64,
    /// Addresses that something came from; data may go to no other.
    heard: BTreeSet<SocketAddr>,
    /// Auxiliary sockets that were opened, and those that are open.
    sockets: u32,
    open: BTreeSet<Auxiliary>,
}

impl Game {
    fn new() -> Self {
        let key = |n| PublicKey::try_new([n; 32]).expect("it is not all zeroes");
        let mut game = Self {
            paths: Paths::new(PathsBoot { birthday: true, ..PathsBoot::default() }),
            now: Duration::from_secs(1),
            group: GroupId::from_random([1; 16]),
            own: key(1),
            peer: key(2),
            seq: 0,
            heard: BTreeSet::new(),
            sockets: 0,
            open: BTreeSet::new(),
        };
        let remote = RemotePeer {
            group: game.group.clone(),
            own: game.own,
            key: game.peer,
            peer: PeerId::from_random([2; 16]),
            address: 2,
            endpoints: Vec::new(),
            relays: Vec::new(),
        };
        game.paths.handle(game.now, PathEvent::Peer(remote));
        game
    }

    fn way(&mut self, which: u8) -> Way {
        let remote = SocketAddr::from(([192, 0, 2, which % 32], 1_000));
        if which % 8 == 7 {
            return Way::relayed(SocketAddr::from(([198, 51, 100, which / 8 % 4], 3_478)), 1, 2);
        }
        self.heard.insert(remote);
        match self.open.iter().nth(usize::from(which / 32)) {
            Some(socket) if which >= 128 => Way::from_auxiliary(remote, *socket),
            Some(_) | None => Way::direct(remote),
        }
    }

    /// An authentic frame, whatever it says.
    fn peer_says(&mut self, number: u8, which: u8, content: &[u8]) {
        let Some(body) = Body::read(number % 9, content) else { return };
        let keys = PairKeys::derive(&self.group, &self.own, &self.peer, &SHARED);
        self.seq += 1;
        let nonce = [0; 24];
        let tag = tag_of(&self.group, &self.peer);
        let boot = u64::from(number / 64);
        let payload = frame::seal(&keys.from_peer, tag, &nonce, boot, self.seq, &body);
        let way = self.way(which);
        self.paths.handle(self.now, PathEvent::Frame { way, payload });
    }

    fn happens(&mut self, what: u8, which: u8) {
        let (group, key) = (self.group.clone(), self.peer);
        let event = match what % 16 {
            6 | 7 => PathEvent::Sending { group, key, carried: u64::from(which) << 20 },
            8 if which.is_multiple_of(2) => PathEvent::Silent { group, key },
            8 => PathEvent::Unanswered { group, key },
            9 => PathEvent::Heard { group, key, way: self.way(which) },
            10 => PathEvent::Handshake { group, key, way: self.way(which) },
            11 => PathEvent::Refused { to: self.way(which).remote },
            12 if which.is_multiple_of(2) => PathEvent::Counted {
                seen: (0..3).map(|n| SocketAddr::from(([203, 0, 113, 9], u16::from(which) + n))).collect(),
            },
            12 => PathEvent::NetworkChanged,
            13 => PathEvent::Resumed { asleep: Duration::from_secs(which.into()) },
            14 => PathEvent::Relays((0..which % 4).map(|n| self.relay(n)).collect()),
            15 if which >= 128 => PathEvent::Nat(NatSummary {
                mapping: [Mapping::EndpointIndependent, Mapping::AddressAndPortDependent]
                    [usize::from(which % 2)],
                udp: true,
                ..NatSummary::default()
            }),
            _ => PathEvent::OwnCandidates(vec![Candidate {
                kind: CandidateKind::Host,
                addr: SocketAddr::from(([10, 0, 0, which], 1)),
            }]),
        };
        self.paths.handle(self.now, event);
    }

    fn relay(&self, n: u8) -> RelayWay {
        RelayWay {
            relay: RecordId::parse(&format!("relay_{n}")).expect("it is a plain name"),
            group: self.group.clone(),
            remote: SocketAddr::from(([198, 51, 100, n], 3_478)),
            lease: 1,
            rtt: Some(Duration::from_millis(n.into())),
            tls: n == 3,
        }
    }

    fn open(&mut self) -> Auxiliary {
        self.sockets += 1;
        self.open.insert(Auxiliary(self.sockets));
        Auxiliary(self.sockets)
    }

    /// Performs what the agent wants, and checks it.
    fn settle(&mut self) {
        self.paths.handle(self.now, PathEvent::Tick);
        let mut probes = 0;
        while let Some(action) = self.paths.poll() {
            match action {
                PathAction::Agree { group, key } => {
                    let shared = Some(Shared(SHARED.into()));
                    self.paths.handle(self.now, PathEvent::Agreed { group, key, shared });
                }
                PathAction::SetWays { ways, .. } => {
                    let data = [ways.primary, ways.also].into_iter().flatten().filter(Way::is_direct);
                    data.for_each(|way| assert!(self.heard.contains(&way.remote), "data to a stranger"));
                }
                PathAction::Send { .. } | PathAction::Signal { .. } => probes += 1,
                PathAction::OpenSockets { group, key, count } => {
                    // Descriptors are short now and then.
                    let count = if self.sockets.is_multiple_of(3) { 0 } else { count };
                    let sockets = (0..count).map(|_| self.open()).collect();
                    self.paths.handle(self.now, PathEvent::SocketsOpened { group, key, sockets });
                }
                PathAction::CloseSockets(sockets) => {
                    for socket in sockets {
                        assert!(self.open.remove(&socket), "{socket:?} is closed twice");
                    }
                }
                PathAction::Initiate { .. }
                | PathAction::CountFlows
                | PathAction::NeedRelay { .. }
                | PathAction::KeepLastGood
                | PathAction::Moved { .. } => {}
            }
        }
        assert!(probes <= 2 * DISCOVERY_RATE, "{probes} datagrams for one event");
        assert!(self.open.len() <= BIRTHDAY_SOCKETS[1] + 1, "{} sockets are open", self.open.len());
        assert!(self.paths.deadline().is_none_or(|at| at > self.now), "the agent would never sleep");
        for view in self.paths.view() {
            assert!(view.candidates.len() <= MAX_CANDIDATES + MAX_RELAYS);
            let observed = |seen: &&Considered| seen.kind == Some(CandidateKind::PeerReflexive);
            assert!(view.candidates.iter().filter(observed).count() <= MAX_PEER_REFLEXIVE);
        }
    }
}

/// What the two keys of the game agree on.
const SHARED: [u8; 32] = [3; 32];
