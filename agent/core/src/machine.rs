//! The agent's rules as one machine: events in, actions out.
//!
//! ```text
//! Boot ─▶ Started ─▶ tunnels and names from cached scopes ─▶ Connect ─▶ lines ─▶ scopes ─▶ Reconcile
//!                                                             ▲            │
//!                                                             └── wait ◀───┘  nothing else changes
//! ```
//! The shell hands over all events that are ready ([`AgentCore::handle`]), then takes actions until there
//! are none ([`AgentCore::poll`]), then sleeps until [`AgentCore::deadline`] or the next event, whichever
//! is first; at the deadline it hands over [`Event::Tick`].
//!
//! Invariants: losing control in any way changes neither the desired state nor the zones; a drained batch
//! contains one [`Action::Reconcile`] at most; there is one attempt or stream at a time.

mod calls;
mod event;
mod groups;
mod link;
mod proofs;
mod reach;
mod report;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use lacis_proto::{
    Code, CopySeen, FollowError, GroupId, JoinToken, Line, MAX_TOKEN_URLS, PeerId, Problem, Proof, PublicKey,
    ScopeId, WatchRequest, version,
};

use self::{
    calls::Calls,
    groups::{Followed, Groups},
    link::{Due, Failure, Link, Phase},
    proofs::Guard,
    reach::Reach,
    report::Reports,
};
pub use self::{
    event::{Action, Boot, Event, GoneWhy, Notice, StreamId},
    proofs::{Alarm, Doubt, Proofs},
    view::Control,
};
use crate::limits::MAX_NOTICES;

/// The rules of one agent. See the module's text.
#[derive(Debug)]
pub struct AgentCore {
    groups: Groups,
    link: Link,
    reports: Reports,
    reach: Reach,
    calls: Calls,
    guard: Guard,
    /// Another machine with this node's identity, and when control last told of it.
    copy: Option<(CopySeen, Duration)>,
    alarms_total: u64,
    /// The time of the last event.
    now: Duration,
    /// Addresses of control, tried in turn.
    urls: Vec<String>,
    agent: String,
    started: bool,
    /// A new desired state is to be made.
    rebuild: bool,
    /// The zones changed since they were last handed out.
    rezoned: bool,
    /// Cursors that the desired state last handed out stands for.
    offered: BTreeMap<ScopeId, String>,
    /// Control waits to hear that what it sent is applied.
    acknowledge: bool,
    saves: BTreeSet<ScopeId>,
    actions: VecDeque<Action>,
    notices: VecDeque<Notice>,
    notices_lost: u64,
    /// The last trouble with control that was told, so that it is not told at every attempt.
    trouble: Option<Notice>,
    problem: Option<Problem>,
}

impl AgentCore {
    /// The rules at start. Nothing happens before [`Event::Started`].
    #[must_use]
    pub fn new(boot: Boot) -> Self {
        Self {
            groups: Groups::new(boot.local, boot.scopes),
            link: Link::new(boot.seed),
            reports: Reports::new(boot.agent.clone(), boot.report_seq, boot.endpoints),
            reach: Reach::default(),
            calls: Calls::new(boot.recent),
            guard: Guard::new(boot.proofs, boot.pins),
            copy: None,
            alarms_total: 0,
            now: Duration::ZERO,
            urls: boot.urls,
            agent: boot.agent,
            started: false,
            rebuild: false,
            rezoned: false,
            offered: BTreeMap::new(),
            acknowledge: false,
            saves: BTreeSet::new(),
            actions: VecDeque::new(),
            notices: VecDeque::new(),
            notices_lost: 0,
            trouble: None,
            problem: None,
        }
    }

