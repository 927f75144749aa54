//! Control as its shell runs it: a writer that commits batches, published scopes, presence.
//!
//! Every commit is checked here: revisions are gapless and have an effect, hosts are unique and have
//! rested, and the rows alone give the scopes that are published.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;
use lacis_control_core::{
    Batch, Command, Decision, Facts, GroupEdit, Install, NewGroup, NodeState, Random as Draw, Reply, State,
    decide, limits, scope_of_group, scope_of_node, scopes_for,
};
use lacis_proto::{
    At, Body, Change, Code, Cursor, Del, DropReason, DropScope, Epoch, GroupId, Host, Line, MAX_PUT_RECORDS,
    NodeId, PeerId, Problem, PublicKey, Put, Record, Reset, Revision, Scope, ScopeId, Secret, TokenId,
    overlay_addrs,
};
use support::Random;

use crate::store::Store;

/// Control asks to hear of removals at once: numbers of removed peers are given again only then.
const ACK_MS: u32 = 1_000;

/// What a reader holds, by scope.
pub(crate) type Held = BTreeMap<ScopeId, Option<Cursor>>;

/// Who must get packets for an address, as of one revision.
pub(crate) type Owners = BTreeMap<IpNetwork, PublicKey>;

/// A connected agent, as presence knows it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connected: bool,
    pub(crate) last_seq: Option<u64>,
    pub(crate) applied: BTreeMap<ScopeId, Revision>,
    /// The process of the last stream.
    pub(crate) run: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Control {
    store: Store,
    /// What a restore brings back.
    backup: Store,
    pub(crate) epoch: Epoch,
    pub(crate) state: State,
    pub(crate) scopes: BTreeMap<ScopeId, Scope>,
    pub(crate) presence: BTreeMap<NodeId, Seen>,
    /// Unix milliseconds at the origin of the virtual clock.
    wall_ms: u64,
    /// When the wall clock last jumped, on the virtual one.
    jumped_ms: u64,
    pub(crate) groups: Vec<(GroupId, TokenId, Secret)>,
    /// Every scope at every revision of every epoch that it ever had.
    history: BTreeMap<(Epoch, ScopeId, Revision), Vec<Record>>,
    /// When a host number was released, on the virtual clock.
    released_ms: BTreeMap<(GroupId, Host), u64>,
    removed: BTreeSet<PeerId>,
    /// Revisions spent over all scopes.
    pub(crate) spent: u64,
    /// Host numbers given a second time.
    pub(crate) reused: u64,
}

