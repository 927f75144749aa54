use super::*;

const A: [u8; 32] = [0xa; 32];
const B: [u8; 32] = [0xb; 32];

fn private(byte: u8) -> Option<Option<PrivateKey>> {
    Some(Some(PrivateKey::from([byte; 32])))
}

fn with_key() -> Interface {
    let mut interface = Interface::default();
    changed(&mut interface, Changes { private_key: private(1), ..Changes::default() });
    interface
}

fn allowed(list: &str) -> Vec<(IpNetwork, Given)> {
    let parse = |text: &str| match text.strip_prefix('-') {
        Some(prefix) => (prefix.parse().unwrap(), Given::Taken),
        None => (text.parse().unwrap(), Given::Yes),
    };
    list.split_whitespace().map(parse).collect()
}

fn peer(key: [u8; 32], list: &str) -> PeerChanges {
    PeerChanges { key, allowed: allowed(list), ..PeerChanges::default() }
}

fn peers(peers: Vec<PeerChanges>) -> Changes {
    Changes { peers, ..Changes::default() }
}

/// Makes a change and gives the commands that follow, each as a short text.
fn changed(interface: &mut Interface, changes: Changes) -> Vec<String> {
    let mut sent = Vec::new();
    interface.change(changes, &mut |command| {
        sent.push(match command {
            Command::SetPeer(config) => {
                let prefixes: Vec<_> = config.allowed.iter().map(ToString::to_string).collect();
                format!("set {:x} [{}]", config.key[0], prefixes.join(" "))
            }
            Command::RemovePeer { key, .. } => format!("remove {:x}", key[0]),
            Command::SetPrivateKey { .. } => String::from("key"),
            Command::SetEndpoint { key, endpoint, .. } => format!("endpoint {:x} {endpoint}", key[0]),
            Command::SetMark(mark) => format!("mark {mark}"),
            other @ (Command::AddNetwork(_)
            | Command::RemoveNetwork(_)
            | Command::SetAddresses { .. }
            | Command::Probe { .. }
            | Command::SetMtu { .. }
            | Command::SetWays { .. }
            | Command::SendTo { .. }
            | Command::SetLeases(_)
            | Command::SetGateway { .. }
            | Command::SetShared { .. }
            | Command::Prefer { .. }
            | Command::AddAuxiliary { .. }
            | Command::CloseAuxiliary(_)
            | Command::SetSockets(_)
            | Command::Stats(_)) => panic!("{other:?}"),
        });
    });
    interface.check_invariants();
    sent
}

fn shown(interface: &Interface) -> String {
    let mut out = Vec::new();
    interface.write(&mut out, 1, &Stats::default(), Duration::ZERO).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn peers_wait_for_a_private_key_and_leave_with_it() {
    let mut interface = Interface::default();
    let mut first = peer(A, "10.0.0.1/32");
    first.endpoint = Some("192.0.2.1:1".parse().unwrap());
    assert_eq!(changed(&mut interface, peers(vec![first])), [""; 0]);
    let keyed = Changes { private_key: private(1), ..Changes::default() };
    assert_eq!(changed(&mut interface, keyed), ["key", "set a [10.0.0.1/32]", "endpoint a 192.0.2.1:1"]);
    let same = Changes { private_key: private(1), ..Changes::default() };
    assert_eq!(changed(&mut interface, same), [""; 0]);
    let other = Changes { private_key: private(2), ..Changes::default() };
    assert_eq!(changed(&mut interface, other), ["key"]);
    let none = Changes { private_key: Some(None), ..Changes::default() };
    assert_eq!(changed(&mut interface, none), ["remove a", "key"]);
    assert!(shown(&interface).starts_with("listen_port=1\npublic_key=0a"));
}

#[test]
fn a_prefix_moves_to_the_peer_that_got_it_last() {
    let mut interface = with_key();
    changed(&mut interface, peers(vec![peer(A, "10.0.0.0/24 10.1.0.0/24")]));
    assert_eq!(changed(&mut interface, peers(vec![peer(B, "10.0.0.0/24")])), ["set b [10.0.0.0/24]"]);
    assert_eq!(changed(&mut interface, peers(vec![peer(A, "")])), ["set a [10.1.0.0/24]"]);
    assert_eq!(changed(&mut interface, peers(vec![peer(A, "-10.0.0.0/24")])), ["set a [10.1.0.0/24]"]);
    assert_eq!(
        changed(&mut interface, peers(vec![peer(A, "-10.1.0.0/24 10.2.0.0/24")])),
        ["set a [10.2.0.0/24]"]
    );
    let replaced = PeerChanges { replace_allowed: true, ..peer(A, "10.3.0.0/24 10.3.0.0/24") };
    assert_eq!(changed(&mut interface, peers(vec![replaced])), ["set a [10.3.0.0/24]"]);
}

#[test]
fn peers_are_removed_updated_and_replaced() {
    let mut interface = with_key();
    let absent = PeerChanges { update_only: true, ..peer(A, "10.0.0.1/32") };
    assert_eq!(changed(&mut interface, peers(vec![absent])), [""; 0]);
    let gone = || PeerChanges { remove: true, ..peer(A, "") };
    assert_eq!(changed(&mut interface, peers(vec![gone()])), [""; 0]);
    changed(&mut interface, peers(vec![peer(A, "10.0.0.1/32"), peer(B, "")]));
    assert_eq!(changed(&mut interface, peers(vec![gone()])), ["remove a"]);
    let all = Changes { replace_peers: true, peers: vec![peer(A, "10.0.0.1/32")], ..Changes::default() };
    assert_eq!(changed(&mut interface, all), ["remove b", "set a [10.0.0.1/32]"]);
}

#[test]
fn the_own_key_is_nobodys() {
    let mut interface = with_key();
    let own = PrivateKey::from([1; 32]).public();
    assert_eq!(changed(&mut interface, peers(vec![peer(own, "10.0.0.1/32")])), [""; 0]);
    let later = PrivateKey::from([2; 32]).public();
    changed(&mut interface, peers(vec![peer(later, "10.0.0.1/32")]));
    let sent = changed(&mut interface, Changes { private_key: private(2), ..Changes::default() });
    assert_eq!(sent.len(), 2);
    assert!(sent[0].starts_with("remove") && sent[1] == "key" && !shown(&interface).contains("public_key"));
}

#[test]
fn what_was_set_is_shown_and_a_mark_is_sent_once() {
    let mut interface = with_key();
    let mark = || Changes { fwmark: Some(5), ..Changes::default() };
    assert_eq!(changed(&mut interface, mark()), ["mark 5"]);
    assert_eq!(changed(&mut interface, mark()), [""; 0]);
    let full = PeerChanges {
        preshared_key: Some(Some(PresharedKey::from([2; 32]))),
        keepalive: Some(25),
        endpoint: Some("192.0.2.1:1".parse().unwrap()),
        ..peer(A, "10.0.0.1/32")
    };
    changed(&mut interface, peers(vec![full]));
    changed(&mut interface, peers(vec![peer(A, "10.0.0.2/32")]));
    let text = shown(&interface);
    for line in [
        "fwmark=5",
        "endpoint=192.0.2.1:1",
        "persistent_keepalive_interval=25",
        "allowed_ip=10.0.0.1/32",
        "allowed_ip=10.0.0.2/32",
        "last_handshake_time_sec=0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(text.contains(&format!("preshared_key={}", "02".repeat(32))));
}