    /// Takes in one event. `now` is the time since an origin that stays the same.
    pub fn handle(&mut self, now: Duration, event: Event) {
        self.now = now;
        match event {
            Event::Started => self.start(now),
            Event::ConnectFailed { stream, problem, retry_after } if self.link.is_current(stream) => {
                self.connect_failed(now, problem, retry_after);
            }
            Event::Line { stream, line } if self.link.is_current(stream) => self.line(now, line),
            Event::BadLine { stream, error } if self.link.is_current(stream) => {
                self.give_up(now, Failure::Lost, Notice::BadLine(error));
            }
            Event::StreamEnded { stream } if self.link.is_current(stream) => self.ended(now),
            Event::ConnectFailed { .. }
            | Event::Line { .. }
            | Event::BadLine { .. }
            | Event::StreamEnded { .. }
            | Event::Tick => {}
            Event::NetworkChanged => self.link.hurry(now),
            Event::EndpointsChanged(endpoints) => {
                if self.reports.endpoints(now, endpoints) {
                    self.calls.moved(now);
                }
            }
            Event::HomesChanged(homes) => self.reports.homes(now, homes),
            Event::PeerReady { group, hosted } => {
                self.groups.host(group, hosted);
                self.reports.peer_added(now);
                self.rebuild = true;
                self.change_over(now);
            }
            Event::GatewayKey { group, key, rotations } => {
                self.rebuild |= self.groups.hold_gateway_key(&group, key, rotations);
                self.reports.peer_added(now);
                self.reports.acknowledge(now);
            }
            Event::GatewayClients(clients) => self.reports.clients(now, clients),
            Event::Left { group } => self.left(now, &group),
            Event::Applied { revision } => self.applied(now, revision),
            Event::ReportDone { seq } => {
                if self.reports.done(seq) {
                    self.calls.told();
                }
            }
            Event::ProofsCame { asked, proofs } => self.proofs_came(now, &asked, &proofs),
            Event::ProofsLost { asked, retry_after } => {
                let wait = retry_after.map(|wait| self.link.asked(wait)).unwrap_or_default();
                self.guard.lost(now, &asked, wait);
            }
            Event::ReportFailed { seq, retry_after } => {
                let wait = retry_after.map(|wait| self.link.asked(wait)).unwrap_or_default();
                self.reports.failed(now, seq, wait);
            }
            Event::HandshakeDone { group, key } => {
                self.reach.answered(now);
                self.calls.answered(&group, &key);
                self.met(now, &group, &key);
                self.rezoned |= self.groups.handshake(now, &group, &key, true);
            }
            Event::HandshakeUnanswered { group, key } => {
                self.reach.unanswered(now, key);
                self.rezoned |= self.groups.handshake(now, &group, &key, false);
            }
        }
        if self.started {
            self.run_due(now);
        }
        self.check_invariants();
    }

    /// The next action, until there is none.
    pub fn poll(&mut self) -> Option<Action> {
        if self.rebuild {
            self.rebuild = false;
            self.rezoned = true;
            let mut notices = self.groups.read();
            self.guard.look(self.now, &self.groups.netmaps, &self.groups.local.node);
            notices.extend(self.groups.rebuild(self.guard.refused()));
            for notice in notices {
                self.tell(notice);
            }
            self.offered = self.groups.follower.have();
            self.calls.keep(&self.groups.desired);
            return Some(Action::Reconcile(Arc::clone(&self.groups.desired)));
        }
        if self.rezoned {
            self.rezoned = false;
            return Some(Action::Zones(self.groups.zones.clone()));
        }
        if let Some(scope) = self.saves.pop_first() {
            return Some(Action::SaveScope(scope));
        }
        self.actions.pop_front().or_else(|| self.notices.pop_front().map(Action::Notice))
    }

