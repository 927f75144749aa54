//! What is fuzzed: one function per decoder or machine. Each takes any bytes, must not panic, and checks what
//! must hold of whatever it could make of them.
//!
//! The same functions run under libFuzzer (`tests/fuzz/README.md`) and over the committed corpus in the test
//! binary `fuzz` on the stable toolchain.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Debug, Display},
    str::FromStr,
    time::Duration,
};

use lacis_agent_core::{
    Action, AgentCore, AnswerCode, Boot, Event, Gateway, Hosted, Kind, Local, Netmap, Observed, PortMap,
    PortMapEvent, Question, Zone, Zones, plan, upnp,
};
use lacis_control_core::{Actor, Batch, Command, Facts, Install, Random, Reply, State, decide};
use lacis_proto::{
    ApiToken, Assignment, Authorization, Body, Change, Cursor, Epoch, Follower, GroupId, GroupRecord, Hello,
    Host, JoinReply, JoinRequest, JoinToken, KeyUse, Line, LineDecoder, MemberId, MemberKind, MemberRecord,
    NodeId, PeerId, PeerKey, PeerRecord, PeerReply, PeerRequest, Problem, PublicKey, Record, RecordId,
    ReportReply, ReportRequest, Scope, ScopeId, WatchRequest, prefix6_of,
    relay::{self, HEADER, MacKey, Packet, RelayToken},
    stun,
};
use serde::{Serialize, de::DeserializeOwned};

/// A target.
pub type Target = fn(&[u8]);

/// Every target by name; the corpus of each is in `corpus/<name>/`.
pub const TARGETS: [(&str, Target); 23] = [
    ("join_token", join_token),
    ("api_token", api_token),
    ("lines", lines),
    ("follow", follow),
    ("machine", machine),
    ("authorization", authorization),
    ("bodies", bodies),
    ("commands", commands),
    ("question", question),
    ("socket_request", socket_request),
    ("guard_line", guard_line),
    ("scope_copy", scope_copy),
    ("relay_frames", relay_frames),
    ("path_content", lacis_agent_core::path_fuzz::content),
    ("path_machine", lacis_agent_core::path_fuzz::machine),
    ("stun", stun_messages),
    ("portmap", portmap),
    ("split", lacis_tunnel::fuzz::split),
    ("coalesce", lacis_tunnel::fuzz::coalesce),
    ("wire", lacis_tunnel::fuzz::wire),
    ("cipher", lacis_tunnel::fuzz::cipher),
    ("receive", lacis_tunnel::fuzz::receive),
    ("forward", lacis_tunnel::fuzz::forward),
];

/// A join token prints as it parses.
pub fn join_token(bytes: &[u8]) {
    prints_as_it_parses::<JoinToken>(bytes);
}

/// An API token prints as it parses.
pub fn api_token(bytes: &[u8]) {
    prints_as_it_parses::<ApiToken>(bytes);
}

/// The header of a signed request, and a cursor, print as they parse.
pub fn authorization(bytes: &[u8]) {
    prints_as_it_parses::<Authorization>(bytes);
    prints_as_it_parses::<Cursor>(bytes);
    prints_as_it_parses::<lacis_proto::Run>(bytes);
}

fn prints_as_it_parses<T: FromStr + Display + PartialEq + Debug>(bytes: &[u8])
where
    T::Err: Debug,
{
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(value) = text.parse::<T>() {
        let again: T = value.to_string().parse().expect("what was printed parses");
        assert!(again == value, "printing changed the value");
    }
}

/// Lines are the same however the bytes are cut, and are read again as they were written. The first byte says
/// how long the pieces are.
pub fn lines(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let (mut whole, mut cut) = (LineDecoder::default(), LineDecoder::default());
    whole.push(bytes);
    bytes.chunks(usize::from(*size) + 1).for_each(|piece| cut.push(piece));
    loop {
        let (one, other) = (whole.next_line(), cut.next_line());
        assert_eq!(one, other, "cutting changed the lines");
        match one {
            Some(Ok(Line::Unknown(_))) => {}
            Some(Ok(line)) => {
                let written = line.encode();
                let again = Line::parse(&written[..written.len() - 1]).expect("what was written is a line");
                assert_eq!(again.encode(), written, "writing again changed the line");
            }
            Some(Err(_)) | None => break,
        }
    }
    assert!(whole.next_line().is_none(), "nothing is read after an error");
}

