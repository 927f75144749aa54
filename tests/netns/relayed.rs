//! Nodes that no direct path joins talk through the relay that is part of control.

use std::time::Duration;

use support::{Host, Process, eventually, eventually_within, run_ok};

use crate::{
    lab::{Lab, Node, text},
    relay_alone::Alone,
};

/// An idle node notices that its relay is gone when it refreshes its lease, every 25 s; with the tries that follow.
pub(crate) const UNREFRESHED: Duration = Duration::from_secs(60);

/// A relay is replaced within 3 s; a busy machine may take half as long again.
const REPLACED_MS: u32 = 4_500;

/// Lets no packet pass between the hosts of two nodes.
pub(crate) fn part(one: &Node, other: &Node) {
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
pub(crate) fn block_udp(node: &Node) {
    let rules = "table inet no_udp { chain c_in { type filter hook input priority filter; policy accept; \
                 meta iif != lo meta l4proto udp drop; }; \
                 chain c_out { type filter hook output priority filter; policy accept; \
                 meta oifname \"eth0\" meta l4proto udp drop; }; }";
    run_ok(node.host.command("nft").arg(rules));
}

#[track_caller]
pub(crate) fn assert_over_tls(web: &Node) {
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

/// Has two nodes that are kept apart talk with four relays about, takes away the one between them, and tells for how long
/// nobody answered, in milliseconds. Of a silent one nobody says that it is gone.
#[track_caller]
fn gap_ms_without_the_relay_in_use(is_silent: bool) -> u32 {
    let mut lab = Lab::new();
    let mut relays = [21, 22, 23].map(|number| Alone::new(&lab, number));
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    part(&web, &db);
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    let knows_homes = |node: &Node| {
        let copies = std::fs::read_dir(node.state.join("scopes")).unwrap();
        let copies = copies.map(|copy| std::fs::read_to_string(copy.unwrap().path()).unwrap_or_default());
        copies.map(|copy| copy.matches("\"rank\":1").count()).sum::<usize>() == 2
    };
    eventually("both know where the other is at home", || {
        (knows_homes(&web) && knows_homes(&db)).then_some(())
    });
    let address = text(&db.group(), "address4");
    longest_gap_ms(&web, &address, || {
        let via = text(&web.group()["peers"][0]["via"], "relay");
        match (relays.iter_mut().find(|relay| relay.label == via), is_silent) {
            (Some(relay), false) => relay.kill(),
            (None, false) => lab.kill_control(),
            (Some(relay), true) => unplug(&relay.host),
            (None, true) => unplug(&lab.host),
        }
    })
}

fn unplug(host: &Host) {
    host.ip(&["link", "set", "eth0", "down"]);
}

#[test]
fn of_four_relays_one_that_is_killed_is_replaced_within_three_seconds() {
    let gap_ms = gap_ms_without_the_relay_in_use(false);
    println!("a killed relay cost {gap_ms} ms");
    assert!(gap_ms <= REPLACED_MS, "{gap_ms} ms without an answer");
}

#[test]
fn of_four_relays_one_that_falls_silent_is_replaced_within_three_seconds() {
    let gap_ms = gap_ms_without_the_relay_in_use(true);
    println!("a relay that fell silent cost {gap_ms} ms");
    assert!(gap_ms <= REPLACED_MS, "{gap_ms} ms without an answer");
}