    /// When [`Event::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        if !self.started {
            return None;
        }
        let report = self.reports.deadline().filter(|_| self.link.is_live());
        let proofs = self.guard.deadline().filter(|_| self.link.is_in_sync());
        let deadlines = [self.link.deadline(), report, proofs, self.groups.deadline(), self.calls.deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn start(&mut self, now: Duration) {
        if self.started {
            return;
        }
        self.started = true;
        self.rebuild = true;
        self.calls.moved(now);
        self.connect(now);
    }

    fn connect(&mut self, now: Duration) {
        let first_url = self.link.connect(now);
        let request = WatchRequest {
            protocol: version::RANGE,
            agent: self.agent.clone(),
            watch: true,
            have: self.groups.have(),
        };
        self.actions.push_back(Action::Connect { stream: self.link.stream, request, first_url });
    }

    fn connect_failed(&mut self, now: Duration, problem: Option<Problem>, retry_after: Option<Duration>) {
        let lasting = problem.as_ref().is_some_and(|problem| problem.status < 500 && !problem.is_passing());
        let failure = match retry_after {
            Some(asked) => Failure::Asked(asked),
            None if lasting => Failure::Refused,
            None => Failure::Lost,
        };
        let notice = problem.clone().map_or(Notice::ControlUnreachable, Notice::ControlRefused);
        if problem.as_ref().is_some_and(|problem| problem.code == Code::IdentityInUse) {
            self.set_dormant(true);
        }
        if problem.is_none() {
            self.calls.is_alone(now, &self.groups.desired);
        }
        self.problem = problem;
        self.lose(now, failure);
        self.tell_trouble(notice);
    }

    fn line(&mut self, now: Duration, line: Line) {
        self.link.last_line = Some(now);
        match (&line, self.link.is_live()) {
            (Line::Hello(hello), false) if version::common(version::RANGE, [hello.protocol; 2]).is_none() => {
                let notice = Notice::Grammar(format!("it speaks protocol {}", hello.protocol));
                return self.give_up(now, Failure::Refused, notice);
            }
            (Line::Hello(hello), false) => {
                self.problem = None;
                self.set_dormant(false);
                self.link.hello(hello.beat_s);
                if self.reports.connected(now, hello.epoch) {
                    self.calls.told();
                }
                let urls = follow_urls(&hello.urls, &self.urls);
                if urls != self.urls {
                    self.urls.clone_from(&urls);
                    self.actions.push_back(Action::UseUrls(urls));
                }
            }
            (Line::Hello(_), true) => {
                return self.give_up(now, Failure::Lost, Notice::Grammar("a second hello".to_owned()));
            }
            (Line::Bye(bye), true) => self.link.bye(now, bye.within_s),
            (Line::Beat(_), true) => self.confirm_sync(now),
            (Line::Rollcall(_), true) => self.reports.acknowledge(now),
            (Line::Copy(copy), true) => self.copied(now, copy.clone()),
            (Line::Relays(relays), true) => self.actions.push_back(Action::UseRelays(relays.clone())),
            (Line::Signal(signal), true) => self.actions.push_back(Action::Signaled(signal.clone())),
            (_, true) => {}
            (_, false) => {
                return self.give_up(now, Failure::Lost, Notice::Grammar("no hello".to_owned()));
            }
        }
        match self.groups.follow(line) {
            Ok(followed) => self.followed(now, followed),
            Err(error) => self.give_up(now, Failure::Lost, notice_of(error)),
        }
    }

    fn followed(&mut self, now: Duration, followed: Followed) {
        if followed.confirmed {
            self.confirm_sync(now);
            self.acknowledge |= followed.acknowledge;
            self.rebuild = true;
        }
        for group in followed.host_again {
            self.actions.push_back(Action::HostAgain(group));
        }
        self.saves.extend(followed.save);
        for scope in followed.forget {
            self.saves.remove(&scope);
            self.actions.push_back(Action::DropScope(scope));
            self.rebuild = true;
        }
        for notice in followed.notices {
            self.tell(notice);
        }
    }

    fn confirm_sync(&mut self, now: Duration) {
        if self.link.confirm_sync(now) {
            self.trouble = None;
            self.tell(Notice::InSync);
        }
    }

    fn ended(&mut self, now: Duration) {
        if self.link.is_in_sync() {
            self.tell(Notice::ControlLost);
        }
        self.lose(now, Failure::Lost);
    }

    /// Ends the attempt or stream from this side.
    fn give_up(&mut self, now: Duration, failure: Failure, notice: Notice) {
        self.actions.push_back(Action::Disconnect { stream: self.link.stream });
        self.lose(now, failure);
        self.tell_trouble(notice);
    }

    /// The attempt or stream is over. Only what belongs to it is forgotten.
    fn lose(&mut self, now: Duration, failure: Failure) {
        self.groups.disconnected();
        self.reports.disconnected();
        self.guard.disconnected();
        self.link.wait(now, failure);
    }

    /// A local command has changed which groups there are. What is under way on the stream may be from before
    /// and speak of a former peer as if it were this one, so the cursors of now are sent on a new stream.
    fn change_over(&mut self, now: Duration) {
        if self.link.change_over(now) {
            self.actions.push_back(Action::Disconnect { stream: self.link.stream });
            self.groups.disconnected();
            self.reports.disconnected();
            self.guard.disconnected();
        }
    }

    /// A peer answered: who it is, is found out.
    fn met(&mut self, now: Duration, group: &GroupId, key: &PublicKey) {
        let met = self.groups.netmaps.get(group).and_then(|netmap| netmap.peer_with_key(key));
        if let Some((id, peer)) = met {
            self.guard.met(now, group, id, peer);
        }
    }

    fn proofs_came(&mut self, now: Duration, asked: &[PeerId], proofs: &[Proof]) {
        let judged = self.guard.answered(now, asked, proofs, &self.groups.netmaps);
        if judged.pinned {
            self.actions.push_back(Action::SavePins);
        }
        self.rebuild |= judged.admitted;
        for alarm in judged.alarms {
            self.alarms_total += 1;
            self.tell(Notice::Alarm(alarm));
        }
    }

    /// Another machine with this node's identity was refused; peers may have heard from it, and are called back.
    fn copied(&mut self, now: Duration, copy: CopySeen) {
        self.alarms_total += 1;
        self.copy = Some((copy.clone(), now));
        self.calls.moved(now);
        self.tell(Notice::Copy(copy));
    }

    /// Whether another machine speaks for this node: then nothing is up here, lest both be in each other's way.
    fn set_dormant(&mut self, dormant: bool) {
        self.rebuild |= self.groups.dormant != dormant;
        self.groups.dormant = dormant;
    }

    fn left(&mut self, now: Duration, group: &GroupId) {
        if let Some(notice) = self.groups.leave(group, GoneWhy::Left) {
            let scope = ScopeId::from(group);
            self.groups.follower.forget(&scope);
            self.saves.remove(&scope);
            self.actions.push_back(Action::DropScope(scope));
            self.tell(notice);
            self.rebuild = true;
            self.change_over(now);
        }
    }

    fn applied(&mut self, now: Duration, revision: u64) {
        if revision != self.groups.desired.revision || self.rebuild {
            return;
        }
        self.reports.applied(self.offered.clone());
        if std::mem::take(&mut self.acknowledge) {
            self.reports.acknowledge(now);
        }
    }

    fn run_due(&mut self, now: Duration) {
        match self.link.due(now) {
            Some(Due::Connect) => self.connect(now),
            Some(Due::Silent { silent }) => {
                self.give_up(now, Failure::Lost, Notice::ControlSilent { silent });
            }
            Some(Due::Leave) => {
                self.actions.push_back(Action::Disconnect { stream: self.link.stream });
                self.lose(now, Failure::Lost);
            }
            None => {}
        }
        self.rezoned |= self.groups.forgive(now);
        if !self.rebuild {
            for (group, keys) in self.calls.take_due(now) {
                self.actions.push_back(Action::Initiate { group, keys });
            }
        }
        if self.link.is_in_sync() {
            let due = self.guard.take_due(now);
            if !due.is_empty() {
                self.actions.push_back(Action::FetchProofs(due));
            }
        }
        if self.link.is_live()
            && let Some(report) = self.reports.take_due(now, &self.groups.local)
        {
            self.actions.push_back(Action::SendReport(report));
        }
    }

    /// Tells of a trouble with control, unless it was the last one told.
    fn tell_trouble(&mut self, notice: Notice) {
        if self.trouble.as_ref() != Some(&notice) {
            self.trouble = Some(notice.clone());
            self.tell(notice);
        }
    }

    fn tell(&mut self, notice: Notice) {
        if self.notices.len() < MAX_NOTICES {
            self.notices.push_back(notice);
        } else {
            self.notices_lost += 1;
        }
    }

    fn check_invariants(&self) {
        self.groups.check_invariants();
        debug_assert!(self.notices.len() <= MAX_NOTICES);
        debug_assert!(
            self.started || !matches!(self.link.phase, Phase::Connecting { .. } | Phase::Live { .. })
        );
    }
}

/// The addresses of control after it has told its own: those first, then the former ones to fall back on.
fn follow_urls(told: &[String], known: &[String]) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for url in told.iter().filter(|url| JoinToken::is_url(url)).chain(known) {
        if urls.len() < MAX_TOKEN_URLS && !urls.contains(url) {
            urls.push(url.clone());
        }
    }
    urls
}

fn notice_of(error: FollowError) -> Notice {
    match error {
        FollowError::Refused { scope, reason } => Notice::ScopeRefused { scope, reason },
        FollowError::Apply { scope, source } => Notice::ScopeBroken { scope, source },
        FollowError::NoHello | FollowError::TooMuch | FollowError::TooManyScopes => {
            Notice::Grammar(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
