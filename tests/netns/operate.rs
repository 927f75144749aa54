//! What an operator does: the agent in the background, its log, its figures, its upgrade under traffic, its
//! installation; and that none of it shows a secret.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use support::{Process, binary, eventually, run, run_ok};

use crate::{
    degraded::Disk,
    lab::{Lab, Node, text},
};

/// Asks an agent over HTTP on its own socket.
fn get(node: &Node, path: &str) -> (String, String) {
    let mut curl = node.host.command("curl");
    curl.args(["-sS", "-w", "\n%{http_code}", "--unix-socket"]).arg(node.socket());
    let output = run_ok(curl.arg(format!("http://agent{path}")));
    let (body, code) = output.rsplit_once('\n').unwrap();
    (code.to_owned(), body.to_owned())
}

/// The value of a sample, by its beginning.
#[track_caller]
fn sample(text: &str, begin: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin}: {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn an_agent_tells_machines_how_it_is() {
    let (lab, web, db) = Lab::with_two_nodes();
    assert_eq!(get(&web, "/healthz"), ("200".to_owned(), "ok\n".to_owned()));
    assert_eq!(get(&web, "/readyz"), ("200".to_owned(), "ready\n".to_owned()));
    assert_eq!(get(&web, "/nothing").0, "404");
    web.dig(&["+short", "db.main.lacis.internal"]);
    let (code, figures) = get(&web, "/metrics");
    assert_eq!(code, "200");
    for (begin, least) in [
        ("lacis_ready ", 1.0),
        ("lacis_control_connected ", 1.0),
        ("lacis_group_peers{", 2.0),
        ("lacis_scope_revision{", 1.0),
        ("lacis_peer_sent_bytes_total{", 1.0),
        ("lacis_tunnel_handshakes_total ", 1.0),
        ("lacis_dns_questions_total{answered_by=\"group\"} ", 1.0),
        ("process_open_fds ", 3.0),
    ] {
        assert!(sample(&figures, begin) >= least, "{begin}: {figures}");
    }
    assert!(sample(&figures, "lacis_peer_last_handshake_seconds{") < 60.0);
    assert!(sample(&figures, "lacis_control_last_word_seconds ") < 60.0);
    assert!(figures.contains("lacis_tunnel_drops_total{reason=\"no_route\"}"), "{figures}");
    let declared: Vec<&str> = figures.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let mut once = declared.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), declared.len(), "each family stands once");

    // Nothing listens on the network unless it is asked for.
    let listening = run_ok(web.host.command("ss").args(["-Hltn"]));
    assert!(listening.lines().all(|line| line.contains(":53 ")), "{listening}");
    let mut third = lab.node(4, "third");
    let log = lab.dir.path().join("third.log");
    let mut command = third.up_command(Some(&lab.token()));
    let mut agent = Process::start(command.args(["--metrics", "127.0.0.1:9586"]), &log);
    agent.line();
    let figures = run_ok(third.host.command("curl").args(["-sS", "http://127.0.0.1:9586/metrics"]));
    assert!(sample(&figures, "lacis_ready ") >= 1.0);
    assert_eq!(agent.terminate(), Some(0));
    let verbose = run_ok(&mut web.lacis(&["status", "--verbose"]));
    assert!(verbose.contains("handshakes"), "{verbose}");
    drop((third.host.number, db));
    third.up(None);
}

