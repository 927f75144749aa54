//! What goes wrong on a real machine gets an error that says what to do, an honest exit code, and
//! changes nothing.

use std::process::{Command, Output};

use support::{binary, eventually, run, run_ok};

use crate::lab::{Lab, text};

#[track_caller]
fn fails(command: &mut Command, code: i32, says: &[&str]) -> Output {
    let output = run(command);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for part in says {
        assert!(stderr.contains(part), "lacks {part:?}: {stderr}");
    }
    output
}

#[test]
fn tokens_that_lead_nowhere_say_why() {
    let lab = Lab::new();
    let web = lab.node(2, "web");
    let token = lab.token();
    fails(&mut web.up_command(Some("hello")), 1, &["not a join token"]);
    fails(&mut web.up_command(Some(&token[..token.len() - 9])), 1, &["incomplete or mistyped"]);
    fails(&mut web.up_command(None), 1, &["lacis up TOKEN"]);
    let make = |arguments: &[&str]| {
        let json = run_ok(&mut lab.control(&[&["token", "create", "--format", "json"], arguments].concat()));
        let token: serde_json::Value = serde_json::from_str(&json).unwrap();
        (text(&token, "id"), text(&token, "token"))
    };
    let (id, revoked) = make(&[]);
    run_ok(&mut lab.control(&["token", "revoke", &id]));
    fails(&mut web.up_command(Some(&revoked)), 1, &["revoked"]);
    let (id, expired) = make(&["--expires", "1s"]);
    eventually("the token expires", || {
        let list = run_ok(&mut lab.control(&["token", "list", "--format", "json"]));
        let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
        list.iter().find(|token| token["id"] == id.as_str() && token["state"] == "expired").map(drop)
    });
    fails(&mut web.up_command(Some(&expired)), 1, &["expired"]);
    let (_, once) = make(&["--uses", "1"]);
    let mut first = lab.node(3, "first");
    first.up(Some(&once));
    fails(&mut web.up_command(Some(&once)), 1, &["used"]);
    assert_eq!(first.group()["peers"], serde_json::json!([]), "nothing changed");
}

#[test]
fn a_control_with_another_authority_gets_no_secret() {
    let lab = Lab::new();
    let other = Lab::new();
    // Both labs have their control at the same address of different switches: a token of one reaches the other.
    let web = other.node(2, "web");
    let output = fails(&mut web.up_command(Some(&lab.token())), 1, &["differs from the pin"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("lacis_join_"));
}

#[test]
fn what_the_host_lacks_is_named_with_the_remedy() {
    let lab = Lab::new();
    let web = lab.node(2, "web");
    let token = lab.token();
    let inside = |script: &str| {
        let mut command = web.host.command("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(binary("lacis"));
        command.args(["up", &token, "--name", "web", "--format", "json", "--state"]).arg(&web.state);
        command.arg("--socket").arg(web.state.with_extension("s"));
        command
    };
    let before = run_ok(&mut lab.control(&["status", "--format", "json"]));
    fails(&mut inside("mount -t tmpfs none /dev/net && exec \"$@\""), 1, &["modprobe tun"]);
    let without = "exec setpriv --bounding-set=-net_admin --inh-caps=-net_admin \"$@\"";
    fails(&mut inside(without), 1, &["CAP_NET_ADMIN", "setcap"]);
    assert_eq!(run_ok(&mut lab.control(&["status", "--format", "json"])), before, "nobody joined");
}

#[test]
fn a_port_in_use_is_named() {
    let (lab, web, _db) = Lab::with_two_nodes();
    let listen = format!("{}:8443", lab.host.v4());
    let elsewhere = lab.dir.path().join("elsewhere");
    let mut second = lab.host.command(binary("lacis-control"));
    fails(second.args(["serve", "--listen", &listen, "--data"]).arg(&elsewhere), 1, &["8443", "in use"]);
    fails(&mut lab.control(&["serve", "--listen", "192.0.2.1:9443"]), 1, &["control"]);
    let state = lab.dir.path().join("second");
    let mut agent = web.up_command(Some(&lab.token()));
    agent.args(["--port", "47820", "--state"]).arg(&state).arg("--socket").arg(state.with_extension("sock"));
    let output = run(&mut agent);
    assert_ne!(output.status.code(), Some(0));
}

#[test]
fn a_second_agent_on_the_same_state_is_refused() {
    let (_lab, web, _db) = Lab::with_two_nodes();
    fails(&mut web.up_command(None), 1, &["another agent runs", "--state"]);
    assert!(web.reaches("db"));
}

#[test]
fn a_corrupt_cached_scope_is_fetched_again() {
    let (_lab, mut web, db) = Lab::with_two_nodes();
    let id = text(&web.group(), "id");
    web.kill();
    let path = web.state.join("scopes").join(format!("{id}.json"));
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    web.up(None);
    web.wait("db");
    assert!(web.log().contains("damaged"), "{}", web.log());
    assert_eq!(web.group()["version"], db.group()["version"]);
}

#[test]
fn a_group_that_overlaps_a_route_of_the_host_is_refused_and_both_are_named() {
    let (lab, web, _db) = Lab::with_two_nodes();
    let mut late = lab.node(4, "late");
    late.host.ip(&["route", "add", "10.128.4.0/24", "via", "192.0.2.1"]);
    fails(&mut late.up_command(Some(&lab.token())), 1, &["10.128.0.0/16", "10.128.4.0/24", "eth0"]);
    eventually("the group has let it go", || {
        (web.group()["peers"].as_array().unwrap().len() == 1).then_some(())
    });
    late.host.ip(&["route", "del", "10.128.4.0/24"]);
    late.up(Some(&lab.token()));
    web.wait("late");
}

#[test]
fn a_route_that_came_later_is_named_and_the_group_comes_back_without_it() {
    let (_lab, mut web, _db) = Lab::with_two_nodes();
    web.kill();
    web.host.ip(&["route", "add", "10.128.4.0/24", "via", "192.0.2.1"]);
    let mut agent = web.start(None);
    let status = eventually("the status names both", || {
        let mut command = web.lacis(&["status", "--format", "json"]);
        let status: serde_json::Value = serde_json::from_slice(&run(&mut command).stdout).ok()?;
        let degraded = status["degraded"][0]["what"].as_str()?.to_owned();
        (degraded.contains("10.128.0.0/16") && degraded.contains("10.128.4.0/24")).then_some(status)
    });
    assert_eq!(status["ready"], false);
    web.host.ip(&["route", "del", "10.128.4.0/24"]);
    assert!(agent.line().contains("ready"));
    agent.kill();
}

#[test]
fn garbage_on_every_port_harms_nobody() {
    let (lab, web, db) = Lab::with_two_nodes();
    let garbage = "import os,socket,sys\n\
        u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
        for n in range(3000): u.sendto(bytes([n%6,0,0,0])+os.urandom(n%1400), (sys.argv[1], 47820))\n\
        for n in range(40):\n\
        \x20   t=socket.create_connection((sys.argv[2], 8443)); t.sendall(os.urandom(500)); t.close()\n";
    let mut attack = lab.host.command("python3");
    assert!(run(attack.args(["-c", garbage, &db.host.v4(), &lab.host.v4()])).status.success());
    assert!(web.reaches("db"));
    let mut newcomer = lab.node(4, "late");
    newcomer.up(Some(&lab.token()));
    web.wait("late");
}