/// Lines are followed or refused; a refusal leaves the copies as they were.
pub fn follow(bytes: &[u8]) {
    let mut follower = Follower::new(BTreeMap::from([(ScopeId::from(&group()), scope())]));
    follow_line(&mut follower, hello());
    let mut decoder = LineDecoder::default();
    decoder.push(bytes);
    while let Some(Ok(line)) = decoder.next_line() {
        follow_line(&mut follower, line);
    }
    for (id, scope) in follower.scopes() {
        // A copy stands for itself: all of its records under its cursor make the same scope again.
        let records = scope.records().map(|record| (record.id.clone(), record.clone())).collect();
        let mut again = Scope::new(scope.cursor().epoch);
        again.apply(true, records, &BTreeSet::new(), scope.cursor()).expect("a copy agrees with its cursor");
        assert_eq!(again.cursor(), scope.cursor());
        if let Ok(group) = GroupId::parse(id.as_str()) {
            read(&group, scope);
        }
    }
}

fn follow_line(follower: &mut Follower, line: Line) {
    let before = follower.scope(&ScopeId::from(&group())).map(Scope::cursor);
    let is_drop = matches!(line, Line::Drop(_));
    let followed = follower.handle(line, |_, _| Ok(()));
    let after = follower.scope(&ScopeId::from(&group())).map(Scope::cursor);
    assert!(followed.is_ok() || before == after, "a refused line changed the scope");
    assert!(is_drop || before.is_none() || after.is_some(), "a scope went without a drop");
}

fn read(group: &GroupId, scope: &Scope) {
    let Some(netmap) = Netmap::read(group, scope) else { return };
    let keys: BTreeSet<_> = netmap.peers.values().map(|peer| peer.key).collect();
    let hosts: BTreeSet<_> = netmap.peers.values().map(|peer| peer.host).collect();
    assert!(
        keys.len() == netmap.peers.len() && hosts.len() == netmap.peers.len(),
        "two peers share something"
    );
    let zone = Zone::new(&netmap, None);
    ask(&Zones::new([std::sync::Arc::new(zone)], BTreeMap::new()), group.as_str(), Kind::A);
}

/// An agent survives whatever control says: prefixes have one owner, and planning after applying is empty.
pub fn machine(bytes: &[u8]) {
    let now = Duration::from_secs(1);
    let mut core = AgentCore::new(boot());
    let (mut seen, mut stream) = (Observed::default(), Default::default());
    let mut decoder = LineDecoder::default();
    decoder.push(bytes);
    core.handle(now, Event::Started);
    settle(&mut core, &mut seen, &mut stream);
    core.handle(now, Event::Line { stream, line: hello() });
    while let Some(line) = decoder.next_line() {
        let event = match line {
            Ok(line) => Event::Line { stream, line },
            Err(error) => Event::BadLine { stream, error },
        };
        core.handle(now, event);
        settle(&mut core, &mut seen, &mut stream);
    }
    core.handle(now, Event::StreamEnded { stream });
    settle(&mut core, &mut seen, &mut stream);
    assert!(core.deadline().is_some(), "an agent always tries again");
}

