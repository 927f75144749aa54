//! Each NAT is what it claims to be.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use crate::{
    classify::{
        Filtering,
        Mapping::{self, AddressAndPortDependent, AddressDependent, EndpointIndependent},
        Verdict, classify,
    },
    internet::Internet,
    kind::{Hairpin, Kind, Rules},
    responder::{Asker, Responder},
    site::Site,
};

/// An Internet without distance, a service on it, and a site.
fn lab(rules: impl Into<Rules>) -> (Internet, Responder, Site) {
    let mut internet = Internet::new(Duration::ZERO);
    let host = internet.host(&[10, 11]);
    let responder = Responder::new(&host.space, &host.v4());
    let site = Site::new(&mut internet, 1, rules);
    // The service's namespace lives as long as its sockets.
    internet.keep(host);
    (internet, responder, site)
}

#[track_caller]
fn check(kind: Kind, mapping: Mapping, filtering: Filtering, keeps_port: bool, holds_port: bool) {
    let (_internet, responder, site) = lab(kind);
    let expected = Verdict { mapping, filtering, keeps_port, holds_port };
    assert_eq!(classify(site.client(), &responder), Some(expected), "{kind:?}");
}

#[test]
fn a_public_address_is_open_to_all() {
    check(Kind::Public, EndpointIndependent, Filtering::EndpointIndependent, true, true);
}

#[test]
fn a_firewall_lets_in_only_answers() {
    check(Kind::Firewall, EndpointIndependent, Filtering::AddressAndPortDependent, true, true);
}

#[test]
fn a_full_cone_lets_in_everybody_by_its_mapping() {
    check(Kind::FullCone, EndpointIndependent, Filtering::EndpointIndependent, true, true);
    check(Kind::FullConeOne, EndpointIndependent, Filtering::EndpointIndependent, true, true);
}

#[test]
fn an_address_restricted_cone_lets_in_whoever_was_sent_to() {
    check(Kind::AddressRestricted, EndpointIndependent, Filtering::AddressDependent, true, true);
}

#[test]
fn a_port_restricted_cone_keeps_one_port_and_lets_in_only_answers() {
    check(Kind::PortRestricted, EndpointIndependent, Filtering::AddressAndPortDependent, true, true);
    let elsewhere = Kind::PortRestrictedElsewhere;
    check(elsewhere, EndpointIndependent, Filtering::AddressAndPortDependent, false, false);
}

#[test]
fn a_leaky_linux_keeps_the_port_only_where_it_sends_first() {
    check(Kind::Leaky, EndpointIndependent, Filtering::AddressAndPortDependent, true, false);
}

#[test]
fn a_random_symmetric_nat_has_a_port_for_each_destination() {
    let mapping = AddressAndPortDependent { step: None };
    check(Kind::Random, mapping, Filtering::AddressAndPortDependent, false, false);
}

#[test]
fn a_sequential_symmetric_nat_takes_the_next_port() {
    let mapping = AddressAndPortDependent { step: Some(1) };
    check(Kind::Sequential, mapping, Filtering::AddressAndPortDependent, false, false);
}

#[test]
fn an_address_dependent_nat_has_a_port_for_each_address() {
    check(Kind::AddressDependent, AddressDependent, Filtering::AddressAndPortDependent, false, false);
}

#[test]
fn a_carrier_gives_a_block_of_ports() {
    let strict = Filtering::AddressAndPortDependent;
    check(Kind::PortBlock, EndpointIndependent, strict, false, false);
    check(Kind::PortBlockRandom, AddressAndPortDependent { step: None }, strict, false, false);
    let (_internet, responder, site) = lab(Kind::PortBlockRandom);
    for to in responder.addresses() {
        let port = Asker::new(site.client(), &responder).seen_by(to).unwrap().port();
        assert!((20_000..21_000).contains(&port), "{port}");
    }
}

#[test]
fn a_second_client_with_the_same_port_gets_one_other_for_all_destinations() {
    for kind in [Kind::PortRestricted, Kind::FullCone, Kind::AddressRestricted] {
        let (_internet, responder, mut site) = lab(kind);
        site.add_client();
        let [first, second] = [0, 1].map(|client: usize| {
            let asker = Asker::with_port(&site.clients[client], &responder, 41_641);
            responder.addresses().map(|to| asker.seen_by(to).unwrap().port())
        });
        assert_eq!(first, [41_641; 4], "{kind:?}");
        assert_ne!(second[0], 41_641, "{kind:?}");
        assert!(second.iter().all(|port| *port == second[0]), "{kind:?}: {second:?}");
    }
}

