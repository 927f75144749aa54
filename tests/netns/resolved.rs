//! A real systemd-resolved on a bus of its own asks the agent for the names of its groups, and nobody else.
//!
//! Passed over, aloud, where there is no systemd-resolved: `tests/run` unpacks it where it may.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::{Process, binary, eventually, run, run_ok};

use crate::{
    lab::{Lab, Node, text},
    resolver::{finds, getent, name_server, resolv_conf},
};

const USER: &str = "systemd-resolve";

/// A bus and a systemd-resolved on a node's host.
struct Resolved {
    bus: PathBuf,
    _processes: [Process; 2],
}

fn program() -> Option<PathBuf> {
    let unpacked = binary("lacis").parent()?.parent()?.join("resolved/lib/systemd/systemd-resolved");
    let places = [PathBuf::from("/lib/systemd/systemd-resolved"), unpacked];
    places.into_iter().find(|place| place.exists())
}

impl Resolved {
    /// Starts both; says why where that cannot be.
    fn start(lab: &Lab, node: &Node) -> Result<Self, String> {
        let program = program().ok_or("there is no systemd-resolved; ./tests/run unpacks it")?;
        let has = |program| run(Command::new(program).arg("--version")).status.success();
        if !["dbus-daemon", "busctl"].into_iter().all(has) {
            return Err("there is no dbus-daemon or busctl".to_owned());
        }
        if !run(Command::new("setpriv").args(["--reuid=998", "--clear-groups", "true"])).status.success() {
            return Err("there is no other user to run systemd-resolved as".to_owned());
        }
        for (file, line) in [
            ("/etc/passwd", format!("{USER}:x:998:998::/:/usr/sbin/nologin\n")),
            ("/etc/group", format!("{USER}:x:998:\n")),
        ] {
            let text = fs::read_to_string(file).unwrap();
            if !text.contains(USER) {
                fs::write(file, text + &line).unwrap();
            }
        }
        fs::create_dir_all("/etc/systemd").unwrap();
        fs::write("/etc/systemd/resolved.conf", format!("[Resolve]\nDNS={}\nLLMNR=no\n", lab.host.v4()))
            .unwrap();
        fs::create_dir_all("/run/systemd").unwrap();
        let bus = lab.dir.path().join("bus");
        let config = lab.dir.path().join("bus.conf");
        fs::write(&config, bus_config(&bus)).unwrap();
        // Everybody on the way to the bus must be let through: systemd-resolved is not root.
        run_ok(Command::new("chmod").arg("0755").arg(lab.dir.path()));
        let mut command = node.host.command("dbus-daemon");
        command.arg(format!("--config-file={}", config.display())).args(["--nofork", "--print-address"]);
        let mut daemon = Process::start(&mut command, &lab.dir.path().join("bus.log"));
        daemon.line();
        let mut command = node.host.command(&program);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address(&bus));
        let resolved = Process::start(&mut command, &lab.dir.path().join("resolved.log"));
        let resolved = Self { bus, _processes: [daemon, resolved] };
        eventually("systemd-resolved is on the bus", || resolved.property("DNS"));
        fs::write(node.host.resolv_conf(), "nameserver 127.0.0.53\n").unwrap();
        Ok(resolved)
    }

    /// A property of systemd-resolved, as `busctl` prints it.
    fn property(&self, name: &str) -> Option<String> {
        let mut command = Command::new("busctl");
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address(&self.bus));
        command.args(["--system", "get-property", "org.freedesktop.resolve1", "/org/freedesktop/resolve1"]);
        let output = run(command.args(["org.freedesktop.resolve1.Manager", name]));
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn up(&self, node: &Node, token: Option<&str>, log: &Path) -> Process {
        let mut command = node.up_command(token);
        let mut agent = Process::start(command.env("DBUS_SYSTEM_BUS_ADDRESS", address(&self.bus)), log);
        agent.line();
        agent
    }
}

fn address(bus: &Path) -> String {
    format!("unix:path={}", bus.display())
}

fn bus_config(bus: &Path) -> String {
    format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
         <busconfig><type>system</type><listen>{}</listen><auth>EXTERNAL</auth>\n\
         <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_type=\"method_call\"/>\n\
         <allow send_type=\"signal\"/><allow send_requested_reply=\"true\"/><allow receive_type=\"method_call\"/>\n\
         <allow receive_type=\"method_return\"/><allow receive_type=\"error\"/><allow receive_type=\"signal\"/>\n\
         </policy></busconfig>\n",
        address(bus)
    )
}

/// The agent is ready a moment before systemd-resolved knows of its groups; who asks in between, asks the world.
fn is_told(node: &Node) {
    eventually("systemd-resolved is told", || (node.status()["names"]["resolved"] == true).then_some(()));
}

#[test]
fn systemd_resolved_asks_the_agent_for_its_groups_and_forgets_it_however_it_ends() {
    let lab = Lab::new();
    let (web, mut db) = (lab.node(2, "web"), lab.node(3, "db"));
    let resolved = match Resolved::start(&lab, &web) {
        Ok(resolved) => resolved,
        Err(why) => return println!("skipped: {why}"),
    };
    let (_server, asked) = name_server(&lab, &lab.host.v4());
    let log = lab.dir.path().join("web.log");
    let mut agent = resolved.up(&web, Some(&lab.token()), &log);
    db.up(Some(&lab.token()));
    web.wait("db");
    is_told(&web);
    finds(&web, &db);
    let names = &web.status()["names"];
    assert_eq!((&names["resolved"], &names["file"]), (&true.into(), &false.into()), "{names}");
    assert_eq!(resolv_conf(&web), "nameserver 127.0.0.53\n", "left alone");
    let domains = resolved.property("Domains").unwrap();
    let group = text(&web.group(), "id");
    for domain in
        [format!("{group}.lacis.internal"), format!("{group}.cc-ng.cloud"), "128.10.in-addr.arpa".into()]
    {
        assert!(domains.contains(&format!("\"{domain}\" true")), "routing only: {domain}: {domains}");
    }
    assert_eq!(eventually("example.org", || getent(&web, "ahostsv4", "example.org")), "192.0.2.99");
    assert_eq!(getent(&web, "ahostsv4", "nobody.main.lacis.internal"), None);
    let address = text(&db.group(), "address4");
    let pointer = eventually("the name of an address", || getent(&web, "hosts", &address));
    assert_eq!(pointer, address);

    agent.kill();
    eventually("the interface has taken its settings along", || {
        (!resolved.property("Domains").unwrap().contains("lacis")).then_some(())
    });
    let mut agent = resolved.up(&web, None, &log);
    is_told(&web);
    finds(&web, &db);
    assert_eq!(agent.terminate(), Some(0));
    assert!(!resolved.property("Domains").unwrap().contains("lacis"));
    let asked = fs::read_to_string(asked).unwrap();
    assert!(asked.contains("example.org") && !asked.contains("main.lacis.internal"), "leaked: {asked}");
}
