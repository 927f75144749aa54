//! What does not work is named with its remedy, and everything else goes on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use support::{Process, binary, eventually, run, run_ok};

use crate::lab::{Lab, Node, text};

/// What the status says of one kind of degradation.
fn degraded(node: &Node, kind: &str) -> Option<Value> {
    let status = node.status();
    let all = status["degraded"].as_array().unwrap();
    all.iter().find(|degradation| degradation["kind"] == kind).cloned()
}

#[track_caller]
fn says(node: &Node, kind: &str, parts: &[&str]) {
    let said = eventually(kind, || degraded(node, kind)).to_string();
    for part in parts {
        assert!(said.contains(part), "lacks {part:?}: {said}");
    }
}

/// A small disk at the place of a folder, until dropped.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn mount(folder: &Path) -> Self {
        Self::mount_of(folder, "256k")
    }

    pub(crate) fn mount_of(folder: &Path, size: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let options = format!("size={size},mode=0700");
        run_ok(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(folder));
        Self(folder.to_owned())
    }

    fn remount(&self, how: &str) {
        run_ok(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

#[test]
fn a_host_without_ipv6_has_everything_else() {
    let (lab, web, db) = Lab::with_two_nodes();
    let mut old = lab.node(4, "old");
    for scope in ["all", "default"] {
        run_ok(old.host.command("sysctl").args(["-qw", &format!("net.ipv6.conf.{scope}.disable_ipv6=1")]));
    }
    old.up(Some(&lab.token()));
    says(&old, "no_ipv6", &["IPv4 only", "disable_ipv6=0"]);
    assert_eq!(old.status()["ready"], true);
    let mut curl = old.host.command("curl");
    let readiness = run_ok(curl.args(["-sS", "--unix-socket"]).arg(old.socket()).arg("http://agent/readyz"));
    assert!(readiness.starts_with("ready\ndegraded: no_ipv6: "), "{readiness}");
    old.wait("db");
    web.wait("old");
    assert_eq!(
        old.dig(&["+short", "db.main.lacis.internal", "A"]),
        [db.group()["address4"].as_str().unwrap()]
    );
    assert_eq!(degraded(&web, "no_ipv6"), None);
}

/// A program that becomes `lacis` with a filter of the kernel on it: sockets of IPv4 are refused to it (seccomp(2)), as a
/// sandbox or a host without IPv4 does.
const WITHOUT_IPV4: &str = r#"#!/usr/bin/env python3
import ctypes, errno, os, struct, sys
LOAD, EQUAL, ANSWER = 0x20, 0x15, 0x06
SOCKET, AF_INET = 41 if os.uname().machine == "x86_64" else 198, 2
steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 3, SOCKET), (LOAD, 0, 0, 16), (EQUAL, 0, 1, AF_INET),
         (ANSWER, 0, 0, 0x00050000 | errno.EAFNOSUPPORT), (ANSWER, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(program)))
kernel = ctypes.CDLL(None, use_errno=True)
assert kernel.prctl(38, 1, 0, 0, 0) == 0 and kernel.prctl(22, 2, filter, 0, 0) == 0, ctypes.get_errno()
os.execv("LACIS", ["LACIS", *sys.argv[1:]])
"#;