#[test]
fn where_udp_is_blocked_only_https_gets_out_and_behind_a_proxy_not_even_that() {
    for (kind, https) in [(Kind::UdpBlocked, true), (Kind::ProxyOnly, false)] {
        let mut internet = Internet::new(Duration::ZERO);
        let host = internet.host(&[10, 11]);
        let responder = Responder::new(&host.space, &host.v4());
        let site = Site::new(&mut internet, 1, kind);
        assert_eq!(classify(site.client(), &responder), None, "{kind:?}");
        for (port, expected) in [(443, https), (8443, false)] {
            let address = SocketAddr::new(host.v4()[0], port);
            let _listener = host.space.within(|| TcpListener::bind(address).unwrap());
            let connects = || TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok();
            assert_eq!(site.client().within(connects), expected, "{kind:?}, port {port}");
        }
    }
}

#[test]
fn a_hairpin_shows_the_source_that_it_says() {
    for hairpin in [Hairpin::Off, Hairpin::Internal, Hairpin::External] {
        let kind = Kind::FullCone;
        let (_internet, responder, mut site) = lab(Rules { hairpin, ..kind.into() });
        site.add_client();
        let service = responder.addresses()[0];
        let [one, other] = [0, 1].map(|client: usize| Asker::new(&site.clients[client], &responder));
        let [outer, other_outer] = [&one, &other].map(|asker| asker.seen_by(service).unwrap());
        other.socket.send_to(b"hello", outer).unwrap();
        let source = one.hear().map(|(_, source)| source);
        match hairpin {
            Hairpin::Off => assert_eq!(source, None),
            Hairpin::Internal => assert_eq!(source.unwrap().ip().to_string(), "10.0.1.1"),
            Hairpin::External => assert_eq!(source, Some(other_outer)),
        }
    }
}

#[test]
fn a_firewall_of_ipv6_is_no_nat_and_lets_in_only_answers() {
    for (kind, filtering) in [
        (Kind::Public, Filtering::EndpointIndependent),
        (Kind::Firewall, Filtering::AddressAndPortDependent),
        (Kind::PortRestricted, Filtering::AddressAndPortDependent),
    ] {
        let mut internet = Internet::new(Duration::ZERO);
        let host = internet.host(&[10, 11]);
        let responder = Responder::new(&host.space, &host.v6());
        let mut site = Site::new(&mut internet, 1, kind);
        site.add_v6(&host);
        let mapping = EndpointIndependent;
        let expected = Verdict { mapping, filtering, keeps_port: true, holds_port: true };
        assert_eq!(classify(site.client(), &responder), Some(expected), "{kind:?}");
        let seen = Asker::new(site.client(), &responder).seen_by(responder.addresses()[0]).unwrap();
        assert_eq!(seen.ip(), site.inner6(0), "{kind:?}");
    }
}

#[test]
fn with_ipv4_dead_only_ipv6_gets_through() {
    let mut internet = Internet::new(Duration::ZERO);
    let host = internet.host(&[10, 11]);
    let services = [host.v4(), host.v6()].map(|addresses| Responder::new(&host.space, &addresses));
    let mut site = Site::new(&mut internet, 1, Rules { no_v4: true, ..Kind::PortRestricted.into() });
    site.add_v6(&host);
    let [v4, v6] = services.each_ref().map(|service| classify(site.client(), service));
    assert_eq!(v4, None);
    assert!(v6.is_some());
}

#[test]
fn a_customer_of_a_carrier_is_behind_the_stricter_of_both() {
    let strict = Filtering::AddressAndPortDependent;
    for (carrier, home, mapping, filtering) in [
        (Kind::FullCone, Kind::PortRestricted, EndpointIndependent, strict),
        (Kind::Random, Kind::FullCone, AddressAndPortDependent { step: None }, strict),
        (Kind::FullCone, Kind::FullCone, EndpointIndependent, Filtering::EndpointIndependent),
    ] {
        let mut internet = Internet::new(Duration::ZERO);
        let host = internet.host(&[10, 11]);
        let responder = Responder::new(&host.space, &host.v4());
        let outer = Site::carrier(&mut internet, 1, carrier);
        let site = Site::behind(&outer, 2, home);
        let verdict = classify(site.client(), &responder).unwrap();
        assert_eq!((verdict.mapping, verdict.filtering), (mapping, filtering), "{home:?} behind {carrier:?}");
    }
}
