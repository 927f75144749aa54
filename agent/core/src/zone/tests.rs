use lacis_proto::{Body, Change, Epoch, GroupRecord, PeerRecord, RecordId, Scope, prefix6_of};
use proptest::prelude::*;

use super::*;
use crate::fixtures::*;

const KINDS: [(&str, Kind); 8] = [
    ("A", Kind::A),
    ("AAAA", Kind::Aaaa),
    ("PTR", Kind::Ptr),
    ("SOA", Kind::Soa),
    ("NS", Kind::Ns),
    ("ANY", Kind::Any),
    ("MX", Kind::Other(15)),
    ("TXT", Kind::Other(16)),
];

fn zone(n: u8, scope: &Scope) -> Arc<Zone> {
    Arc::new(Zone::new(&netmap(n, scope), Some(&peer(5))))
}

fn zones(scopes: &[(u8, Scope)]) -> Zones {
    Zones::new(scopes.iter().map(|(n, scope)| zone(*n, scope)), BTreeMap::new())
}

/// The answer on one line: code, answers, and `/` before the authority section's owner and type.
fn text(answer: &Answer) -> String {
    let value = |rr: &Rr| match &rr.value {
        RrValue::A(addr) => format!(" A={addr}"),
        RrValue::Aaaa(addr) => format!(" AAAA={addr}"),
        RrValue::Ptr(name) => format!(" PTR={name}"),
        RrValue::Ns(name) => format!(" NS={name}"),
        RrValue::Soa { mname, serial, .. } => format!(" SOA={mname},{serial}"),
    };
    let mut text = format!("{:?}", answer.code);
    text.extend(answer.answers.iter().map(value));
    text.extend(answer.authority.iter().map(|rr| format!(" / {}", rr.name)));
    let every = || answer.answers.iter().chain(&answer.authority).chain(&answer.additional);
    assert!(every().all(|rr| rr.ttl_s == 5));
    assert_eq!(answer.authoritative, answer.code != AnswerCode::Refused);
    text
}

/// `G` is the group's id, `P5` the id of peer 5, `6::` the group's prefix.
fn fill(n: u8, text: &str) -> String {
    let prefix = prefix6_of(&group(n)).network().to_string();
    let filled = text.replace("6::", &prefix).replace('G', group(n).as_str());
    [5, 6, 7].iter().fold(filled, |text, n| text.replace(&format!("P{n}"), peer(*n).as_str()))
}

#[track_caller]
fn check_in(zones: &Zones, question: &str, expected: &str) {
    let (kind, name) = question.split_once(' ').unwrap();
    let kind = KINDS.iter().find(|(name, _)| *name == kind).unwrap().1;
    let answer = zones.answer(&Question::new(&fill(1, name), kind), None);
    assert_eq!(text(&answer), fill(1, expected), "{question}");
}

#[track_caller]
fn check(question: &str, expected: &str) {
    check_in(&zones(&[(1, small_group(1))]), question, expected);
}

#[test]
fn members_and_peers_answer_by_id_and_by_label() {
    check("A app_web.m.G.lacis.internal", "NoError A=10.1.0.5 A=10.1.0.6");
    check("AAAA app_web.m.G.lacis.internal", "NoError AAAA=6::5 AAAA=6::6");
    check("ANY app_db.m.G.lacis.internal", "NoError A=10.1.0.7 AAAA=6::7");
    check("A P6.p.G.lacis.internal", "NoError A=10.1.0.6");
    check("AAAA P6.p.G.lacis.internal", "NoError AAAA=6::6");
    check("A web.shop-1.lacis.internal", "NoError A=10.1.0.5 A=10.1.0.6");
    check("A db.main.lacis.internal", "NoError A=10.1.0.7");
    check("A WEB.Shop-1.LACIS.internal.", "NoError A=10.1.0.5 A=10.1.0.6");
}

#[test]
fn what_exists_with_another_type_or_only_above_a_name_is_no_data() {
    check("MX app_web.m.G.lacis.internal", "NoError / G.lacis.internal");
    check("PTR P5.p.G.lacis.internal", "NoError / G.lacis.internal");
    check("A m.G.lacis.internal", "NoError / G.lacis.internal");
    check("ANY p.G.lacis.internal", "NoError / G.lacis.internal");
    check("A G.lacis.internal", "NoError / G.lacis.internal");
    check("TXT shop-1.lacis.internal", "NoError / shop-1.lacis.internal");
    check("MX db.main.lacis.internal", "NoError / db.main.lacis.internal");
}