fn settle(core: &mut AgentCore, seen: &mut Observed, stream: &mut lacis_agent_core::StreamId) {
    while let Some(action) = core.poll() {
        match action {
            Action::Connect { stream: next, .. } => *stream = next,
            Action::Reconcile(want) => {
                for step in &plan(&want, seen).steps {
                    seen.apply(step);
                }
                assert!(plan(&want, seen).is_empty(), "planning after applying is empty");
                for interface in want.interfaces.values() {
                    let mut taken = BTreeSet::new();
                    let mut nets = interface.peers.values().flat_map(|peer| &peer.allowed);
                    assert!(nets.all(|net| taken.insert(*net)), "a prefix has two owners");
                }
            }
            Action::Zones(zones) => ask(&zones, "ns.main.lacis.internal", Kind::Any),
            Action::Initiate { .. }
            | Action::SaveScope(_)
            | Action::DropScope(_)
            | Action::UseUrls(_)
            | Action::UseRelays(_)
            | Action::Signaled(_)
            | Action::FetchProofs(_)
            | Action::SavePins
            | Action::HostAgain(_)
            | Action::Disconnect { .. }
            | Action::SendReport(_)
            | Action::Notice(_) => {}
        }
    }
}

/// A body prints as it reads. The first byte says which.
pub fn bodies(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 9 {
        0 => round::<JoinRequest>(bytes),
        1 => round::<JoinReply>(bytes),
        2 => round::<PeerRequest>(bytes),
        3 => round::<PeerReply>(bytes),
        4 => round::<WatchRequest>(bytes),
        5 => round::<ReportRequest>(bytes),
        6 => round::<ReportReply>(bytes),
        7 => round::<Record>(bytes),
        _ => round::<Problem>(bytes),
    }
}

fn round<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_vec(&value).expect("a body has a JSON form");
    let again: T = serde_json::from_slice(&written).expect("what was written is read");
    let again = serde_json::to_vec(&again).expect("a body has a JSON form");
    assert_eq!(again, written, "writing again changed the body");
}

/// Control decides whatever an agent asks; a refusal has no rows, an effect spends one revision. The first byte
/// says what is asked.
pub fn commands(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let (mut state, token, secret) = installation();
    let node = NodeId::from_random([5; 16]);
    let command = match which % 3 {
        0 => serde_json::from_slice::<JoinRequest>(bytes).ok().map(|request| Command::Join {
            // An agent that knows its token; what it says of itself is anything.
            token,
            secret,
            identity: request.identity,
            host_name: request.host_name,
            agent: request.agent,
        }),
        1 => serde_json::from_slice(bytes).ok().map(|request| Command::AddPeer { node, request }),
        _ => serde_json::from_slice::<ReportRequest>(bytes)
            .ok()
            .map(|request| Command::Report { node, peers: request.peers }),
    };
    let Some(command) = command else { return };
    for round in 0..2 {
        let Ok(decision) = decide(&state, &Batch::default(), &command, facts(round)) else { return };
        assert!(round == 0 || decision.rows.is_empty(), "a replay has an effect");
        assert!(!decision.rows.is_empty() || decision.changes.is_empty(), "changes without rows");
        state.apply(decision.rows);
    }
}

fn installation() -> (State, lacis_proto::TokenId, lacis_proto::Secret) {
    let suffixes = vec!["lacis.internal".into()];
    let install = Install { owner_label: "First".into(), group_label: "main".into(), suffixes };
    let mut state = State::default();
    let decision = decide(&state, &Batch::default(), &Command::Install(install), facts(9))
        .expect("an empty control installs");
    state.apply(decision.rows);
    let Reply::Installed { join: (token, secret), .. } = decision.reply else {
        unreachable!("an installation is answered by its tokens")
    };
    (state, token, secret)
}

fn facts(seed: u8) -> Facts {
    let random = Random::new([seed + 1; Random::BYTES]);
    Facts { now_ms: 1_795_323_600_000, by: Actor::Control, random, applied: None }
}

/// Any question gets an answer that is one. The first byte is the type, the rest the name.
pub fn question(bytes: &[u8]) {
    let Some((kind, name)) = bytes.split_first() else { return };
    let kinds = [Kind::A, Kind::Aaaa, Kind::Ptr, Kind::Soa, Kind::Ns, Kind::Any, Kind::Other(65)];
    let netmap = Netmap::read(&group(), &scope()).expect("the fixture is a group");
    let zone = std::sync::Arc::new(Zone::new(&netmap, Some(&peer(5))));
    let name = String::from_utf8_lossy(name);
    ask(&Zones::new([zone], BTreeMap::new()), &name, kinds[usize::from(*kind) % kinds.len()]);
}

