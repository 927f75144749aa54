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
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", web.id())).unwrap();
        children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let [guard] = &guards()[..] else { panic!("{:?}", guards()) };
    run_ok(std::process::Command::new("kill").args(["-KILL", guard]));
    eventually("there is another guard", || guards().first().filter(|other| *other != guard).cloned());
    finds(&web, &db);
    let [guard] = &guards()[..] else { panic!("{:?}", guards()) };
    // Both at once: nobody is left to restore anything, until the next start.
    run_ok(std::process::Command::new("kill").args(["-KILL", guard, &web.id().to_string()]));
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

#[test]
fn a_link_in_place_of_the_file_is_replaced_and_put_back() {
    let lab = Lab::new();
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    // Without a file of its own, the host has the one of this world, over which it can rename.
    fs::remove_file(web.host.resolv_conf()).unwrap();
    let file = std::path::Path::new("/etc/resolv.conf");
    fs::write("/etc/real.conf", "nameserver 192.0.2.1\n").unwrap();
    fs::remove_file(file).unwrap();
    std::os::unix::fs::symlink("real.conf", file).unwrap();
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    finds(&web, &db);
    assert!(fs::read_link(file).is_err(), "a file stands in its place");
    web.kill();
    eventually("the link is back", || fs::read_link(file).ok());
    assert_eq!(
        fs::read_to_string(file).unwrap(),
        "nameserver 192.0.2.1\n",
        "what it leads to was not touched"
    );
    web.up(None);
    finds(&web, &db);
    assert_eq!(web.stop(), Some(0));
    assert_eq!(fs::read_link(file).unwrap(), std::path::Path::new("real.conf"));
    fs::remove_file(file).unwrap();
    fs::write(file, "").unwrap();
}

/// Starts a guard for whoever connects, as the service manager does on its socket.
const GUARDS: &str = "import os,socket,subprocess,sys\n\
    s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.chmod(sys.argv[1],0o666); s.listen(); print('listening',flush=True)\n\
    while True:\n\
    \x20   c,_=s.accept(); subprocess.Popen([sys.argv[2],'guard'],stdin=c,stdout=c); c.close()";

#[test]
fn an_agent_without_rights_over_the_resolver_has_a_guard_with_them() {
    let lab = Lab::new();
    let (web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    db.up(Some(&lab.token()));
    let chmod =
        |mode: &str, path: &std::path::Path| run_ok(std::process::Command::new("chmod").arg(mode).arg(path));
    chmod("0755", lab.dir.path());
    let (program, socket) = (lab.dir.path().join("lacis"), lab.dir.path().join("guard.sock"));
    fs::copy(support::binary("lacis"), &program).unwrap();
    fs::create_dir_all(&web.state).unwrap();
    let device = lab.dir.path().join("device");
    let may = |command: &mut std::process::Command| run(command).status.success();
    if !may(std::process::Command::new("chown").arg("998:998").arg(&web.state))
        || !may(std::process::Command::new("mknod").arg(&device).args(["c", "10", "200"]))
    {
        return println!("skipped: there is no other user to run the agent as, or no right to make devices");
    }
    let state = web.state.join("agent");
    let log = lab.dir.path().join("web.log");
    let unprivileged = || {
        // Where systemd runs, everybody may open the device; here that is so for this agent alone.
        let open = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec \"$@\"";
        let mut command = web.host.command("unshare");
        command.args(["--mount", "sh", "-c", open, "sh", "setpriv"]);
        command.args(["--reuid=998", "--regid=998", "--clear-groups", "--no-new-privs"]);
        for set in ["inh", "ambient", "bounding"] {
            let set = if set == "bounding" { "--bounding-set".to_owned() } else { format!("--{set}-caps") };
            command.arg(format!("{set}=-all,+net_admin,+net_bind_service"));
        }
        command.arg(&program).args(["up", &lab.token(), "--name", "web", "--state"]).arg(&state);
        command.arg("--socket").arg(web.socket()).arg("--guard").arg(&socket);
        Process::start(&mut command, &log)
    };
    let sockets = std::path::Path::new(web.socket()).parent().unwrap();
    chmod("0777", sockets);
    let before = resolv_conf(&web);
    let mut agent = unprivileged();
    agent.line();
    let degraded = eventually("the agent may not, and says so", || {
        web.status()["degraded"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["kind"] == "names_by_hand")
            .cloned()
    });
    assert!(degraded["what"].as_str().unwrap().contains("resolv.conf"), "{degraded}");
    assert!(degraded["remedy"].as_str().unwrap().contains("10.128.0.1"), "{degraded}");
    assert_eq!(resolv_conf(&web), before);
    assert_eq!(agent.terminate(), Some(0));

    let mut command = web.host.command("python3");
    let mut guards = Process::start(
        command.args(["-c", GUARDS]).arg(&socket).arg(&program),
        &lab.dir.path().join("guards"),
    );
    guards.line();
    let mut agent = unprivileged();
    agent.line();
    finds(&web, &db);
    assert_eq!(web.status()["degraded"], serde_json::json!([]));
    agent.kill();
    restored(&web, &before);
}
