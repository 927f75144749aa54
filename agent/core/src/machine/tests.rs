use lacis_proto::{
    At, Beat, Bye, Change, Code, Cursor, Del, DropScope, Epoch, Hello, LineError, PublicKey, Put, RecordId,
    RelayHome, RelayId, Reset, Scope, ScopeId,
};

use super::*;
use crate::{AnswerCode, Hosted, Kind, Question, Rr, RrValue, fixtures::*};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The rules of node 5 beside a control, on a clock that only the test moves.
struct Lab {
    core: AgentCore,
    now: Duration,
    control: BTreeMap<ScopeId, Scope>,
    stream: StreamId,
    have: BTreeMap<ScopeId, String>,
    attempts: Vec<Duration>,
    reports: Vec<lacis_proto::ReportRequest>,
    notices: Vec<Notice>,
    reconciles: usize,
    saved: BTreeSet<ScopeId>,
    dropped: BTreeSet<ScopeId>,
    disconnects: usize,
    /// Addresses that control tells in its hello.
    told_urls: Vec<String>,
    used_urls: Vec<String>,
    calls: Vec<(Duration, Vec<PublicKey>)>,
    asked: Vec<(Duration, Vec<PeerId>)>,
    pins_saved: usize,
    host_again: Vec<GroupId>,
    epoch: Epoch,
}

/// Node 5 in group 1, which spoke with peer 7 when it last ran.
fn boot(scopes: BTreeMap<ScopeId, Scope>) -> Boot {
    Boot {
        local: local(&[1]),
        scopes,
        recent: BTreeMap::from([(group(1), BTreeSet::from([key(7)]))]),
        proofs: Proofs::Warn,
        pins: BTreeMap::new(),
        urls: vec!["https://192.0.2.1:8443".into()],
        endpoints: vec![endpoint("host 192.0.2.5:47820")],
        agent: "0".into(),
        report_seq: 1_000,
        seed: 7,
    }
}

impl Lab {
    /// Control has group 1 and node 5 in it; the agent has the same on disk.
    fn new() -> Self {
        let control = BTreeMap::from([
            (group_scope(1), small_group(1)),
            (node_scope(5), scope([put_node(5), put_assignment(1, 5, "web")])),
        ]);
        Self::with(control.clone(), control)
    }

    fn with(cached: BTreeMap<ScopeId, Scope>, control: BTreeMap<ScopeId, Scope>) -> Self {
        let core = AgentCore::new(boot(cached));
        let mut lab = Self {
            core,
            now: Duration::ZERO,
            control,
            stream: StreamId(0),
            have: BTreeMap::new(),
            attempts: Vec::new(),
            reports: Vec::new(),
            notices: Vec::new(),
            reconciles: 0,
            saved: BTreeSet::new(),
            dropped: BTreeSet::new(),
            disconnects: 0,
            told_urls: Vec::new(),
            used_urls: Vec::new(),
            calls: Vec::new(),
            asked: Vec::new(),
            pins_saved: 0,
            host_again: Vec::new(),
            epoch: Epoch(1),
        };
        lab.event(Event::Started);
        lab
    }

    fn event(&mut self, event: Event) {
        self.core.handle(self.now, event);
        self.drain();
    }

    fn drain(&mut self) {
        let mut reconciles = 0;
        let mut applied = None;
        while let Some(action) = self.core.poll() {
            match action {
                Action::Reconcile(desired) => {
                    reconciles += 1;
                    applied = Some(desired.revision);
                }
                Action::Connect { stream, request, .. } => {
                    self.stream = stream;
                    self.have = request.have;
                    self.attempts.push(self.now);
                }
                Action::Disconnect { .. } => self.disconnects += 1,
                Action::SendReport(report) => self.reports.push(report),
                Action::Notice(notice) => self.notices.push(notice),
                Action::SaveScope(scope) => drop(self.saved.insert(scope)),
                Action::DropScope(scope) => drop(self.dropped.insert(scope)),
                Action::UseUrls(urls) => self.used_urls = urls,
                Action::Initiate { keys, .. } => self.calls.push((self.now, keys)),
                Action::FetchProofs(asked) => self.asked.push((self.now, asked)),
                Action::HostAgain(group) => self.host_again.push(group),
                Action::SavePins => self.pins_saved += 1,
                Action::Zones(_) | Action::UseRelays(_) | Action::Signaled(_) => {}
            }
        }
        assert!(reconciles <= 1, "one reconcile per batch");
        self.reconciles += reconciles;
        if let Some(revision) = applied {
            self.event(Event::Applied { revision });
        }
    }

