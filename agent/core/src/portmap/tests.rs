//! A gateway on the table: what it is asked, and what becomes of its answers.

use super::*;

const GATEWAY: Gateway =
    Gateway { address: Ipv4Addr::new(192, 168, 1, 1), local: Ipv4Addr::new(192, 168, 1, 20) };
const PORT: u16 = 47_820;
const NONCE: [u8; 12] = [7; 12];

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn started() -> PortMap {
    let mut map = PortMap::new(PORT, NONCE);
    map.handle(at(0), PortMapEvent::Gateway(Some(GATEWAY)));
    map
}

fn actions(map: &mut PortMap) -> Vec<PortMapAction> {
    std::iter::from_fn(|| map.poll()).collect()
}

/// What was sent to the gateway.
fn sent(map: &mut PortMap) -> Vec<Vec<u8>> {
    let payload = |action| {
        let PortMapAction::Send { to, payload } = action else { return None };
        (to == GATEWAY.address).then_some(payload)
    };
    actions(map).into_iter().filter_map(payload).collect()
}

fn told(map: &mut PortMap) -> Vec<Option<SocketAddrV4>> {
    let mapped = |action| {
        let PortMapAction::Mapped(mapped) = action else { return None };
        Some(mapped)
    };
    actions(map).into_iter().filter_map(mapped).collect()
}

fn hear(map: &mut PortMap, now: Duration, payload: &[u8]) {
    let payload = payload.to_vec();
    map.handle(now, PortMapEvent::Datagram { from: GATEWAY.address, payload });
}

/// A server's answer to a question of PCP.
fn pcp_grant(question: &[u8], epoch_s: u32, external: &str, lifetime_s: u32) -> Vec<u8> {
    let external: SocketAddrV4 = external.parse().unwrap();
    let mut answer = question.to_vec();
    answer[1] |= 0x80;
    answer[2..4].fill(0);
    answer[4..8].copy_from_slice(&lifetime_s.to_be_bytes());
    answer[8..24].fill(0);
    answer[8..12].copy_from_slice(&epoch_s.to_be_bytes());
    answer[42..44].copy_from_slice(&external.port().to_be_bytes());
    answer[44..60].copy_from_slice(&external.ip().to_ipv6_mapped().octets());
    answer
}

fn natpmp_address(epoch_s: u32, address: [u8; 4]) -> Vec<u8> {
    [&[0, 128, 0, 0], &epoch_s.to_be_bytes()[..], &address].concat()
}

fn natpmp_grant(epoch_s: u32, external: u16, lifetime_s: u32) -> Vec<u8> {
    let ports = [PORT.to_be_bytes(), external.to_be_bytes()].concat();
    [&[0, 129, 0, 0], &epoch_s.to_be_bytes()[..], &ports, &lifetime_s.to_be_bytes()].concat()
}

/// Lets time pass to each deadline until UPnP is asked; gives what is asked.
fn until_upnp(map: &mut PortMap) -> (Duration, PortMapAction) {
    loop {
        let now = map.deadline().expect("something is due");
        map.handle(now, PortMapEvent::Tick);
        let asked = actions(map).into_iter();
        if let Some(asked) = asked.into_iter().find(|one| matches!(one, PortMapAction::AddByUpnp { .. })) {
            return (now, asked);
        }
    }
}

fn held_by_pcp() -> PortMap {
    let mut map = started();
    let question = sent(&mut map).remove(0);
    hear(&mut map, at(10), &pcp_grant(&question, 1_000, "198.51.100.21:40000", 7_200));
    map
}

#[test]
fn a_question_of_pcp_is_what_the_rfc_draws() {
    let question = sent(&mut started()).remove(0);
    let mut expected = vec![2, 1, 0, 0, 0, 0, 0x1C, 0x20];
    expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 168, 1, 20]);
    expected.extend(NONCE);
    expected.extend([17, 0, 0, 0, 0xBA, 0xCC, 0xBA, 0xCC]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0]);
    assert_eq!(question, expected);
}

