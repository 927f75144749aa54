//! Networks made of several: carriers over homes, one LAN, IPv6, mapped ports, and what is expected of each.

use std::{net::IpAddr, sync::Arc};

use support::Namespace;

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
    hosts: [Arc<Namespace>; 2],
    /// Where the first of them is seen outside.
    outer: Vec<IpAddr>,
    options: &'static [&'static str],
}

impl Place {
    /// The first clients of two sites.
    fn of(one: Site, other: Site) -> Self {
        let hosts = [Arc::clone(one.client()), Arc::clone(other.client())];
        let outer = vec![one.outer(0)];
        let options = &["--dns", "off", "--no-portmap"];
        Self { sites: vec![one, other], mappers: Vec::new(), hosts, outer, options }
    }

    /// The same, under a carrier that they both or only the first of them are customers of.
    fn under(carrier: Site, one: Site, other: Site) -> Self {
        let mut place = Self::of(one, other);
        place.outer = vec![carrier.wan.into()];
        place.sites.push(carrier);
        place
    }
}

type Build = fn(&mut Mesh) -> Place;

/// Each with its name and what comes of it.
const CASES: [(&str, Class, Build); 14] = [
    ("PR under a carrier's PR, PR", Class::Direct, |mesh| {
        under(mesh, Kind::PortRestricted, Kind::PortRestricted, Kind::PortRestricted)
    }),
    ("PR under a carrier's FC, PR", Class::Direct, |mesh| {
        under(mesh, Kind::FullCone, Kind::PortRestricted, Kind::PortRestricted)
    }),
    ("PR under a carrier's SR, PR", Class::Relayed, |mesh| {
        under(mesh, Kind::Random, Kind::PortRestricted, Kind::PortRestricted)
    }),
    ("PR under a carrier's SR, FC", Class::Direct, |mesh| {
        under(mesh, Kind::Random, Kind::PortRestricted, Kind::FullCone)
    }),
    ("two PR under one carrier, no hairpin", Class::Relayed, |mesh| {
        neighbours(mesh, Hairpin::Off, Kind::PortRestricted)
    }),
    ("two PR under one carrier, hairpin with the inner source", Class::Relayed, |mesh| {
        neighbours(mesh, Hairpin::Internal, Kind::PortRestricted)
    }),
    ("two FC under one carrier, hairpin with the inner source", Class::Direct, |mesh| {
        neighbours(mesh, Hairpin::Internal, Kind::FullCone)
    }),
    ("two PR under one carrier, hairpin with the outer source", Class::Direct, |mesh| {
        neighbours(mesh, Hairpin::External, Kind::PortRestricted)
    }),
    ("one LAN behind SR", Class::Direct, |mesh| {
        let mut site = Site::new(&mut mesh.internet, 1, Kind::Random);
        site.add_client();
        let hosts = [0, 1].map(|client: usize| Arc::clone(&site.clients[client]));
        let outer = vec![site.outer(0)];
        let options = &["--dns", "off", "--no-portmap"];
        Place { sites: vec![site], mappers: Vec::new(), hosts, outer, options }
    }),
    ("firewalls of IPv6 around SR", Class::Direct, |mesh| six(mesh, Kind::Random.into())),
    ("the same LAN range on both sides, PR", Class::Direct, |mesh| {
        let sites = [1, 2]
            .map(|number| Site::with_lan(&mut mesh.internet, number, [192, 168, 1], Kind::PortRestricted));
        let [one, other] = sites;
        Place::of(one, other)
    }),
    ("SR with a mapped port, SR", Class::Direct, |mesh| mapped(mesh, Kind::Random)),
    ("SR with a mapped port, PR", Class::Direct, |mesh| mapped(mesh, Kind::PortRestricted)),
    ("SR with a mapped port, AD", Class::Direct, |mesh| mapped(mesh, Kind::AddressDependent)),
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

fn six(mesh: &mut Mesh, rules: Rules) -> Place {
    let [one, other] = [1, 2].map(|number| {
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

/// Lets nodes meet in the cases whose name has a word in it; gives what was not as expected.
pub(crate) fn run(word: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, expected, build) in CASES.iter().filter(|(name, ..)| name.contains(word)) {
        if name.contains("mapped") && !Mapper::is_installed() {
            continue;
        }
        let mut mesh = Mesh::new(HALF);
        let place = build(&mut mesh);
        let nodes = [(0, "one"), (1, "two")]
            .map(|(number, name): (usize, _)| mesh.joined(&place.hosts[number], name, place.options));
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
    let wrong = run("");
    assert!(wrong.is_empty(), "not as expected: {wrong:#?}");
}
