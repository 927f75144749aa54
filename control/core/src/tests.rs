//! The rules by example, and over sequences of operations.

mod departures;
mod domains;
mod full;
mod gateways;
mod manage;
mod retention;
mod rules;
mod sequences;

use std::collections::BTreeSet;

use ipnetwork::Ipv4Network;
use lacis_proto::{
    Endpoint, Epoch, GroupId, IdentityKey, MemberId, NodeId, OwnerId, PeerReply, PeerRequest, Problem,
    PublicKey, Revision, Scope, ScopeId, Secret, TokenId,
};

use crate::{
    Actor, AuditRow, Batch, Command, Facts, GroupEdit, Install, NewGroup, NewMember, NewPeer, Random, Reply,
    Row, Scopes, State, decide, limits,
};

const EPOCH: Epoch = Epoch(7);

/// An installation with its published scopes and its audit, stepped by hand.
struct World {
    state: State,
    scopes: Scopes,
    audit: Vec<AuditRow>,
    now_ms: u64,
    applied: Option<Revision>,
    drawn: u64,
    owner: OwnerId,
    group: GroupId,
    token: (TokenId, Secret),
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            state: State::default(),
            scopes: Scopes::build(&State::default(), EPOCH).unwrap(),
            audit: Vec::new(),
            now_ms: 1_000_000,
            applied: None,
            drawn: 0,
            owner: OwnerId::from_random([0; 16]),
            group: GroupId::from_random([0; 16]),
            token: (TokenId::from_bytes([0; 8]), Secret::new([0; 32])),
        };
        let suffixes = vec![limits::DEFAULT_SUFFIX.to_owned()];
        let install = Install { owner_label: "owner".to_owned(), group_label: "main".to_owned(), suffixes };
        let reply = world.ask(Command::Install(install)).unwrap();
        let Reply::Installed { owner, group, join, .. } = reply else { panic!("{reply:?}") };
        (world.owner, world.group, world.token) = (owner, group, join);
        world
    }

    /// A world whose group has this pool.
    fn with_pool(pool: &str) -> Self {
        let mut world = Self::new();
        let pool: Ipv4Network = pool.parse().unwrap();
        let Reply::Group(group) = world.ask(world.new_group(Some(pool))).unwrap() else { panic!() };
        world.token = world.new_token(&group, 0);
        world.group = group;
        world
    }

    fn new_group(&self, pool: Option<Ipv4Network>) -> Command {
        let edit = GroupEdit { label: Some("shop".to_owned()), pool, ..GroupEdit::default() };
        Command::CreateGroup(self.group_said(None, edit))
    }

    fn group_said(&self, id: Option<GroupId>, edit: GroupEdit) -> NewGroup {
        let suffixes = vec![limits::DEFAULT_SUFFIX.to_owned()];
        NewGroup { id, owner: self.owner.clone(), edit, members: Vec::new(), suffixes }
    }

    fn new_token(&mut self, group: &GroupId, max_uses: u32) -> (TokenId, Secret) {
        let (group, member, lifetime_ms) = (group.clone(), None, Some(60_000));
        let reply = self.ask(Command::CreateJoinToken { group, member, max_uses, lifetime_ms }).unwrap();
        let Reply::JoinToken(row, secret) = reply else { panic!("{reply:?}") };
        (row.id, secret)
    }

    fn ask(&mut self, command: Command) -> Result<Reply, Problem> {
        self.batch(&[command]).remove(0)
    }

    /// Decides and takes in a batch, as the writer does; a refusal leaves no trace.
    fn batch(&mut self, commands: &[Command]) -> Vec<Result<Reply, Problem>> {
        let (mut batch, mut changes) = (Batch::default(), Vec::new());
        let mut replies = Vec::new();
        for command in commands {
            let facts = self.facts();
            replies.push(decide(&self.state, &batch, command, facts).map(|decision| {
                batch.note(&decision);
                let audit = |row: &Row| if let Row::Audit(row) = row { Some(row.clone()) } else { None };
                self.audit.extend(decision.rows.iter().filter_map(audit));
                self.state.apply(decision.rows);
                changes.extend(decision.changes);
                decision.reply
            }));
        }
        self.scopes.commit(&self.state, changes, &[]).unwrap();
        self.check();
        replies
    }

    /// Whether a command would write anything.
    fn has_effect(&mut self, command: &Command) -> bool {
        let facts = self.facts();
        decide(&self.state, &Batch::default(), command, facts).is_ok_and(|decision| !decision.rows.is_empty())
    }

    fn scope(&self, group: &GroupId) -> &Scope {
        self.scopes.get(&ScopeId::from(group)).unwrap()
    }

    fn facts(&mut self) -> Facts {
        Facts { now_ms: self.now_ms, by: Actor::Control, random: self.random(), applied: self.applied }
    }

    /// Bytes that differ from draw to draw and from place to place: ids must not collide.
    fn random(&mut self) -> Random {
        let mut bytes = [0; Random::BYTES];
        for (at, word) in (0u64..).zip(bytes.chunks_mut(8)) {
            word.copy_from_slice(&(self.drawn * 1_000 + at).to_be_bytes());
        }
        self.drawn += 1;
        Random::new(bytes)
    }

    /// Published scopes are what the rows say; revisions are 1, 2, 3 … with an effect each.
    fn check(&self) {
        let rebuilt = Scopes::build(&self.state, EPOCH).unwrap();
        assert!(self.scopes.iter().map(|(id, _)| id).eq(rebuilt.iter().map(|(id, _)| id)));
        for (id, scope) in self.scopes.iter() {
            let rebuilt = rebuilt.get(id).unwrap();
            assert_eq!(rebuilt.cursor(), scope.cursor(), "{id}");
            assert!(rebuilt.records().eq(scope.records()), "{id}");
            let spent: BTreeSet<u64> = self
                .audit
                .iter()
                .filter(|row| row.scope.as_ref() == Some(id))
                .map(|row| row.revision.0)
                .collect();
            assert!(spent.iter().copied().eq(1..=scope.revision().0), "{id} {spent:?}");
        }
    }

    fn join_as(&self, identity: u8, token: &(TokenId, Secret), host_name: &str) -> Command {
        Command::Join {
            token: token.0.clone(),
            secret: token.1.clone(),
            identity: IdentityKey::try_new([identity; 32]).unwrap(),
            host_name: host_name.to_owned(),
            agent: "test".to_owned(),
        }
    }

    fn join(&mut self, identity: u8) -> (NodeId, MemberId) {
        let token = self.token.clone();
        let reply = self.ask(self.join_as(identity, &token, "web")).unwrap();
        let Reply::Joined { node, member, .. } = reply else { panic!("{reply:?}") };
        (node, member)
    }

    fn peer(&self, node: &NodeId, member: &MemberId, key: u8) -> Command {
        let request = PeerRequest {
            group: self.group.clone(),
            member: member.clone(),
            instance: format!("instance-{key}"),
            key: PublicKey::try_new([key; 32]).unwrap(),
            label: format!("peer-{key}"),
            endpoints: Vec::new(),
            statement: None,
        };
        Command::AddPeer { node: node.clone(), request }
    }

    fn add(&mut self, node: &NodeId, member: &MemberId, key: u8) -> PeerReply {
        let reply = self.ask(self.peer(node, member, key)).unwrap();
        let Reply::Peer(peer) = reply else { panic!("{reply:?}") };
        peer
    }

    /// Links a member by way of a join token for it.
    fn new_member_token(&mut self, member: &str) -> (TokenId, Secret) {
        let member = Some(MemberId::parse(member).unwrap());
        let (group, max_uses, lifetime_ms) = (self.group.clone(), 0, None);
        let reply = self.ask(Command::CreateJoinToken { group, member, max_uses, lifetime_ms }).unwrap();
        let Reply::JoinToken(row, secret) = reply else { panic!("{reply:?}") };
        (row.id, secret)
    }

    fn register(
        &mut self,
        member: &str,
        key: Option<u8>,
        endpoints: Vec<Endpoint>,
    ) -> Result<PeerReply, Problem> {
        let reply = self.ask(Command::RegisterPeer(NewPeer {
            group: self.group.clone(),
            id: None,
            member: MemberId::parse(member).unwrap(),
            key: key.map(|key| PublicKey::try_new([key; 32]).unwrap()),
            label: None,
            hostname: None,
            parent_event: None,
            endpoints,
        }))?;
        let Reply::Peer(peer) = reply else { panic!("{reply:?}") };
        Ok(peer)
    }

    fn link(&mut self, id: &str, label: Option<&str>, domain: Option<&str>) -> Result<Reply, Problem> {
        let command = self.linking(id, label, domain);
        self.ask(command)
    }

    fn linking(&self, id: &str, label: Option<&str>, domain: Option<&str>) -> Command {
        let member = NewMember {
            id: MemberId::parse(id).unwrap(),
            kind: None,
            label: label.map(str::to_owned),
            domain: domain.map(str::to_owned),
        };
        Command::LinkMember { group: self.group.clone(), member }
    }

    #[track_caller]
    fn refused(&mut self, command: Command) -> Problem {
        let before = self.state.clone();
        let problem = self.ask(command).unwrap_err();
        assert!(self.state == before, "a refusal leaves no trace");
        problem
    }
}
