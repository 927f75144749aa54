//! Gateways for plain WireGuard clients: stock programs that know one peer, by one file, for good.
//!
//! ```text
//!  client ─────────────┐                          two gateways share a floating address, which VRRP or a cloud
//!  client ─ NAT ───────┼─ gate (192.0.2.2) ─ db   would move from host to host; here the test moves it
//!                      └─ spare (192.0.2.3)
//! ```

use std::{path::PathBuf, process::Command, time::Duration};

use serde_json::Value;
use support::{Host, Namespace, Program, eventually, eventually_within, run, run_ok};

use crate::{
    lab::{Lab, Node, text},
    plain::{Client, addresses, external, ng},
};

/// The address that both gateways have, one at a time, and their port.
const FLOATING: &str = "192.0.2.100";

/// A gateway calls the clients of one that died within this (DESIGN ruling 20).
const SURVIVOR: Duration = Duration::from_secs(5);

/// A client behind a NAT has found its way within this (DESIGN ruling 20).
const OWN_RETRY: Duration = Duration::from_secs(20);

/// A revoked client is cut within this.
pub(crate) const REVOKED: Duration = Duration::from_secs(1);

/// A node that is not started yet, and is to be a gateway.
fn gateway(lab: &Lab, number: u8, name: &str, dialled: Option<&str>) -> Node {
    let mut node = lab.node(number, name);
    node.options.push(dialled.map_or("--gateway".to_owned(), |dialled| format!("--gateway={dialled}")));
    node
}

/// Waits until a node is a gateway that holds the group's key, and everybody knows.
pub(crate) fn until_serving(lab: &Lab, node: &Node) {
    eventually("the gateway serves", || node.group()["gateway"].is_u64().then_some(()));
    let served = ng(lab, &["receipt", "main", "-F", "json", "--wait", "10"]);
    let served: Value = serde_json::from_str(&served).unwrap();
    assert_eq!(served["complete"], true, "{served}");
}

/// The file of a client, which names the gateway alone.
pub(crate) fn file(lab: &Lab, label: &str) -> PathBuf {
    let conf = external(lab, label, &[]);
    let said = std::fs::read_to_string(&conf).unwrap();
    assert!(said.contains("# The gateway of the group") && said.matches("[Peer]").count() == 1, "{said}");
    conf
}

/// Pings from the kernel of a node.
fn pings(node: &Node, address: &str) -> bool {
    run(node.host.command("ping").args(["-c", "1", "-W", "1", address])).status.success()
}

#[test]
fn clients_reach_members_names_and_one_another_by_a_file_that_stays_until_they_are_revoked() {
    for program in Program::installed() {
        let lab = Lab::new();
        let (mut gate, mut web, mut db) =
            (gateway(&lab, 2, "gate", None), lab.node(3, "web"), lab.node(4, "db"));
        for node in [&mut gate, &mut web, &mut db] {
            node.up(Some(&lab.token()));
        }
        until_serving(&lab, &gate);
        let (phone, tablet) = (file(&lab, "phone"), file(&lab, "tablet"));
        let (phone, tablet) =
            (Client::new(&lab, 9, program, &phone), Client::new(&lab, 10, program, &tablet));
        for address in [addresses(&gate), addresses(&web), addresses(&db)].concat() {
            eventually(&format!("{program:?} reaches {address}"), || phone.reaches(&address).then_some(()));
        }
        for resolver in &phone.resolvers {
            let [v4, v6] = addresses(&db);
            assert_eq!(phone.looks_up(resolver, "db.main.lacis.internal", "A"), v4, "{program:?}");
            assert_eq!(phone.looks_up(resolver, "db.main.lacis.internal", "AAAA"), v6, "{program:?}");
            assert_eq!(phone.looks_up(resolver, "example.org", "A"), "", "only this group's names are told");
        }
        eventually("the other client is there", || tablet.reaches(&addresses(&web)[0]).then_some(()));
        for address in &tablet.addresses {
            assert!(phone.reaches(address), "{program:?}: from client to client at {address}");
        }
        for node in [&gate, &web, &db] {
            assert!(
                node.reaches("phone") && pings(node, &phone.addresses[0]),
                "{program:?}: from {}",
                node.name
            );
        }
        let one_hop = ["-c", "1", "-W", "2", "-t", "1", &addresses(&db)[0]];
        let told = run(phone.host.command("ping").args(one_hop));
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains(&addresses(&gate)[0]) && told.contains("exceeded"), "{program:?}: {told}");
        a_client_is_nobody_else(&gate, &db, &phone, &tablet);
        the_file_stays_while_members_come(&lab, &phone);
        revoking_cuts_at_once(&lab, &phone, &addresses(&db)[0]);
        assert!(tablet.reaches(&addresses(&db)[0]), "the other client goes on");
    }
}

