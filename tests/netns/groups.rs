//! Several groups on one node: joined, kept apart, left, and nothing left behind.

use std::process::Command;

use support::{binary, eventually, run, run_ok};

use crate::{
    lab::{Lab, Node, text},
    resolver::resolv_conf,
};

/// Makes one more group through the API, and a join token for it.
fn another_group(lab: &Lab, label: &str, range: Option<&str>) -> (String, String) {
    group_of(lab, &text(&lab.ready, "owner"), &text(&lab.ready, "api_token"), label, range)
}

/// The same for any owner, with an API token of theirs.
fn group_of(lab: &Lab, owner: &str, token: &str, label: &str, range: Option<&str>) -> (String, String) {
    let path = format!("/v4/networkgroups/organisations/{owner}/networkgroups");
    let body = match range {
        Some(range) => format!(r#"{{"label":"{label}","networkIp":"{range}"}}"#),
        None => format!(r#"{{"label":"{label}"}}"#),
    };
    let mut curl = lab.host.command("curl");
    curl.args([
        "-sS",
        "--cacert",
        &text(&lab.ready, "ca"),
        "-H",
        "Content-Type: application/json",
        "-d",
        &body,
    ]);
    curl.args(["-H", &format!("Authorization: Bearer {token}")]);
    let made = run_ok(curl.arg(format!("{}{path}", text(&lab.ready, "api"))));
    let made: serde_json::Value = serde_json::from_str(&made).unwrap_or_else(|_| panic!("{made}"));
    let group = text(&made, "id");
    let token = run_ok(&mut lab.control(&["token", "create", "--group", &group, "--format", "json"]));
    (group, text(&serde_json::from_str(&token).unwrap(), "token"))
}

fn pings(from: &Node, address: &str) -> bool {
    run(from.host.command("ping").args(["-q", "-c", "2", "-i", "0.1", "-W", "1", address])).status.success()
}

/// The status of one of a node's groups.
fn group_called(node: &Node, label: &str) -> Option<serde_json::Value> {
    let status = node.status();
    let groups = status["groups"].as_array().unwrap();
    groups.iter().find(|group| group["label"] == label && group["interface"].is_string()).cloned()
}

#[test]
fn a_node_in_two_groups_reaches_both_and_joins_them_for_nobody() {
    let (lab, web, db) = Lab::with_two_nodes();
    let (_, token) = another_group(&lab, "back office", None);
    let mut desk = lab.node(4, "desk");
    desk.up(Some(&token));
    run_ok(&mut db.lacis(&["join", &token]));
    let office = eventually("db is in the office", || group_called(&db, "back office"));
    db.wait("desk");
    desk.wait("db");
    assert!(web.reaches("db"), "the first group goes on");
    assert_eq!(
        db.dig(&["+short", "desk.back-office.lacis.internal", "A"]),
        [text(&desk.group(), "address4")]
    );

    // db forwards for nobody, even where its kernel would: from one group the other is not there.
    run_ok(db.host.command("sysctl").args([
        "-qw",
        "net.ipv4.ip_forward=1",
        "net.ipv6.conf.all.forwarding=1",
    ]));
    let interface = text(&web.group(), "interface");
    for address in [text(&office, "address4"), text(&desk.group(), "address4")] {
        web.host.ip(&["route", "add", &address, "dev", &interface]);
        assert!(!pings(&web, &address), "web reaches {address} of the other group");
    }
    for address in [text(&office, "address6"), text(&desk.group(), "address6")] {
        web.host.ip(&["-6", "route", "add", &address, "dev", &interface]);
        assert!(!pings(&web, &address), "web reaches {address} of the other group");
    }
    assert!(pings(&desk, &text(&office, "address4")) && pings(&desk, &text(&office, "address6")));

    run_ok(&mut db.lacis(&["leave", "back office"]));
    eventually("the office is gone from db", || group_called(&db, "back office").is_none().then_some(()));
    eventually("db is gone from the office", || {
        (desk.group()["peers"] == serde_json::json!([])).then_some(())
    });
    assert!(!db.host.ip(&["link"]).contains(&text(&office, "interface")));
    assert!(web.reaches("db"));
}

#[test]
fn both_groups_come_back_after_a_restart_without_control() {
    let (mut lab, web, mut db) = Lab::with_two_nodes();
    let (_, token) = another_group(&lab, "office", None);
    run_ok(&mut db.lacis(&["join", &token]));
    eventually("db is in the office", || group_called(&db, "office"));
    lab.kill_control();
    db.kill();
    let ready = db.up(None);
    assert_eq!(ready["groups"].as_array().unwrap().len(), 2, "{ready}");
    assert!(group_called(&db, "office").is_some());
    eventually("web reaches db", || web.reaches("db").then_some(()));
}

#[test]
fn a_group_that_overlaps_another_is_refused_and_both_are_named() {
    let (lab, web, db) = Lab::with_two_nodes();
    // Within one owner control refuses such a range; groups of others are none of its business.
    let made = |arguments: &[&str]| -> serde_json::Value {
        let json = run_ok(&mut lab.control(&[arguments, &["--format", "json"]].concat()));
        serde_json::from_str(&json).unwrap()
    };
    let owner = text(&made(&["owner", "create", "Partner"]), "id");
    let api_token = text(&made(&["api-token", "create", "--owner", &owner]), "token");
    let (group, token) = group_of(&lab, &owner, &api_token, "clash", Some("10.128.16.0/20"));
    let output = run(&mut db.lacis(&["join", &token]));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for part in [group.as_str(), "10.128.16.0/20", "10.128.0.0/16", "main"] {
        assert!(stderr.contains(part), "lacks {part:?}: {stderr}");
    }
    assert_eq!(db.status()["groups"].as_array().unwrap().len(), 1);
    assert!(web.reaches("db"));
}

#[test]
fn only_who_may_changes_anything() {
    let (_lab, web, _db) = Lab::with_two_nodes();
    let mut stranger = web.host.command("setpriv");
    stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary("lacis"));
    let output = run(stranger.args(["down", "--socket"]).arg(web.socket()));
    // A user namespace with one user knows no other: there is nobody to try it as.
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if stderr.contains("setpriv: ") {
        println!("skipped: {}", stderr.trim());
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("group lacis"), "{stderr}");
    assert!(web.reaches("db"));
}

#[test]
fn down_keeps_membership_and_purge_leaves_nothing() {
    let (lab, web, mut db) = Lab::with_two_nodes();
    let shows = |node: &Node| {
        let routes = node.host.ip(&["route"]) + &node.host.ip(&["-6", "route"]);
        let rules = node.host.ip(&["-br", "link"]) + &node.host.ip(&["-br", "addr"]);
        let listening = run_ok(node.host.command("ss").args(["-Hlntu"]));
        [routes, rules, listening]
    };
    let clean = lab.node(9, "never used");
    run_ok(&mut db.lacis(&["down"]));
    assert_eq!(db.exit_code(), Some(0));
    assert!(db.state.join("enrolment.json").exists());
    db.up(None);
    web.wait("db");

    run_ok(&mut db.lacis(&["leave", "--purge"]));
    assert_eq!(db.exit_code(), Some(0));
    assert!(!db.state.exists() && !db.socket().exists());
    assert_eq!(resolv_conf(&db), format!("# of {}\n", db.host.name));
    let same = |text: String| text.replace(&db.host.v4(), "HOST").replace(&db.host.v6(), "HOST");
    let fresh = |text: String| text.replace(&clean.host.v4(), "HOST").replace(&clean.host.v6(), "HOST");
    let hardware = |text: &str| -> Vec<String> {
        // The kernel's own choices: hardware addresses, link-local addresses, numbers of interfaces.
        let words =
            text.split_whitespace().filter(|word| !word.contains("fe80") && word.matches(':').count() != 5);
        words.filter(|word| !word.contains("@if")).map(str::to_owned).collect()
    };
    for (after, before) in shows(&db).into_iter().zip(shows(&clean)) {
        assert_eq!(hardware(&same(after)), hardware(&fresh(before)));
    }
    eventually("control has let db go", || (web.group()["peers"] == serde_json::json!([])).then_some(()));
    assert!(!run(Command::new("pgrep").args(["-f", "--", &db.state.display().to_string()])).status.success());
}
