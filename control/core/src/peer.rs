//! Peers: a node adds its peer to a group, says it anew, or takes it away.
//!
//! A node hosts at most one peer per group, so (group, node) finds a peer as surely as (group, member,
//! instance): a node that lost its state and names another instance takes its own peer over, with the same
//! id and host and a new key.

use lacis_proto::{
    Code, Endpoint, Host, MAX_ENDPOINTS, MAX_RELAY_HOMES, MemberId, NodeId, PeerId, PeerReply, PeerRequest,
    Problem, RelayHome, RelayId, Revision,
};

use crate::{
    Decision, Remover, Reply, alloc,
    decision::Effects,
    gateway,
    join::{member_conflict, revoked_node},
    limits, report,
    row::{GroupRow, NodeState, PeerRow, ReleasedHost, Row},
    state::Group,
    text,
};

pub(crate) fn add(mut fx: Effects<'_>, node: &NodeId, request: &PeerRequest) -> Result<Decision, Problem> {
    check_node(&fx, node)?;
    text::check_filled(&request.instance, limits::MAX_INSTANCE_BYTES, "instance")?;
    text::check_label(&request.label, "label")?;
    let grant = (node.clone(), request.group.clone(), request.member.clone());
    let held = fx.state.group(&request.group).filter(|_| fx.state.grants.contains_key(&grant));
    let Some(held) = held.filter(|held| held.members.contains_key(&request.member)) else {
        let message = format!(
            "{node} has no grant for member {} in group {}; join with a token of that group first",
            request.member, request.group
        );
        return Err(Problem::new(Code::NoGrant, message));
    };
    let mine = held.peer_of(node);
    check_alone(held, node, request, mine)?;
    let said = PeerRow {
        id: mine.map_or_else(|| PeerId::from_random(fx.random.draw()), |peer| peer.id.clone()),
        group: request.group.clone(),
        member: request.member.clone(),
        node: Some(node.clone()),
        instance: request.instance.clone(),
        host: mine.map_or(Host(0), |peer| peer.host),
        key: Some(request.key),
        label: request.label.clone(),
        hostname: None,
        parent_event: None,
        endpoints: endpoint_set(&request.endpoints),
        relays: mine.map(|peer| peer.relays.clone()).unwrap_or_default(),
        gateway: mine.map(|peer| peer.gateway.clone()).unwrap_or_default(),
        revision: mine.map_or(Revision(0), |peer| peer.revision),
        node_revision: mine.map_or(Revision(0), |peer| peer.node_revision),
    };
    match mine {
        Some(peer) if *peer == said => {
            let reply = reply(&held.row, &said);
            Ok(fx.unchanged(reply))
        }
        Some(_) => {
            let stated =
                request.statement.as_ref().filter(|stated| report::is_news(&fx, node, &said, stated));
            if let Some(stated) = stated {
                fx.row(Row::Statement(stated.clone()));
            }
            fx.put_peer(said.clone(), false);
            let reply = reply(fx.group(&request.group), &said);
            Ok(fx.finish(reply, "peer.change", said.id.as_str()))
        }
        None => add_new(fx, held, said),
    }
}

pub(crate) fn add_new(mut fx: Effects<'_>, held: &Group, mut peer: PeerRow) -> Result<Decision, Problem> {
    if held.peers.len() >= limits::MAX_PEERS {
        let message = format!("group {} has {} peers, the most it may", held.row.id, limits::MAX_PEERS);
        return Err(Problem::new(Code::LimitReached, message));
    }
    peer.host = alloc::allocate(held, fx.now_ms, fx.applied)?;
    if held.released.contains_key(&peer.host) {
        fx.row(Row::Taken(held.row.id.clone(), peer.host));
    }
    let row = fx.group(&held.row.id);
    row.next_host = row.next_host.max(Host(peer.host.0.saturating_add(1)));
    let reply = reply(row, &peer);
    fx.put_peer(peer.clone(), true);
    Ok(fx.finish(reply, "peer.add", peer.id.as_str()))
}

pub(crate) fn remove(mut fx: Effects<'_>, id: &PeerId, by: &Remover) -> Result<Decision, Problem> {
    let Some(group) = fx.state.group_of(id) else { return Ok(fx.unchanged(Reply::Done)) };
    let held = &fx.state.groups[group];
    let peer = &held.peers[id];
    match by {
        Remover::Node(node) if peer.node.as_ref() != Some(node) => {
            return Err(Problem::new(Code::NotFound, format!("this node has no peer {id}")));
        }
        Remover::Owner { force: false } => gateway::check_one_stays(held, |other| other.id == *id)?,
        Remover::Node(_) | Remover::Owner { force: true } => {}
    }
    take_away(&mut fx, held, peer);
    Ok(fx.finish_in(group, "peer.remove", id.as_str()))
}