#[test]
fn a_host_without_ipv4_sockets_goes_on_with_ipv6() {
    use std::os::unix::fs::PermissionsExt as _;
    let (lab, mut web, db) = Lab::with_two_nodes();
    let program = lab.dir.path().join("without-ipv4");
    fs::write(&program, WITHOUT_IPV4.replace("LACIS", &binary("lacis").display().to_string())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(web.stop(), Some(0));
    web.up_with(&program);
    says(&web, "no_ipv4", &["IPv6 only", "AF_INET"]);
    says(&web, "names_unanswered", &["10.128.0.1:53"]);
    eventually("web reaches db over IPv6", || web.reaches("db").then_some(()));
    let endpoint = eventually("the way to db", || {
        let group = web.group();
        group["peers"][0]["endpoint"].as_str().map(str::to_owned)
    });
    assert!(endpoint.starts_with(&format!("[{}]:", db.host.v6())), "{endpoint}");
    eventually("db knows that web is at IPv6 addresses only", || {
        let group = db.group();
        group["peers"][0]["endpoint"].as_str().filter(|at| at.starts_with('[')).map(|_| ())
    });
    assert_eq!(degraded(&db, "no_ipv4"), None);
}

#[test]
fn a_taken_port_53_costs_the_names_alone() {
    let (lab, _web, _db) = Lab::with_two_nodes();
    let mut busy = lab.node(4, "busy");
    let script = "import socket,time\n\
        u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); u.bind(('0.0.0.0',53))\n\
        print('bound', flush=True); time.sleep(600)";
    let mut command = busy.host.command("python3");
    let mut other = Process::start(command.args(["-c", script]), &lab.dir.path().join("other.log"));
    other.line();
    busy.up(Some(&lab.token()));
    says(&busy, "names_unanswered", &["10.128.0.1:53", "in use", "own addresses only"]);
    busy.wait("db");
    other.kill();
    eventually("names are answered", || degraded(&busy, "names_unanswered").is_none().then_some(()));
}

#[test]
fn a_taken_udp_port_is_named_beside_the_one_in_use() {
    let lab = Lab::new();
    let mut busy = lab.node(4, "busy");
    let script = "import socket,time\n\
        u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); u.bind(('0.0.0.0',47820))\n\
        print('bound', flush=True); time.sleep(600)";
    let mut command = busy.host.command("python3");
    let mut other = Process::start(command.args(["-c", script]), &lab.dir.path().join("other.log"));
    other.line();
    busy.up(Some(&lab.token()));
    says(&busy, "port_taken", &["47820 is taken", "--port"]);
    assert_ne!(busy.status()["port"], 47820);
    let mut any = lab.node(5, "any");
    any.options = vec!["--port".to_owned(), "0".to_owned()];
    any.up(Some(&lab.token()));
    assert_eq!(degraded(&any, "port_taken"), None, "whoever asks for any port gets what was asked for");
}

#[test]
fn a_way_that_drops_udp_is_told_from_a_peer_that_is_down() {
    let (mut lab, web, db) = Lab::with_two_nodes();
    // A relay would find another way.
    lab.kill_control();
    lab.start_control_with(&["--no-relay"]);
    // Frames for db go to nobody: what a firewall on the way would make of them.
    for address in [db.host.v4(), db.host.v6()] {
        web.host.ip(&[
            "neigh",
            "replace",
            &address,
            "lladdr",
            "02:00:00:00:00:99",
            "dev",
            "eth0",
            "nud",
            "permanent",
        ]);
    }
    let mut fresh = web;
    fresh.kill();
    fresh.up(None);
    eventually("web knows that nobody answers", || {
        fresh.reaches("db");
        degraded(&fresh, "udp_unanswered")
    });
    says(&fresh, "udp_unanswered", &["none of the 1 peers", "port 47820"]);
    assert_eq!(fresh.status()["ready"], true);
}

#[test]
fn a_kernel_that_refuses_to_send_is_named() {
    let (_lab, web, db) = Lab::with_two_nodes();
    web.host.ip(&["route", "add", "prohibit", &format!("{}/32", db.host.v4())]);
    web.host.ip(&["-6", "route", "add", "prohibit", &format!("{}/128", db.host.v6())]);
    eventually("the refusal is counted", || {
        web.reaches("db");
        degraded(&web, "udp_refused")
    });
    says(&web, "udp_refused", &["firewall"]);
}

#[test]
fn a_full_disk_costs_the_next_start_what_this_one_knows_and_no_more() {
    let lab = Lab::new();
    let mut web = lab.node(2, "web");
    let state = web.state.clone();
    let _disk = Disk::mount(&state);
    web.up(Some(&lab.token()));
    run(Command::new("dd")
        .args(["if=/dev/zero", "bs=4k"])
        .arg(format!("of={}", state.join("filler").display())));
    let mut db = lab.node(3, "db");
    db.up(Some(&lab.token()));
    web.wait("db");
    says(&web, "state_not_saved", &["cannot write agent state", "make room"]);
    fs::remove_file(state.join("filler")).unwrap();
    eventually_saved(&web);
    lab_forgets_nothing(lab, web, db);
}

fn eventually_saved(web: &Node) {
    let limit = std::time::Duration::from_secs(60);
    support::eventually_within(limit, "what was not saved is saved again", || {
        degraded(web, "state_not_saved").is_none().then_some(())
    });
}

fn lab_forgets_nothing(mut lab: Lab, mut web: Node, db: Node) {
    lab.kill_control();
    web.kill();
    web.up(None);
    web.wait("db");
    drop(db);
}

#[test]
fn a_state_folder_that_can_only_be_read_is_enough_to_start() {
    let lab = Lab::new();
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    let state = web.state.clone();
    let disk = Disk::mount(&state);
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    web.kill();
    disk.remount("ro");
    web.up(None);
    web.wait("db");
    says(&web, "state_not_saved", &["read-only"]);
    web.kill();
    disk.remount("rw");
}

#[test]
fn limits_of_the_process_are_named_before_they_are_reached() {
    let (_lab, web, _db) = Lab::with_two_nodes();
    assert_eq!(degraded(&web, "memory_short").or(degraded(&web, "descriptors_short")), None);
    let pid = web.id().to_string();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let size: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    // A little room is left, or the agent could not even tell.
    run_ok(Command::new("prlimit").args(["--pid", &pid, &format!("--as={}", (size << 10) + (1 << 20))]));
    run_ok(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={}", open + 2)]));
    says(&web, "memory_short", &["MiB", "limit"]);
    says(&web, "descriptors_short", &["LimitNOFILE"]);
    assert!(web.reaches("db"));
}

/// Asks control over HTTPS without logging in.
fn ask_control(lab: &Lab, path: &str) -> String {
    let mut curl = lab.host.command("curl");
    curl.args(["-sS", "--cacert", &text(&lab.ready, "ca")]);
    run_ok(curl.arg(format!("{}{path}", text(&lab.ready, "api"))))
}

#[test]
fn control_raises_its_limit_on_descriptors_and_says_when_it_is_low() {
    let lab = Lab::new();
    let data = lab.dir.path().join("second");
    let mut command = lab.host.command("prlimit");
    command.arg("--nofile=1024:4096").arg(binary("lacis-control"));
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:9443",
        "--metrics",
        "127.0.0.1:9587",
        "--format",
        "json",
        "--data",
    ]);
    let mut control = Process::start(command.arg(&data), &lab.dir.path().join("second.log"));
    let ready: Value = serde_json::from_str(&control.line()).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", control.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("4096"), "{files}");
    let mut curl = lab.host.command("curl");
    curl.args(["-sS", "--cacert", &text(&ready, "ca"), "https://127.0.0.1:9443/readyz"]);
    let said = run_ok(&mut curl);
    assert!(
        said.starts_with("ready\n") && said.contains("descriptors_few") && said.contains("LimitNOFILE"),
        "{said}"
    );
    let figures = run_ok(lab.host.command("curl").args(["-sS", "http://127.0.0.1:9587/metrics"]));
    assert!(figures.contains("lacis_control_degraded{kind=\"descriptors_few\"} 1"), "{figures}");
    assert_eq!(control.terminate(), Some(0));
}