    fn line(&mut self, line: Line) {
        self.event(Event::Line { stream: self.stream, line });
    }

    fn hello(&mut self) {
        let hello = Hello {
            protocol: 1,
            control: "0".into(),
            epoch: self.epoch,
            now_ms: 0,
            beat_s: 30,
            urls: self.told_urls.clone(),
        };
        self.line(Line::Hello(hello));
    }

    /// Control accepts the attempt and answers every cursor.
    fn serve(&mut self) {
        self.hello();
        for scope in self.control.keys().cloned().collect::<Vec<_>>() {
            self.answer(&scope, None);
        }
    }

    fn answer(&mut self, scope: &ScopeId, ack_within_ms: Option<u32>) {
        let held = self.core.scope(scope).map(|held| held.cursor());
        let told = self.have.get(scope).is_some_and(|cursor| !cursor.is_empty());
        let held = held.filter(|_| told || self.core.link.is_in_sync());
        self.answer_to(scope, held.as_ref(), ack_within_ms);
    }

    fn answer_to(&mut self, scope: &ScopeId, have: Option<&Cursor>, ack_within_ms: Option<u32>) {
        let control = self.control[scope].clone();
        let answer = control.answer(have);
        let mut lines = Vec::new();
        if answer.reset {
            lines.push(Line::Reset(Reset { scope: scope.clone() }));
        }
        let records = answer.puts.into_iter().cloned().collect();
        lines.push(Line::Put(Put { scope: scope.clone(), records }));
        let ids = answer.dels.into_iter().cloned().collect();
        lines.push(Line::Del(Del { scope: scope.clone(), ids }));
        let (rev, digest) = (answer.at.revision, answer.at.digest);
        lines.push(Line::At(At { scope: scope.clone(), rev, digest, ack_within_ms }));
        lines.into_iter().for_each(|line| self.line(line));
    }

    fn commit(&mut self, scope: &ScopeId, changes: impl IntoIterator<Item = Change>) {
        self.control.get_mut(scope).unwrap().commit(changes);
    }

    fn ended(&mut self) {
        self.event(Event::StreamEnded { stream: self.stream });
    }

    fn refused(&mut self, code: Code) {
        let problem = Some(Problem::new(code, "no"));
        self.event(Event::ConnectFailed { stream: self.stream, problem, retry_after: None });
    }

    /// Moves the clock to each deadline in turn, up to `span` from now.
    fn run_for(&mut self, span: Duration, mut at_each: impl FnMut(&mut Self)) {
        let end = self.now + span;
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline >= self.now, "a deadline in the past: {deadline:?} at {:?}", self.now);
            self.now = deadline;
            self.event(Event::Tick);
            at_each(self);
        }
        self.now = end;
    }

    /// Sends a beat every 30 s.
    fn steady_for(&mut self, seconds: u64) {
        for _ in 0..seconds / 30 {
            self.run_for(30 * SECOND, |_| {});
            self.line(Line::Beat(Beat { now_ms: 0 }));
        }
    }

    /// How long until the next attempt.
    fn wait(&self) -> Duration {
        self.core.control().next_attempt.unwrap() - self.now
    }

    fn peers(&self) -> Vec<PublicKey> {
        let interfaces = &self.core.desired().interfaces;
        interfaces
            .get(&group(1))
            .map(|interface| interface.peers.keys().copied().collect())
            .unwrap_or_default()
    }

    fn resolves(&self, name: &str) -> bool {
        self.core.zones().answer(&Question::new(name, Kind::A), None).code == AnswerCode::NoError
    }
}

