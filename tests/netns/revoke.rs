//! Who is shut out is out at once, on both sides, and is told why.

use std::{process::Command, time::Duration};

use serde_json::Value;
use support::{eventually, run, run_ok};

use crate::{
    echoes::Echoes,
    lab::{Lab, Node, text},
};

/// How soon nothing reaches who was shut out (DESIGN §8: in seconds; the bar is two).
const BAR: Duration = Duration::from_secs(2);

fn control_json(lab: &Lab, arguments: &[&str]) -> Value {
    let printed = run_ok(&mut lab.control(&[arguments, &["--format", "json"]].concat()));
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

/// Whether nothing of a group is left on the node's host.
fn is_clean(node: &Node, interface: &str) -> bool {
    let links = node.host.ip(&["-br", "link"]);
    let routes = node.host.ip(&["route"]);
    !links.contains(interface) && !routes.contains(interface)
}

fn is_peerless(node: &Node) -> bool {
    node.group()["peers"] == serde_json::json!([])
}

#[test]
fn a_revoked_node_is_out_within_two_seconds_and_knows_why() {
    let (lab, web, db) = Lab::with_two_nodes();
    let interface = text(&db.group(), "interface");
    let known = control_json(&lab, &["node", "show", "db"]);
    assert_eq!((&known["connected"], &known["state"]), (&Value::Bool(true), &"active".into()), "{known}");
    assert!(text(&known, "underlay").starts_with(&db.host.v4()), "{known}");
    assert!(known["agent"].is_string() && known["since_ms"].is_u64(), "{known}");
    assert_eq!(known["peers"][0]["address4"], db.group()["address4"]);

    let mut echoes = Echoes::start(&web, &db);
    let took = echoes.end("db is revoked", || {
        let revoked = control_json(&lab, &["node", "revoke", "db"]);
        assert_eq!(revoked["state"], "revoked");
    });
    assert!(took < BAR, "{took:?}");
    eventually("web has no peer", || is_peerless(&web).then_some(()));
    let status = eventually("db knows why", || {
        let status = db.status();
        let refused = status["control"]["trouble"].as_str().is_some_and(|why| why.contains("revoked"));
        (refused && is_clean(&db, &interface)).then_some(status)
    });
    assert!(text(&status["gone"][0], "why").contains("revoked"), "{status}");
    assert_eq!(status["gone"][0]["label"], "main");
    let shown = run_ok(&mut db.lacis(&["status"]));
    assert!(shown.contains("group main is gone: this node was revoked"), "{shown}");
    assert!(web.dig(&["+short", "db.main.lacis.internal", "A"]).is_empty());

    // The identity is never let in again; a new one is.
    let again = run(&mut db.lacis(&["join", &lab.token()]));
    assert!(String::from_utf8_lossy(&again.stderr).contains("revoked"), "{again:?}");
    run_ok(&mut db.lacis(&["leave", "--purge"]));
    let mut fresh = lab.node(4, "db");
    fresh.up(Some(&lab.token()));
    web.wait("db");
    let known = control_json(&lab, &["node", "show", "db"]);
    assert_eq!(known["state"], "active", "the label means the node that is not revoked");
}

#[test]
fn a_peer_that_management_removes_ends_on_both_sides_and_may_come_back() {
    let (lab, web, mut db) = Lab::with_two_nodes();
    let group = db.group();
    let mut echoes = Echoes::start(&web, &db);
    let took = echoes.end("db's peer is removed", || {
        let path = format!(
            "{}/v4/networkgroups/organisations/{}/networkgroups/{}/peers/{}",
            text(&lab.ready, "api"),
            text(&lab.ready, "owner"),
            text(&group, "id"),
            text(&group, "peer")
        );
        let mut curl: Command = lab.host.command("curl");
        curl.args(["-sS", "--fail", "-X", "DELETE", "--cacert", &text(&lab.ready, "ca"), "-H"]);
        run_ok(curl.arg(format!("Authorization: Bearer {}", text(&lab.ready, "api_token"))).arg(path));
    });
    assert!(took < BAR, "{took:?}");
    eventually("web has no peer", || is_peerless(&web).then_some(()));
    let interface = text(&group, "interface");
    eventually("nothing is left at db", || is_clean(&db, &interface).then_some(()));
    let status = db.status();
    assert!(text(&status["gone"][0], "why").contains("removed this node's peer"), "{status}");
    assert_eq!(status["control"]["connected"], true, "the node itself is still known");

    // It is remembered over a restart, and over when the node is back.
    db.stop();
    let agent = db.start(None);
    eventually("db still knows why", || {
        let output = run(&mut db.lacis(&["status", "--format", "json"]));
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        (status["gone"][0]["id"] == group["id"]).then_some(())
    });
    run_ok(&mut db.lacis(&["join", &lab.token()]));
    eventually("db is back", || db.status()["groups"][0]["interface"].is_string().then_some(()));
    web.wait("db");
    assert_eq!(db.status()["gone"], serde_json::json!([]));
    drop(agent);
}