#[test]
fn a_mapping_is_told_and_renewed_within_half_of_its_life_for_the_same_port_inside() {
    let mut map = held_by_pcp();
    assert_eq!(told(&mut map), [Some("198.51.100.21:40000".parse().unwrap())]);
    let renewal = map.deadline().unwrap();
    assert_eq!(renewal, at(10) + MAX_RENEWAL);
    map.handle(renewal, PortMapEvent::Tick);
    let question = sent(&mut map).remove(0);
    assert_eq!(question[24..36], NONCE, "the nonce that made the mapping");
    assert_eq!(question[40..44], [0xBA, 0xCC, 0x9C, 0x40], "our port inside, its port outside");
    hear(&mut map, renewal, &pcp_grant(&question, 1_600, "198.51.100.21:40000", 7_200));
    assert_eq!(actions(&mut map), [], "nothing has changed");
    assert_eq!(map.deadline().unwrap(), renewal + MAX_RENEWAL);
}

#[test]
fn a_mapping_that_cannot_be_renewed_ends_with_its_life_and_all_begins_anew() {
    let mut map = held_by_pcp();
    actions(&mut map);
    let end = at(10) + Duration::from_secs(7_200);
    let mut questions = 0;
    while map.mapped().is_some() {
        let now = map.deadline().unwrap();
        assert!(now <= end, "{now:?}");
        map.handle(now, PortMapEvent::Tick);
        questions += sent(&mut map).len();
    }
    assert!((6..120).contains(&questions), "{questions} questions, ever more rarely would do");
    assert!(map.deadline().unwrap() < end + Duration::from_secs(1), "it asks again");
}

#[test]
fn a_gateway_of_nat_pmp_alone_is_asked_in_its_own_words() {
    let mut map = started();
    actions(&mut map);
    hear(&mut map, at(5), &[0, 129, 0, 1, 0, 0, 0, 9]);
    let map_question = [0, 1, 0, 0, 0xBA, 0xCC, 0xBA, 0xCC, 0, 0, 0x1C, 0x20].to_vec();
    assert_eq!(sent(&mut map), [vec![0, 0], map_question]);
    // Either half may come first.
    hear(&mut map, at(10), &natpmp_grant(9, 40_001, 7_200));
    assert_eq!(map.mapped(), None);
    hear(&mut map, at(11), &natpmp_address(9, [198, 51, 100, 21]));
    assert_eq!(map.mapped(), Some("198.51.100.21:40001".parse().unwrap()));
    map.handle(at(20), PortMapEvent::Stop);
    assert_eq!(sent(&mut map), [[0, 1, 0, 0, 0xBA, 0xCC, 0, 0, 0, 0, 0, 0]]);
    assert_eq!(map.deadline(), None, "and no more");
}

#[test]
fn where_both_are_silent_upnp_is_asked_within_four_seconds_and_then_no_more_for_minutes() {
    let mut map = started();
    let (now, asked) = until_upnp(&mut map);
    assert!(now < Duration::from_secs(4), "{now:?}");
    let expected =
        PortMapAction::AddByUpnp { gateway: GATEWAY, external: PORT, port: PORT, lease_s: LEASE_S };
    assert_eq!(asked, expected);
    map.handle(now, PortMapEvent::Upnp(Err(Refusal::Other)));
    assert_eq!(actions(&mut map), []);
    assert_eq!(map.deadline(), Some(now + ASK_AGAIN));
}

#[test]
fn a_gateway_that_knows_only_permanent_mappings_gets_one_and_it_is_removed_at_the_end() {
    let mut map = started();
    let (now, _) = until_upnp(&mut map);
    map.handle(now, PortMapEvent::Upnp(Err(Refusal::OnlyPermanent)));
    let asked = actions(&mut map);
    assert!(matches!(asked[..], [PortMapAction::AddByUpnp { lease_s: 0, .. }]), "{asked:?}");
    map.handle(now, PortMapEvent::Upnp(Ok("198.51.100.21:47820".parse().unwrap())));
    assert_eq!(told(&mut map).len(), 1);
    map.handle(now, PortMapEvent::Stop);
    let removal = PortMapAction::DeleteByUpnp { gateway: GATEWAY, external: PORT };
    assert_eq!(actions(&mut map), [removal, PortMapAction::Mapped(None)]);
}

