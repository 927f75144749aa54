use super::*;
use proptest::prelude::*;

const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn scope(name: &str) -> Option<u32> {
    (name == "eth0").then_some(7)
}

fn parse(text: &str) -> io::Result<Option<Result<Request, Malformed>>> {
    read(&mut text.as_bytes(), &scope)
}

#[track_caller]
fn changes(body: &str) -> Changes {
    match parse(&format!("set=1\n{body}\n")) {
        Ok(Some(Ok(Request::Set(changes)))) => *changes,
        other => panic!("{body}: {other:?}"),
    }
}

#[track_caller]
fn peer(body: &str) -> PeerChanges {
    changes(&format!("public_key={KEY}\n{body}")).peers.remove(0)
}

#[track_caller]
fn refused(body: &str) {
    let parsed = parse(&format!("{body}\n"));
    assert!(matches!(parsed, Ok(Some(Err(Malformed)))), "{body}: {parsed:?}");
}

#[test]
fn requests_are_told_apart() {
    assert!(matches!(parse("get=1\n\n"), Ok(Some(Ok(Request::Get)))));
    assert!(matches!(parse("counters=1\n\n"), Ok(Some(Ok(Request::Counters)))));
    assert!(matches!(parse(""), Ok(None)));
    for body in ["get=2\n", "set=0\n", "put=1\n", "get\n", "get=1\nlisten_port=1\n", "", "\u{fffd}=1\n"] {
        refused(body);
    }
    refused("set=1\nset=1\n");
}

#[test]
fn a_longer_line_than_any_that_means_something_ends_the_stream() {
    let line = |length: u64| "a".repeat(usize::try_from(length).unwrap());
    let longest = line(limits::UAPI_LINE - 1);
    assert!(matches!(parse(&format!("{longest}\n\n")), Ok(Some(Err(Malformed)))));
    let longer = line(limits::UAPI_LINE);
    assert!(parse(&format!("{longer}\n\n")).is_err());
}

#[test]
fn the_interface_is_changed_line_by_line() {
    let all = changes(&format!("private_key={KEY}\nlisten_port=51820\nfwmark=51820\nreplace_peers=true\n"));
    assert_eq!(all.private_key.unwrap().unwrap().to_bytes(), [1; 32]);
    assert_eq!((all.listen_port, all.fwmark, all.replace_peers), (Some(51820), Some(51820), true));
    let none = changes("");
    assert!(none.private_key.is_none() && none.listen_port.is_none() && !none.replace_peers);
    assert!(changes(&format!("private_key={ZERO}\n")).private_key.unwrap().is_none());
    for line in [
        "listen_port=65536",
        "listen_port=+1",
        "listen_port=",
        "fwmark=0x10",
        "fwmark=4294967296",
        "replace_peers=false",
        "private_key=01",
        "unknown=1",
        "endpoint=192.0.2.1:1",
    ] {
        refused(&format!("set=1\n{line}\n"));
    }
}

#[test]
fn a_peer_is_changed_line_by_line() {
    let all = peer(&format!(
        "remove=true\nupdate_only=true\npreshared_key={KEY}\nendpoint=192.0.2.1:7\n\
         persistent_keepalive_interval=25\nprotocol_version=1\n"
    ));
    assert!(all.key == [1; 32] && all.remove && all.update_only && all.keepalive == Some(25));
    assert_eq!(all.preshared_key.unwrap().unwrap().to_bytes(), [1; 32]);
    assert!(peer(&format!("preshared_key={ZERO}\n")).preshared_key.unwrap().is_none());
    for line in [
        "remove=false",
        "persistent_keepalive_interval=off",
        "protocol_version=2",
        "listen_port=1",
        "public_key=zz",
        "endpoint=192.0.2.1",
        "endpoint=example.org:1",
        "endpoint=[fe80::1%eth9]:1",
        "endpoint=[fe80::1%eth0]:x",
        "allowed_ip=10.0.0.1",
        "allowed_ip=10.0.0.1/33",
        "allowed_ip=10.0.0.0/255.0.0.0",
        "allowed_ip=",
        "preshared_key=é1010101010101010101010101010101010101010101010101010101010101",
    ] {
        refused(&format!("set=1\npublic_key={KEY}\n{line}\n"));
    }
}

