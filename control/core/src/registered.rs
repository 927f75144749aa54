//! Registered peers: those that a client of the management API names, without an agent that speaks for them.
//!
//! An external peer gets its id here and is found again by its key; any other is found by the id that its
//! client chose. Registering one again is a change where something differs, and nothing where nothing does.

use std::net::{IpAddr, SocketAddr};

use lacis_proto::{
    Code, Endpoint, EndpointKind, GroupId, Host, MemberId, PeerId, Problem, PublicKey, Revision,
};

use crate::{
    Decision, Reply,
    decision::Effects,
    limits, member, peer,
    row::{GatewayRow, PeerRow},
    state::Group,
    text,
};

/// A peer as a client registers it.
#[derive(Clone, Debug)]
pub struct NewPeer {
    /// The group.
    pub group: GroupId,
    /// Its id, where the client chose one; without one it is an external peer and its key names it.
    pub id: Option<PeerId>,
    /// The member that it is an instance of.
    pub member: MemberId,
    /// Its WireGuard key, where it is known.
    pub key: Option<PublicKey>,
    /// What people call it.
    pub label: Option<String>,
    /// Its host name, for people.
    pub hostname: Option<String>,
    /// What made it, in the client's words.
    pub parent_event: Option<String>,
    /// Where it can be dialled; nowhere for a peer that only dials.
    pub endpoints: Vec<Endpoint>,
}

pub(crate) fn register(mut fx: Effects<'_>, new: &NewPeer) -> Result<Decision, Problem> {
    let held = member::held(fx.state, &new.group)?;
    if !held.members.contains_key(&new.member) {
        let message = format!("group {} has no member {}; link it first", new.group, new.member);
        return Err(Problem::new(Code::NotFound, message).in_field("parentMember"));
    }
    check_text(new)?;
    let known = known(&fx, held, new)?;
    check_key(held, new, known)?;
    let id = known.map(|peer| peer.id.clone()).or_else(|| new.id.clone());
    let id = id.unwrap_or_else(|| PeerId::external_from_random(fx.random.draw()));
    let said = PeerRow {
        group: new.group.clone(),
        member: new.member.clone(),
        node: None,
        instance: id.to_string(),
        host: known.map_or(Host(0), |peer| peer.host),
        key: new.key.or_else(|| known.and_then(|peer| peer.key)),
        label: new.label.clone().unwrap_or_else(|| known.map_or(id.to_string(), |peer| peer.label.clone())),
        hostname: new.hostname.clone().or_else(|| known.and_then(|peer| peer.hostname.clone())),
        parent_event: new.parent_event.clone().or_else(|| known.and_then(|peer| peer.parent_event.clone())),
        endpoints: peer::endpoint_set(&new.endpoints),
        relays: Vec::new(),
        gateway: GatewayRow::default(),
        revision: known.map_or(Revision(0), |peer| peer.revision),
        node_revision: Revision(0),
        id,
    };
    match known {
        None => peer::add_new(fx, held, said),
        Some(known) if *known == said => {
            let reply = peer::reply(&held.row, &said);
            Ok(fx.unchanged(reply))
        }
        Some(_) => Ok(change(fx, said)),
    }
}

/// What is said anew of a registered peer; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct PeerEdit {
    /// What people call it.
    pub label: Option<String>,
    /// Its WireGuard key.
    pub key: Option<PublicKey>,
    /// The address where it can be dialled.
    pub ip: Option<IpAddr>,
    /// The UDP port where it can be dialled.
    pub port: Option<u16>,
}

pub(crate) fn edit(
    fx: Effects<'_>,
    group: &GroupId,
    id: &PeerId,
    edit: &PeerEdit,
) -> Result<Decision, Problem> {
    let held = member::held(fx.state, group)?;
    let Some(known) = held.peers.get(id) else {
        return Err(Problem::new(Code::NotFound, format!("group {group} has no peer {id}")));
    };
    let new = NewPeer {
        group: group.clone(),
        id: Some(id.clone()),
        member: known.member.clone(),
        key: edit.key,
        label: edit.label.clone(),
        hostname: None,
        parent_event: None,
        endpoints: edited_endpoints(known, edit)?,
    };
    register(fx, &new)
}

fn edited_endpoints(known: &PeerRow, edit: &PeerEdit) -> Result<Vec<Endpoint>, Problem> {
    if edit.ip.is_none() && edit.port.is_none() {
        return Ok(known.endpoints.clone());
    }
    let now = known.endpoints.first().map(|endpoint| endpoint.addr);
    let missing = |field: &str| {
        let message = format!("{field} is missing: a peer that can be dialled has both ip and port");
        Problem::new(Code::BadRequest, message).in_field(field)
    };
    let ip = edit.ip.or_else(|| now.map(|now| now.ip())).ok_or_else(|| missing("ip"))?;
    let port = edit.port.or_else(|| now.map(|now| now.port())).ok_or_else(|| missing("port"))?;
    Ok(vec![Endpoint { kind: EndpointKind::Static, addr: SocketAddr::new(ip, port) }])
}

/// Stores a peer that differs from what is known of it.
pub(crate) fn change(mut fx: Effects<'_>, peer: PeerRow) -> Decision {
    let (group, id) = (peer.group.clone(), peer.id.clone());
    fx.put_peer(peer.clone(), false);
    let reply: Reply = peer::reply(fx.group(&group), &peer);
    fx.finish(reply, "peer.change", id.as_str())
}

/// The registered peer that a client means: by the id it chose, else by the key.
fn known<'a>(fx: &Effects<'a>, held: &'a Group, new: &NewPeer) -> Result<Option<&'a PeerRow>, Problem> {
    let conflict = |message: String, field: &str| Err(Problem::new(Code::IdTaken, message).in_field(field));
    let Some(id) = &new.id else {
        let holder = new.key.as_ref().and_then(|key| held.peer_with_key(key)).map(|id| &held.peers[id]);
        // A key of another member or of an agent is taken, which the check of keys tells.
        return Ok(holder.filter(|peer| peer.node.is_none() && peer.member == new.member));
    };
    let Some(peer) = held.peers.get(id) else {
        if fx.state.group_of(id).is_some() {
            return conflict(format!("the id {id} cannot be used; choose another"), "id");
        }
        return Ok(None);
    };
    if peer.node.is_some() {
        return conflict(format!("peer {id} is run by an agent, which alone changes it"), "id");
    }
    if peer.member != new.member {
        let message = format!("peer {id} is an instance of member {}; remove it first", peer.member);
        return conflict(message, "parentMember");
    }
    Ok(Some(peer))
}

fn check_key(held: &Group, new: &NewPeer, known: Option<&PeerRow>) -> Result<(), Problem> {
    let holder = new.key.as_ref().and_then(|key| held.peer_with_key(key));
    let is_gateways = new.key.is_some() && new.key == held.row.gateway_key;
    if is_gateways || holder.is_some_and(|holder| known.is_none_or(|known| known.id != *holder)) {
        return Err(peer::key_taken(&held.row.label).in_field("publicKey"));
    }
    Ok(())
}

fn check_text(new: &NewPeer) -> Result<(), Problem> {
    if let Some(label) = &new.label {
        text::check_label(label, "label")?;
    }
    if let Some(hostname) = &new.hostname {
        text::check(hostname, limits::MAX_HOST_NAME_BYTES, "hostname")?;
    }
    if let Some(event) = &new.parent_event {
        text::check(event, limits::MAX_LABEL_CHARS, "parentEvent")?;
    }
    Ok(())
}