fn ask(zones: &Zones, name: &str, kind: Kind) {
    let question = Question::new(name, kind);
    let answer = zones.answer(&question, None);
    let is_negative = answer.answers.is_empty();
    match answer.code {
        AnswerCode::NoError => assert_eq!(is_negative, !answer.authority.is_empty(), "NODATA has its SOA"),
        AnswerCode::NxDomain => assert!(is_negative && !answer.authority.is_empty(), "NXDOMAIN has its SOA"),
        AnswerCode::Refused => assert!(is_negative && answer.authority.is_empty() && !answer.authoritative),
    }
    assert!(answer.answers.iter().all(|rr| rr.name == question.name), "the answer is to the question");
    let again = zones.answer(&Question::new(&name.to_ascii_uppercase(), kind), None);
    assert_eq!(again, answer, "case does not matter");
}

/// A request on the agent's socket prints as it reads.
pub fn socket_request(bytes: &[u8]) {
    round::<lacis_agent::Request>(bytes);
    round::<lacis_agent::Reply>(bytes);
}

/// What an agent and its guard say to each other prints as it reads.
pub fn guard_line(bytes: &[u8]) {
    lacis_agent::fuzz::guard_line(bytes);
}

/// A copy of a scope on disk is read whole or counts as none.
pub fn scope_copy(bytes: &[u8]) {
    lacis_agent::fuzz::scope_copy(bytes);
}

/// A relay frame, and each frame of a batch, is written as long as it was read, and read again as the same; a relay
/// token prints as it parses. The first byte says which.
pub fn relay_frames(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 4 {
        0 => relay_frame(bytes),
        1 => {
            let Ok(batch) = relay::Batch::parse(bytes) else { return };
            let mut again = Vec::new();
            for frame in batch.map_while(Result::ok) {
                assert!(relay::Batch::push(&mut again, frame), "a frame of a batch fits into one");
                relay_frame(frame);
            }
            assert!(bytes.starts_with(&again), "writing again changed the batch");
        }
        2 => prints_as_it_parses::<RelayToken>(bytes),
        _ => {
            if let Ok(token) = RelayToken::parse(bytes) {
                assert_eq!(token.to_bytes().as_slice(), bytes, "writing again changed the token");
            }
        }
    }
}

fn relay_frame(bytes: &[u8]) {
    let Ok(packet) = Packet::parse(bytes) else { return };
    let mut again = packet.to_bytes();
    assert_eq!(again.len(), bytes.len(), "writing again changed the length");
    assert_eq!(Packet::parse(&again), Ok(packet), "writing again changed the frame");
    if again.len() >= HEADER + 16 {
        MacKey([7; 32]).seal(&mut again);
        assert!(MacKey([7; 32]).check(&again));
    }
}

/// A STUN request is answered by what a client reads as its own address; an answer of anybody is read or not.
pub fn stun_messages(bytes: &[u8]) {
    let _ = stun::Response::parse(bytes);
    let Some(request) = stun::Request::parse(bytes) else { return };
    for observed in ["192.0.2.1:4000", "[2001:db8::1]:4000"] {
        let observed = observed.parse().expect("an address");
        let answer = request.answer(observed);
        let read = stun::Response::parse(&answer);
        assert_eq!(read, Some(stun::Response { id: request.id, observed }));
        assert!(stun::is_stun(&answer), "an answer is told from WireGuard");
    }
}