#[test]
fn endpoints_have_either_family_and_a_scope_by_name_or_number() {
    for (text, expected) in [
        ("192.0.2.1:51820", "192.0.2.1:51820"),
        ("[2001:db8::1]:1", "[2001:db8::1]:1"),
        ("[fe80::1%3]:1", "[fe80::1%3]:1"),
        ("[fe80::1%eth0]:1", "[fe80::1%7]:1"),
    ] {
        let endpoint = peer(&format!("endpoint={text}\n")).endpoint.unwrap();
        assert_eq!(endpoint.to_string(), expected);
    }
}

#[test]
fn prefixes_are_given_taken_and_replaced_in_order() {
    let changed = peer(
        "allowed_ip=10.9.0.0/16\nreplace_allowed_ips=true\nallowed_ip=10.1.2.3/24\nallowed_ip=-fd00::1/64\n\
         allowed_ip=0.0.0.0/0\n",
    );
    let shown: Vec<String> =
        changed.allowed.iter().map(|(prefix, given)| format!("{prefix} {given:?}")).collect();
    assert!(changed.replace_allowed);
    assert_eq!(shown, ["10.1.2.0/24 Yes", "fd00::/64 Taken", "0.0.0.0/0 Yes"]);
}

#[test]
fn several_peers_follow_each_other() {
    let body = format!("public_key={KEY}\nremove=true\npublic_key={ZERO}\nallowed_ip=10.0.0.1/32\n");
    let peers = changes(&body).peers;
    assert!(peers.len() == 2 && peers[0].remove && !peers[1].remove && peers[1].key == [0; 32]);
}

#[test]
fn a_malformed_request_is_read_to_its_end_and_the_next_one_follows() {
    let text = "set=1\nnonsense\nlisten_port=1\n\nget=1\n\n";
    let mut input = text.as_bytes();
    assert!(matches!(read(&mut input, &scope), Ok(Some(Err(Malformed)))));
    assert!(matches!(read(&mut input, &scope), Ok(Some(Ok(Request::Get)))));
    assert!(matches!(read(&mut input, &scope), Ok(None)));
}

#[test]
fn cut_off_and_endless_requests_end_the_conversation() {
    let endless = "allowed_ip=10.0.0.1/32\n".repeat(limits::UAPI_REQUEST / 20);
    for text in
        ["set=1\nlisten_port=1\n", "get=1", &"x".repeat(300), &format!("set=1\npublic_key={KEY}\n{endless}")]
    {
        assert!(parse(text).is_err(), "{}", &text[..10.min(text.len())]);
    }
}

#[test]
fn what_is_printed_is_what_wg_reads() {
    let (private, preshared) = (PrivateKey::from([1; 32]), PresharedKey::from([2; 32]));
    let mut out = Vec::new();
    let device = DeviceView { private_key: Some(&private), listen_port: 51820, fwmark: 7 };
    write_device(&mut out, &device).unwrap();
    let allowed: Vec<IpNetwork> = vec!["10.0.0.2/32".parse().unwrap(), "fd00::/64".parse().unwrap()];
    let shown = PeerView {
        key: &[3; 32],
        preshared_key: Some(&preshared),
        endpoint: Some("[2001:db8::1]:9".parse().unwrap()),
        last_handshake: std::time::Duration::new(5, 6),
        tx_bytes: 10,
        rx_bytes: 20,
        keepalive: 25,
        allowed: &allowed,
    };
    write_peer(&mut out, &shown).unwrap();
    let expected = format!(
        "private_key={}\nlisten_port=51820\nfwmark=7\npublic_key={}\npreshared_key={}\nprotocol_version=1\n\
         endpoint=[2001:db8::1]:9\nlast_handshake_time_sec=5\nlast_handshake_time_nsec=6\ntx_bytes=10\nrx_bytes=20\n\
         persistent_keepalive_interval=25\nallowed_ip=10.0.0.2/32\nallowed_ip=fd00::/64\n",
        "01".repeat(32),
        "03".repeat(32),
        "02".repeat(32)
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut bare = Vec::new();
    write_device(&mut bare, &DeviceView { private_key: None, listen_port: 0, fwmark: 0 }).unwrap();
    assert_eq!(bare, b"listen_port=0\n");
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
        crate::fuzz::uapi(&bytes);
    }

    #[test]
    fn any_lines_are_parsed_or_refused(
        lines in prop::collection::vec("(private_key|listen_port|public_key|endpoint|allowed_ip|x)=[-0-9a-f.:/%\\[\\]]{0,70}", 0..20)
    ) {
        crate::fuzz::uapi(format!("set=1\n{}\n\n", lines.join("\n")).as_bytes());
    }
}
