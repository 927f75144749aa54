//! An agent as its shell runs it: a disk that outlives processes, and a process around the rules.

use std::{collections::BTreeMap, collections::BTreeSet, time::Duration};

use lacis_agent_core::{AgentCore, Boot, Desired, Hosted, Local, Observed, Proofs, plan};
use lacis_proto::{
    Cursor, Endpoint, EndpointKind, GroupId, IdentityKey, LineDecoder, MemberId, NodeId, PublicKey, Record,
    Scope, ScopeId,
};
use support::Random;

/// A copy of a scope on disk.
type Copy = (Cursor, Vec<Record>);

#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) node: Option<NodeId>,
    pub(crate) grants: BTreeMap<GroupId, MemberId>,
    pub(crate) hosted: BTreeMap<GroupId, Hosted>,
    pub(crate) scopes: BTreeMap<ScopeId, Copy>,
    /// Peers that answered a handshake.
    pub(crate) spoken: BTreeMap<GroupId, BTreeSet<PublicKey>>,
    /// Addresses of control.
    pub(crate) urls: Vec<String>,
    /// Where peers were last heard from.
    pub(crate) met: BTreeMap<(GroupId, PublicKey), Endpoint>,
    /// What the last write of a copy replaced.
    undo: Option<(ScopeId, Option<Copy>)>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: usize,
    pub(crate) identity: IdentityKey,
    pub(crate) disk: Disk,
    /// Groups whose tokens it was given.
    pub(crate) wanted: BTreeSet<GroupId>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) process: Process,
    /// Counts processes, so that what was meant for a dead one is dropped.
    pub(crate) generation: u64,
    pub(crate) is_cut: bool,
    /// Attempts to watch, ever.
    pub(crate) attempts: u64,
    keys: BTreeMap<GroupId, PublicKey>,
}

#[derive(Debug)]
pub(crate) enum Process {
    None,
    Enrolling,
    Running(Box<Running>),
}

#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) core: AgentCore,
    pub(crate) observed: Observed,
    pub(crate) decoder: LineDecoder,
    pub(crate) conn: Option<u64>,
    pub(crate) tick_at: Option<Duration>,
    pub(crate) last_attempt: Option<Duration>,
    /// Cursors whose scopes were compared with what control held.
    pub(crate) checked: BTreeMap<ScopeId, Cursor>,
    /// What was looked at last.
    pub(crate) looked_at: Option<(u64, BTreeMap<ScopeId, Cursor>)>,
    /// Interfaces of the last desired state, with their peers.
    pub(crate) shown: BTreeMap<GroupId, Hosted>,
    /// Groups left by a local command.
    pub(crate) left: BTreeSet<GroupId>,
}

impl Disk {
    pub(crate) fn save(&mut self, id: ScopeId, scope: &Scope) {
        let copy = (scope.cursor(), scope.records().cloned().collect());
        let before = self.scopes.insert(id.clone(), copy);
        self.undo = Some((id, before));
    }

    /// Forgets a scope; of a group that the node is no longer in, its membership, too.
    pub(crate) fn drop_scope(&mut self, id: &ScopeId) {
        self.undo = None;
        self.scopes.remove(id);
        if let Ok(group) = GroupId::parse(id.as_str()) {
            self.grants.remove(&group);
            self.hosted.remove(&group);
        }
    }

    /// The last write of a copy never reached the disk.
    pub(crate) fn lose_last_save(&mut self) {
        match self.undo.take() {
            Some((id, Some(copy))) => drop(self.scopes.insert(id, copy)),
            Some((id, None)) => drop(self.scopes.remove(&id)),
            None => {}
        }
    }

    fn scopes(&self) -> BTreeMap<ScopeId, Scope> {
        let load = |(cursor, records): &Copy| {
            let mut scope = Scope::new(cursor.epoch);
            let puts = records.iter().map(|record| (record.id.clone(), record.clone())).collect();
            scope.apply(true, puts, &BTreeSet::new(), *cursor).expect("a copy is complete");
            scope
        };
        self.scopes.iter().map(|(id, copy)| (id.clone(), load(copy))).collect()
    }
}

