//! Plain WireGuard clients: registered by their public key, they work from the text that control makes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use support::{Host, Process, binary, eventually, run, run_ok};

use crate::lab::{Lab, Node, text};

/// A WireGuard program of somebody else.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    WireguardGo,
    Boringtun,
}

impl Program {
    /// Those that are installed; what is missing is said aloud.
    pub(crate) fn installed() -> Vec<Self> {
        let there = |program: &str| {
            let found = run(Command::new("sh").args([
                "-c",
                "command -v \"$0\" || ls \"$HOME/.cargo/bin/$0\"",
                program,
            ]));
            found.status.success()
        };
        if !there("wg") {
            println!("passed over, not installed: wg");
            return Vec::new();
        }
        let all = [(Self::WireguardGo, "wireguard-go"), (Self::Boringtun, "boringtun-cli")];
        let (found, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, name)| there(name));
        missing.iter().for_each(|(_, name)| println!("passed over, not installed: {name}"));
        found.into_iter().map(|(program, _)| program).collect()
    }

    fn command(self, host: &Host, interface: &str) -> Command {
        let mut command = host.command("sh");
        // Both leave for the background unless told otherwise.
        let line = match self {
            Self::WireguardGo => "WG_PROCESS_FOREGROUND=1 exec wireguard-go \"$0\"",
            Self::Boringtun => {
                "PATH=$PATH:$HOME/.cargo/bin exec boringtun-cli --foreground --disable-drop-privileges \"$0\""
            }
        };
        command.args(["-c", line, interface]);
        command
    }
}

/// A client on a host of its own, set up from its text with nothing but `wg` and `ip`.
pub(crate) struct Client {
    pub(crate) host: Host,
    pub(crate) addresses: Vec<String>,
    pub(crate) resolvers: Vec<String>,
    _program: Process,
}

impl Client {
    pub(crate) fn new(lab: &Lab, number: u8, program: Program, conf: &Path) -> Self {
        Self::on(Host::new(&lab.bridge, number), lab, program, conf)
    }

    /// On a host that is there.
    pub(crate) fn on(host: Host, lab: &Lab, program: Program, conf: &Path) -> Self {
        let interface = format!("pl{}{}", std::process::id() % 1_000, host.number);
        let log = lab.dir.path().join(format!("{interface}.log"));
        let _ = std::fs::remove_file(format!("/var/run/wireguard/{interface}.sock"));
        let running = Process::start(&mut program.command(&host, &interface), &log);
        eventually(&format!("{program:?} makes {interface}"), || {
            run(Command::new("wg").args(["show", &interface])).status.success().then_some(())
        });
        let said = std::fs::read_to_string(conf).unwrap();
        let values = |name: &str| -> Vec<String> {
            let lines =
                said.lines().filter_map(|line| line.split_once(" = ").filter(|(key, _)| *key == name));
            lines.flat_map(|(_, list)| list.split(", ")).map(str::to_owned).collect()
        };
        let stripped = conf.with_extension("stripped");
        std::fs::write(&stripped, run_ok(Command::new("wg-quick").arg("strip").arg(conf))).unwrap();
        run_ok(Command::new("wg").args(["setconf", &interface]).arg(&stripped));
        let addresses = values("Address");
        for address in &addresses {
            host.ip(&["addr", "add", address, "dev", &interface, "nodad"]);
        }
        host.ip(&["link", "set", &interface, "mtu", &values("MTU")[0], "up"]);
        let addresses = addresses.iter().map(|one| one.split('/').next().unwrap().to_owned()).collect();
        Self { host, addresses, resolvers: values("DNS"), _program: running }
    }

    pub(crate) fn reaches(&self, address: &str) -> bool {
        run(self.host.command("ping").args(["-c", "1", "-W", "1", address])).status.success()
    }

