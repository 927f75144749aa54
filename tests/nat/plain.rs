//! Plain WireGuard clients in the laboratory: stock programs behind routers, by a file that names the gateway alone.
//!
//! ```text
//!  phone, behind PR  ─┐                ┌─ one behind PR    directly
//!                     ├─ gate, public ─┼─ one behind SR    by the relay: its way to the gateway is cut
//!  tablet, behind SR ─┘                └─ one without UDP  by the relay over TLS
//! ```

use std::{path::PathBuf, sync::Arc, time::Duration};

use support::{
    Namespace, PlainClient, Program, binary, eventually, eventually_within, looks_up, reaches, run_ok,
};

use crate::{
    kind::Kind,
    matrix::HALF,
    mesh::{Mesh, Node},
    site::Site,
};

/// A plain client gets through to whoever is there within this: its handshake with the gateway, the gateway's with the
/// member, by the relay if need be.
const THROUGH: Duration = Duration::from_secs(20);

/// What members are behind, and how their packets get to the gateway.
const MEMBERS: [(&str, Kind, [&str; 2]); 3] = [
    ("home", Kind::PortRestricted, ["direct", ""]),
    ("strict", Kind::Random, ["relayed", "udp"]),
    ("office", Kind::UdpBlocked, ["relayed", "tls"]),
];

/// A client on a host of its own.
struct Client {
    name: &'static str,
    host: Arc<Namespace>,
    client: PlainClient,
}

struct Place {
    _mesh: Mesh,
    /// Routers live as long as what is behind them.
    _sites: Vec<Site>,
    _gate: Node,
    members: Vec<Node>,
    clients: Vec<Client>,
}

/// `lacis ng` on the host of control.
fn ng(mesh: &Mesh, arguments: &[&str]) -> String {
    let mut command = mesh.server.space.command(binary("lacis"));
    command.arg("ng").args(arguments);
    for (name, word) in [("LACIS_API", "api"), ("LACIS_CA", "ca"), ("LACIS_API_TOKEN", "api_token")] {
        command.env(name, mesh.ready[word].as_str().unwrap());
    }
    run_ok(&mut command)
}

impl Place {
    /// The gateway serves, everybody knows, and both clients run.
    fn new(programs: &[Program]) -> Self {
        let mut mesh = Mesh::new(HALF);
        let mut sites = vec![Site::new(&mut mesh.internet, 1, Kind::Public)];
        let dialled = format!("--gateway={}:47820", sites[0].outer(0));
        let gate = mesh.joined(sites[0].client(), "gate", &["--dns", "manual", "--no-portmap", &dialled]);
        let mut members = Vec::new();
        for (number, (name, kind, _)) in (2..).zip(MEMBERS) {
            let site = Site::new(&mut mesh.internet, number, kind);
            if kind == Kind::Random {
                mesh.internet.sea().cut(site.outer(0), sites[0].outer(0), true);
            }
            members.push(mesh.joined(site.client(), name, &["--dns", "off", "--no-portmap"]));
            sites.push(site);
        }
        eventually("the gateway serves", || gate.group()["gateway"].is_u64().then_some(()));
        let told = ng(&mesh, &["receipt", "main", "-F", "json", "--wait", "20"]);
        assert!(told.contains("\"complete\":true"), "{told}");
        let mut clients = Vec::new();
        for (number, (name, kind)) in (8..).zip([("phone", Kind::PortRestricted), ("tablet", Kind::Random)]) {
            let site = Site::new(&mut mesh.internet, number, kind);
            let program = programs[usize::from(number) % programs.len()];
            let host = Arc::clone(site.client());
            let client = PlainClient::start(&host, number, program, &file(&mesh, name));
            clients.push(Client { name, host, client });
            sites.push(site);
        }
        Self { _mesh: mesh, _sites: sites, _gate: gate, members, clients }
    }
}

/// The file of a client, which names the gateway alone.
fn file(mesh: &Mesh, label: &str) -> PathBuf {
    let path = mesh.dir.path().join(format!("{label}.conf"));
    ng(mesh, &["external", "create", label, "main", "--output", path.to_str().unwrap()]);
    let said = std::fs::read_to_string(&path).unwrap();
    assert!(said.contains("# The gateway of the group") && said.matches("[Peer]").count() == 1, "{said}");
    path
}

/// How packets get from a node to a peer, as its status says: the path, and by what a relay is reached.
fn path_to(node: &Node, peer: &str) -> [String; 2] {
    let group = node.group();
    let peers = group["peers"].as_array().unwrap();
    let found = peers.iter().find(|known| known["name"].as_str().is_some_and(|name| name.starts_with(peer)));
    let found = found.unwrap_or_else(|| panic!("{} does not know {peer}", node.name));
    [&found["path"], &found["via"]["transport"]].map(|word| word.as_str().unwrap_or_default().to_owned())
}

/// Has plain clients reach everybody, and gives what was not as expected.
fn run() -> Vec<String> {
    let programs = Program::installed();
    if programs.is_empty() {
        return Vec::new();
    }
    let (place, mut wrong) = (Place::new(&programs), Vec::new());
    for (member, (name, kind, expected)) in place.members.iter().zip(MEMBERS) {
        let address = member.address().to_string();
        for Client { name: client, host, .. } in &place.clients {
            let what = format!("{client}, a member behind {}", kind.short());
            let (_, took) = eventually_within(THROUGH, &what, || reaches(host, &address).then_some(()));
            println!("{what:56} {:8} works after {} ms", "works", took.as_millis());
        }
        // From here, where it is seen what a relay is reached by.
        let seen = path_to(member, "gate");
        println!(
            "{:56} {:8} {}",
            format!("a member behind {}, gateway", kind.short()),
            expected[0],
            seen.join(" ")
        );
        if seen != expected {
            wrong.push(format!("the way of {name} to the gateway is {seen:?}, not {expected:?}"));
        }
        for Client { name: client, client: plain, .. } in &place.clients {
            if !plain.addresses.iter().all(|address| reaches(&member.host, address)) {
                wrong.push(format!("{name} does not reach {client}"));
            }
        }
    }
    wrong.extend(among_themselves(&place));
    wrong.extend(names(&place));
    wrong
}

/// Clients that do not reach each other.
fn among_themselves(place: &Place) -> Vec<String> {
    let [one, other] = place.clients.as_slice() else { panic!("there are two") };
    let mut wrong = Vec::new();
    for (from, to) in [(one, other), (other, one)] {
        if !to.client.addresses.iter().all(|address| reaches(&from.host, address)) {
            wrong.push(format!("{} does not reach {}", from.name, to.name));
        }
    }
    println!("{:56} {:8} {}", "phone, tablet", "works", if wrong.is_empty() { "works" } else { "does not" });
    wrong
}

/// Names that a client is not told, or told wrongly.
fn names(place: &Place) -> Vec<String> {
    let mut wrong = Vec::new();
    for Client { name: client, host, client: plain } in &place.clients {
        for member in &place.members {
            let name = format!("{}.main.lacis.internal", member.name);
            let seen = looks_up(host, &plain.resolvers[0], &name, "A");
            if seen != member.address().to_string() {
                wrong.push(format!("{client} is told {seen:?} of {name}"));
            }
        }
    }
    let told = if wrong.is_empty() { "told" } else { "not told" };
    println!("{:56} {:8} {told}", "names, through the gateway", "told");
    wrong
}

#[test]
fn plain_clients_behind_routers_reach_members_behind_any_through_a_gateway_and_are_reached() {
    let wrong = run();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