mod alone;
mod asked;
mod proofs;
mod reports;

const WEB: &str = "web.shop-1.lacis.internal";

#[test]
fn tunnels_and_names_start_from_the_cache_before_control_is_contacted() {
    let scopes = BTreeMap::from([(group_scope(1), small_group(1))]);
    let mut core = AgentCore::new(Boot {
        local: local(&[1]),
        scopes,
        recent: BTreeMap::from([(group(1), BTreeSet::from([key(7)])), (group(9), BTreeSet::new())]),
        proofs: Proofs::Warn,
        pins: BTreeMap::new(),
        urls: Vec::new(),
        endpoints: Vec::new(),
        agent: "0".into(),
        report_seq: 0,
        seed: 0,
    });
    assert!(core.poll().is_none() && core.deadline().is_none());
    core.handle(Duration::ZERO, Event::Started);
    let mut actions: Vec<_> = std::iter::from_fn(|| core.poll()).collect();
    assert!(matches!(&actions[0], Action::Reconcile(desired) if desired.interfaces.len() == 1));
    assert!(matches!(&actions[1], Action::Zones(_)));
    assert!(matches!(&actions[2], Action::Connect { request, .. } if request.have.len() == 1));
    assert!(matches!(&actions[3], Action::Notice(Notice::GroupUp { .. })));
    core.handle(Duration::ZERO, Event::Applied { revision: core.desired().revision });
    actions.extend(std::iter::from_fn(|| core.poll()));
    assert!(matches!(&actions[4], Action::Initiate { keys, .. } if keys == &[key(7)]));
    assert_eq!(actions.len(), 5);
}

#[test]
fn a_first_start_without_cache_gets_everything_from_control() {
    let control = Lab::new().control;
    let mut lab = Lab::with(BTreeMap::new(), control);
    assert!(lab.peers().is_empty());
    lab.serve();
    assert_eq!(lab.peers(), [key(6), key(7)]);
    assert!(lab.resolves(WEB));
    assert_eq!(lab.saved, BTreeSet::from([group_scope(1), node_scope(5)]));
    assert!(lab.core.control().in_sync);
}

#[test]
fn a_new_peer_is_in_the_next_reconcile_and_nothing_is_saved_twice() {
    let mut lab = Lab::new();
    lab.serve();
    assert!(lab.saved.is_empty());
    lab.commit(&group_scope(1), [put_peer(8, "db")]);
    lab.answer(&group_scope(1), None);
    assert_eq!(lab.peers(), [key(6), key(7), key(8)]);
    assert_eq!(lab.saved, BTreeSet::from([group_scope(1)]));
}

#[test]
fn a_week_without_control_changes_nothing_and_attempts_are_bounded() {
    for code in
        [None, Some(Code::NodeRevoked), Some(Code::AgentTooOld), Some(Code::Busy), Some(Code::Forbidden)]
    {
        let mut lab = Lab::new();
        let before = (lab.peers(), lab.reconciles);
        let fail = |lab: &mut Lab| match code {
            Some(code) => lab.refused(code),
            None => lab.event(Event::ConnectFailed { stream: lab.stream, problem: None, retry_after: None }),
        };
        fail(&mut lab);
        lab.run_for(7 * 24 * 3600 * SECOND, |lab| {
            if !lab.core.link.is_live() && lab.core.control().next_attempt.is_none() {
                fail(lab);
            }
        });
        assert_eq!((lab.peers(), lab.reconciles), before);
        assert!(lab.resolves(WEB));
        // A week of windows of five minutes, drawn from evenly: 4032 on average.
        assert!((1_900..4_600).contains(&lab.attempts.len()), "{code:?}: {}", lab.attempts.len());
        assert!(lab.notices.len() <= 3, "{:?}", lab.notices);
        assert!(lab.attempts.windows(2).all(|pair| pair[1] - pair[0] <= 300 * SECOND));
        assert!(lab.attempts.windows(2).all(|pair| pair[1] - pair[0] >= 200 * MS));
    }
}