    /// What the group's resolver says over the tunnel.
    pub(crate) fn looks_up(&self, resolver: &str, name: &str, kind: &str) -> String {
        let mut dig = self.host.command("dig");
        let output = run(dig.args([&format!("@{resolver}"), "+short", "+time=2", "+tries=2", name, kind]));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// `lacis ng` on the host of control.
pub(crate) fn ng(lab: &Lab, arguments: &[&str]) -> String {
    let mut command = lab.host.command(binary("lacis"));
    command.arg("ng").args(arguments);
    for (name, word) in [("LACIS_API", "api"), ("LACIS_CA", "ca"), ("LACIS_API_TOKEN", "api_token")] {
        command.env(name, text(&lab.ready, word));
    }
    run_ok(&mut command)
}

/// A file for a client, whose key is made with it. Interfaces are called like their files.
pub(crate) fn external(lab: &Lab, label: &str, more: &[&str]) -> PathBuf {
    let path = lab.dir.path().join(format!("{label}.conf"));
    let output = ["--output", path.to_str().unwrap()];
    ng(lab, &[&["external", "create", label, "main"], &output[..], more].concat());
    path
}

pub(crate) fn addresses(of: &Node) -> [String; 2] {
    let group = of.group();
    [text(&group, "address4"), text(&group, "address6")]
}

#[test]
fn a_plain_client_reaches_members_and_names_and_is_reached_until_it_is_deleted() {
    for program in Program::installed() {
        let (lab, web, db) = Lab::with_two_nodes();
        let phone = Client::new(&lab, 9, program, &external(&lab, "phone", &[]));
        for node in [&web, &db] {
            for address in addresses(node) {
                eventually(&format!("{program:?} reaches {address}"), || {
                    phone.reaches(&address).then_some(())
                });
            }
        }
        for resolver in &phone.resolvers {
            let [v4, v6] = addresses(&db);
            assert_eq!(phone.looks_up(resolver, "db.main.lacis.internal", "A"), v4, "{program:?} {resolver}");
            assert_eq!(phone.looks_up(resolver, "db.main.lacis.internal", "AAAA"), v6);
        }
        assert_eq!(phone.resolvers.len(), 2);
        // Back, by kernel and by name: the agents know where the client was last.
        for node in [&web, &db] {
            assert!(node.reaches("phone"), "{program:?}: {} does not reach the client", node.name);
            for address in &phone.addresses {
                run_ok(node.host.command("ping").args(["-c", "1", "-W", "2", address]));
            }
        }
        assert_eq!(web.dig(&["+short", "phone.main.lacis.internal", "A"]), [phone.addresses[0].clone()]);

        ng(&lab, &["external", "delete", "phone", "main"]);
        let [v4, _] = addresses(&web);
        eventually("nothing of the client gets through any more", || (!phone.reaches(&v4)).then_some(()));
        let knows = |node: &Node| {
            node.group()["peers"].as_array().unwrap().iter().any(|peer| peer["name"] == "phone")
        };
        assert!(!knows(&web) && !knows(&db));
    }
}

#[test]
fn a_plain_client_that_can_be_dialled_is_dialled() {
    for program in Program::installed() {
        let (lab, web, _db) = Lab::with_two_nodes();
        let server = ["--server", "192.0.2.9:51820"];
        let router = Client::new(&lab, 9, program, &external(&lab, "router", &server));
        for address in &router.addresses {
            eventually(&format!("an agent reaches {program:?} at {address}"), || {
                let ping = ["-c", "1", "-W", "1", address];
                run(web.host.command("ping").args(ping)).status.success().then_some(())
            });
        }
        assert!(router.reaches(&addresses(&web)[0]));
    }
}

#[test]
fn another_key_takes_the_place_of_a_lost_one() {
    let Some(program) = Program::installed().first().copied() else { return };
    let (lab, web, _db) = Lab::with_two_nodes();
    let conf = external(&lab, "phone", &[]);
    let phone = Client::new(&lab, 9, program, &conf);
    let [address, _] = addresses(&web);
    eventually("the first key works", || phone.reaches(&address).then_some(()));
    let before = phone.addresses.clone();

    let private = run_ok(Command::new("wg").arg("genkey"));
    let public = run_ok(Command::new("sh").args(["-c", "echo \"$0\" | wg pubkey", private.trim()]));
    ng(&lab, &["peer", "edit", "phone", "main", "--public-key", public.trim(), "--wait", "10"]);
    eventually("the first key works no more", || (!phone.reaches(&address)).then_some(()));
    drop(phone);
    let key = lab.dir.path().join("new.key");
    std::fs::write(&key, &private).unwrap();
    let [key, output] = [&key, &conf].map(|path| path.to_str().unwrap());
    ng(&lab, &["get-config", "phone", "main", "--private-key-file", key, "--output", output]);
    let phone = Client::new(&lab, 10, program, &conf);
    eventually("the second key works", || phone.reaches(&address).then_some(()));
    assert_eq!(phone.addresses, before, "the address stays");
}

#[test]
fn every_agent_has_applied_what_a_write_waited_for() {
    let (lab, web, db) = Lab::with_two_nodes();
    let receipt: Value =
        serde_json::from_str(&ng(&lab, &["receipt", "main", "-F", "json", "--wait", "10"])).unwrap();
    assert_eq!(receipt["applied"], 2, "{receipt}");
    for number in 0..20 {
        let label = format!("phone-{number}");
        ng(&lab, &["external", "create", &label, "main", "--wait", "10"]);
        for node in [&web, &db] {
            let peers = node.group()["peers"].clone();
            let found = peers.as_array().unwrap().iter().any(|peer| text(peer, "name").starts_with(&label));
            assert!(found, "{} lacks {label} after the write: {peers}", node.name);
        }
    }
}
