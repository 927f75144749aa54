//! Plain WireGuard clients: registered by their public key, they work from the text that control makes.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use support::{Host, PlainClient, Program, binary, eventually, run, run_ok};

use crate::lab::{Lab, Node, text};

/// A client on a host of its own.
pub(crate) struct Client {
    pub(crate) host: Host,
    client: PlainClient,
}

impl Client {
    pub(crate) fn new(lab: &Lab, number: u8, program: Program, conf: &Path) -> Self {
        Self::on(Host::new(&lab.bridge, number), program, conf)
    }

    /// On a host that is there.
    pub(crate) fn on(host: Host, program: Program, conf: &Path) -> Self {
        let client = PlainClient::start(&host, host.number, program, conf);
        Self { host, client }
    }

    pub(crate) fn reaches(&self, address: &str) -> bool {
        support::reaches(&self.host, address)
    }

    /// What the group's resolver says over the tunnel.
    pub(crate) fn looks_up(&self, resolver: &str, name: &str, kind: &str) -> String {
        support::looks_up(&self.host, resolver, name, kind)
    }
}

impl Deref for Client {
    type Target = PlainClient;

    fn deref(&self) -> &PlainClient {
        &self.client
    }
}

/// `lacis ng` on the host of control: what it prints.
pub(crate) fn ng(lab: &Lab, arguments: &[&str]) -> String {
    run_ok(&mut ng_command(lab, arguments))
}

/// `lacis ng` on the host of control.
pub(crate) fn ng_command(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = lab.host.command(binary("lacis"));
    command.arg("ng").args(arguments);
    for (name, word) in [("LACIS_API", "api"), ("LACIS_CA", "ca"), ("LACIS_API_TOKEN", "api_token")] {
        command.env(name, text(&lab.ready, word));
    }
    command
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