#[test]
fn a_restart_of_control_is_followed_within_a_second_once() {
    let mut lab = Lab::new();
    lab.serve();
    lab.steady_for(90);
    lab.ended();
    assert!((200 * MS..=SECOND).contains(&lab.wait()), "{:?}", lab.wait());
    lab.run_for(SECOND, |_| {});
    assert_eq!(lab.attempts.len(), 2);
    let mut waits = Vec::new();
    for _ in 0..12 {
        lab.serve();
        lab.ended();
        waits.push(lab.wait());
        lab.run_for(lab.wait(), |_| {});
    }
    assert!(waits.iter().sum::<Duration>() > 60 * SECOND, "a loop of short streams slows down: {waits:?}");
    lab.serve();
    lab.steady_for(90);
    lab.ended();
    assert!(lab.wait() <= SECOND);
}

#[test]
fn a_goodbye_is_followed_within_the_time_it_gives() {
    let mut lab = Lab::new();
    lab.serve();
    lab.steady_for(90);
    lab.line(Line::Bye(Bye { reason: "drain".into(), within_s: 20 }));
    lab.commit(&group_scope(1), [put_peer(8, "db")]);
    lab.answer(&group_scope(1), None);
    assert_eq!(lab.peers().len(), 3, "the stream is read to its end");
    lab.run_for(21 * SECOND, |_| {});
    assert_eq!((lab.attempts.len(), lab.disconnects), (2, 1));
}

#[test]
fn silence_ends_an_attempt_after_ten_seconds_and_a_stream_after_three_beats() {
    let mut lab = Lab::new();
    lab.run_for(10 * SECOND, |_| {});
    assert_eq!(lab.disconnects, 1);
    lab.run_for(SECOND, |_| {});
    assert_eq!(lab.attempts.len(), 2);
    lab.serve();
    let silent_since = lab.now;
    lab.run_for(89 * SECOND, |_| {});
    assert_eq!(lab.disconnects, 1);
    assert_eq!(lab.core.control().last_line, Some(silent_since));
    lab.run_for(SECOND, |_| {});
    assert_eq!(lab.disconnects, 2);
    assert!(lab.notices.contains(&Notice::ControlSilent { silent: 90 * SECOND }));
    assert_eq!(lab.peers().len(), 2);
}

#[test]
fn a_snapshot_without_the_own_peer_or_the_assignments_is_refused() {
    for (id, empty, reason) in [
        (group_scope(1), scope([put_group(1)]), "it lacks this node's own peer"),
        (group_scope(1), scope([put_peer(5, "web")]), "it lacks the group itself"),
        (group_scope(1), Scope::new(Epoch(1)), "it lacks the group itself"),
        (node_scope(5), scope([put_node(5)]), "it lacks this node's assignments"),
    ] {
        let mut lab = Lab::new();
        let mut emptied = empty;
        for _ in 0..20 {
            emptied.commit([]);
        }
        lab.control.insert(id.clone(), emptied);
        lab.hello();
        lab.answer_to(&id, None, None);
        assert!(
            lab.notices.contains(&Notice::ScopeRefused { scope: id.clone(), reason }),
            "{:?}",
            lab.notices
        );
        assert_eq!((lab.peers().len(), lab.disconnects), (2, 1));
        assert!(lab.resolves(WEB));
        assert!(lab.saved.is_empty());
    }
}

#[test]
fn an_old_snapshot_is_refused_until_control_insists() {
    let mut lab = Lab::new();
    lab.control.insert(group_scope(1), scope([put_group(1), put_peer(5, "web")]));
    for offer in 1..=4 {
        lab.hello();
        lab.answer_to(&group_scope(1), None, None);
        assert_eq!(lab.peers().len(), if offer < 4 { 2 } else { 0 }, "offer {offer}");
        if offer < 4 {
            lab.run_for(lab.wait(), |_| {});
        }
    }
}