#[test]
fn what_does_not_exist_is_denied_below_an_apex_and_refused_elsewhere() {
    check("A app_none.m.G.lacis.internal", "NxDomain / G.lacis.internal");
    check("A a.app_web.m.G.lacis.internal", "NxDomain / G.lacis.internal");
    check("A app_web.p.G.lacis.internal", "NxDomain / G.lacis.internal");
    check("A none.shop-1.lacis.internal", "NxDomain / shop-1.lacis.internal");
    check("A x.db.main.lacis.internal", "NxDomain / db.main.lacis.internal");
    for outside in [
        "lacis.internal",
        "main.lacis.internal",
        "internal",
        "example.com",
        "",
        "x.lacis.internal",
        "ipv4only.arpa",
    ] {
        check(&format!("A {outside}"), "Refused");
        check(&format!("SOA {outside}"), "Refused");
    }
    check("A xshop-1.lacis.internal", "Refused");
}

#[test]
fn the_platform_s_suffix_has_member_names_only() {
    check("A app_web.m.G.cc-ng.cloud", "NoError A=10.1.0.5 A=10.1.0.6");
    check("A m.G.cc-ng.cloud", "NoError / G.cc-ng.cloud");
    check("A P5.p.G.cc-ng.cloud", "NxDomain / G.cc-ng.cloud");
    check("A web.shop-1.cc-ng.cloud", "Refused");
    check("SOA cc-ng.cloud", "Refused");
    check("A web.other.cc-ng.cloud", "Refused");
}

#[test]
fn every_apex_has_authority_and_a_name_server_that_answers() {
    let apexes = [
        "G.lacis.internal",
        "shop-1.lacis.internal",
        "G.cc-ng.cloud",
        "1.10.in-addr.arpa",
        "db.main.lacis.internal",
    ];
    for apex in apexes {
        check(&format!("SOA {apex}"), &format!("NoError SOA=ns.{apex},6"));
        check(&format!("NS {apex}"), &format!("NoError NS=ns.{apex}"));
        check(&format!("A ns.{apex}"), "NoError A=10.1.0.1");
        check(&format!("AAAA ns.{apex}"), "NoError AAAA=6::1");
    }
    let zones = zones(&[(1, small_group(1))]);
    let answer = zones.answer(&Question::new("shop-1.lacis.internal", Kind::Ns), None);
    assert_eq!(answer.additional.len(), 2);
}

#[test]
fn addresses_point_back_at_the_peer() {
    check("PTR 5.0.1.10.in-addr.arpa", "NoError PTR=P5.p.G.lacis.internal");
    check("PTR 1.0.1.10.in-addr.arpa", "NoError PTR=ns.G.lacis.internal");
    check("A 5.0.1.10.in-addr.arpa", "NoError / 1.10.in-addr.arpa");
    check("PTR 0.1.10.in-addr.arpa", "NoError / 1.10.in-addr.arpa");
    check("PTR 9.1.10.in-addr.arpa", "NxDomain / 1.10.in-addr.arpa");
    for none in ["9.0.1", "0.0.1", "255.255.1", "05.0.1", "256.0.1", "x.0.1", "5.5.0.1"] {
        check(&format!("PTR {none}.10.in-addr.arpa"), "NxDomain / 1.10.in-addr.arpa");
    }
    check("PTR 5.0.2.10.in-addr.arpa", "Refused");
    check("PTR 10.in-addr.arpa", "Refused");
    check("PTR in-addr.arpa", "Refused");
}

#[test]
fn ipv6_addresses_point_back_too() {
    let nibbles = |bits: u128, count: usize| -> String {
        let all: Vec<_> = format!("{bits:032x}").chars().take(count).map(String::from).collect();
        all.into_iter().rev().collect::<Vec<_>>().join(".")
    };
    let base = u128::from(prefix6_of(&group(1)).network());
    let apex = format!("{}.ip6.arpa", nibbles(base, 16));
    let name = |host: u128, count| format!("{}.ip6.arpa", nibbles(base | host, count));
    check(&format!("PTR {}", name(6, 32)), "NoError PTR=P6.p.G.lacis.internal");
    check(&format!("PTR {}", name(1, 32)), "NoError PTR=ns.G.lacis.internal");
    check(&format!("PTR {}", name(6, 31)), &format!("NoError / {apex}"));
    check(&format!("PTR {}", name(0, 20)), &format!("NoError / {apex}"));
    check(&format!("PTR {}", name(9, 32)), &format!("NxDomain / {apex}"));
    check(&format!("PTR {}", name(1 << 40, 32)), &format!("NxDomain / {apex}"));
    check(&format!("PTR {}", name(1 << 60, 17)), &format!("NxDomain / {apex}"));
    check(&format!("PTR 5.{}", name(6, 32)), &format!("NxDomain / {apex}"));
    check(&format!("PTR z.{apex}"), &format!("NxDomain / {apex}"));
    check(&format!("SOA {apex}"), &format!("NoError SOA=ns.{apex},6"));
    check("PTR 1.0.0.2.ip6.arpa", "Refused");
}

