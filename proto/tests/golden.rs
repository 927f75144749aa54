//! Each message once, frozen: what is read is printed again byte for byte, and what is signed or
//! derived has the bytes that stand here. A changed byte is a new protocol version.

#![expect(clippy::unwrap_used, reason = "a test may panic; helpers outside of test functions are part of it")]

use std::{collections::BTreeMap, fmt::Debug, fmt::Write as _, fs, path::Path};

use ed25519_dalek::{Signer as _, SigningKey};
use lacis_proto::{
    Authorization, Body, Change, ControlId, Epoch, Grant, GroupId, Host, IdentityKey, JoinReply, JoinRequest,
    JoinToken, Line, MemberId, NodeId, PeerId, PeerReply, PeerRequest, PeerStatement, Pin, Problem,
    ProofsReply, ProofsRequest, PublicKey, Record, ReportReply, ReportRequest, Scope, Secret, Signature,
    Signer, TokenId, WatchRequest, member_name, overlay_addrs, peer_name, prefix6_of, request_bytes, verify,
};
use serde::{Serialize, de::DeserializeOwned};

const GROUP: &str = "ng_0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
const MEMBER: &str = "app_11111111-2222-4333-8444-555555555555";
const NODE: &str = "node_aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
const PEER: &str = "01234567-89ab-4cde-8f01-23456789abcd";
const NOW: u64 = 1_795_323_600_000;

fn golden(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn prints_as_it_reads<T: Serialize + DeserializeOwned + Debug>(text: &str) -> T {
    let value: T = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(serde_json::to_string(&value).unwrap(), text);
    value
}

#[test]
fn bodies_print_as_they_read() {
    prints_as_it_reads::<JoinRequest>(golden("join_request.json").trim_end());
    prints_as_it_reads::<JoinReply>(golden("join_reply.json").trim_end());
    prints_as_it_reads::<PeerRequest>(golden("peer_request.json").trim_end());
    prints_as_it_reads::<PeerReply>(golden("peer_reply.json").trim_end());
    prints_as_it_reads::<WatchRequest>(golden("watch_request.json").trim_end());
    prints_as_it_reads::<ReportRequest>(golden("report_request.json").trim_end());
    prints_as_it_reads::<ReportReply>(golden("report_reply.json").trim_end());
    prints_as_it_reads::<ProofsRequest>(golden("proofs_request.json").trim_end());
    let reply = prints_as_it_reads::<ProofsReply>(golden("proofs_reply.json").trim_end());
    reply.proofs[0].said.check(&reply.proofs[0].identity).unwrap();
    prints_as_it_reads::<Problem>(golden("problem.json").trim_end());
}

#[test]
fn records_print_as_they_read_and_only_rules_are_unknown() {
    for text in golden("records.ndjson").lines() {
        let record: Record = prints_as_it_reads(text);
        assert_eq!(matches!(record.body, Body::Unknown(_)), text.contains("\"rule\""), "{text}");
    }
}

#[test]
fn lines_print_as_they_read() {
    for text in [golden("lines.ndjson"), golden("lines_added.ndjson")].concat().lines() {
        let line: Line = prints_as_it_reads(text);
        assert_eq!(line.encode(), format!("{text}\n").into_bytes());
        assert_eq!(Line::parse(text.as_bytes()), Ok(line));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Everything derived, signed or sealed in a fixed way, by name.
fn derived() -> BTreeMap<&'static str, String> {
    let key = SigningKey::from_bytes(&[42; 32]);
    let identity = IdentityKey::try_new(key.verifying_key().to_bytes()).unwrap();
    let group = GroupId::parse(GROUP).unwrap();
    let (member, node) = (MemberId::parse(MEMBER).unwrap(), NodeId::parse(NODE).unwrap());
    let peer = PeerId::parse(PEER).unwrap();
    let control = ControlId::of(&identity);
    let sign = |bytes: &[u8]| {
        let signature = Signature(key.sign(bytes).to_bytes());
        verify(&identity, bytes, &signature).unwrap();
        signature
    };
    let request = request_bytes("POST", "/agent/v1/watch", NOW, b"{}", control.as_str());
    let grant = Grant {
        control: control.clone(),
        node: node.clone(),
        group: group.clone(),
        member: member.clone(),
        issued_ms: NOW,
    };
    let wg = PublicKey::try_new([7; 32]).unwrap();
    let statement =
        PeerStatement { group: group.clone(), peer: peer.clone(), host: Host(5), key: wg, serial: 1 };
    let header = Authorization { signer: Signer::Node(node), unix_ms: NOW, signature: sign(&request) };
    let addrs = overlay_addrs("10.128.0.0/16".parse().unwrap(), prefix6_of(&group), Host(5)).unwrap();
    let token = JoinToken {
        id: TokenId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8]),
        secret: Secret::new([2; 32]),
        pins: vec![Pin::try_new([3; 32]).unwrap()],
        urls: vec!["https://192.0.2.1:8443".into(), "https://[2001:db8::1]:8443".into()],
    };
    let mut scope = Scope::new(Epoch(0x7f3a));
    let record: Record = serde_json::from_str(golden("records.ndjson").lines().next().unwrap()).unwrap();
    scope.commit([Change::Put(record.id, record.body)]);
    BTreeMap::from([
        ("identity", identity.to_string()),
        ("control_id", control.to_string()),
        ("request_bytes", hex(&request)),
        ("request_header", header.to_string()),
        ("grant_bytes", hex(&grant.signed_bytes())),
        ("grant_signature", sign(&grant.signed_bytes()).to_string()),
        ("statement_bytes", hex(&statement.signed_bytes())),
        ("statement_signature", sign(&statement.signed_bytes()).to_string()),
        ("overlay_v4", addrs.v4.to_string()),
        ("overlay_v6", addrs.v6.to_string()),
        ("member_name", member_name(&member, &group, "lacis.internal")),
        ("peer_name", peer_name(&peer, &group, "lacis.internal")),
        ("join_token", token.to_string()),
        ("join_token_secret_hash", hex(&token.secret.hash())),
        ("cursor", scope.cursor().to_string()),
    ])
}

#[test]
fn derived_values_and_signatures_are_frozen() {
    let frozen: BTreeMap<String, String> = serde_json::from_str(&golden("derived.json")).unwrap();
    let now: BTreeMap<String, String> = derived().into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    assert_eq!(now, frozen, "{}", serde_json::to_string_pretty(&now).unwrap());
}

#[test]
fn the_frozen_join_token_still_reads() {
    let token: JoinToken = derived()["join_token"].parse().unwrap();
    assert_eq!(token.urls.len(), 2);
}
