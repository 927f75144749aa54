use lacis_proto::GroupId;

use super::{Ours, is_probeable, predicted};
use crate::{
    fixtures::group,
    nat64::Nat64Prefix,
    path::{
        candidate::{Candidate, CandidateKind, Mapping, NatSummary},
        limits::{MAX_OFFERED, MAX_OFFERED_HOSTS, PREDICTED_PORTS},
    },
};

fn candidate(kind: CandidateKind, addr: &str) -> Candidate {
    Candidate { kind, addr: addr.parse().unwrap() }
}

fn offered(own: Vec<Candidate>, nat: NatSummary) -> Vec<Candidate> {
    let mut ours = Ours::default();
    ours.set_candidates(own);
    ours.set_nat(nat);
    ours.offer(&GroupId::clone(&group(1)), &[]).candidates
}

#[test]
fn a_nat_that_counts_is_met_at_its_next_eight_ports() {
    let seen = Some("203.0.113.1:20000".parse().unwrap());
    let ports = |step| {
        let nat = NatSummary { seen, step: Some(step), ..NatSummary::default() };
        predicted(&nat).iter().map(|addr| addr.port()).collect::<Vec<_>>()
    };
    assert_eq!(ports(1), (20_001..=20_008).collect::<Vec<_>>());
    assert_eq!(ports(-2), [19_998, 19_996, 19_994, 19_992, 19_990, 19_988, 19_986, 19_984]);
    let nat = NatSummary {
        seen: Some("203.0.113.1:65533".parse().unwrap()),
        step: Some(1),
        ..NatSummary::default()
    };
    assert_eq!(predicted(&nat).len(), 2, "there is no port above 65535");
}

#[test]
fn behind_a_hard_nat_the_own_port_is_guessed_outside() {
    let own = vec![candidate(CandidateKind::Host, "10.0.0.2:51820")];
    let nat = NatSummary {
        mapping: Mapping::AddressDependent,
        seen: Some("203.0.113.1:31234".parse().unwrap()),
        ..NatSummary::default()
    };
    let guess = candidate(CandidateKind::Guess, "203.0.113.1:51820");
    assert!(offered(own.clone(), nat).contains(&guess));
    let easy = NatSummary { mapping: Mapping::EndpointIndependent, ..nat };
    assert!(!offered(own, easy).contains(&guess));
}

#[test]
fn at_most_sixteen_are_offered_each_once_the_likeliest_first() {
    let mut own: Vec<Candidate> =
        (0..30).map(|n| candidate(CandidateKind::Host, &format!("10.0.0.{n}:1"))).collect();
    own.extend((0..30).map(|n| candidate(CandidateKind::Reflexive, &format!("203.0.113.{n}:1"))));
    own.extend([candidate(CandidateKind::Static, "192.0.2.1:1"); 2]);
    let offered = offered(own, NatSummary::default());
    assert_eq!(offered.len(), 16);
    assert_eq!(offered[0].kind, CandidateKind::Static);
    assert_eq!(offered.iter().filter(|one| one.kind == CandidateKind::Host).count(), 8);
}

#[test]
fn addresses_that_are_nobodys_or_everybodys_are_not_probed() {
    for addr in [
        "0.0.0.0:1",
        "127.0.0.1:1",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "192.0.2.1:0",
        "[::]:1",
        "[ff02::1]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert!(!is_probeable(addr.parse().unwrap()), "{addr}");
    }
    assert!(is_probeable("10.0.0.1:1".parse().unwrap()));
}

#[test]
fn a_host_with_very_many_addresses_offers_a_few_of_each_kind() {
    let many = |kind, begin: &str| -> Vec<Candidate> {
        (1..=40).map(|n| candidate(kind, &format!("{begin}.{n}:51820"))).collect()
    };
    let hosts = offered(many(CandidateKind::Host, "198.51.100"), NatSummary::default());
    assert_eq!(hosts.len(), MAX_OFFERED_HOSTS);
    let seen = Some("203.0.113.1:20000".parse().unwrap());
    let counts = NatSummary { seen, step: Some(1), ..NatSummary::default() };
    assert_eq!(i32::try_from(predicted(&counts).len()), Ok(PREDICTED_PORTS));
    let all = [many(CandidateKind::Host, "198.51.100"), many(CandidateKind::Static, "192.0.2")].concat();
    assert_eq!(offered(all, counts).len(), MAX_OFFERED);
}

#[test]
fn without_ipv4_public_addresses_of_it_are_reached_by_the_nat64_and_others_are_not() {
    let prefix = Nat64Prefix::found_in(&["64:ff9b::192.0.0.170".parse().unwrap()]).unwrap();
    let leads_to = |own: &[Candidate], nat64, addr: &str| {
        let mut ours = Ours { nat64, ..Ours::default() };
        ours.set_candidates(own.to_vec());
        ours.leads_to(candidate(CandidateKind::Reflexive, addr)).addr.to_string()
    };
    // What relays see of such a node is the NAT64's own address.
    let v6 = candidate(CandidateKind::Host, "[2001:db8::1]:47820");
    let v6_only = [v6, candidate(CandidateKind::Reflexive, "198.51.100.1:4000")];
    let dual = [v6, candidate(CandidateKind::Host, "10.0.0.2:47820")];
    assert_eq!(leads_to(&v6_only, Some(prefix), "203.0.113.9:7"), "[64:ff9b::cb00:7109]:7");
    assert_eq!(leads_to(&v6_only, Some(prefix), "[2001:db8::9]:7"), "[2001:db8::9]:7");
    assert_eq!(leads_to(&v6_only, Some(prefix), "10.0.0.9:7"), "10.0.0.9:7");
    assert_eq!(leads_to(&v6_only, None, "203.0.113.9:7"), "203.0.113.9:7");
    assert_eq!(leads_to(&dual, Some(prefix), "203.0.113.9:7"), "203.0.113.9:7");
}