#[test]
fn what_is_asked_for_when_the_agent_ends_is_given_back_unless_it_may_be_somebody_elses() {
    let mut map = started();
    let question = sent(&mut map).remove(0);
    map.handle(at(5), PortMapEvent::Stop);
    let release = sent(&mut map).remove(0);
    assert_eq!(release[4..8], [0; 4], "no lifetime: it is given back");
    assert_eq!(release[24..36], question[24..36], "the nonce of the question");

    let mut map = started();
    let (now, _) = until_upnp(&mut map);
    map.handle(now, PortMapEvent::Stop);
    assert_eq!(actions(&mut map), []);
}

#[test]
fn a_port_of_somebody_else_is_passed_over_a_few_times() {
    let mut map = started();
    let (now, _) = until_upnp(&mut map);
    let mut wanted = Vec::new();
    for _ in 0..=MAX_CONFLICTS {
        map.handle(now, PortMapEvent::Upnp(Err(Refusal::Conflict)));
        wanted.extend(actions(&mut map).into_iter().filter_map(|action| {
            let PortMapAction::AddByUpnp { external, .. } = action else { return None };
            Some(external)
        }));
    }
    assert_eq!(wanted, [1, 2, 3, 4].map(|more| PORT + more));
    assert_eq!(map.deadline(), Some(now + ASK_AGAIN));
}

#[test]
fn an_outer_address_behind_another_nat_is_not_told() {
    for address in
        ["192.168.0.2", "10.1.1.1", "172.16.9.9", "100.64.0.7", "127.0.0.1", "0.0.0.0", "224.0.0.1"]
    {
        let mut map = started();
        let question = sent(&mut map).remove(0);
        hear(&mut map, at(10), &pcp_grant(&question, 1, &format!("{address}:40000"), 7_200));
        assert_eq!(actions(&mut map), [], "{address}");
        assert_eq!(map.mapped(), None, "{address}");
    }
}

#[test]
fn a_gateway_that_says_it_has_restarted_is_asked_at_once() {
    let mut map = held_by_pcp();
    actions(&mut map);
    let announce = |epoch_s: u32| {
        let mut bytes = vec![0; 24];
        bytes[..2].copy_from_slice(&[2, 0x80]);
        bytes[8..12].copy_from_slice(&epoch_s.to_be_bytes());
        bytes
    };
    // A hundred seconds later here and there: nothing has happened.
    hear(&mut map, at(100_000), &announce(1_100));
    assert_eq!(actions(&mut map), []);
    hear(&mut map, at(110_000), &announce(0));
    assert_eq!(sent(&mut map).len(), 1, "its clock went back");
    // The same by the other protocol's announcement, with a clock that has lost time.
    let mut map = held_by_pcp();
    actions(&mut map);
    hear(&mut map, at(500_000), &natpmp_address(1_010, [198, 51, 100, 21]));
    assert_eq!(sent(&mut map).len(), 1, "its clock stood still");
}

#[test]
fn strangers_and_answers_to_others_change_nothing() {
    let mut map = started();
    let question = sent(&mut map).remove(0);
    let grant = pcp_grant(&question, 1, "198.51.100.21:40000", 7_200);
    let from = Ipv4Addr::new(192, 168, 1, 66);
    map.handle(at(1), PortMapEvent::Datagram { from, payload: grant.clone() });
    let mut other_nonce = grant.clone();
    other_nonce[24] ^= 1;
    hear(&mut map, at(1), &other_nonce);
    let mut tcp = grant.clone();
    tcp[36] = 6;
    hear(&mut map, at(1), &tcp);
    for length in 0..grant.len() {
        hear(&mut map, at(1), &grant[..length]);
    }
    assert_eq!(map.mapped(), None);
    hear(&mut map, at(2), &grant);
    assert!(map.mapped().is_some());
    map.handle(at(3), PortMapEvent::Upnp(Ok("203.0.113.1:1".parse().unwrap())));
    assert_eq!(map.mapped().unwrap().port(), 40_000, "nobody asked UPnP");
}