/// One client takes the other's addresses on its own host: the gateway lets nothing through that comes from there.
fn a_client_is_nobody_else(gate: &Node, db: &Node, phone: &Client, tablet: &Client) {
    let dropped = || gate.status()["tunnel"]["drop_source"].as_u64().unwrap();
    for (stolen, address) in tablet.addresses.iter().zip(addresses(db)) {
        let (before, interface) = (dropped(), phone.interface.as_str());
        phone.host.ip(&["addr", "add", stolen, "dev", interface, "nodad"]);
        let forged = ["-c", "3", "-i", "0.1", "-W", "1", "-I", stolen, &address];
        assert!(!run(phone.host.command("ping").args(forged)).status.success(), "as {stolen}");
        assert!(dropped() >= before + 3, "as {stolen}: {before}, then {}", dropped());
        phone.host.ip(&["addr", "del", stolen, "dev", interface]);
        assert!(pings(db, stolen), "who has {stolen} is still reached");
    }
}

fn the_file_stays_while_members_come(lab: &Lab, phone: &Client) {
    let before = ng(lab, &["get-config", "phone", "main"]);
    let mut more: Vec<Node> = (20..22).map(|n| lab.node(n, &format!("more-{n}"))).collect();
    for node in &mut more {
        node.up(Some(&lab.token()));
        let [v4, _] = addresses(node);
        eventually("a new member is reached by the same file", || phone.reaches(&v4).then_some(()));
    }
    assert_eq!(ng(lab, &["get-config", "phone", "main"]), before);
}

fn revoking_cuts_at_once(lab: &Lab, phone: &Client, address: &str) {
    assert!(phone.reaches(address));
    ng(lab, &["external", "delete", "phone", "main"]);
    let quick = ["-c", "1", "-W", "0.2", address];
    let gone = || (!run(phone.host.command("ping").args(quick)).status.success()).then_some(());
    let (_, took) = eventually_within(REVOKED, "a revoked client is cut", gone);
    println!("a revoked client is cut after {took:?}");
}

#[test]
fn a_node_becomes_a_gateway_by_its_owners_word_and_ceases_to_be_one() {
    let Some(program) = Program::installed().first().copied() else { return };
    let (lab, web, db) = Lab::with_two_nodes();
    assert!(!std::fs::read_to_string(external(&lab, "early", &[])).unwrap().contains("# The gateway"));
    let edited = ng(&lab, &["peer", "edit", "web", "main", "--gateway", "true", "-F", "json"]);
    let edited: Value = serde_json::from_str(&edited).unwrap();
    assert_eq!(edited["gateway"]["chosen"], true, "{edited}");
    until_serving(&lab, &web);
    let phone = Client::new(&lab, 9, program, &file(&lab, "phone"));
    eventually("through the chosen gateway", || phone.reaches(&addresses(&db)[0]).then_some(()));
    let key = text(&serde_json::from_str(&ng(&lab, &["get", "main", "-F", "json"])).unwrap(), "gatewayKey");

    ng(&lab, &["peer", "edit", "web", "main", "--gateway", "false", "--force", "--wait", "10"]);
    eventually("it serves no more", || web.group()["gateway"].is_null().then_some(()));
    assert!(!phone.reaches(&addresses(&db)[0]));
    ng(&lab, &["peer", "edit", "web", "main", "--gateway", "true", "--wait", "10"]);
    eventually("the same file works again", || phone.reaches(&addresses(&db)[0]).then_some(()));
    let again = ng(&lab, &["get", "main", "-F", "json"]);
    assert_eq!(text(&serde_json::from_str(&again).unwrap(), "gatewayKey"), key, "the key stays");
}

/// Two gateways that both are dialled at the floating address, which the first has, and a member.
pub(crate) fn two_gateways() -> (Lab, Node, Node, Node) {
    let lab = Lab::new();
    let dialled = format!("{FLOATING}:47820");
    let mut gate = gateway(&lab, 2, "gate", Some(&dialled));
    let (mut spare, mut db) = (gateway(&lab, 3, "spare", Some(&dialled)), lab.node(4, "db"));
    float_to(&gate.host);
    for node in [&mut gate, &mut spare, &mut db] {
        node.up(Some(&lab.token()));
    }
    until_serving(&lab, &gate);
    until_serving(&lab, &spare);
    (lab, gate, spare, db)
}

fn float_to(host: &Host) {
    host.ip(&["addr", "add", &format!("{FLOATING}/24"), "dev", "eth0"]);
}

/// The gateway dies with its host's address, as a machine does that loses power.
fn dies(gate: &mut Node) {
    gate.kill();
    run(gate.host.command("ip").args(["link", "set", "eth0", "down"]));
}

