//! Control away, and control elsewhere.

use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Host, eventually, run_ok};

use crate::{
    echoes::Echoes,
    lab::{Lab, Node, text},
};

fn is_in_sync(node: &Node) -> bool {
    node.status()["control"]["connected"] == true
}

/// Gives a node's host another address in place of the one it had.
fn move_host(node: &Node, from: &str, to: &str) {
    node.host.ip(&["addr", "del", &format!("{from}/24"), "dev", "eth0"]);
    node.host.ip(&["addr", "add", &format!("{to}/24"), "dev", "eth0"]);
}

/// Two nodes with one family only: there is no other way around.
fn two_nodes_on_ipv4() -> (Lab, Node, Node) {
    let lab = Lab::new();
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    for node in [&mut web, &mut db] {
        node.host.ip(&["-6", "addr", "flush", "dev", "eth0"]);
        node.up(Some(&lab.token()));
    }
    web.wait("db");
    (lab, web, db)
}

#[test]
fn another_address_is_a_short_gap_with_control_and_without() {
    let (mut lab, web, db) = two_nodes_on_ipv4();
    let mut echoes = Echoes::start(&web, &db);
    let mut moves = |who: &Node, from: &str, to: &str, what: &str| {
        let gap = echoes.gap(what, || move_host(who, from, to));
        assert!(gap < Duration::from_secs(10), "{gap:?}");
    };
    let (far, near) = (db.host.v4(), web.host.v4());
    moves(&db, &far, "192.0.2.102", "the far node's address changes, with control");
    moves(&web, &near, "192.0.2.103", "the near node's address changes, with control");
    lab.kill_control();
    moves(&db, "192.0.2.102", "192.0.2.104", "the far node's address changes, without control");
    moves(&web, "192.0.2.103", "192.0.2.105", "the near node's address changes, without control");
}

#[test]
fn a_node_that_moves_while_control_is_away_is_found_by_the_others() {
    let (mut lab, mut web, mut db) = two_nodes_on_ipv4();
    let version = web.group()["version"].as_u64().unwrap();
    lab.kill_control();
    let (before, after) = (web.host.v4(), "192.0.2.102");
    move_host(&web, &before, after);
    // Nothing is sent from web but its call: db would go on looking for it where it was.
    eventually("db reaches web", || db.reaches("web").then_some(()));
    let endpoint = db.group()["peers"][0]["endpoint"].as_str().unwrap().to_owned();
    assert!(endpoint.starts_with(after), "{endpoint}");

    // The whole site restarts, and web moves once more before it has been heard.
    web.kill();
    db.kill();
    move_host(&web, after, "192.0.2.103");
    web.up(None);
    db.up(None);
    eventually("db reaches web", || db.reaches("web").then_some(()));
    web.wait("db");
    assert_eq!(db.dig(&["+short", "web.main.lacis.internal", "A"]), [text(&web.group(), "address4")]);

    lab.start_control();
    eventually("both are in sync", || [&web, &db].iter().all(|node| is_in_sync(node)).then_some(()));
    let told = || db.group()["version"].as_u64().filter(|now| *now == version + 1);
    eventually("one revision, with the new address", told);
}

#[test]
fn control_moves_to_another_host_and_nobody_joins_again() {
    let (mut lab, mut web, db) = Lab::with_two_nodes();
    let version = web.group()["version"].clone();
    let (old, new) = (format!("https://{}:8443", lab.host.v4()), "https://192.0.2.9:8443");
    lab.stop_control();
    lab.start_control_with(&["--public-url", new, "--public-url", &old]);
    eventually("both are told", || {
        let told = |node: &Node| {
            let path = node.state.join("enrolment.json");
            std::fs::read_to_string(path).unwrap().contains(new)
        };
        (told(&web) && told(&db)).then_some(())
    });
    lab.stop_control();
    lab.host = Host::new(&lab.bridge, 9);
    lab.start_control();
    let follows = |node: &Node| is_in_sync(node) && node.status()["control"]["url"] == new;
    eventually("both follow", || (follows(&web) && follows(&db)).then_some(()));
    web.kill();
    web.up(None);
    eventually("and after a restart", || follows(&web).then_some(()));
    web.wait("db");
    assert_eq!(web.group()["version"], version, "nobody has joined again");
}

/// Addresses of control that lead nowhere; for each the kernel asks for a neighbour for three seconds.
const DEAD: usize = 6;

/// As long as four of them take one after the other, which a busy machine may need; between two that are raced passes a quarter
/// of a second.
const PAST_THE_DEAD: Duration = Duration::from_secs(12);

#[test]
#[expect(clippy::disallowed_methods, reason = "what a person waits for is real time")]
fn a_node_joins_and_comes_back_past_addresses_of_control_that_are_dead() {
    let mut lab = Lab::new();
    lab.stop_control();
    let dead = (0..DEAD).map(|n| format!("https://192.0.2.{}:8443", 201 + n));
    let urls: Vec<String> = dead.chain([format!("https://{}:8443", lab.host.v4())]).collect();
    let arguments: Vec<&str> = urls.iter().flat_map(|url| ["--public-url", url]).collect();
    lab.start_control_with(&arguments);
    let made: Value =
        serde_json::from_str(&run_ok(&mut lab.control(&["token", "create", "--format", "json"]))).unwrap();
    let mut web = lab.node(2, "web");
    let begins = Instant::now();
    web.up(Some(&text(&made, "token")));
    eventually("it is in sync", || is_in_sync(&web).then_some(()));
    let joined = begins.elapsed();
    web.kill();
    let begins = Instant::now();
    web.up(None);
    eventually("it is in sync again", || is_in_sync(&web).then_some(()));
    let back = begins.elapsed();
    println!("past {DEAD} dead addresses of control: joined after {joined:?}, back after {back:?}");
    assert!(joined < PAST_THE_DEAD && back < PAST_THE_DEAD, "{joined:?}, {back:?}");
}