#[test]
fn another_gateway_is_asked_anew_and_the_old_mapping_is_not_told_any_more() {
    let mut map = held_by_pcp();
    actions(&mut map);
    map.handle(at(50), PortMapEvent::Gateway(Some(GATEWAY)));
    assert_eq!(sent(&mut map).len(), 1, "the same network came back: is the mapping still there?");
    let other = Gateway { address: Ipv4Addr::new(10, 0, 0, 1), local: Ipv4Addr::new(10, 0, 0, 2) };
    map.handle(at(60), PortMapEvent::Gateway(Some(other)));
    let acted = actions(&mut map);
    assert_eq!(acted[0], PortMapAction::Mapped(None));
    assert!(matches!(acted[1], PortMapAction::Send { to, .. } if to == other.address), "{acted:?}");
    map.handle(at(70), PortMapEvent::Gateway(None));
    assert_eq!(map.deadline(), None);
}

#[test]
fn a_description_names_its_service_and_nothing_leads_to_another_host() {
    let gateway = GATEWAY.address;
    let reply = b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nLocation: http://192.168.1.1:5000/root.xml\r\n\r\n";
    let page = upnp::location(reply, gateway).unwrap();
    assert_eq!(page, upnp::Page { port: 5000, path: "/root.xml".into() });
    for elsewhere in [
        "http://192.168.1.2:5000/root.xml",
        "https://192.168.1.1/root.xml",
        "http://192.168.1.1.example/x",
        "http://192.168.1.1:5000/a b",
        "http://user@192.168.1.1/",
    ] {
        let reply = format!("HTTP/1.1 200 OK\r\nLOCATION: {elsewhere}\r\n\r\n");
        assert_eq!(upnp::location(reply.as_bytes(), gateway), None, "{elsewhere}");
    }
    let described = |control: &str| {
        format!(
            "<root><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>\
             <controlURL>/no</controlURL></service><service>\
             <serviceType>urn:schemas-upnp-org:service:WANIPConnection:2</serviceType>\
             <controlURL>{control}</controlURL></service></root>"
        )
    };
    let found =
        |control: &str| upnp::service(&described(control), &page, gateway).map(|service| service.page);
    let there = |path: &str| Some(upnp::Page { port: 5000, path: path.into() });
    assert_eq!(found("/ctl/IPConn?a=1&amp;b=2"), there("/ctl/IPConn?a=1&b=2"));
    assert_eq!(found("ctl"), there("/ctl"));
    assert_eq!(found("http://192.168.1.9/ctl"), None);
    assert_eq!(found("/ctl\r\nHost: elsewhere"), None);
    let service = upnp::service(&described("/c"), &page, gateway).unwrap();
    assert_eq!(
        upnp::Call::Address.action(&service),
        "\"urn:schemas-upnp-org:service:WANIPConnection:2#GetExternalIPAddress\""
    );
    let body = upnp::Call::Add { external: 1, client: GATEWAY.local, port: 2, lease_s: 3 }.body(&service);
    assert!(body.contains("<NewExternalPort>1</NewExternalPort>"), "{body}");
    assert!(body.contains("<NewInternalPort>2</NewInternalPort><NewInternalClient>192.168.1.20</"), "{body}");
}

#[test]
fn answers_of_a_service_are_read() {
    let reply = "<s:Body><NewExternalIPAddress> 198.51.100.21 </NewExternalIPAddress></s:Body>";
    assert_eq!(upnp::external_address(reply), Some(Ipv4Addr::new(198, 51, 100, 21)));
    assert_eq!(upnp::external_address("<NewExternalIPAddress></NewExternalIPAddress>"), None);
    let fault = |code: &str| upnp::refusal(&format!("<errorCode>{code}</errorCode>"));
    assert_eq!(["725", "718", "606"].map(fault), [Refusal::OnlyPermanent, Refusal::Conflict, Refusal::Other]);
}

#[test]
fn a_description_beyond_its_limits_leads_nowhere() {
    use super::upnp::{Page, service};
    let gateway = Ipv4Addr::new(192, 168, 1, 1);
    let described = Page { port: 5000, path: "/root.xml".to_owned() };
    let text = |before: usize, path: usize| {
        format!(
            "{}<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
             <controlURL>/{}</controlURL></service>",
            " ".repeat(before),
            "c".repeat(path - 1)
        )
    };
    let read = |text: &str| service(text, &described, gateway);
    assert!(read(&text(0, limits::MAX_PATH)).is_some());
    assert_eq!(read(&text(0, limits::MAX_PATH + 1)), None);
    assert_eq!(read(&text(limits::MAX_TEXT, 4)), None, "what stands so far behind is not read");
}