/// Takes a peer out of its group and lets its host number rest.
pub(crate) fn release(fx: &mut Effects<'_>, held: &Group, peer: &PeerRow) {
    let (group, host, released_ms) = (held.row.id.clone(), peer.host, fx.now_ms);
    let revision = fx.drop_peer(&group, &peer.id, peer.node.as_ref());
    fx.row(Row::Released(ReleasedHost { group, host, released_ms, revision }));
}

/// Takes a peer out of its group; a member that stands for the node goes with it.
pub(crate) fn take_away(fx: &mut Effects<'_>, held: &Group, peer: &PeerRow) {
    release(fx, held, peer);
    let group = held.row.id.clone();
    let stands_for = held.members.get(&peer.member).and_then(|member| member.of_node.as_ref());
    if let Some(node) = peer.node.as_ref().filter(|node| stands_for == Some(node)) {
        fx.row(Row::GrantGone(node.clone(), group.clone(), peer.member.clone()));
        fx.drop_member(&group, &peer.member);
    }
}

pub(crate) fn check_node(fx: &Effects<'_>, node: &NodeId) -> Result<(), Problem> {
    match fx.state.node(node) {
        Some(row) if row.state == NodeState::Active => Ok(()),
        Some(_) => Err(revoked_node(node)),
        None => Err(Problem::new(Code::UnknownNode, format!("this control knows no {node}"))),
    }
}

/// Endpoints as a set: at most so many, each once, in one order, so that only a real change is an effect.
pub(crate) fn endpoint_set(given: &[Endpoint]) -> Vec<Endpoint> {
    let usable = given.iter().filter(|endpoint| {
        let ip = endpoint.addr.ip();
        endpoint.addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
    });
    let mut set: Vec<Endpoint> = Vec::new();
    for endpoint in usable {
        if set.len() < MAX_ENDPOINTS && !set.contains(endpoint) {
            set.push(*endpoint);
        }
    }
    set.sort_unstable();
    set
}

/// Relays by rank: at most so many, each once, so that only a real change is an effect.
pub(crate) fn home_set(given: &[RelayHome]) -> Vec<RelayHome> {
    let is_relay = |home: &&RelayHome| RelayId::parse(home.relay.as_str()).is_ok();
    let mut homes: Vec<&RelayHome> = given.iter().filter(is_relay).collect();
    homes.sort_by_key(|home| home.rank);
    let mut set: Vec<RelayHome> = Vec::new();
    for home in homes {
        if set.len() < MAX_RELAY_HOMES && set.iter().all(|held| held.relay != home.relay) {
            set.push(home.clone());
        }
    }
    // Ranks are counted anew: a home is 0, whatever its agent wrote.
    set.iter_mut().zip(0..).for_each(|(home, rank)| home.rank = rank);
    set
}

fn check_alone(
    held: &Group,
    node: &NodeId,
    request: &PeerRequest,
    mine: Option<&PeerRow>,
) -> Result<(), Problem> {
    if let Some(peer) = mine.filter(|peer| peer.member != request.member) {
        return Err(member_conflict(node, &peer.member, &request.member, held));
    }
    let is_other = |id: &&PeerId| mine.is_none_or(|mine| mine.id != **id);
    let is_gateways = held.row.gateway_key == Some(request.key);
    if is_gateways || held.peer_with_key(&request.key).filter(is_other).is_some() {
        return Err(key_taken(&held.row.label).in_field("key"));
    }
    if held.instance(&request.member, &request.instance).filter(is_other).is_some() {
        return Err(instance_taken(&request.member, &request.instance));
    }
    Ok(())
}

pub(crate) fn key_taken(group_label: &str) -> Problem {
    let message = format!(
        "the WireGuard key is already used by another peer of group {group_label:?}; make a new key for this one"
    );
    Problem::new(Code::KeyTaken, message)
}

fn instance_taken(member: &MemberId, instance: &str) -> Problem {
    let message = format!(
        "another node already runs instance {instance:?} of member {member}; name this instance differently, or \
         remove the other peer first"
    );
    Problem::new(Code::MemberConflict, message).in_field("instance")
}

pub(crate) fn reply(group: &GroupRow, peer: &PeerRow) -> Reply {
    Reply::Peer(PeerReply {
        peer: peer.id.clone(),
        host: peer.host,
        pool: group.pool,
        prefix6: group.prefix6,
        version: group.revision,
    })
}