#[test]
fn a_pool_off_the_octets_has_an_apex_per_value_of_its_last_octet() {
    for (pool, host, reverse, apex) in [
        ("10.16.0.0/12", 70_000, "112.17.17.10", "17.10"),
        ("192.168.16.0/20", 300, "44.17.168.192", "17.168.192"),
        ("192.168.0.64/28", 6, "70.0.168.192", "70.0.168.192"),
        ("10.0.0.0/8", 5, "5.0.0.10", "10"),
    ] {
        let Change::Put(id, Body::Group(record)) = put_group(1) else { unreachable!() };
        let record = GroupRecord { pool: pool.parse().unwrap(), ..record };
        let peer = PeerRecord { host: lacis_proto::Host(host), ..peer_record(5, "web") };
        let zones = zones(&[(1, scope([Change::Put(id, Body::Group(record)), put_record(5, peer)]))]);
        check_in(&zones, &format!("PTR {reverse}.in-addr.arpa"), "NoError PTR=P5.p.G.lacis.internal");
        let domains = zones.iter().next().unwrap().domains();
        assert!(domains.contains(&format!("{apex}.in-addr.arpa")), "{pool}: {domains:?}");
        check_in(
            &zones,
            &format!("SOA {apex}.in-addr.arpa"),
            &format!("NoError SOA=ns.{apex}.in-addr.arpa,2"),
        );
    }
}

#[test]
fn on_a_clash_the_older_record_keeps_the_name() {
    let scope = scope([
        put_group(1),
        put_member("new", "ns", "db.main.lacis.internal"),
        put_member("old", "Web!", ""),
        put_member("web", "web", "elsewhere.example"),
        put_peer(5, "old"),
        put_peer(6, "web"),
        put_peer(7, "new"),
    ]);
    let zones = zones(&[(1, scope)]);
    check_in(&zones, "A web.shop-1.lacis.internal", "NoError A=10.1.0.5");
    check_in(&zones, "A app_web.m.G.lacis.internal", "NoError A=10.1.0.6");
    check_in(&zones, "A ns.shop-1.lacis.internal", "NoError A=10.1.0.1");
    check_in(&zones, "A elsewhere.example", "Refused");
}

#[test]
fn a_member_s_own_domain_takes_no_name_from_another_group() {
    let thief = fill(2, "app_web.m.G.lacis.internal");
    let deep = "a.b.shop-1.lacis.internal";
    let greedy =
        scope([put_group(1), put_member("web", "x", &thief), put_member("db", "y", deep), put_peer(5, "db")]);
    let both = [(1, greedy), (2, small_group(2))];
    let zones = zones(&both);
    let answer = zones.answer(&Question::new(&thief, Kind::A), None);
    assert_eq!(text(&answer), "NoError A=10.2.0.5 A=10.2.0.6");
    check_in(&zones, "A a.b.shop-1.lacis.internal", "NoError A=10.1.0.5");
    check_in(&zones, "A b.shop-1.lacis.internal", "NoError / shop-1.lacis.internal");
    let own = scope([put_group(1), put_member("web", "x", "lacis.internal"), put_peer(5, "web")]);
    let greedy = Arc::new(Zone::new(&netmap(1, &own), None));
    check_in(&Zones::new([greedy], BTreeMap::new()), "A lacis.internal", "Refused");
}

#[test]
fn several_groups_share_a_resolver_and_a_tunnel_sees_its_own() {
    let zones = zones(&[(1, small_group(1)), (2, small_group(2))]);
    let question = Question::new("web.shop-2.lacis.internal", Kind::A);
    assert_eq!(text(&zones.answer(&question, None)), "NoError A=10.2.0.5 A=10.2.0.6");
    assert_eq!(text(&zones.answer(&question, Some(&group(1)))), "Refused");
    assert_eq!(text(&zones.answer(&question, Some(&group(2)))), "NoError A=10.2.0.5 A=10.2.0.6");
    assert_eq!(zones.tunnel_of("10.2.0.6".parse().unwrap()), Some(&group(2)));
    for local in ["10.2.0.5", "10.2.0.1", "127.0.0.1", "192.0.2.1", "::1"] {
        assert_eq!(zones.tunnel_of(local.parse().unwrap()), None, "{local}");
    }
    assert!(zones.apexes().contains("shop-2.lacis.internal"));
    assert!(zones.apexes().contains("db.main.lacis.internal"));
}

