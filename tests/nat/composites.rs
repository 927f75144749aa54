//! Networks made of several: carriers over homes, one LAN, IPv6, mapped ports, and what is expected of each.

use std::{fs, net::IpAddr, sync::Arc, time::Duration};

use support::{Namespace, Process, eventually, word};

use crate::{
    gateway::{Mapper, Speaks},
    kind::{Hairpin, Kind, Rules},
    matrix::{DIRECT_WITHIN, HALF, RELAYED_FOR},
    mesh::Mesh,
    pair::{Class, meet},
    site::Site,
};

/// A place where two nodes meet.
struct Place {
    /// Routers, and what runs in them; they live as long as the meeting.
    sites: Vec<Site>,
    mappers: Vec<Mapper>,
    proxies: Vec<Process>,
    hosts: [Arc<Namespace>; 2],
    /// The proxy of each, where it has one.
    proxy: [Option<String>; 2],
    /// Where the first of them is seen outside.
    outer: Vec<IpAddr>,
    options: &'static [&'static str],
}

impl Place {
    /// The first clients of two sites.
    fn of(one: Site, other: Site) -> Self {
        let hosts = [Arc::clone(one.client()), Arc::clone(other.client())];
        let outer = vec![one.outer(0)];
        Self::on(hosts, outer, vec![one, other])
    }

    fn on(hosts: [Arc<Namespace>; 2], outer: Vec<IpAddr>, sites: Vec<Site>) -> Self {
        let options = &["--dns", "off", "--no-portmap"];
        Self { sites, mappers: Vec::new(), proxies: Vec::new(), hosts, proxy: [None, None], outer, options }
    }

    /// The same, under a carrier that they both or only the first of them are customers of.
    fn under(carrier: Site, one: Site, other: Site) -> Self {
        let mut place = Self::of(one, other);
        place.outer = vec![carrier.wan.into()];
        place.sites.push(carrier);
        place
    }
}

/// Control, in IPv4 or in both families.
type Begin = fn(Duration) -> Mesh;

type Build = fn(&mut Mesh) -> Place;

/// Each with its name, what comes of it, and what it is made of.
const CASES: [(&str, Class, Begin, Build); 19] = [
    ("PR under a carrier's PR, PR", Class::Direct, Mesh::new, |mesh| {
        under(mesh, Kind::PortRestricted, Kind::PortRestricted, Kind::PortRestricted)
    }),
    ("PR under a carrier's FC, PR", Class::Direct, Mesh::new, |mesh| {
        under(mesh, Kind::FullCone, Kind::PortRestricted, Kind::PortRestricted)
    }),
    ("PR under a carrier's SR, PR", Class::Relayed, Mesh::new, |mesh| {
        under(mesh, Kind::Random, Kind::PortRestricted, Kind::PortRestricted)
    }),
    ("PR under a carrier's SR, FC", Class::Direct, Mesh::new, |mesh| {
        under(mesh, Kind::Random, Kind::PortRestricted, Kind::FullCone)
    }),
    ("two PR under one carrier, no hairpin", Class::Relayed, Mesh::new, |mesh| {
        neighbours(mesh, Hairpin::Off, Kind::PortRestricted)
    }),
    ("two PR under one carrier, hairpin with the inner source", Class::Relayed, Mesh::new, |mesh| {
        neighbours(mesh, Hairpin::Internal, Kind::PortRestricted)
    }),
    ("two FC under one carrier, hairpin with the inner source", Class::Direct, Mesh::new, |mesh| {
        neighbours(mesh, Hairpin::Internal, Kind::FullCone)
    }),
    ("two PR under one carrier, hairpin with the outer source", Class::Direct, Mesh::new, |mesh| {
        neighbours(mesh, Hairpin::External, Kind::PortRestricted)
    }),
    ("one LAN behind SR", Class::Direct, Mesh::new, |mesh| {
        let mut site = Site::new(&mut mesh.internet, 1, Kind::Random);
        site.add_client();
        let hosts = [0, 1].map(|client: usize| Arc::clone(&site.clients[client]));
        let outer = vec![site.outer(0)];
        Place::on(hosts, outer, vec![site])
    }),
    ("firewalls of IPv6 around SR", Class::Direct, Mesh::new, |mesh| six(mesh, [Kind::Random.into(); 2])),
    ("the same LAN range on both sides, PR", Class::Direct, Mesh::new, |mesh| {
        let sites = [1, 2]
            .map(|number| Site::with_lan(&mut mesh.internet, number, [192, 168, 1], Kind::PortRestricted));
        let [one, other] = sites;
        Place::of(one, other)
    }),
    ("SR with a mapped port, SR", Class::Direct, Mesh::new, |mesh| mapped(mesh, Kind::Random)),
    ("SR with a mapped port, PR", Class::Direct, Mesh::new, |mesh| mapped(mesh, Kind::PortRestricted)),
    ("SR with a mapped port, AD", Class::Direct, Mesh::new, |mesh| mapped(mesh, Kind::AddressDependent)),
    ("proxy only, PR", Class::Relayed, Mesh::new, |mesh| {
        behind_proxies(mesh, [Kind::ProxyOnly, Kind::PortRestricted])
    }),
    ("proxy only, UB", Class::Relayed, Mesh::new, |mesh| {
        behind_proxies(mesh, [Kind::ProxyOnly, Kind::UdpBlocked])
    }),
    ("proxy only, proxy only", Class::Relayed, Mesh::new, |mesh| behind_proxies(mesh, [Kind::ProxyOnly; 2])),
    ("IPv6 alone, IPv4 alone", Class::Relayed, Mesh::dual, |mesh| {
        let mut one = Site::new(&mut mesh.internet, 1, Kind::PortRestricted);
        one.add_v6(&mesh.server);
        one.client().ip(&["-4", "addr", "flush", "dev", "eth0"]);
        let other = Site::new(&mut mesh.internet, 2, Kind::PortRestricted);
        let outer = vec![one.inner6(0).into()];
        Place { outer, ..Place::of(one, other) }
    }),
    ("both families with IPv4 dead, both families", Class::Direct, Mesh::dual, |mesh| {
        let dead = Rules { no_v4: true, ..Kind::PortRestricted.into() };
        six(mesh, [dead, Kind::PortRestricted.into()])
    }),
];