#[test]
fn an_agent_in_the_background_keeps_its_log() {
    let lab = Lab::new();
    let (web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    let said = run_ok(web.up_command(Some(&lab.token())).args(["--detach", "--format", "json"]));
    assert!(said.contains("\"ready\""), "{said}");
    let output = run(web.up_command(None).arg("--detach"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && stderr.contains("already listens"), "{stderr}");
    let commands = run_ok(std::process::Command::new("ps").args(["-eo", "args"]));
    assert!(!commands.contains(&lab.token()), "the token is nobody's business");

    let log = run_ok(&mut web.lacis(&["logs"]));
    assert!(log.contains("is up as peer"), "{log}");
    assert_eq!(run_ok(&mut web.lacis(&["logs", "--lines", "1"])).lines().count(), 1);
    let mut follow =
        Process::start(&mut web.lacis(&["logs", "--lines", "0", "--follow"]), &lab.dir.path().join("follow"));
    let group = text(&web.group(), "interface");
    web.host.ip(&["link", "del", &group]);
    while !follow.line().contains("interface went away") {}
    db.up(Some(&lab.token()));
    db.wait("web");
    run_ok(&mut web.lacis(&["down"]));
    eventually("the agent has ended", || (!web.socket().exists()).then_some(()));
    let missing = run(&mut web.lacis(&["logs"]));
    assert_eq!(missing.status.code(), Some(4));

    let failing = run(web.up_command(Some("hello")).arg("--detach"));
    let stderr = String::from_utf8_lossy(&failing.stderr).into_owned();
    assert!(!failing.status.success() && stderr.contains("not a join token"), "{stderr}");
}

/// Reads numbered lines that a peer sends over one TCP connection, and gives the longest wait between two.
const RECEIVE: &str = "import socket,sys,time\n\
    s=socket.create_connection((sys.argv[1],7000)); f=s.makefile(); last=time.monotonic(); n=0; gap=0\n\
    for line in f:\n\
    \x20   now=time.monotonic(); gap=max(gap,now-last); last=now\n\
    \x20   if line=='end\\n': break\n\
    \x20   assert int(line)==n, (line,n); n+=1\n\
    \x20   if n%50==0: print(n,flush=True)\n\
    print('gap',int(gap*1000),n,flush=True)";
const SEND: &str = "import socket,sys,time,os\n\
    l=socket.create_server(('::',7000),family=socket.AF_INET6,dualstack_ipv6=True); print('listening',flush=True)\n\
    c,_=l.accept(); n=0\n\
    while not os.path.exists(sys.argv[1]):\n\
    \x20   c.sendall(b'%d\\n'%n); n+=1; time.sleep(0.01)\n\
    c.sendall(b'end\\n'); c.close()";

#[test]
fn an_upgrade_under_a_running_connection_is_a_short_pause() {
    let (lab, mut web, db) = Lab::with_two_nodes();
    let end = lab.dir.path().join("end");
    let mut command = db.host.command("python3");
    let mut sender = Process::start(command.args(["-c", SEND]).arg(&end), &lab.dir.path().join("sender.log"));
    sender.line();
    let mut command = web.host.command("python3");
    command.args(["-c", RECEIVE, &text(&db.group(), "address4")]);
    let mut receiver = Process::start(&mut command, &lab.dir.path().join("receiver.log"));
    receiver.line();

    // Another file at another place, as a package manager leaves it behind an agent that runs.
    let newer = lab.dir.path().join("lacis");
    fs::copy(binary("lacis"), &newer).unwrap();
    assert_eq!(web.stop(), Some(0));
    web.up_with(&newer);
    receiver.line();
    // And once more without a word.
    web.kill();
    web.up(None);
    receiver.line();
    fs::write(&end, "").unwrap();
    let told = loop {
        let line = receiver.line();
        if line.starts_with("gap") {
            break line;
        }
    };
    assert_eq!(
        receiver.exit_code(),
        Some(0),
        "the connection lived and every number came: {}",
        receiver.log()
    );
    let gap: u64 = told.split(' ').nth(1).unwrap().parse().unwrap();
    println!("agent replaced, then killed, under a TCP connection: longest pause {gap} ms");
    assert!(gap <= 2_000, "{told}");
}

#[test]
fn a_purge_empties_a_folder_that_is_not_the_agent_s_to_remove() {
    let lab = Lab::new();
    let mut web = lab.node(2, "web");
    let state = web.state.clone();
    // A mount cannot be removed, as the folder that a service manager has made cannot.
    let _disk = Disk::mount(&state);
    web.up(Some(&lab.token()));
    run_ok(&mut web.lacis(&["leave", "--purge"]));
    assert_eq!(web.exit_code(), Some(0), "{}", web.log());
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn an_installation_below_another_root_is_what_is_printed() {
    let lab = Lab::new();
    let root = lab.dir.path().join("root");
    let install = |more: &[&str]| {
        let mut command = lab.host.command(binary("lacis"));
        command.args(["up", &lab.token(), "--name", "web", "--install", "--root"]).arg(&root).args(more);
        run(&mut command)
    };
    let told = install(&["--dry-run"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        !root.exists() && told.contains("lacis.service (644)") && told.contains("agent.env (600)"),
        "{told}"
    );
    assert!(!told.contains("lacis_join_"), "{told}");
    if !run(std::process::Command::new("systemctl").arg("--version")).status.success() {
        return println!("skipped: no systemctl to enable units with");
    }
    fs::create_dir_all(&root).unwrap();
    let done = install(&[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let at = |path: &str| root.join("etc").join(path);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&at("lacis/agent.env")), 0o600);
    let arguments = fs::read_to_string(at("systemd/system/lacis.service.d/arguments.conf")).unwrap();
    assert!(arguments.contains("--name web"), "{arguments}");
    assert!(
        fs::symlink_metadata(at("systemd/system/multi-user.target.wants/lacis.service"))
            .unwrap()
            .is_symlink()
    );
    assert!(
        fs::symlink_metadata(at("systemd/system/sockets.target.wants/lacis-guard.socket"))
            .unwrap()
            .is_symlink()
    );
}

/// What must not be seen of a join token: its text as a whole, and its secret as it goes over the wire.
fn of_join_token(token: &str) -> [String; 2] {
    let parsed: lacis_proto::JoinToken = token.parse().unwrap();
    let wire = serde_json::to_value(&parsed.secret).unwrap();
    [token["lacis_join_".len()..].to_owned(), wire.as_str().unwrap().trim_end_matches('=').to_owned()]
}

#[test]
fn no_log_shows_a_secret() {
    let mut lab = Lab::new_with_log("debug,lacis_agent=trace,lacis_control=trace");
    let (mut web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    let made = run_ok(&mut lab.control(&["token", "create", "--format", "json"]));
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    run(&mut web.lacis(&["join", &text(&made, "token")]));
    web.stop();
    web.up(None);
    web.wait("db");
    let mut secrets: Vec<String> =
        [lab.token(), text(&made, "token")].iter().flat_map(|t| of_join_token(t)).collect();
    let api_token = text(&lab.ready, "api_token");
    secrets.push(api_token.rsplit('_').next().unwrap().to_owned());
    let keys = [web.state.join("keys"), db.state.join("keys")];
    let files = keys.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    for file in files.chain([web.state.join("identity.key"), db.state.join("identity.key")]) {
        secrets.push(fs::read_to_string(file).unwrap().trim().trim_end_matches('=').to_owned());
    }
    lab.stop_control();
    let kept = run_ok(&mut web.lacis(&["logs", "--lines", "2000"]));
    let logs = [web.log(), db.log(), lab.log(), kept];
    for log in &logs {
        assert!(log.lines().count() > 5, "nothing was logged: {log}");
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "a secret stands in a log: {secret}");
        }
        let line = log.lines().find(|line| line.starts_with('{')).expect("logs are in JSON");
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
}
