//! Nodes that no direct path joins talk through the relay that is part of control.

use support::{eventually, run_ok};

use crate::lab::{Lab, Node, text};

/// Lets no packet pass between the hosts of two nodes.
fn part(one: &Node, other: &Node) {
    for (here, there) in [(one, other), (other, one)] {
        let rules = format!(
            "table inet parted {{ chain c_in {{ type filter hook input priority filter; policy accept; \
             ip saddr {} drop; ip6 saddr {} drop; }}; }}",
            there.host.v4(),
            there.host.v6()
        );
        run_ok(here.host.command("nft").arg(rules));
    }
}

/// Lets them pass again.
fn join(nodes: [&Node; 2]) {
    for node in nodes {
        run_ok(node.host.command("nft").args(["delete", "table", "inet", "parted"]));
    }
}

fn parted_nodes() -> (Lab, Node, Node) {
    let lab = Lab::new();
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    part(&web, &db);
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    (lab, web, db)
}

#[test]
fn nodes_that_are_kept_apart_talk_through_the_relay_of_control_names_and_all() {
    let (_lab, web, db) = parted_nodes();
    let peer = &web.group()["peers"][0];
    assert_eq!(text(peer, "path"), "relayed");
    assert_eq!((text(&peer["via"], "kind"), text(&peer["via"], "transport")), ("relay".into(), "udp".into()));
    for (from, to) in [(&web, &db), (&db, &web)] {
        let group = to.group();
        for address in [text(&group, "address4"), text(&group, "address6")] {
            for size in ["16", "1300", "8000"] {
                let mut ping = from.host.command("ping");
                ping.args(["-q", "-c", "5", "-i", "0.05", "-W", "2", "-s", size, &address]);
                let output = run_ok(&mut ping);
                assert!(output.contains(" 0% packet loss"), "{output}");
            }
        }
    }
    assert_eq!(web.dig(&["+short", "db.main.lacis.internal"]), [text(&db.group(), "address4")]);
    let told = run_ok(&mut web.lacis(&["ping", "db", "-c", "1"]));
    assert!(told.contains("over UDP"), "{told}");
}

#[test]
fn what_is_in_the_way_is_explained() {
    let (_lab, web, _db) = parted_nodes();
    let told = run_ok(&mut web.lacis(&["explain", "db"]));
    assert!(told.contains("through relay"), "{told}");
    let json: serde_json::Value =
        serde_json::from_str(&run_ok(&mut web.lacis(&["explain", "db", "--format", "json"]))).unwrap();
    assert_eq!(json["path"], "relayed");
    let found: serde_json::Value =
        serde_json::from_str(&run_ok(&mut web.lacis(&["netcheck", "--format", "json"]))).unwrap();
    assert_eq!((&found["udp"], &found["nat"]), (&true.into(), &"none".into()), "{found}");
    assert!(found["relays"][0]["rtt_ms"].as_f64().unwrap() < 100.0, "{found}");
    let told = run_ok(&mut web.lacis(&["netcheck"]));
    assert!(told.contains("leaves and comes back"), "{told}");
}

#[test]
fn a_direct_path_is_used_as_soon_as_there_is_one_and_the_relay_again_when_it_is_gone() {
    let (_lab, web, db) = parted_nodes();
    let path = || text(&web.group()["peers"][0], "path");
    join([&web, &db]);
    eventually("the path is direct", || (web.reaches("db") && path() == "direct").then_some(()));
    part(&web, &db);
    eventually("the path is relayed", || (web.reaches("db") && path() == "relayed").then_some(()));
}

#[test]
fn relays_and_tokens_are_kept_for_a_start_without_control() {
    let (_lab, mut web, db) = parted_nodes();
    let kept = std::fs::read_to_string(web.state.join("relays.json")).unwrap();
    assert!(kept.contains("\"tokens\""), "{kept}");
    web.kill();
    web.up(None);
    eventually("web reaches db again", || web.reaches("db").then_some(()));
    assert!(db.reaches("web"));
}
