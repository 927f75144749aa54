//! The host's programs find names without naming a server, and the host's resolver is what it was when the
//! agent is gone, however it went. Here `/etc/resolv.conf` is a mount of its own, as in a container.

use std::fs;

use support::{Process, eventually, run, run_ok};

use crate::lab::{Lab, Node, text};

/// What a program of the host finds for a name, with the system's own look-up.
pub(crate) fn getent(node: &Node, database: &str, name: &str) -> Option<String> {
    let output = run(node.host.command("getent").args([database, name]));
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| text.split_whitespace().next().unwrap_or_default().to_owned())
}

#[track_caller]
pub(crate) fn finds(node: &Node, peer: &Node) {
    let name = format!("{}.main.lacis.internal", peer.name);
    let group = peer.group();
    assert_eq!(eventually(&name, || getent(node, "ahostsv4", &name)), text(&group, "address4"));
    assert_eq!(eventually(&name, || getent(node, "ahostsv6", &name)), text(&group, "address6"));
}

pub(crate) fn resolv_conf(node: &Node) -> String {
    fs::read_to_string(node.host.resolv_conf()).unwrap()
}

#[track_caller]
fn restored(node: &Node, before: &str) {
    eventually("the file is restored", || (resolv_conf(node) == before).then_some(()));
}

/// A name server that answers 192.0.2.99 to everything and notes what it is asked.
pub(crate) fn name_server(lab: &Lab, on: &str) -> (Process, std::path::PathBuf) {
    let script = "import socket,struct,sys\n\
        u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); u.bind((sys.argv[1],53)); print('bound',flush=True)\n\
        while True:\n\
        \x20   q,a=u.recvfrom(4096); n=12; name=[]\n\
        \x20   while q[n]: name.append(q[n+1:n+1+q[n]].decode()); n+=1+q[n]\n\
        \x20   sys.stderr.write('.'.join(name)+'\\n'); sys.stderr.flush(); t=q[n+1:n+3]\n\
        \x20   rr=b'\\xc0\\x0c\\0\\1\\0\\1'+struct.pack('>IH4B',60,4,192,0,2,99) if t==b'\\0\\1' else b''\n\
        \x20   u.sendto(q[:2]+b'\\x81\\x80\\0\\1'+struct.pack('>H',len(rr)>0)+b'\\0\\0\\0\\0'+q[12:n+5]+rr,a)";
    let asked = lab.dir.path().join("asked");
    let mut command = lab.host.command("python3");
    let mut server = Process::start(command.args(["-c", script, on]), &asked);
    server.line();
    (server, asked)
}

#[test]
fn programs_find_names_and_the_file_is_restored_however_the_agent_ends() {
    let (_lab, mut web, db) = Lab::with_two_nodes();
    let before = format!("# of {}\n", web.host.name);
    finds(&web, &db);
    finds(&db, &web);
    assert_eq!(web.status()["names"]["file"], true);
    run_ok(web.host.command("ping").args(["-c", "1", "-W", "5", "db.main.lacis.internal"]));

    web.kill();
    restored(&web, &before);
    web.up(None);
    finds(&web, &db);
    assert_eq!(web.stop(), Some(0));
    assert_eq!(resolv_conf(&web), before, "restored before the agent has ended");
    web.up(None);
    finds(&web, &db);
    run_ok(&mut web.lacis(&["leave", "--purge"]));
    assert_eq!(web.exit_code(), Some(0));
    assert_eq!(resolv_conf(&web), before);
}

#[test]
fn other_names_are_asked_upstream_and_names_of_the_group_never() {
    let lab = Lab::new();
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    let (_server, asked) = name_server(&lab, &lab.host.v4());
    let before = format!("nameserver {}\nsearch main.lacis.internal\n", lab.host.v4());
    fs::write(web.host.resolv_conf(), &before).unwrap();
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    finds(&web, &db);
    assert_eq!(eventually("example.org", || getent(&web, "ahostsv4", "example.org")), "192.0.2.99");
    assert_eq!(getent(&web, "ahostsv4", "db").unwrap(), text(&db.group(), "address4"), "search goes on");
    assert_eq!(getent(&web, "ahostsv4", "nobody.main.lacis.internal"), None);
    assert_eq!(web.status()["names"]["upstream"], serde_json::json!([format!("{}:53", lab.host.v4())]));
    let asked = fs::read_to_string(asked).unwrap();
    assert!(asked.contains("example.org"), "{asked}");
    assert!(!asked.contains("lacis.internal"), "leaked: {asked}");

    // A question that comes through the tunnel is not for the world.
    let resolver = text(&web.group(), "address4");
    let through =
        db.host.command("dig").args([&format!("@{resolver}"), "+time=1", "+tries=1", "example.net"]).output();
    assert!(!String::from_utf8_lossy(&through.unwrap().stdout).contains("192.0.2.99"));
    web.kill();
    restored(&web, &before);
}

#[test]
fn edits_of_others_are_respected_and_a_killed_guard_is_repaired() {
    let (lab, mut web, db) = Lab::with_two_nodes();
    let (_server, _) = name_server(&lab, &lab.host.v4());
    finds(&web, &db);
    let theirs = format!("nameserver {}\n", lab.host.v4());
    fs::write(web.host.resolv_conf(), &theirs).unwrap();
    eventually("their server is the upstream", || {
        (web.status()["names"]["upstream"] != serde_json::json!([])).then_some(())
    });
    finds(&web, &db);
    assert_eq!(eventually("example.org", || getent(&web, "ahostsv4", "example.org")), "192.0.2.99");

    let guards = || {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", web.pid())).unwrap();
        children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let [guard] = &guards()[..] else { panic!("{:?}", guards()) };
    run_ok(std::process::Command::new("kill").args(["-KILL", guard]));
    eventually("there is another guard", || guards().first().filter(|other| *other != guard).cloned());
    finds(&web, &db);
    let [guard] = &guards()[..] else { panic!("{:?}", guards()) };
    // Both at once: nobody is left to restore anything, until the next start.
    run_ok(std::process::Command::new("kill").args(["-KILL", guard, &web.pid().to_string()]));
    web.kill();
    assert!(resolv_conf(&web).contains("#lacis#"));
    web.up(None);
    finds(&web, &db);
    assert_eq!(web.stop(), Some(0));
    assert_eq!(resolv_conf(&web), theirs);
}

#[test]
fn whoever_wants_to_see_to_it_by_hand_is_told_how() {
    let lab = Lab::new();
    let web = lab.node(2, "web");
    let mut command = web.up_command(Some(&lab.token()));
    let mut agent = Process::start(command.args(["--dns", "manual"]), &lab.dir.path().join("web.log"));
    agent.line();
    assert_eq!(resolv_conf(&web), format!("# of {}\n", web.host.name), "untouched");
    assert_eq!(web.status()["names"]["by_hand"], web.group()["resolver4"]);
    let said = run_ok(&mut web.lacis(&["status"]));
    assert!(said.contains("by hand: have this host's resolver ask 10.128.0.1"), "{said}");
    agent.terminate();
}
