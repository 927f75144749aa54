//! Nodes that no direct path joins talk through the relay that is part of control.

use std::time::Duration;

use support::{Host, Process, eventually, eventually_within, run_ok};

use crate::lab::{Lab, Node, text};

/// An idle node notices that its relay is gone when it refreshes its lease, every 25 s; with the tries that follow.
const UNREFRESHED: Duration = Duration::from_secs(60);

/// A relay is replaced within 3 s; a busy machine may take half as long again.
const REPLACED_MS: u32 = 4_500;

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

/// Lets them pass again, and has one of them notice that its network is another.
fn join(nodes: [&Node; 2]) {
    for node in nodes {
        run_ok(node.host.command("nft").args(["delete", "table", "inet", "parted"]));
    }
    nodes[0].host.ip(&["addr", "add", "192.0.2.200/24", "dev", "eth0"]);
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

/// Lets no UDP in or out of a node's host.
fn block_udp(node: &Node) {
    let rules = "table inet no_udp { chain c_in { type filter hook input priority filter; policy accept; \
                 meta iif != lo meta l4proto udp drop; }; \
                 chain c_out { type filter hook output priority filter; policy accept; \
                 meta oifname \"eth0\" meta l4proto udp drop; }; }";
    run_ok(node.host.command("nft").arg(rules));
}

#[track_caller]
fn assert_over_tls(web: &Node) {
    let peer = web.group()["peers"][0].clone();
    assert_eq!(text(&peer, "path"), "relayed", "{peer}");
    assert_eq!(text(&peer["via"], "transport"), "tls", "{peer}");
    let address = text(&peer, "address4");
    let mut ping = web.host.command("ping");
    let output = run_ok(ping.args(["-q", "-c", "20", "-i", "0.05", "-W", "2", "-s", "1300", &address]));
    assert!(output.contains(" 0% packet loss"), "{output}");
}

#[test]
fn a_node_without_udp_reaches_others_over_tls() {
    let lab = Lab::new();
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    db.up(Some(&lab.token()));
    block_udp(&web);
    web.up(Some(&lab.token()));
    web.wait("db");
    assert_over_tls(&web);
    let found: serde_json::Value =
        serde_json::from_str(&run_ok(&mut web.lacis(&["netcheck", "--format", "json"]))).unwrap();
    assert_eq!((&found["udp"], &found["relays"][0]["transport"]), (&false.into(), &"tls".into()), "{found}");
}

#[test]
fn relays_that_went_with_control_are_told_of_with_the_remedy() {
    let (mut lab, web, _db) = parted_nodes();
    lab.kill_control();
    let told =
        || web.status()["degraded"].as_array().unwrap().iter().find(|it| it["kind"] == "no_relay").cloned();
    let (told, _) = eventually_within(UNREFRESHED, "the lack of a relay is told of", told);
    assert!(text(&told, "remedy").contains("start control again"), "{told}");
    lab.start_control_again();
    eventually("web reaches db again", || web.reaches("db").then_some(()));
}

#[test]
fn a_node_with_nothing_but_a_proxy_joins_and_reaches_others() {
    let lab = Lab::new();
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    db.up(Some(&lab.token()));
    let proxy = Host::new(&lab.bridge, 9);
    let config = lab.dir.path().join("proxy.conf");
    std::fs::write(
        &config,
        format!("Port 3128\nListen {}\nTimeout 600\nBasicAuth user secret\nConnectPort 8443\n", proxy.v4()),
    )
    .unwrap();
    let mut command = proxy.command("tinyproxy");
    let _proxy = Process::start(command.arg("-d").arg("-c").arg(&config), &lab.dir.path().join("proxy.log"));
    block_udp(&web);
    let rules = format!(
        "table inet only_proxy {{ chain c_out {{ type filter hook output priority filter; policy accept; \
         meta oifname \"eth0\" meta l4proto tcp ip daddr != {} reject; \
         meta oifname \"eth0\" meta nfproto ipv6 meta l4proto tcp reject; }}; }}",
        proxy.v4()
    );
    run_ok(web.host.command("nft").arg(rules));
    web.env.push(("HTTPS_PROXY", format!("http://user:secret@{}:3128", proxy.v4())));
    web.up(Some(&lab.token()));
    web.wait("db");
    assert_over_tls(&web);
}

/// A relay alone on a host of its own, of which nodes are told.
fn add_relay(lab: &Lab, number: u8) -> (Host, Process) {
    let host = Host::new(&lab.bridge, number);
    let status = run_ok(&mut lab.control(&["status", "--format", "json"]));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let folder = lab.dir.path().join(format!("relay-{number}"));
    let mut command = host.command(support::binary("lacis-control"));
    command.arg("relay").args(["--control-key", status["key"].as_str().unwrap(), "--key"]);
    command.arg(folder.join("relay.key"));
    let mut relay = Process::start(&mut command, &lab.dir.path().join(format!("relay-{number}.log")));
    let key = loop {
        let line = relay.line();
        if let Some((_, rest)) = line.split_once("--key ") {
            break rest.split(' ').next().unwrap().to_owned();
        }
    };
    let (udp, label) = (format!("{}:3478", host.v4()), format!("relay-{number}"));
    run_ok(&mut lab.control(&["relay-map", "add", "--key", &key, "--udp", &udp, "--label", &label]));
    (host, relay)
}

/// Longest time for which no echo request was answered, in milliseconds: one leaves every 50.
#[track_caller]
fn longest_gap_ms(from: &Node, address: &str, meanwhile: impl FnOnce()) -> u32 {
    let log = from.state.with_extension("ping");
    let mut ping = from.host.command("ping");
    let mut ping = Process::start(ping.args(["-i", "0.05", "-c", "160", address]), &log);
    let mut answered = || -> u32 {
        let line = ping.line();
        let seq = line.split_once("icmp_seq=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        seq.unwrap_or_default()
    };
    while answered() < 20 {}
    meanwhile();
    let (mut last, mut longest) = (20, 0);
    while last < 150 {
        let seq = answered().max(last);
        longest = longest.max(seq - last);
        last = seq;
    }
    longest * 50
}

#[test]
fn a_relay_that_is_killed_is_replaced_by_the_backup_of_both() {
    let lab = Lab::new();
    let (_host, mut relay) = add_relay(&lab, 21);
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    part(&web, &db);
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    let via = || text(&web.group()["peers"][0]["via"], "relay");
    let leases = |node: &Node| {
        let relays = node.status()["relays"].clone();
        relays.as_array().unwrap().iter().filter(|relay| !relay["transport"].is_null()).count()
    };
    eventually("both hold leases at two relays", || (leases(&web) >= 2 && leases(&db) >= 2).then_some(()));
    let address = text(&db.group(), "address4");
    let gap_ms = longest_gap_ms(&web, &address, || {
        if via() == "relay-21" {
            relay.kill();
        } else {
            lab.host.ip(&["link", "set", "eth0", "down"]);
        }
    });
    println!("a killed relay cost {gap_ms} ms");
    assert!(gap_ms <= REPLACED_MS, "{gap_ms} ms without an answer");
}
