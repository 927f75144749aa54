//! Peers and machines that are not who they seem.

use std::process::Command;

use serde_json::Value;
use support::{eventually, run, run_ok};

use crate::lab::{Lab, Node, text};

/// Gives a peer another key in the database, as a control would that wants to stand between two nodes.
const SWAP: &str = "import os, sqlite3, sys\n\
    store = sqlite3.connect(sys.argv[1])\n\
    store.execute('UPDATE groups SET revision = revision + 1')\n\
    store.execute('UPDATE installation SET change = change + 1')\n\
    changed = store.execute('UPDATE peers SET wg_key = ?, revision = (SELECT revision FROM groups) WHERE id = ?',\n\
    \x20   (os.urandom(32), sys.argv[2]))\n\
    assert changed.rowcount == 1\n\
    store.commit()\n";

fn alarm(node: &Node, kind: &str) -> Option<Value> {
    let output = run(&mut node.lacis(&["status", "--format", "json"]));
    let status: Value = serde_json::from_slice(&output.stdout).ok()?;
    status["alarms"].as_array()?.iter().find(|alarm| alarm["kind"] == kind).cloned()
}

fn knows(node: &Node, peer: &str) -> bool {
    std::fs::read_to_string(node.state.join("pins.json")).is_ok_and(|pins| pins.contains(peer))
}

#[test]
fn a_key_that_control_swaps_is_told_of_or_refused() {
    let (mut lab, web, mut db) = Lab::with_two_nodes();
    let mut strict = lab.node(4, "strict");
    strict.options = vec!["--proofs".into(), "require".into()];
    strict.up(Some(&lab.token()));
    strict.wait("db");
    let peer = text(&db.group(), "peer");
    eventually("who db is, is remembered", || (knows(&web, &peer) && knows(&strict, &peer)).then_some(()));

    // A new key that db itself has signed is nothing to speak of.
    db.stop();
    let id = text(&web.group(), "id");
    std::fs::remove_file(db.state.join("keys").join(format!("{id}.key"))).unwrap();
    let path = db.state.join("enrolment.json");
    let mut enrolment: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    enrolment["peers"] = serde_json::json!([]);
    std::fs::write(&path, enrolment.to_string()).unwrap();
    db.up(None);
    assert_eq!(text(&db.group(), "peer"), peer);
    strict.wait("db");
    web.wait("db");
    assert_eq!((alarm(&web, "peer"), alarm(&strict, "peer")), (None, None));

    lab.stop_control();
    let store = lab.dir.path().join("control/control.db");
    run_ok(Command::new("python3").args(["-c", SWAP]).arg(store).arg(&peer));
    lab.start_control();
    let refused = eventually("strict refuses db", || alarm(&strict, "peer"));
    assert!(text(&refused, "subject").starts_with("db.") && refused["refused"] == true, "{refused}");
    let told = eventually("web is told of db", || alarm(&web, "peer"));
    assert!(text(&told, "text").contains("its node has not signed") && told["refused"] == false, "{told}");
    assert!(web.log().contains("WARN") && web.log().contains("is not trusted"), "{}", web.log());
    let shown = run_ok(&mut web.lacis(&["status"]));
    assert!(shown.contains("ALARM db."), "{shown}");
    assert!(strict.reaches("web"), "the others are who they were");
}

#[test]
fn a_copied_machine_is_refused_and_a_moved_one_is_not() {
    let (lab, web, mut db) = Lab::with_two_nodes();
    let mut copy = lab.node(7, "copy");
    run_ok(Command::new("cp").arg("-a").arg(&db.state).arg(&copy.state));
    let agent = copy.start(None);
    let status = eventually("the copy is refused", || {
        let output = run(&mut copy.lacis(&["status", "--format", "json"]));
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        let trouble = status["control"]["trouble"].as_str()?;
        trouble.contains("already running as host").then(|| status.clone())
    });
    let trouble = text(&status["control"], "trouble");
    for part in ["\"db\"", "\"copy\"", &copy.host.v4(), "delete its state folder"] {
        assert!(trouble.contains(part), "{trouble}");
    }
    assert!(
        status["groups"].as_array().unwrap().iter().all(|group| group["interface"].is_null()),
        "{status}"
    );
    let told = eventually("db is told", || alarm(&db, "copy"));
    assert!(told["subject"] == "copy" && text(&told, "text").contains(&copy.host.v4()), "{told}");
    let shown = run_ok(&mut lab.control(&["node", "show", "db"]));
    assert!(shown.contains("host \"copy\" at"), "{shown}");
    eventually("web reaches db, not its copy", || {
        let peer = web.group()["peers"][0].clone();
        let of_db = [format!("{}:", db.host.v4()), format!("[{}]:", db.host.v6())];
        (web.reaches("db") && of_db.iter().any(|start| text(&peer, "endpoint").starts_with(start)))
            .then_some(())
    });

    // The first is stopped, and its state is all that a machine is.
    drop(agent);
    db.stop();
    copy.up(None);
    copy.wait("web");
    assert_eq!((alarm(&web, "peer"), alarm(&copy, "copy")), (None, None));
    web.wait("db");
}