#[test]
fn the_surviving_gateway_calls_the_clients_of_one_that_died() {
    for program in Program::installed() {
        let (lab, mut gate, spare, db) = two_gateways();
        let conf = file(&lab, "phone");
        let said = std::fs::read_to_string(&conf).unwrap();
        assert!(said.contains(&format!("Endpoint = {FLOATING}:47820")), "{said}");
        let phone = Client::new(&lab, 9, program, &conf);
        let [v4, _] = addresses(&db);
        eventually("through the first gateway", || phone.reaches(&v4).then_some(()));
        eventually("the gateways agree", || (gate.group()["gateway"] == 1).then_some(()));

        dies(&mut gate);
        // The client says nothing: it is the survivor that finds it, and the member that is answered then.
        let (_, took) = eventually_within(SURVIVOR, "the survivor has the client", || {
            (spare.group()["gateway"] == 1).then_some(())
        });
        println!("{program:?}: the survivor has the client after {took:?}");
        let left = SURVIVOR.saturating_sub(took);
        eventually_within(left, "the client goes on with the same file", || phone.reaches(&v4).then_some(()));
        assert!(pings(&db, &phone.addresses[0]), "{program:?}: and is reached");
    }
}

/// A host behind a router that lets in answers alone, from where they were asked.
fn behind_a_nat(lab: &Lab, number: u8) -> (Host, Host) {
    let router = Host::new(&lab.bridge, number);
    let inner = Host { space: Namespace::new(), number: number + 1 };
    let inside = ["link", "add", "in0", "type", "veth", "peer", "name", "eth0", "netns", &inner.name];
    router.ip(&inside);
    router.ip(&["addr", "add", "198.18.0.1/24", "dev", "in0"]);
    router.ip(&["link", "set", "in0", "up"]);
    inner.ip(&["addr", "add", "198.18.0.2/24", "dev", "eth0"]);
    inner.ip(&["link", "set", "eth0", "up"]);
    inner.ip(&["route", "add", "default", "via", "198.18.0.1"]);
    run_ok(router.command("sysctl").args(["-q", "-w", "net.ipv4.ip_forward=1"]));
    let rules =
        "table ip nat { chain post { type nat hook postrouting priority 100; oifname eth0 masquerade; }; }";
    run_ok(router.command("nft").arg(rules));
    (router, inner)
}

#[test]
fn a_client_behind_a_nat_goes_on_when_the_address_it_knows_has_moved() {
    for program in Program::installed() {
        let (lab, mut gate, spare, db) = two_gateways();
        let (router, inner) = behind_a_nat(&lab, 30);
        let phone = Client::on(inner, program, &file(&lab, "phone"));
        let [v4, _] = addresses(&db);
        eventually("through the first gateway", || phone.reaches(&v4).then_some(()));

        dies(&mut gate);
        assert!(!phone.reaches(&v4), "{program:?}: nobody is at the address");
        float_to(&spare.host);
        // What whoever moves an address tells its neighbours with it.
        run(router.command("ip").args(["neigh", "flush", "to", FLOATING]));
        let (_, took) = eventually_within(OWN_RETRY, "the client has the other gateway", || {
            phone.reaches(&v4).then_some(())
        });
        println!("{program:?}: behind a NAT, the client goes on after {took:?}");
        assert!(pings(&db, &phone.addresses[0]), "{program:?}: and is reached");
    }
}

/// The gateway key that a node keeps.
pub(crate) fn key_on_disk(node: &Node) -> String {
    let found = run_ok(Command::new("sh").args(["-c", "cat \"$0\"/keys/*.gateway.key"]).arg(&node.state));
    found.trim().to_owned()
}

#[test]
fn the_gateway_key_outlives_restarts_and_leaves_no_gateway_to_others() {
    let Some(program) = Program::installed().first().copied() else { return };
    let (lab, mut gate, mut spare, db) = two_gateways();
    let phone = Client::new(&lab, 9, program, &file(&lab, "phone"));
    let [v4, _] = addresses(&db);
    eventually("through the first gateway", || phone.reaches(&v4).then_some(()));
    assert_eq!(key_on_disk(&gate), key_on_disk(&spare), "it was copied from gateway to gateway");
    let mode =
        run_ok(Command::new("sh").args(["-c", "stat -c %a \"$0\"/keys/*.gateway.key"]).arg(&spare.state));
    assert_eq!(mode.trim(), "600");
    let (_, log) = (lab.log(), gate.log() + &spare.log());
    assert!(
        !log.contains(&key_on_disk(&gate)) && !lab.log().contains(&key_on_disk(&gate)),
        "and is in no log"
    );
    let before = key_on_disk(&gate);
    for node in [&mut gate, &mut spare] {
        node.kill();
        node.up(None);
    }
    until_serving(&lab, &gate);
    eventually("the same file works after restarts", || phone.reaches(&v4).then_some(()));
    assert_eq!([key_on_disk(&gate), key_on_disk(&spare)], [before.clone(), before]);
}