#[test]
fn only_an_explicit_word_ends_a_membership() {
    let mut lab = Lab::new();
    lab.serve();
    lab.line(Line::Drop(DropScope { scope: group_scope(1), reason: None }));
    assert!(lab.core.desired().interfaces.is_empty());
    assert!(!lab.resolves(WEB));
    assert_eq!(lab.dropped, BTreeSet::from([group_scope(1)]));

    let mut lab = Lab::new();
    lab.serve();
    lab.commit(&node_scope(5), [Change::Del(RecordId::from(&peer(5)))]);
    lab.answer(&node_scope(5), None);
    assert!(lab.core.desired().interfaces.is_empty());
    assert_eq!(lab.dropped, BTreeSet::from([group_scope(1)]));
    assert!(lab.notices.iter().any(|notice| matches!(notice, Notice::GroupGone { .. })));

    let mut lab = Lab::new();
    lab.serve();
    lab.event(Event::Left { group: group(1) });
    assert!(lab.core.desired().interfaces.is_empty());

    let mut lab = Lab::new();
    lab.serve();
    lab.commit(&group_scope(1), [Change::Del(RecordId::from(&peer(5)))]);
    lab.answer(&group_scope(1), None);
    assert!(lab.core.desired().interfaces.is_empty());
}

#[test]
fn a_group_without_a_copy_is_named_so_that_control_can_drop_it() {
    let control = BTreeMap::from([(node_scope(5), scope([put_node(5)]))]);
    let mut lab = Lab::with(control.clone(), control);
    assert_eq!(lab.have[&group_scope(1)], "");
    lab.serve();
    lab.line(Line::Drop(DropScope { scope: group_scope(1), reason: None }));
    assert!(lab.core.local().hosted.is_empty());
    assert_eq!(lab.dropped, BTreeSet::from([group_scope(1)]));
}

#[test]
fn what_still_comes_after_a_local_command_is_passed_over_and_the_cursors_of_now_are_sent() {
    let mut lab = Lab::new();
    lab.serve();
    lab.event(Event::Left { group: group(1) });
    lab.event(Event::PeerReady { group: group(1), hosted: hosted(8) });
    assert_eq!(lab.disconnects, 1);
    lab.commit(&node_scope(5), [Change::Del(RecordId::from(&peer(5)))]);
    lab.answer(&node_scope(5), None);
    lab.line(Line::Drop(DropScope { scope: group_scope(1), reason: None }));
    assert_eq!(lab.core.local().hosted[&group(1)].peer, peer(8));

    lab.run_for(200 * MS, |_| {});
    assert_eq!(lab.attempts.len(), 2, "no failure, no long wait");
    assert_eq!(lab.have[&group_scope(1)], "");
    lab.commit(&group_scope(1), [put_peer(8, "web")]);
    lab.commit(&node_scope(5), [put_assignment(1, 8, "web")]);
    lab.serve();
    assert!(lab.core.desired().interfaces.contains_key(&group(1)));
}

#[test]
fn a_second_group_comes_up_when_its_peer_is_ready() {
    let mut lab = Lab::new();
    lab.serve();
    lab.event(Event::PeerReady { group: group(2), hosted: Hosted { joined_ms: 9, ..hosted(5) } });
    lab.control.insert(group_scope(2), small_group(2));
    lab.run_for(200 * MS, |_| {});
    lab.serve();
    assert_eq!(lab.core.desired().interfaces.len(), 2);
    assert!(lab.resolves("web.shop-2.lacis.internal"));
}

#[test]
fn a_storm_of_bad_streams_is_bounded_in_attempts_and_notices() {
    let bad = |lab: &mut Lab, n: usize| match n % 4 {
        0 => lab.event(Event::BadLine { stream: lab.stream, error: LineError::Malformed }),
        1 => lab.line(Line::Beat(Beat { now_ms: 0 })),
        2 => {
            lab.hello();
            lab.hello();
        }
        _ => {
            lab.hello();
            let digest = lacis_proto::Digest::default();
            let rev = lacis_proto::Revision(1_000);
            lab.line(Line::At(At { scope: group_scope(1), rev, digest, ack_within_ms: None }));
        }
    };
    let mut lab = Lab::new();
    for n in 0..1_000 {
        bad(&mut lab, n);
        lab.run_for(lab.wait(), |_| {});
    }
    assert!(lab.now > Duration::from_secs(1_000 * 100), "{:?}", lab.now);
    assert_eq!(lab.peers().len(), 2);
    assert_eq!(lab.reconciles, 1);
    lab.serve();
    assert!(lab.core.control().in_sync);
}

