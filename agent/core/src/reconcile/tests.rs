use lacis_proto::{Endpoint, Host, Revision, overlay_addrs, prefix6_of};
use proptest::prelude::*;

use super::*;
use crate::{desired, fixtures::*, interface_name};

fn apply(seen: &mut Observed, plan: &Plan) {
    plan.steps.iter().for_each(|step| seen.apply(step));
}

fn reach(seen: &mut Observed, want: &Desired) {
    let steps = plan(want, seen);
    apply(seen, &steps);
}

/// The plan as text, with the interface's name cut off.
fn text(plan: &Plan) -> Vec<String> {
    plan.to_string().lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn from_nothing_the_interface_comes_before_what_is_on_it() {
    let want = desired(1, &netmaps(&[(1, &small_group(1))]), &local(&[1]));
    let mut seen = Observed::default();
    let plan = plan(&want, &seen);
    let prefix = prefix6_of(&group(1)).network().to_string();
    let prefix = prefix.trim_end_matches("::");
    let expected = [
        format!("create interface for {} mtu 1400", group(1)),
        "add address 10.1.0.1/32 (resolver)".into(),
        "add address 10.1.0.5/32".into(),
        format!("add address {prefix}::1/128 (resolver)"),
        format!("add address {prefix}::5/128"),
        "add route 10.1.0.0/16 from 10.1.0.5".into(),
        format!("add route {prefix}::/64 from {prefix}::5"),
        format!("set peer {} allowed 10.1.0.6/32 {prefix}::6/128 at 192.0.2.6:47820", peer(6)),
        format!("set peer {} allowed 10.1.0.7/32 {prefix}::7/128 at 192.0.2.7:47820", peer(7)),
        "start resolver on 10.1.0.1".into(),
        format!("start resolver on {prefix}::1"),
    ];
    assert_eq!(text(&plan), expected);
    apply(&mut seen, &plan);
    assert!(super::plan(&want, &seen).is_empty());
}

#[test]
fn only_what_changed_is_in_the_plan_and_removals_come_first() {
    let mut scope = small_group(1);
    let before = desired(1, &netmaps(&[(1, &scope)]), &local(&[1]));
    let mut seen = Observed::default();
    reach(&mut seen, &before);
    let mut moved = peer_record(6, "web");
    moved.endpoints = vec![endpoint("static 198.51.100.1:1")];
    scope.commit([lacis_proto::Change::Del((&peer(7)).into()), put_record(6, moved), put_peer(8, "db")]);
    let mut local = local(&[1]);
    local.mtu = 1280;
    let after = desired(2, &netmaps(&[(1, &scope)]), &local);
    let plan = plan(&after, &seen);
    let prefix = prefix6_of(&group(1)).network().to_string();
    let prefix = prefix.trim_end_matches("::");
    let expected = [
        format!("remove peer with key {}", key(7)),
        "set mtu 1280".into(),
        format!("set peer {} allowed 10.1.0.6/32 {prefix}::6/128 at 198.51.100.1:1", peer(6)),
        format!("set peer {} allowed 10.1.0.8/32 {prefix}::8/128 at 192.0.2.8:47820", peer(8)),
    ];
    assert_eq!(text(&plan), expected);
    assert_eq!(plan.revision, 2);
}

#[test]
fn a_group_that_goes_takes_its_resolver_and_interface_with_it() {
    let want = desired(1, &netmaps(&[(1, &small_group(1))]), &local(&[1]));
    let mut seen = Observed::default();
    reach(&mut seen, &want);
    let plan = plan(&Desired::default(), &seen);
    let text = text(&plan);
    assert_eq!(text.len(), 3);
    assert!(text[0].starts_with("stop resolver") && text[1].starts_with("stop resolver"));
    assert_eq!(text[2], "remove interface");
    apply(&mut seen, &plan);
    assert_eq!(seen, Observed::default());
}

#[test]
fn another_own_key_leaves_the_interface_and_all_that_is_on_it() {
    let netmaps = netmaps(&[(1, &small_group(1))]);
    let mut local = local(&[1]);
    let mut seen = Observed::default();
    reach(&mut seen, &desired(1, &netmaps, &local));
    local.hosted.get_mut(&group(1)).unwrap().key = key(99);
    let want = desired(2, &netmaps, &local);
    let plan = plan(&want, &seen);
    assert_eq!(text(&plan), [format!("set key {}", key(99))]);
    apply(&mut seen, &plan);
    assert!(super::plan(&want, &seen).is_empty());
}

#[test]
fn a_prefix_that_changes_its_peer_is_free_before_it_is_taken() {
    let mut first = peer_record(6, "web");
    first.routes = vec![route("192.168.7.0/24")];
    let mut scope = scope([put_group(1), put_peer(5, "web"), put_record(6, first), put_peer(7, "db")]);
    let mut seen = Observed::default();
    reach(&mut seen, &desired(1, &netmaps(&[(1, &scope)]), &local(&[1])));
    let mut second = peer_record(7, "db");
    second.routes = vec![route("192.168.7.0/24")];
    scope.commit([put_peer(6, "web"), put_record(7, second)]);
    let text = text(&plan(&desired(2, &netmaps(&[(1, &scope)]), &local(&[1])), &seen));
    assert_eq!(text[0], format!("remove peer with key {}", key(6)));
    assert_eq!(text.iter().filter(|step| step.starts_with("set peer")).count(), 2);
}

#[test]
fn a_failed_step_is_planned_again() {
    let want = desired(1, &netmaps(&[(1, &small_group(1))]), &local(&[1]));
    let mut seen = Observed::default();
    let whole = plan(&want, &seen);
    whole.steps[..whole.steps.len() - 1].iter().for_each(|step| seen.apply(step));
    assert_eq!(plan(&want, &seen).steps, whole.steps[whole.steps.len() - 1..]);
}

prop_compose! {
    fn tunnel_peer()(
        n in 5u8..12,
        endpoints in proptest::collection::vec(1u8..4, 0..3),
        routes in proptest::collection::btree_set(0u8..4, 0..3),
    ) -> (PublicKey, TunnelPeer) {
        let pool = "10.1.0.0/16".parse().unwrap();
        let own = overlay_addrs(pool, prefix6_of(&group(1)), Host(n.into())).unwrap();
        let routes = routes.into_iter().map(|n| route(&format!("192.168.{n}.0/24")));
        let endpoints: Vec<Endpoint> =
            endpoints.into_iter().map(|n| endpoint(&format!("host 192.0.2.{n}:1"))).collect();
        let allowed = own.both().map(IpNetwork::from).into_iter().chain(routes).collect();
        (key(n), TunnelPeer { peer: peer(n), allowed, shared: BTreeSet::new(), client: false, endpoints })
    }
}

prop_compose! {
    fn interface()(
        n in 1u8..4,
        own in 5u32..8,
        own_key in 1u8..3,
        mtu in 1400u16..1402,
        gateway in proptest::option::of(90u8..92),
        peers in proptest::collection::vec(tunnel_peer(), 0..6),
    ) -> (GroupId, Interface) {
        let group = group(n);
        let pool = format!("10.{n}.0.0/16").parse().unwrap();
        let own = overlay_addrs(pool, prefix6_of(&group), Host(own)).unwrap();
        let interface = Interface {
            name: interface_name(&group),
            revision: Revision(1),
            key: key(own_key),
            mtu,
            own,
            resolver: overlay_addrs(pool, prefix6_of(&group), Host(1)).unwrap(),
            routes: BTreeSet::from([Route { to: pool.into(), from: own.v4.into() }]),
            gateway: gateway.map(key),
            peers: without_shared_prefixes(peers),
        };
        (group, interface)
    }
}

/// Every prefix with one peer, as netmaps have it.
fn without_shared_prefixes(peers: Vec<(PublicKey, TunnelPeer)>) -> BTreeMap<PublicKey, TunnelPeer> {
    let mut peers: BTreeMap<_, _> = peers.into_iter().collect();
    let mut taken = BTreeSet::new();
    for peer in peers.values_mut() {
        peer.allowed.retain(|net| taken.insert(*net));
    }
    peers
}

fn any_desired() -> impl Strategy<Value = Desired> {
    proptest::collection::vec(interface(), 0..4).prop_map(|interfaces| Desired {
        revision: 1,
        interfaces: interfaces.into_iter().collect(),
        conflicts: Vec::new(),
    })
}

/// Fails where a peer is set while another still has a prefix of it.
fn apply_checked(seen: &mut Observed, plan: &Plan) {
    for step in &plan.steps {
        seen.apply(step);
        let Some(found) = seen.interfaces.get(step.interface()) else { continue };
        if !matches!(step, Step::SetPeer { .. }) {
            continue;
        }
        let all: Vec<_> = found.peers.values().flat_map(|peer| &peer.allowed).collect();
        assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len(), "{plan}");
    }
}

proptest! {
    #[test]
    fn planning_after_applying_gives_an_empty_plan(goals in proptest::collection::vec(any_desired(), 1..5)) {
        let mut seen = Observed::default();
        for want in goals {
            let steps = plan(&want, &seen);
            apply_checked(&mut seen, &steps);
            let again = plan(&want, &seen);
            prop_assert!(again.is_empty(), "{again}");
        }
    }
}