/// An address where control may be.
pub(crate) fn url(place: usize) -> String {
    format!("https://192.0.2.{place}:8443")
}

impl Node {
    /// A person makes a new node of it: nothing of the old one is left.
    pub(crate) fn purge(&mut self, random: &mut Random) {
        let urls = std::mem::take(&mut self.disk.urls);
        self.disk = Disk { urls, ..Disk::default() };
        self.keys.clear();
        self.identity = IdentityKey::try_new(random.bytes()).unwrap();
    }

    pub(crate) fn new(name: usize, random: &mut Random) -> Self {
        let mut node = Self {
            name,
            identity: IdentityKey::try_new(random.bytes()).unwrap(),
            disk: Disk { urls: vec![url(0)], ..Disk::default() },
            wanted: BTreeSet::new(),
            endpoints: Vec::new(),
            process: Process::None,
            generation: 0,
            is_cut: false,
            attempts: 0,
            keys: BTreeMap::new(),
        };
        node.roam(random);
        node
    }

    /// Draws endpoints of which control keeps each, in its order.
    pub(crate) fn roam(&mut self, random: &mut Random) {
        let name = u8::try_from(self.name).unwrap();
        let addr = |n: usize| ([192, 0, 2, name], u16::try_from(1000 + n).unwrap()).into();
        let count = 1 + random.below(3);
        let drawn: BTreeSet<Endpoint> =
            (0..count).map(|_| Endpoint { kind: EndpointKind::Host, addr: addr(random.below(9)) }).collect();
        self.endpoints = drawn.into_iter().collect();
    }

    pub(crate) fn key(&mut self, group: &GroupId, random: &mut Random) -> PublicKey {
        *self.keys.entry(group.clone()).or_insert_with(|| PublicKey::try_new(random.bytes()).unwrap())
    }

    pub(crate) fn running(&mut self) -> Option<&mut Running> {
        match &mut self.process {
            Process::Running(running) => Some(running),
            Process::None | Process::Enrolling => None,
        }
    }

    pub(crate) fn boot(&mut self, seed: u64, report_seq: u64) {
        let node = self.disk.node.clone().expect("a node that hosts a peer has joined");
        let local = Local { node, mtu: 1400, hosted: self.disk.hosted.clone(), offer: None };
        let boot = Boot {
            local,
            scopes: self.disk.scopes(),
            recent: self.disk.spoken.clone(),
            urls: self.disk.urls.clone(),
            proofs: Proofs::default(),
            pins: BTreeMap::new(),
            endpoints: self.endpoints.clone(),
            agent: "sim".into(),
            report_seq,
            seed,
        };
        self.process = Process::Running(Box::new(Running {
            core: AgentCore::new(boot),
            observed: Observed::default(),
            decoder: LineDecoder::default(),
            conn: None,
            tick_at: None,
            last_attempt: None,
            checked: BTreeMap::new(),
            looked_at: None,
            shown: BTreeMap::new(),
            left: BTreeSet::new(),
        }));
    }
}

impl Running {
    /// Applies the steps to a desired state; some fail. Returns whether all were applied.
    pub(crate) fn reconcile(&mut self, want: &Desired, mut fails: impl FnMut() -> bool) -> bool {
        let mut all = true;
        for step in &plan(want, &self.observed).steps {
            if fails() {
                all = false;
                continue;
            }
            self.observed.apply(step);
            self.check_exclusive();
        }
        let rest = plan(want, &self.observed);
        assert!(!all || rest.is_empty(), "planning after applying leaves\n{rest}");
        all
    }

    /// At no moment does the tunnel map one prefix to two keys.
    fn check_exclusive(&self) {
        for (name, interface) in &self.observed.interfaces {
            let mut taken = BTreeSet::new();
            for net in interface.peers.values().flat_map(|peer| &peer.allowed) {
                assert!(taken.insert(net), "{name}: {net} belongs to two tunnel peers");
            }
        }
    }
}
