//! Birthday probing with the built programs: behind a NAT with a random port for each flow and a home router.

use std::{fs, net::UdpSocket, time::Duration};

use serde_json::Value;
use support::{eventually_within, pause, run_ok};

use crate::{
    kind::Kind,
    matrix::Arena,
    mesh::Node,
    pair::{Class, Watch},
    stream::{Flow, Stream},
};

/// Both attempts, the time between them, and a busy machine.
const BY_THEN: Duration = Duration::from_secs(150);

/// Long enough that it would have begun where it is on.
const BEGUN: Duration = Duration::from_secs(15);

/// More than what must go through the relay before it begins, in packets of 1,200 bytes.
const PACKETS: u32 = 9_000;

/// Sends what makes a relayed flow a long one.
fn blast(from: &Node, to: &Node) {
    let address = to.address();
    let sender = from.host.within(|| UdpSocket::bind(("0.0.0.0", 0)).unwrap());
    for _ in 0..PACKETS {
        sender.send_to(&[0; 1_200], (address, 9)).unwrap();
        // A megabyte a second is no load for the relay: what is lost then, the switch has lost.
        pause(Duration::from_millis(1));
    }
}

/// How many descriptors and how much memory the agent of a node has, in KiB.
fn held(node: &Node) -> (usize, u64) {
    let process = format!("/proc/{}", node.id());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib = resident.split_whitespace().next().unwrap().parse().unwrap();
    (fs::read_dir(format!("{process}/fd")).unwrap().count(), kib)
}

/// What a node tells of birthday probing with the other one.
fn told(node: &Node, peer: &str) -> Option<Value> {
    let text = run_ok(&mut node.lacis(&["explain", peer, "--format", "json"]));
    let told: Value = serde_json::from_str(&text).unwrap();
    Some(told["via"]["birthday"].clone()).filter(Value::is_object)
}

/// Both nodes behind these kinds, with these options beside the usual ones.
fn prepared(arena: &mut Arena, kinds: [Kind; 2], options: [&[&str]; 2]) {
    for (node, more) in arena.nodes.iter_mut().zip(options) {
        node.options.retain(|option| option != "--birthday");
        node.options.extend(more.iter().map(|option| (*option).to_owned()));
    }
    arena.prepare(kinds);
}

#[test]
#[ignore = "takes a minute: tests/nat-matrix runs it"]
fn a_random_nat_and_a_home_router_meet_where_both_have_it_on_and_lose_nothing() {
    let mut arena = Arena::new();
    for kinds in [[Kind::Random, Kind::PortRestricted], [Kind::Firewall, Kind::Random]] {
        let hard = usize::from(kinds[1] == Kind::Random);
        prepared(&mut arena, kinds, [&["--birthday"], &["--birthday"]]);
        let mut watch =
            Watch::start(&arena.mesh, &arena.nodes[0], &[arena.sites[0].outer(0)], &arena.nodes[1]);
        let answers = Stream::start(&arena.nodes[1], &arena.nodes[0], Flow::SPEECH);
        watch.until(Class::Relayed, BEGUN).expect("the relay carries it at first");
        let (descriptors, memory) = held(&arena.nodes[hard]);
        blast(&arena.nodes[0], &arena.nodes[1]);
        let begun = watch.stream().elapsed();
        let direct = watch.until(Class::Direct, BY_THEN).expect("the path becomes direct");
        let name = format!("{}-{}", kinds[0].short(), kinds[1].short());
        println!("{name} direct {} ms after 10 MB", direct.saturating_sub(begun).as_millis());
        let (left, _) = eventually_within(BEGUN, "all sockets but one are closed", || {
            let (now, later) = held(&arena.nodes[hard]);
            (now <= descriptors + 1).then_some((now, later))
        });
        println!("{name} descriptors {descriptors}, then {}; memory {memory} KiB, then {}", left.0, left.1);
        let state = told(&arena.nodes[hard], ["two", "one"][hard]);
        assert_eq!(state.unwrap()["state"], "found");
        for report in [watch.end(), answers.end()] {
            assert!(report.is_whole(), "{report:?}");
        }
    }
}

#[test]
#[ignore = "takes two minutes: tests/nat-matrix runs it"]
fn it_does_not_begin_where_one_end_has_it_off_nor_between_two_random_nats() {
    let mut arena = Arena::new();
    let pair = [Kind::Random, Kind::PortRestricted];
    let (on, off): (&[&str], &[&str]) = (&["--birthday"], &[]);
    let cases = [
        (pair, [off, off], Some("off")),
        (pair, [on, off], Some("off_there")),
        ([Kind::Random; 2], [on, on], None),
    ];
    for (kinds, options, expected) in cases {
        prepared(&mut arena, kinds, options);
        let mut watch =
            Watch::start(&arena.mesh, &arena.nodes[0], &[arena.sites[0].outer(0)], &arena.nodes[1]);
        let _answers = Stream::start(&arena.nodes[1], &arena.nodes[0], Flow::SPEECH);
        watch.until(Class::Relayed, BEGUN).expect("the relay carries it");
        let (descriptors, _) = held(&arena.nodes[0]);
        blast(&arena.nodes[0], &arena.nodes[1]);
        assert_eq!(watch.until(Class::Direct, BEGUN), None, "{kinds:?} {options:?}");
        assert!(held(&arena.nodes[0]).0 <= descriptors + 4, "sockets were opened");
        let state = told(&arena.nodes[0], "two").map(|told| told["state"].clone());
        assert_eq!(state.as_ref().and_then(Value::as_str), expected, "{kinds:?} {options:?}");
    }
}