#[test]
fn the_own_peer_is_named_first_and_silent_peers_last() {
    let scope = scope([put_group(1), put_peer(6, "web"), put_peer(5, "web"), put_peer(7, "web")]);
    let zone = Zone::new(&netmap(1, &scope), Some(&peer(7)));
    let question = Question::new(&fill(1, "app_web.m.G.lacis.internal"), Kind::A);
    let ask = |demoted: &[u8]| text(&answer(&zone, &question, &demoted.iter().map(|n| peer(*n)).collect()));
    assert_eq!(ask(&[]), "NoError A=10.1.0.7 A=10.1.0.5 A=10.1.0.6");
    assert_eq!(ask(&[5]), "NoError A=10.1.0.7 A=10.1.0.6 A=10.1.0.5");
    assert_eq!(ask(&[5, 6, 7]), "NoError A=10.1.0.7 A=10.1.0.5 A=10.1.0.6");
}

#[test]
fn an_answer_is_limited() {
    let mut scope = Scope::new(Epoch(1));
    scope.commit([put_group(1)]);
    scope.commit((0..2_000u32).map(|n| {
        let mut bytes = [0xee; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        let mut id = [0; 16];
        id[12..].copy_from_slice(&n.to_be_bytes());
        let mut record = PeerRecord { host: lacis_proto::Host(5 + n), ..peer_record(5, "web") };
        record.keys[0].key = lacis_proto::PublicKey::try_new(bytes).unwrap();
        Change::Put(RecordId::from(&PeerId::from_random(id)), Body::Peer(record))
    }));
    let question = Question::new(&fill(1, "app_web.m.G.lacis.internal"), Kind::A);
    assert_eq!(zones(&[(1, scope)]).answer(&question, None).answers.len(), MAX_ADDRESSES);
}

fn kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(KINDS.map(|(_, kind)| kind).to_vec())
}

/// Names near the ones that exist, and names of any bytes.
fn name() -> impl Strategy<Value = String> {
    let near = "(app_web|db|5|0|1|10|f|m|p|ns|shop-1|G|main|\\.|x){0,8}";
    let tail = "(\\.?lacis\\.internal|\\.?cc-ng\\.cloud|\\.?in-addr\\.arpa|\\.?1\\.10\\.in-addr\\.arpa|\\.?ip6\\.arpa)?";
    let near = matching(&format!("{near}{tail}")).prop_map(|name| fill(1, &name));
    prop_oneof![near, matching("\\PC{0,60}"), matching(".{0,300}")]
}

fn matching(pattern: &str) -> BoxedStrategy<String> {
    proptest::string::string_regex(pattern).unwrap().boxed()
}

proptest! {
    #[test]
    fn no_name_panics_and_every_answer_is_well_formed(name in name(), any in matching("[a-f0-9.]{0,70}"), kind in kind()) {
        let zones = zones(&[(1, small_group(1)), (2, small_group(2))]);
        for name in [name, format!("{any}.ip6.arpa"), format!("{any}.in-addr.arpa")] {
            let question = Question::new(&name, kind);
            let answer = zones.answer(&question, None);
            text(&answer);
            let negative = answer.code != AnswerCode::Refused && answer.answers.is_empty();
            prop_assert_eq!(negative, answer.authority.len() == 1);
            prop_assert!(answer.answers.iter().all(|rr| rr.name == question.name));
        }
    }

    #[test]
    fn every_address_points_back_at_a_name_with_that_address(hosts in proptest::collection::btree_set(5u8..=250, 1..9)) {
        let peers = hosts.iter().map(|n| put_peer(*n, "web"));
        let zones = zones(&[(1, scope([put_group(1)].into_iter().chain(peers)))]);
        for n in hosts {
            let name = format!("{}.p.{}.lacis.internal", peer(n), group(1));
            let forward = zones.answer(&Question::new(&name, Kind::A), None);
            let RrValue::A(addr) = forward.answers[0].value else { panic!("{forward:?}") };
            let [a, b, c, d] = addr.octets();
            let back = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
            let back = zones.answer(&Question::new(&back, Kind::Ptr), None);
            prop_assert_eq!(&back.answers[0].value, &RrValue::Ptr(name));
        }
    }
}
