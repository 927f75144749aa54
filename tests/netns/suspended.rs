//! The machine sleeps, as far as an agent can tell.
//!
//! The kernel lets nobody put its boot clock forward: `clock_settime` refuses it, a time namespace takes an offset only until
//! the first process is in it, and a real suspension would put the tests to sleep as well. So a library between the agent
//! and its clocks does it while the agent runs (`boot_clock.c`), and a time namespace does between two runs of it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use support::{Process, binary, eventually, eventually_within, run, run_ok};

use crate::lab::{Lab, Node};

/// Who slept for an hour: its sessions are over, and the NATs on the way have forgotten it.
const ASLEEP_S: &str = "3600";

/// So soon after it woke a node is with its peers again; sessions are renewed when it notices, within a second or two.
const AWAKE: Duration = Duration::from_secs(10);

/// Builds the library that stands between the agent and its clocks.
fn library(lab: &Lab) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("netns/boot_clock.c");
    let built = lab.dir.path().join("boot_clock.so");
    run_ok(
        Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&built)
            .arg(source),
    );
    built.display().to_string()
}

fn handshake_age(node: &Node) -> f64 {
    node.group()["peers"][0]["last_handshake_s"].as_f64().unwrap_or(f64::INFINITY)
}

#[test]
fn a_node_that_slept_an_hour_renews_its_sessions_and_loses_nothing_that_it_sends() {
    let lab = Lab::new();
    let ahead = lab.dir.path().join("ahead");
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    web.env = vec![("LD_PRELOAD", library(&lab)), ("BOOT_CLOCK_AHEAD", ahead.display().to_string())];
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    let before = web.figure("handshakes");
    let mut ping = web.host.command("ping");
    ping.args(["-q", "-c", "100", "-i", "0.1", "-W", "2", &db.address().to_string()]);
    let mut pinging = Process::start(&mut ping, &lab.dir.path().join("ping.log"));
    assert!(pinging.line().starts_with("PING"));
    fs::write(&ahead, ASLEEP_S).unwrap();
    eventually_within(AWAKE, "the session is a new one", || {
        (web.figure("handshakes") > before && handshake_age(&web) < 10.0).then_some(())
    });
    for said in ["this host slept", "the machine slept"] {
        eventually(said, || web.log().contains(said).then_some(()));
    }
    assert_eq!(pinging.exit_code(), Some(0));
    let told = pinging.rest();
    assert!(told.contains(" 0% packet loss"), "{told}");
    assert!(db.reaches("web") && web.status()["control"]["connected"] == true);
    // A clock that goes back is no sleep.
    let after = web.figure("handshakes");
    fs::write(&ahead, "0").unwrap();
    assert!(web.reaches("db") && db.reaches("web"));
    assert_eq!(web.figure("handshakes"), after);
}

#[test]
fn a_node_starts_on_a_host_whose_boot_clock_is_a_year_ahead_or_has_just_begun() {
    let (lab, mut web, db) = Lab::with_two_nodes();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: u64 = uptime.split('.').next().unwrap().parse().unwrap();
    for offset in ["31536000".to_owned(), format!("-{}", uptime.saturating_sub(60))] {
        web.stop();
        let program = lab.dir.path().join("lacis-elsewhen");
        let lacis = binary("lacis").display().to_string();
        let script = format!(
            "#!/bin/sh\nexec unshare --time --boottime {offset} --monotonic {offset} {lacis} \"$@\"\n"
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        web.up_with(&program);
        web.wait("db");
        assert!(db.reaches("web"), "by {offset} s");
        let shown = run(Command::new("readlink").args([format!("/proc/{}/ns/time", web.id())]));
        let own = run(Command::new("readlink").arg("/proc/self/ns/time"));
        assert_ne!(shown.stdout, own.stdout, "it has a clock of its own");
    }
}
