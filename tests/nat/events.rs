//! What happens to networks, and what the sea does to packets.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use support::{eventually_within, pause};

use crate::{
    internet::{Internet, PublicHost},
    kind::{Kind, Rules},
    responder::{Asker, From, Responder},
    sea::Weather,
    site::Site,
};

struct Lab {
    internet: Internet,
    host: PublicHost,
    responder: Responder,
    site: Site,
}

fn lab(half: Duration, rules: impl Into<Rules>) -> Lab {
    let mut internet = Internet::new(half);
    let host = internet.host(&[10, 11]);
    let responder = Responder::new(&host.space, &host.v4());
    let site = Site::new(&mut internet, 1, rules);
    Lab { internet, host, responder, site }
}

#[expect(clippy::disallowed_methods, reason = "the sea's delay is real time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_round_trip_takes_four_times_the_way_to_the_middle() {
    let lab = lab(Duration::from_millis(10), Kind::PortRestricted);
    let asker = Asker::new(lab.site.client(), &lab.responder);
    let service = lab.responder.addresses()[0];
    asker.seen_by(service).unwrap();
    // One that a busy machine does not disturb is proof enough; none may be faster.
    eventually_within(Duration::from_secs(20), "a round trip of 40 to 50 ms", || {
        let begin = now();
        asker.seen_by(service)?;
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(40), "{took:?}");
        (took < Duration::from_millis(50)).then_some(took)
    });
}

#[test]
fn weather_loses_and_reorders_and_a_cut_ends_it() {
    let lab = lab(Duration::ZERO, Kind::Public);
    let (sea, port) = (lab.internet.sea(), lab.host.port);
    let asker = Asker::new(lab.site.client(), &lab.responder);
    let service = lab.responder.addresses()[0];
    let inner = SocketAddr::new(lab.site.inner(0).into(), asker.port());
    asker.seen_by(service).unwrap();

    sea.set(port, Weather { loss_percent: 20, ..Weather::default() });
    let come = (0..200).filter(|_| {
        lab.responder.strike(0, inner);
        asker.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        asker.hear().is_some()
    });
    let come = come.count();
    assert!((130..=185).contains(&come), "{come} of 200 came, a fifth should be lost");

    sea.set(port, Weather { jitter: Duration::from_millis(20), ..Weather::default() });
    asker.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let numbers: Vec<u64> = {
        let sender = lab.host.space.within(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
        for number in 0..50_u32 {
            sender.send_to(number.to_string().as_bytes(), inner).unwrap();
        }
        std::iter::from_fn(|| asker.hear()).map(|(text, _)| text.parse().unwrap()).collect()
    };
    assert_eq!(numbers.len(), 50, "nothing is lost by jitter");
    assert!(!numbers.is_sorted(), "nothing was overtaken: {numbers:?}");

    sea.set(port, Weather::default());
    let pair: (IpAddr, IpAddr) = (service.ip(), inner.ip());
    sea.cut(pair.0, pair.1, true);
    assert_eq!(asker.seen_by(service), None);
    assert!(asker.seen_by(lab.responder.addresses()[2]).is_some(), "the other address is not cut");
    sea.cut(pair.0, pair.1, false);
    let before = sea.passed(pair.1, pair.0);
    assert!(asker.seen_by(service).is_some());
    assert_eq!(sea.passed(pair.1, pair.0), before + 1);
}

#[test]
fn a_packet_with_a_short_life_opens_the_own_nat_and_goes_no_further() {
    let lab = lab(Duration::ZERO, Kind::Leaky);
    let asker = Asker::new(lab.site.client(), &lab.responder);
    let service = lab.responder.addresses()[0];
    asker.socket.set_ttl(4).unwrap();
    assert_eq!(asker.seen_by(service), None);
    asker.socket.set_ttl(64).unwrap();
    // The mapping is confirmed: what comes first from outside no longer takes it.
    lab.responder.strike(0, SocketAddr::new(lab.site.wan.into(), asker.port()));
    assert_eq!(asker.hear().map(|(text, _)| text).as_deref(), Some("strike"));
    assert_eq!(asker.seen_by(service).unwrap().port(), asker.port());
}

#[test]
fn a_mapping_is_forgotten_after_its_time() {
    let lab = lab(Duration::ZERO, Kind::PortRestricted);
    let udp = "net.netfilter.nf_conntrack_udp_timeout";
    lab.site.router.sh(&format!("sysctl -qw {udp}=1 {udp}_stream=1"));
    let asker = Asker::new(lab.site.client(), &lab.responder);
    let service = lab.responder.addresses()[0];
    let seen = asker.seen_by(service).unwrap();
    lab.responder.strike(0, seen);
    assert!(asker.hear().is_some());
    pause(Duration::from_millis(2_500));
    lab.responder.strike(0, seen);
    assert_eq!(asker.hear(), None);
    assert_eq!(asker.seen_by(service), Some(seen), "the next packet outwards opens it again");
}

#[test]
fn a_nat_that_restarts_keeps_its_port_or_takes_another() {
    for (kind, keeps) in [(Kind::PortRestricted, true), (Kind::Random, false)] {
        let lab = lab(Duration::ZERO, kind);
        let asker = Asker::new(lab.site.client(), &lab.responder);
        let service = lab.responder.addresses()[0];
        let seen = asker.seen_by(service).unwrap();
        lab.site.forget();
        lab.responder.strike(0, seen);
        assert_eq!(asker.hear(), None, "{kind:?}");
        assert_eq!(asker.seen_by(service) == Some(seen), keeps, "{kind:?}");
    }
    let Lab { responder, mut site, internet: _internet, host: _host } =
        lab(Duration::ZERO, Kind::PortRestrictedElsewhere);
    let asker = Asker::new(site.client(), &responder);
    let [first, second, ..] = responder.addresses();
    let seen = asker.seen_by(first).unwrap();
    site.set(Rules { first_port: 40_000, ..Kind::PortRestrictedElsewhere.into() });
    let after = [first, second].map(|to| asker.seen_by(to).unwrap());
    assert_ne!(after[0], seen);
    assert_eq!(after[0], after[1], "one port for all destinations again");
}

#[test]
fn a_site_that_is_renumbered_is_seen_elsewhere_and_old_flows_are_dead() {
    let mut lab = lab(Duration::ZERO, Kind::PortRestricted);
    let asker = Asker::new(lab.site.client(), &lab.responder);
    let service = lab.responder.addresses()[0];
    let seen = asker.seen_by(service).unwrap();
    lab.site.renumber([198, 51, 100, 99].into());
    lab.responder.strike(0, seen);
    assert_eq!(asker.hear(), None);
    let now = asker.seen_by(service).unwrap();
    assert_eq!(now.ip(), IpAddr::from([198, 51, 100, 99]));
}

#[test]
fn a_client_roams_and_its_socket_goes_on() {
    let Lab { mut internet, host: _host, responder, mut site } = lab(Duration::ZERO, Kind::PortRestricted);
    let mut other = Site::new(&mut internet, 2, Kind::PortRestricted);
    other.clients.clear();
    let asker = Asker::new(site.client(), &responder);
    let service = responder.addresses()[0];
    assert_eq!(asker.seen_by(service).unwrap().ip(), site.outer(0));
    other.adopt(&mut site);
    assert_eq!(asker.seen_by(service).unwrap().ip(), other.outer(0));
    assert_eq!(asker.ask(service, From::OtherPort), None);
}