#[test]
fn control_on_a_full_disk_refuses_writes_says_so_and_recovers() {
    let mut lab = Lab::new();
    let data = lab.dir.path().join("control");
    lab.stop_control();
    let kept = lab.dir.path().join("kept");
    fs::rename(&data, &kept).unwrap();
    let _disk = Disk::mount_of(&data, "4m");
    run_ok(Command::new("cp").arg("-a").arg(format!("{}/.", kept.display())).arg(&data));
    let first = lab.token();
    lab.ready = lab.start_control();
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    web.up(Some(&first));
    db.up(Some(&first));
    web.wait("db");
    let filler = data.join("filler");
    run(Command::new("dd").args(["if=/dev/zero", "bs=4k"]).arg(format!("of={}", filler.display())));
    let create = || run(&mut lab.control(&["token", "create"]));
    eventually("a write is refused", || (!create().status.success()).then_some(()));
    let said = ask_control(&lab, "/readyz");
    assert!(said.contains("store_not_written") && said.contains("make room"), "{said}");
    assert!(web.reaches("db"), "tunnels go on");
    fs::remove_file(filler).unwrap();
    eventually("writes go on", || create().status.success().then_some(()));
    assert_eq!(ask_control(&lab, "/readyz"), "ready\n");
    let mut curl = lab.host.command("curl");
    curl.args(["-sS", "--unix-socket"]).arg(data.join("admin.sock")).arg("http://control/metrics");
    let figures = run_ok(&mut curl);
    for begin in [
        "lacis_control_groups 1",
        "lacis_control_peers 2",
        "lacis_control_watchers 2",
        "lacis_control_commit_seconds_count ",
    ] {
        assert!(figures.lines().any(|line| line.starts_with(begin)), "{begin}: {figures}");
    }
    assert!(
        figures.contains("lacis_control_commit_failures_total ") && !figures.contains("failures_total 0")
    );
    assert!(figures.contains("lacis_control_refusals_total{code=\"store_unavailable\"}"), "{figures}");
    assert_eq!(
        run_ok(lab.host.command("curl").args([
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--cacert",
            &text(&lab.ready, "ca"),
            &format!("{}/metrics", text(&lab.ready, "api"))
        ])),
        "404",
        "never on the public listener"
    );
    lab.stop_control();
}
