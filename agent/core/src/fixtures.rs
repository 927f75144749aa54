//! Small groups for tests: everything follows from a number.

use std::{collections::BTreeMap, sync::Arc};

use ipnetwork::IpNetwork;
use lacis_proto::{
    Assignment, Body, Change, Endpoint, Epoch, GroupId, GroupRecord, Host, KeyUse, MemberId, MemberKind,
    MemberRecord, NodeId, NodeRecord, PeerId, PeerKey, PeerRecord, PublicKey, RecordId, Scope, ScopeId,
    prefix6_of,
};

use crate::{Hosted, Local, Netmap};

pub(crate) fn group(n: u8) -> GroupId {
    GroupId::from_random([n; 16])
}

pub(crate) fn node(n: u8) -> NodeId {
    NodeId::from_random([n; 16])
}

pub(crate) fn peer(n: u8) -> PeerId {
    PeerId::from_random([n; 16])
}

pub(crate) fn key(n: u8) -> PublicKey {
    PublicKey::try_new([n; 32]).unwrap()
}

pub(crate) fn member(name: &str) -> MemberId {
    MemberId::parse(&format!("app_{name}")).unwrap()
}

/// Group `n`: label `shop-n`, pool 10.n.0.0/16.
pub(crate) fn put_group(n: u8) -> Change {
    let record = GroupRecord {
        label: format!("Shop {n}"),
        pool: format!("10.{n}.0.0/16").parse().unwrap(),
        prefix6: prefix6_of(&group(n)),
        suffixes: vec!["lacis.internal".into()],
        gateway_key: None,
        gateway_rotations: 0,
    };
    Change::Put(RecordId::from(&group(n)), Body::Group(record))
}

/// A member with this label, called `app_<name>`.
pub(crate) fn put_member(name: &str, label: &str, domain: &str) -> Change {
    let member_kind = MemberKind::Application;
    let record = MemberRecord { member_kind, label: label.into(), domain: domain.into() };
    Change::Put(RecordId::from(&member(name)), Body::Member(record))
}

/// Peer `n` of a member, on host `n` and node `n`, with key `n`.
pub(crate) fn peer_record(n: u8, of: &str) -> PeerRecord {
    PeerRecord {
        member: member(of),
        node: Some(node(n)),
        host: Host(n.into()),
        label: format!("{of}-{n}"),
        keys: vec![PeerKey { r#use: KeyUse::Current, key: key(n) }],
        endpoints: vec![endpoint(&format!("host 192.0.2.{n}:47820"))],
        relays: Vec::new(),
        routes: Vec::new(),
        gateway: false,
    }
}

pub(crate) fn put_peer(n: u8, of: &str) -> Change {
    put_record(n, peer_record(n, of))
}

pub(crate) fn put_record(n: u8, record: PeerRecord) -> Change {
    Change::Put(RecordId::from(&peer(n)), Body::Peer(record))
}

pub(crate) fn put_assignment(in_group: u8, n: u8, of: &str) -> Change {
    let assignment = Assignment { group: group(in_group), member: member(of), host: Host(n.into()) };
    Change::Put(RecordId::from(&peer(n)), Body::Assignment(assignment))
}

pub(crate) fn put_node(n: u8) -> Change {
    Change::Put(RecordId::from(&node(n)), Body::Node(NodeRecord { label: format!("n{n}") }))
}

/// `<kind> <addr>`.
pub(crate) fn endpoint(text: &str) -> Endpoint {
    use lacis_proto::EndpointKind;
    let (kind, addr) = text.split_once(' ').unwrap();
    let kinds = [
        ("static", EndpointKind::Static),
        ("host", EndpointKind::Host),
        ("portmap", EndpointKind::Portmap),
        ("reflexive", EndpointKind::Reflexive),
        ("unknown", EndpointKind::Unknown),
    ];
    let kind = kinds.into_iter().find(|(name, _)| *name == kind).unwrap().1;
    Endpoint { kind, addr: addr.parse().unwrap() }
}

pub(crate) fn route(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

/// One commit per change, so that every record has a revision of its own.
pub(crate) fn scope(changes: impl IntoIterator<Item = Change>) -> Scope {
    let mut scope = Scope::new(Epoch(1));
    for change in changes {
        scope.commit([change]);
    }
    scope
}

/// Group `n` with peers 5, 6 and 7: 5 and 6 of `web`, 7 of `db`.
pub(crate) fn small_group(n: u8) -> Scope {
    scope([
        put_group(n),
        put_member("web", "Web", ""),
        put_member("db", "db", "db.main.lacis.internal"),
        put_peer(5, "web"),
        put_peer(6, "web"),
        put_peer(7, "db"),
    ])
}

pub(crate) fn netmap(n: u8, scope: &Scope) -> Netmap {
    Netmap::read(&group(n), scope).unwrap()
}

pub(crate) fn netmaps(scopes: &[(u8, &Scope)]) -> BTreeMap<GroupId, Arc<Netmap>> {
    scopes.iter().map(|(n, scope)| (group(*n), Arc::new(netmap(*n, scope)))).collect()
}

/// Peer `n` of `web`, hosted here.
pub(crate) fn hosted(n: u8) -> Hosted {
    Hosted {
        peer: peer(n),
        member: member("web"),
        host: Host(n.into()),
        key: key(n),
        statement: None,
        gateway_key: None,
        gateway_rotations: 0,
        joined_ms: n.into(),
    }
}

/// Node 5, which hosts peer 5 in these groups, joined in this order.
pub(crate) fn local(groups: &[u8]) -> Local {
    let with_order =
        |(order, n): (usize, &u8)| (group(*n), Hosted { joined_ms: order.try_into().unwrap(), ..hosted(5) });
    Local {
        node: node(5),
        mtu: 1400,
        hosted: groups.iter().enumerate().map(with_order).collect(),
        offer: None,
    }
}

pub(crate) fn group_scope(n: u8) -> ScopeId {
    ScopeId::from(&group(n))
}

pub(crate) fn node_scope(n: u8) -> ScopeId {
    ScopeId::from(&node(n))
}
