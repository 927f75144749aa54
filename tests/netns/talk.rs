//! Two nodes talk: both families, both directions, every kind of packet.

use std::time::Duration;

use support::{Process, eventually, eventually_within, run, run_ok};

use crate::{
    files::fetch,
    lab::{Lab, Node, text},
};

#[track_caller]
fn ping(from: &Node, address: &str, size: &str) {
    let output = run_ok(
        from.host.command("ping").args(["-q", "-c", "5", "-i", "0.05", "-W", "2", "-s", size, address]),
    );
    assert!(output.contains(" 0% packet loss"), "{output}");
}

#[track_caller]
fn addresses(of: &Node) -> [String; 2] {
    let group = of.group();
    [text(&group, "address4"), text(&group, "address6")]
}

#[test]
fn echoes_of_all_sizes_go_both_ways_in_both_families() {
    let (_lab, web, db) = Lab::with_two_nodes();
    for (from, to) in [(&web, &db), (&db, &web)] {
        for address in addresses(to) {
            for size in ["16", "1300", "8000"] {
                ping(from, &address, size);
            }
        }
    }
}

#[track_caller]
fn iperf(server: &Node, client: &Node, address: &str, arguments: &[&str]) -> serde_json::Value {
    let log = server.state.with_extension("iperf");
    let mut serving = Process::start(server.host.command("iperf3").args(["-s", "-1", "--forceflush"]), &log);
    while !serving.line().contains("listening") {}
    let mut command = client.host.command("iperf3");
    command.args(["-c", address, "-t", "1", "-J"]).args(arguments);
    serde_json::from_str(&run_ok(&mut command)).unwrap()
}

#[test]
fn streams_and_datagrams_go_both_ways_in_both_families() {
    let (_lab, web, db) = Lab::with_two_nodes();
    for address in addresses(&db) {
        for arguments in [&["-P", "1"][..], &["-R"], &["--bidir"], &["-P", "4"]] {
            let result = iperf(&db, &web, &address, arguments);
            let received = result["end"]["sum_received"]["bytes"].as_u64().unwrap();
            assert!(received > 1_000_000, "{address} {arguments:?}: {received} bytes");
        }
        let result = iperf(&db, &web, &address, &["-u", "-b", "20M", "-l", "1200"]);
        let lost = result["end"]["sum"]["lost_percent"].as_f64().unwrap();
        assert!(lost < 5.0, "{address}: {lost} % of datagrams lost");
    }
}

#[test]
fn what_arrives_is_what_was_sent() {
    let (lab, web, db) = Lab::with_two_nodes();
    let [v4, v6] = addresses(&db);
    fetch(&lab, &db, &web, &[v4, format!("[{v6}]")], 5_000_000, Duration::from_secs(120));
}

#[test]
fn an_address_that_nobody_has_is_refused_at_once() {
    let (_lab, web, _db) = Lab::with_two_nodes();
    let output = run(web.host.command("ping").args(["-c", "1", "-W", "5", "10.128.77.77"]));
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.contains("Unreachable"), "{output}");
}

#[test]
fn the_resolver_is_never_a_source() {
    let (_lab, web, db) = Lab::with_two_nodes();
    let group = web.group();
    let [to4, to6] = addresses(&db);
    let route = web.host.ip(&["route", "get", &to4]);
    assert!(route.contains(&format!("src {}", text(&group, "address4"))), "{route}");
    let route = web.host.ip(&["-6", "route", "get", &to6]);
    assert!(route.contains(&format!("src {}", text(&group, "address6"))), "{route}");
    let shown = web.host.ip(&["-6", "addr", "show", "dev", &text(&group, "interface")]);
    let resolver = shown.lines().find(|line| line.contains(&format!("{}/128", text(&group, "resolver6"))));
    assert!(resolver.is_some_and(|line| line.contains("deprecated")), "{shown}");
}

#[test]
fn a_peer_that_joins_is_pingable_by_name_from_every_other_at_once() {
    let lab = Lab::new();
    let mut nodes: Vec<Node> = Vec::new();
    for (number, name) in [(2, "one"), (3, "two"), (4, "three"), (5, "four")] {
        let mut node = lab.node(number, name);
        node.up(Some(&lab.token()));
        for other in &nodes {
            let limit = Duration::from_secs(10);
            let what = format!("{} reaches {name}", other.name);
            let (_, took) = eventually_within(limit, &what, || other.reaches(name).then_some(()));
            println!("{what} {} ms after it was ready", took.as_millis());
        }
        nodes.push(node);
    }
}

#[test]
fn the_status_says_who_is_there() {
    let (_lab, web, db) = Lab::with_two_nodes();
    let status = web.status();
    assert_eq!(status["ready"], true);
    assert_eq!(status["control"]["connected"], true);
    assert_eq!(status["degraded"], serde_json::json!([]));
    let peer = &web.group()["peers"][0];
    assert_eq!(text(peer, "name"), "db.main.lacis.internal");
    assert_eq!(text(peer, "path"), "direct");
    assert_eq!([text(peer, "address4"), text(peer, "address6")], addresses(&db));
    assert!(peer["rx_bytes"].as_u64().unwrap() > 0 && peer["tx_bytes"].as_u64().unwrap() > 0, "{peer}");
    assert!(peer["last_handshake_s"].as_f64().unwrap() < 180.0, "{peer}");
    let table = run_ok(&mut web.lacis(&["status"]));
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(table.contains("direct"), "{table}");
}

#[test]
fn exit_codes_tell_what_happened() {
    let (_lab, web, _db) = Lab::with_two_nodes();
    let code = |arguments: &[&str]| run(&mut web.lacis(arguments)).status.code();
    assert_eq!(code(&["ping", "db", "-c", "1"]), Some(0));
    assert_eq!(code(&["ping", "nobody", "-c", "1"]), Some(1));
    assert_eq!(code(&["status", "--wait", "ready"]), Some(0));
    assert_eq!(code(&["status", "--wait", "nobody", "--timeout", "0.3"]), Some(3));
    assert_eq!(code(&["status", "--socket"]), Some(2));
    let mut elsewhere = web.host.command(support::binary("lacis"));
    let output = run(elsewhere.args(["status", "--socket", "/run/nowhere.sock"]));
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("lacis up"));
}

#[test]
fn an_agent_that_stops_takes_its_interface_away() {
    let (_lab, web, mut db) = Lab::with_two_nodes();
    let interface = text(&db.group(), "interface");
    assert!(db.host.ip(&["link"]).contains(&interface));
    assert_eq!(db.stop(), Some(0));
    assert!(!db.host.ip(&["link"]).contains(&interface));
    assert!(!web.reaches("db"));
    db.up(None);
    eventually("db answers again", || web.reaches("db").then_some(()));
}