/// A gateway that says anything gets a mapping believed or not; the machine never stops while there is a gateway, and
/// what is read of UPnP's texts can stand in a request. The first byte says which.
pub fn portmap(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let gateway = Gateway { address: [192, 0, 2, 1].into(), local: [192, 0, 2, 2].into() };
    if which % 2 == 0 {
        let mut map = PortMap::new(47_820, [7; 12]);
        map.handle(Duration::ZERO, PortMapEvent::Gateway(Some(gateway)));
        for (second, payload) in (1..).zip(bytes.chunks(60)) {
            let now = Duration::from_secs(second);
            let (from, payload) = (gateway.address, payload.to_vec());
            map.handle(now, PortMapEvent::Datagram { from, payload });
            map.handle(now, PortMapEvent::Tick);
            while map.poll().is_some() {}
            assert!(map.deadline().is_some_and(|next| next > now), "it goes on, and not at once");
        }
        return;
    }
    let _ = upnp::location(bytes, gateway.address);
    let text = String::from_utf8_lossy(bytes);
    let described = upnp::Page { port: 80, path: "/".to_owned() };
    if let Some(service) = upnp::service(&text, &described, gateway.address) {
        assert!(service.page.path.starts_with('/') && !service.page.path.contains(char::is_whitespace));
        assert!(!upnp::Call::Address.action(&service).contains(char::is_control));
    }
    let _ = (upnp::external_address(&text), upnp::refusal(&text));
}

fn hello() -> Line {
    Line::Hello(Hello {
        protocol: 1,
        control: "fuzz".into(),
        epoch: Epoch(1),
        now_ms: 0,
        beat_s: 30,
        urls: Vec::new(),
    })
}

fn group() -> GroupId {
    GroupId::from_random([1; 16])
}

fn peer(n: u8) -> PeerId {
    PeerId::from_random([n; 16])
}

fn key(n: u8) -> PublicKey {
    PublicKey::try_new([n; 32]).expect("no zero")
}

fn member() -> MemberId {
    MemberId::external_from_random([1; 16])
}

/// A group with peers 5 and 6.
fn scope() -> Scope {
    let mut scope = Scope::new(Epoch(1));
    let record = GroupRecord {
        label: "main".into(),
        pool: "10.128.0.0/16".parse().expect("a range"),
        prefix6: prefix6_of(&group()),
        suffixes: vec!["lacis.internal".into()],
        gateway_key: None,
        gateway_rotations: 0,
    };
    let web = MemberRecord { member_kind: MemberKind::External, label: "web".into(), domain: String::new() };
    let put = |n: u8| {
        let record = PeerRecord {
            member: member(),
            node: Some(NodeId::from_random([n; 16])),
            host: Host(n.into()),
            label: format!("web-{n}"),
            keys: vec![PeerKey { r#use: KeyUse::Current, key: key(n) }],
            endpoints: Vec::new(),
            relays: Vec::new(),
            routes: Vec::new(),
            gateway: false,
        };
        Change::Put(RecordId::from(&peer(n)), Body::Peer(record))
    };
    scope.commit([
        Change::Put(RecordId::from(&group()), Body::Group(record)),
        Change::Put(RecordId::from(&member()), Body::Member(web)),
        put(5),
        put(6),
    ]);
    scope
}

/// Node 5, which hosts peer 5.
fn boot() -> Boot {
    let node = NodeId::from_random([5; 16]);
    let hosted = Hosted {
        peer: peer(5),
        member: member(),
        host: Host(5),
        key: key(5),
        joined_ms: 0,
        statement: None,
        gateway_key: None,
        gateway_rotations: 0,
    };
    let assignment = Assignment { group: group(), member: member(), host: Host(5) };
    let mut own = Scope::new(Epoch(1));
    own.commit([Change::Put(RecordId::from(&peer(5)), Body::Assignment(assignment))]);
    let scopes = BTreeMap::from([(ScopeId::from(&node), own), (ScopeId::from(&group()), scope())]);
    Boot {
        local: Local { node, mtu: 1400, hosted: BTreeMap::from([(group(), hosted)]), offer: None },
        scopes,
        recent: BTreeMap::new(),
        proofs: lacis_agent_core::Proofs::default(),
        pins: BTreeMap::new(),
        urls: Vec::new(),
        endpoints: Vec::new(),
        agent: "fuzz".into(),
        report_seq: 0,
        seed: 1,
    }
}