impl Control {
    /// An installation with its first group and a small second one.
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut control = Self {
            store: Store::default(),
            backup: Store::default(),
            epoch: Epoch(7),
            state: State::default(),
            scopes: BTreeMap::new(),
            presence: BTreeMap::new(),
            wall_ms: 1_795_323_600_000,
            jumped_ms: 0,
            groups: Vec::new(),
            history: BTreeMap::new(),
            released_ms: BTreeMap::new(),
            removed: BTreeSet::new(),
            spent: 0,
            reused: 0,
        };
        let suffixes = vec![limits::DEFAULT_SUFFIX.to_owned()];
        let install =
            Install { owner_label: "First".into(), group_label: "main".into(), suffixes: suffixes.clone() };
        let Ok(Reply::Installed { owner, group, join, .. }) =
            control.one(0, random, Command::Install(install))
        else {
            panic!("the installation was refused")
        };
        control.groups.push((group, join.0, join.1));
        let new = NewGroup {
            id: None,
            owner,
            edit: GroupEdit {
                label: Some("small".into()),
                pool: "172.30.0.16/28".parse().ok(),
                ..GroupEdit::default()
            },
            members: Vec::new(),
            suffixes,
        };
        let Ok(Reply::Group(group)) = control.one(0, random, Command::CreateGroup(new)) else {
            panic!("the group was refused")
        };
        let command =
            Command::CreateJoinToken { group: group.clone(), member: None, max_uses: 0, lifetime_ms: None };
        let Ok(Reply::JoinToken(row, secret)) = control.one(0, random, command) else {
            panic!("the token was refused")
        };
        control.groups.push((group, row.id, secret));
        control.back_up();
        control
    }

    pub(crate) fn wall_ms(&self, at_ms: u64) -> u64 {
        self.wall_ms + at_ms
    }

    /// The wall clock jumps, either way.
    pub(crate) fn jump(&mut self, at_ms: u64, by_ms: i64) {
        self.wall_ms = self.wall_ms.saturating_add_signed(by_ms);
        self.jumped_ms = at_ms;
    }

    fn one(&mut self, at_ms: u64, random: &mut Random, command: Command) -> Result<Reply, Problem> {
        self.commit(at_ms, random, &[command]).remove(0)
    }

    /// Decides a batch, stores it as one commit and publishes it.
    pub(crate) fn commit(
        &mut self,
        at_ms: u64,
        random: &mut Random,
        commands: &[Command],
    ) -> Vec<Result<Reply, Problem>> {
        let now_ms = self.wall_ms + at_ms;
        let (mut batch, mut replies) = (Batch::default(), Vec::new());
        let (mut rows, mut changes) = (Vec::new(), BTreeMap::<ScopeId, Vec<Change>>::new());
        for command in commands {
            let applied = command.allocates_in().and_then(|group| self.lowest_applied(group));
            let facts = Facts { now_ms, by: command.actor(), random: Draw::new(random.bytes()), applied };
            replies.push(decide(&self.state, &batch, command, facts).map(|decision| {
                batch.note(&decision);
                let Decision { reply, rows: decided, changes: published } = decision;
                assert!(!decided.is_empty() || published.is_empty(), "changes without rows: {command:?}");
                self.state.apply(decided.iter().cloned());
                rows.extend(decided);
                for (scope, change) in published {
                    changes.entry(scope).or_default().push(change);
                }
                reply
            }));
        }
        self.store.commit(&rows);
        self.publish(at_ms, changes);
        replies
    }

    fn publish(&mut self, at_ms: u64, changes: BTreeMap<ScopeId, Vec<Change>>) {
        for (id, changes) in changes {
            let scope = self.scopes.entry(id.clone()).or_insert_with(|| Scope::new(self.epoch));
            let before: Vec<Record> = scope.records().cloned().collect();
            scope.commit(changes);
            let (revision, after): (_, Vec<Record>) = (scope.revision(), scope.records().cloned().collect());
            let said = |records: &[Record]| {
                records.iter().map(|record| (record.id.clone(), record.body.clone())).collect::<Vec<_>>()
            };
            // A revocation is said once more of the node's own record, to wake its stream.
            let is_revoked = NodeId::parse(id.as_str()).is_ok_and(|node| self.knows(&node).is_err());
            let has_effect = is_revoked || said(&before) != said(&after);
            assert!(has_effect, "revision {revision} of {id} had no effect");
            self.spent += 1;
            if let Ok(group) = GroupId::parse(id.as_str()) {
                self.watch_hosts(at_ms, &group, &before, &after);
            }
            self.history.insert((self.epoch, id, revision), after);
        }
        self.check_rows();
    }

    /// The rows alone, as a restart reads them, give what is published.
    fn check_rows(&self) {
        for (id, scope) in rebuilt(&self.store.load(), self.epoch) {
            assert_eq!(scope.cursor(), self.scopes[&id].cursor(), "{id}: rows and published scope differ");
            assert!(
                scope.records().eq(self.scopes[&id].records()),
                "{id}: rows and published records differ"
            );
        }
    }

    fn watch_hosts(&mut self, at_ms: u64, group: &GroupId, before: &[Record], after: &[Record]) {
        let (before, after) = (hosts(before), hosts(after));
        assert_eq!(
            after.len(),
            after.values().collect::<BTreeSet<_>>().len(),
            "{group}: a host number twice"
        );
        for (peer, host) in before.iter().filter(|(peer, _)| !after.contains_key(*peer)) {
            self.removed.insert(peer.clone());
            self.released_ms.insert((group.clone(), *host), at_ms);
        }
        for (_, host) in after.iter().filter(|(peer, _)| !before.contains_key(*peer)) {
            let released = self.released_ms.remove(&(group.clone(), *host));
            self.reused += u64::from(released.is_some());
            // Nobody can say how long it has rested where the clock has jumped since.
            let rested = released.is_none_or(|released| {
                at_ms >= released + limits::HOST_REST_MS || self.jumped_ms >= released
            });
            assert!(rested, "{group}: host {host} was given again before it had rested");
        }
    }

    fn lowest_applied(&self, group: &GroupId) -> Option<Revision> {
        let peers = self.state.group(group)?.peers.values();
        let seen =
            peers.filter_map(|peer| self.presence.get(peer.node.as_ref()?)).filter(|seen| seen.connected);
        seen.map(|seen| seen.applied.get(&ScopeId::from(group)).copied().unwrap_or_default()).min()
    }

    /// The process dies and comes again on the same rows.
    pub(crate) fn restart(&mut self) {
        self.state = self.store.load();
        self.scopes = rebuilt(&self.state, self.epoch);
        self.presence.clear();
    }

    /// A person makes a backup.
    pub(crate) fn back_up(&mut self) {
        self.backup = self.store.clone();
    }

    /// The process comes again on the backup: commits are lost, and a new epoch says so.
    pub(crate) fn restore(&mut self) {
        let peers = |state: &State| -> BTreeSet<PeerId> {
            state.groups().flat_map(|group| group.peers.keys().cloned()).collect()
        };
        let before = peers(&self.state);
        self.store = self.backup.clone();
        self.epoch = Epoch(self.epoch.0 + 1);
        self.restart();
        let after = peers(&self.state);
        self.removed.extend(before.difference(&after).cloned());
        self.removed.retain(|peer| !after.contains(peer));
        self.released_ms.clear();
        for (id, scope) in &self.scopes {
            let key = (self.epoch, id.clone(), scope.revision());
            self.history.insert(key, scope.records().cloned().collect());
        }
    }

    /// Whether a node may speak: it is known and not revoked.
    pub(crate) fn knows(&self, node: &NodeId) -> Result<(), Code> {
        match self.state.node(node) {
            Some(row) if row.state == NodeState::Active => Ok(()),
            Some(_) => Err(Code::NodeRevoked),
            None => Err(Code::UnknownNode),
        }
    }

    /// Lines that bring a reader from `held` to what is published; `None` where nothing is known of it.
    pub(crate) fn lines(&self, node: &NodeId, held: &mut Held, is_first: bool) -> Option<Vec<Line>> {
        let wanted = scopes_for(node, self.scopes.get(&ScopeId::from(node))?);
        let mut lines = Vec::new();
        let gone: Vec<_> = held.keys().filter(|id| !wanted.contains(id)).cloned().collect();
        for scope in gone {
            held.remove(&scope);
            lines.push(Line::Drop(DropScope { scope, reason: Some(DropReason::PeerRemoved) }));
        }
        for id in &wanted {
            let Some(scope) = self.scopes.get(id) else { continue };
            let cursor = held.get(id).copied().flatten();
            let answer = scope.answer(cursor.as_ref());
            if !is_first && answer.is_empty() && cursor == Some(answer.at) {
                continue;
            }
            held.insert(id.clone(), Some(answer.at));
            if answer.reset {
                lines.push(Line::Reset(Reset { scope: id.clone() }));
            }
            for part in answer.puts.chunks(MAX_PUT_RECORDS) {
                let records = part.iter().map(|record| (*record).clone()).collect();
                lines.push(Line::Put(Put { scope: id.clone(), records }));
            }
            if !answer.dels.is_empty() {
                let ids = answer.dels.iter().map(|id| (*id).clone()).collect();
                lines.push(Line::Del(Del { scope: id.clone(), ids }));
            }
            let ack_within_ms = (answer.reset || !answer.dels.is_empty()).then_some(ACK_MS);
            let (rev, digest) = (answer.at.revision, answer.at.digest);
            lines.push(Line::At(At { scope: id.clone(), rev, digest, ack_within_ms }));
        }
        Some(lines)
    }

    /// The records of a scope at a revision that control really held.
    #[track_caller]
    pub(crate) fn held_at(&self, scope: &ScopeId, cursor: Cursor) -> &[Record] {
        let held = self.history.get(&(cursor.epoch, scope.clone(), cursor.revision));
        held.unwrap_or_else(|| panic!("control never held {scope} at {cursor}"))
    }

    /// Who owns which overlay address of a group at a revision.
    pub(crate) fn owners(&self, group: &GroupId, cursor: Cursor) -> Owners {
        let mut owners = Owners::new();
        let records = self.held_at(&group.into(), cursor);
        let row = &self.state.group(group).unwrap().row;
        for record in records {
            if let Body::Peer(peer) = &record.body {
                let addrs = overlay_addrs(row.pool, row.prefix6, peer.host).unwrap();
                let key = peer.current_key().unwrap();
                for addr in addrs.both() {
                    assert_eq!(owners.insert(addr.into(), key), None, "{addr} has two owners");
                }
            }
        }
        owners
    }

    pub(crate) fn is_removed(&self, peer: &PeerId) -> bool {
        self.removed.contains(peer)
    }
}

fn hosts(records: &[Record]) -> BTreeMap<PeerId, Host> {
    let peer = |record: &Record| match &record.body {
        Body::Peer(peer) => Some((PeerId::parse(record.id.as_str()).unwrap(), peer.host)),
        Body::Group(_) | Body::Member(_) | Body::Assignment(_) | Body::Node(_) | Body::Unknown(_) => None,
    };
    records.iter().filter_map(peer).collect()
}

fn rebuilt(state: &State, epoch: Epoch) -> BTreeMap<ScopeId, Scope> {
    let groups = state.groups().map(|group| {
        let scope = scope_of_group(state, &group.row.id, epoch).unwrap().unwrap();
        (ScopeId::from(&group.row.id), scope)
    });
    let nodes = state
        .nodes()
        .map(|node| (ScopeId::from(&node.id), scope_of_node(state, &node.id, epoch).unwrap().unwrap()));
    groups.chain(nodes).collect()
}