fn under(mesh: &mut Mesh, carrier: Kind, home: Kind, other: Kind) -> Place {
    let carrier = Site::carrier(&mut mesh.internet, 3, carrier);
    let home = Site::behind(&carrier, 1, home);
    let other = Site::new(&mut mesh.internet, 2, other);
    Place::under(carrier, home, other)
}

fn neighbours(mesh: &mut Mesh, hairpin: Hairpin, homes: Kind) -> Place {
    let carrier = Site::carrier(&mut mesh.internet, 3, Rules { hairpin, ..Kind::FullCone.into() });
    let [one, other] = [1, 2].map(|number| Site::behind(&carrier, number, homes));
    Place::under(carrier, one, other)
}

fn six(mesh: &mut Mesh, rules: [Rules; 2]) -> Place {
    let [one, other] = [(1, rules[0]), (2, rules[1])].map(|(number, rules)| {
        let mut site = Site::new(&mut mesh.internet, number, rules);
        site.add_v6(&mesh.server);
        site
    });
    let mut place = Place::of(one, other);
    place.outer.push(place.sites[0].inner6(0).into());
    place
}

fn mapped(mesh: &mut Mesh, other: Kind) -> Place {
    let [one, other] =
        [(1, Kind::Random), (2, other)].map(|(number, kind)| Site::new(&mut mesh.internet, number, kind));
    let mapper = Mapper::start(&one, mesh.dir.path(), Speaks::Pcp);
    let mut place = Place::of(one, other);
    place.mappers.push(mapper);
    place.options = &["--dns", "off"];
    place
}

/// Sites, with a proxy in the router of those that let nothing else out.
fn behind_proxies(mesh: &mut Mesh, kinds: [Kind; 2]) -> Place {
    let [one, other] =
        [(1, kinds[0]), (2, kinds[1])].map(|(number, kind)| Site::new(&mut mesh.internet, number, kind));
    let mut place = Place::of(one, other);
    for (number, kind) in kinds.into_iter().enumerate().filter(|(_, kind)| *kind == Kind::ProxyOnly) {
        let (site, folder) = (&place.sites[number], mesh.dir.path());
        let config = folder.join(format!("proxy-{number}.conf"));
        let text = format!("Port 3128\nListen {}\nTimeout 600\nConnectPort 443\n", site.door());
        fs::write(&config, text).unwrap();
        let mut command = site.router.command("tinyproxy");
        let log = config.with_extension("log");
        place.proxies.push(Process::start(command.arg("-d").arg("-c").arg(&config), &log));
        place.proxy[number] = Some(format!("http://{}:3128", site.door()));
        eventually(&format!("a proxy listens for {kind:?}"), || {
            site.router.sh("ss -Hltn").contains(":3128").then_some(())
        });
    }
    place
}

/// Whether there is the program for a proxy; said aloud where not.
fn is_proxy_installed() -> bool {
    let found =
        support::run(std::process::Command::new("sh").args(["-c", "command -v tinyproxy"])).status.success();
    if !found {
        println!("passed over, not installed: tinyproxy");
    }
    found
}

/// Lets nodes meet in the cases whose name has a text in it; gives what was not as expected.
pub(crate) fn run(part: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, expected, begin, build) in CASES.iter().filter(|(name, ..)| name.contains(part)) {
        let is_possible = (!name.contains("mapped") || Mapper::is_installed())
            && (!name.contains("proxy") || is_proxy_installed());
        if !is_possible {
            continue;
        }
        let mut mesh = begin(HALF);
        let place = build(&mut mesh);
        let nodes = [(0, "one"), (1, "two")].map(|(number, name): (usize, _)| {
            let mut node = mesh.node(&place.hosts[number], name);
            node.options = place.options.iter().map(|option| (*option).to_owned()).collect();
            // A carrier of the laboratory knows its customers' flows by their ports alone.
            node.options.extend(["--port".to_owned(), format!("4100{number}")]);
            node.env.extend(place.proxy[number].iter().map(|proxy| ("HTTPS_PROXY", proxy.clone())));
            node.up(Some(mesh.ready["join_token"].as_str().unwrap()));
            node
        });
        nodes[0].knows("two");
        nodes[1].knows("one");
        nodes.iter().for_each(|node| node.has_a_relay());
        place.mappers.iter().for_each(Mapper::has_a_lease);
        let patience = if *expected == Class::Direct { DIRECT_WITHIN } else { RELAYED_FOR };
        let seen = meet(&mesh, &nodes[0], &place.outer, &nodes[1], patience);
        let mark = if seen.class == *expected { "" } else { "   <-- differs" };
        println!("{name:56} {:8} {seen}{mark}", expected.to_string());
        if seen.class != *expected {
            wrong.push((*name).to_owned());
        }
    }
    wrong
}

#[test]
#[ignore = "takes minutes: tests/nat-matrix runs it"]
fn networks_of_several_are_as_expected() {
    println!("{:56} {:8} seen", "network", "expected");
    let wrong = run(&word("LACIS_NAT_NETWORKS").unwrap_or_default());
    assert!(wrong.is_empty(), "not as expected: {wrong:#?}");
}
