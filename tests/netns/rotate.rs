//! A node takes a new key while others talk with it: the stream goes on, and nobody takes it for a stranger.

use std::{collections::BTreeSet, time::Duration};

use support::{Process, eventually, run, run_ok};

use crate::{
    echoes::Echoes,
    lab::{Lab, Node, text},
};

/// The longest gap that is taken for one: a handshake that meets the new key too early comes again half a second
/// later, and again a second after that.
const GAP: Duration = Duration::from_secs(2);

fn key(node: &Node) -> Vec<u8> {
    let id = text(&node.group(), "id");
    std::fs::read(node.state.join("keys").join(format!("{id}.key"))).unwrap()
}

fn strict_pair() -> (Lab, Node, Node) {
    let lab = Lab::new();
    let mut nodes = [(2, "web"), (3, "db")].map(|(number, name)| {
        let mut node = lab.node(number, name);
        node.options = vec!["--proofs".into(), "require".into()];
        node.up(Some(&lab.token()));
        node
    });
    let [web, db] = &mut nodes;
    web.wait("db");
    db.wait("web");
    let [web, db] = nodes;
    (lab, web, db)
}

#[test]
fn a_new_key_breaks_no_stream_and_raises_no_alarm() {
    let (_lab, web, db) = strict_pair();
    let peer = text(&db.group(), "peer");
    let interface = text(&db.group(), "interface");
    let index = db.host.ip(&["-o", "link", "show", "dev", &interface]);
    let log = db.state.with_extension("iperf");
    let mut serving = Process::start(db.host.command("iperf3").args(["-s", "-1", "--forceflush"]), &log);
    while !serving.line().contains("listening") {}
    let mut client = web.host.command("iperf3");
    client.args(["-c", &text(&db.group(), "address4"), "-t", "15", "-b", "20M", "--forceflush"]);
    let mut stream = Process::start(&mut client, &web.state.with_extension("iperf"));
    while !stream.line().contains("sec") {}
    let mut echoes = Echoes::start(&web, &db);
    let mut keys = BTreeSet::from([key(&db)]);
    for (turn, by) in [("by its label", &["rotate-key", "main"][..]), ("in every group", &["rotate-key"])] {
        let gap = echoes.gap(&format!("the far node takes a new key, {turn}"), || {
            run_ok(&mut db.lacis(by));
        });
        assert!(gap <= GAP, "{gap:?}");
        keys.insert(key(&db));
    }
    let gap = echoes.gap("the near node takes a new key", || {
        run_ok(&mut web.lacis(&["rotate-key"]));
    });
    assert!(gap <= GAP, "{gap:?}");
    assert_eq!(keys.len(), 3, "each is another key");
    assert_eq!(text(&db.group(), "peer"), peer, "it is the same peer, at the same address");
    assert_eq!(db.host.ip(&["-o", "link", "show", "dev", &interface]), index, "on the same interface");
    for node in [&web, &db] {
        assert_eq!(node.status()["alarms"], serde_json::json!([]));
    }
    while !stream.line().contains("receiver") {}
}

#[test]
fn a_new_key_outlives_restarts_and_needs_control() {
    let (mut lab, web, mut db) = strict_pair();
    run_ok(&mut db.lacis(&["rotate-key"]));
    let new = key(&db);
    db.kill();
    db.up(None);
    web.wait("db");
    assert_eq!(key(&db), new);
    lab.stop_control();
    let refused = run(&mut db.lacis(&["rotate-key"]));
    assert!(!refused.status.success());
    assert_eq!(key(&db), new, "what control has not heard of is not taken");
    lab.start_control();
    let unknown = run(&mut db.lacis(&["rotate-key", "nothing"]));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no group of that id or label"));
    eventually("db is in sync again", || db.status()["control"]["connected"].as_bool().filter(|c| *c));
    assert!(web.reaches("db"));
}
