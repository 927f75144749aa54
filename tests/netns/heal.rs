//! Any process may be killed at any moment and started again: it works again, and nothing is lost.

use std::{collections::BTreeSet, time::Duration};

use support::{eventually, eventually_within, pause};

use crate::{
    echoes::Echoes,
    lab::{Lab, Node, text},
};

fn version(node: &Node) -> u64 {
    node.group()["version"].as_u64().unwrap()
}

#[test]
fn control_is_killed_and_nobody_notices() {
    let (mut lab, web, db) = Lab::with_two_nodes();
    let before = version(&web);
    let mut echoes = Echoes::start(&web, &db);
    let gap = echoes.gap("control killed and started", || {
        lab.kill_control();
        lab.start_control();
    });
    assert!(gap < Duration::from_secs(1), "{gap:?}");
    eventually("web is in sync again", || web.status()["control"]["connected"].as_bool().filter(|c| *c));
    assert_eq!(version(&web), before, "no revision is spent without an effect");
    let mut newcomer = lab.node(4, "late");
    newcomer.up(Some(&lab.token()));
    web.wait("late");
}

#[test]
fn an_agent_is_killed_and_is_back_within_two_seconds() {
    let (mut lab, mut web, mut db) = Lab::with_two_nodes();
    let before = version(&web);
    let mut echoes = Echoes::start(&web, &db);
    for turn in ["with control", "without control"] {
        let gap = echoes.gap(&format!("the far agent restarts, {turn}"), || {
            db.kill();
            db.up(None);
        });
        assert!(gap < Duration::from_secs(10), "{gap:?}");
        lab.kill_control();
    }
    drop(echoes);
    web.kill();
    web.up(None);
    let limit = Duration::from_secs(10);
    let (_, took) = eventually_within(limit, "the near agent reaches db", || web.reaches("db").then_some(()));
    println!("the near agent restarts, without control: {} ms from ready to an answer", took.as_millis());
    assert_eq!(version(&web), before);
}

#[test]
fn both_agents_are_killed_while_control_is_away() {
    let (mut lab, mut web, mut db) = Lab::with_two_nodes();
    let before = version(&db);
    lab.kill_control();
    web.kill();
    db.kill();
    web.up(None);
    db.up(None);
    web.wait("db");
    db.wait("web");
    assert_eq!(web.dig(&["+short", "db.main.lacis.internal", "A"]), [text(&db.group(), "address4")]);
    lab.start_control();
    eventually("both are in sync", || {
        [&web, &db].iter().all(|node| node.status()["control"]["connected"] == true).then_some(())
    });
    assert_eq!([version(&web), version(&db)], [before, before], "control back: a delta of nothing");
}

#[test]
fn a_token_is_not_needed_again_and_does_no_harm() {
    let (mut lab, mut web, _db) = Lab::with_two_nodes();
    let before = version(&web);
    let token = lab.token();
    web.kill();
    web.up(Some(&token));
    assert_eq!(version(&web), before);
    lab.kill_control();
    web.kill();
    web.up(Some(&token));
    web.wait("db");
}

#[test]
fn a_second_start_of_control_changes_nothing() {
    let (mut lab, web, _db) = Lab::with_two_nodes();
    let first = lab.ready.clone();
    let before = version(&web);
    assert_eq!(lab.stop_control(), Some(0));
    let second = lab.start_control();
    for key in ["event", "api", "ca", "owner", "group"] {
        assert_eq!(second[key], first[key], "{key}");
    }
    assert!(second.get("join_token").is_none() && second.get("api_token").is_none(), "{second}");
    eventually("web is in sync again", || web.status()["control"]["connected"].as_bool().filter(|c| *c));
    assert_eq!(version(&web), before);
}

#[test]
fn an_address_that_somebody_takes_away_comes_back() {
    let (_lab, web, db) = Lab::with_two_nodes();
    let group = web.group();
    let (interface, address) = (text(&group, "interface"), text(&group, "address4"));
    web.host.ip(&["addr", "del", &format!("{address}/32"), "dev", &interface]);
    eventually("the address is back", || {
        web.host.ip(&["addr", "show", "dev", &interface]).contains(&address).then_some(())
    });
    eventually("db is reached", || web.reaches("db").then_some(()));
    drop(db);
}

#[test]
fn a_join_that_is_cut_at_any_moment_ends_with_one_peer() {
    let (mut lab, mut web, _db) = Lab::with_two_nodes();
    for turn in 0..10u8 {
        let mut node = lab.node(10 + turn, &format!("cut-{turn}"));
        let mut first = node.start(Some(&lab.token()));
        // A join takes some 100 ms in a debug build: the kills fall before, into and after it.
        pause(Duration::from_millis(u64::from(turn) * 20));
        lab.kill_control();
        first.kill();
        lab.start_control();
        node.up(Some(&lab.token()));
    }
    // An agent whose control dies ten times in a row asks ever more rarely; a fresh one asks at once.
    web.kill();
    web.up(None);
    let group = eventually("web knows everybody", || {
        let group = web.group();
        (group["peers"].as_array().unwrap().len() >= 11).then_some(group)
    });
    let peers = group["peers"].as_array().unwrap();
    let addresses: BTreeSet<String> = peers.iter().map(|peer| text(peer, "address4")).collect();
    let members: BTreeSet<String> = peers.iter().map(|peer| text(peer, "member")).collect();
    assert_eq!((peers.len(), addresses.len(), members.len()), (11, 11, 11), "{group}");
}

#[test]
fn an_interface_that_somebody_deletes_comes_back_with_all_that_was_on_it() {
    let (lab, web, db) = Lab::with_two_nodes();
    let interface = text(&web.group(), "interface");
    web.host.ip(&["link", "del", &interface]);
    eventually("web reaches db", || web.reaches("db").then_some(()));
    eventually("db reaches web", || db.reaches("web").then_some(()));
    assert_eq!(web.dig(&["+short", "db.main.lacis.internal", "A"]), [text(&db.group(), "address4")]);
    let mut newcomer = lab.node(4, "late");
    newcomer.up(Some(&lab.token()));
    newcomer.wait("web");
}