#[test]
fn notices_that_nobody_takes_are_counted_only() {
    let mut lab = Lab::new();
    let (more, before) = (3, lab.core.notices_lost());
    for _ in 0..MAX_NOTICES + more {
        lab.core.tell(Notice::InSync);
    }
    assert_eq!(lab.core.notices_lost() - before, u64::try_from(more).unwrap());
    lab.drain();
    assert_eq!(lab.notices.iter().filter(|notice| **notice == Notice::InSync).count(), MAX_NOTICES);
}

#[test]
fn a_broken_answer_is_asked_for_again_without_its_cursor() {
    let mut lab = Lab::new();
    lab.serve();
    let at = At {
        scope: group_scope(1),
        rev: lacis_proto::Revision(99),
        digest: lacis_proto::Digest::default(),
        ack_within_ms: None,
    };
    lab.line(Line::At(at));
    assert!(matches!(lab.notices.last(), Some(Notice::ScopeBroken { .. })));
    lab.run_for(lab.wait(), |_| {});
    assert_eq!(lab.have[&group_scope(1)], "");
    assert_ne!(lab.have[&node_scope(5)], "");
    lab.serve();
    assert_eq!(lab.peers().len(), 2);
}

#[test]
fn events_of_an_earlier_stream_change_nothing() {
    let mut lab = Lab::new();
    let old = lab.stream;
    lab.ended();
    lab.run_for(lab.wait(), |_| {});
    lab.serve();
    lab.event(Event::StreamEnded { stream: old });
    lab.event(Event::BadLine { stream: old, error: LineError::TooLong });
    lab.event(Event::Line {
        stream: old,
        line: Line::Drop(DropScope { scope: group_scope(1), reason: None }),
    });
    assert!(lab.core.control().in_sync);
    assert_eq!(lab.peers().len(), 2);
}

#[test]
fn a_silent_peer_is_named_last_for_half_a_minute() {
    let mut lab = Lab::new();
    lab.serve();
    lab.commit(&group_scope(1), [put_peer(8, "web")]);
    lab.answer(&group_scope(1), None);
    let hosts = |lab: &Lab| {
        let answer = lab.core.zones().answer(&Question::new(WEB, Kind::A), None);
        let last_octet = |rr: &Rr| {
            let RrValue::A(addr) = rr.value else { panic!("{rr:?}") };
            addr.octets()[3]
        };
        answer.answers.iter().map(last_octet).collect::<Vec<_>>()
    };
    assert_eq!(hosts(&lab), [5, 6, 8]);
    let silent = || Event::HandshakeUnanswered { group: group(1), key: key(6) };
    lab.event(silent());
    assert_eq!(hosts(&lab), [5, 8, 6]);
    lab.run_for(29 * SECOND, |_| {});
    assert_eq!(hosts(&lab), [5, 8, 6]);
    lab.run_for(SECOND, |_| {});
    assert_eq!(hosts(&lab), [5, 6, 8]);
    lab.event(silent());
    lab.event(Event::HandshakeUnanswered { group: group(1), key: key(99) });
    assert_eq!(hosts(&lab), [5, 8, 6]);
    lab.event(Event::HandshakeDone { group: group(1), key: key(6) });
    assert_eq!(hosts(&lab), [5, 6, 8]);
}

#[test]
fn a_changed_network_hurries_the_next_attempt() {
    let mut lab = Lab::new();
    for _ in 0..12 {
        lab.refused(Code::NodeRevoked);
        lab.run_for(lab.wait(), |_| {});
    }
    lab.refused(Code::NodeRevoked);
    assert!(lab.wait() >= 64 * SECOND);
    assert_eq!(lab.core.control().problem.as_ref().unwrap().code, Code::NodeRevoked);
    lab.event(Event::NetworkChanged);
    assert_eq!(lab.wait(), 200 * MS);
}
