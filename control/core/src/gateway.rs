//! Gateways: which agents are, by what key plain clients know them, and where they dial them.
//!
//! ```text
//!  offered by the agent ─┐
//!  chosen by an owner ───┴▶ wanted ─▶ its agent makes the group's key, or is given it by another gateway ─▶ serves
//! ```
//! The group's gateway key is the first that a wanted gateway tells; from then on it stays, so that files which name it
//! stay true. Control knows the public half alone. A gateway that tells another key serves once it holds that one.
//!
//! Only an owner's word retires the key ([`rotate`]): the group then has none, and takes the first that was made since.
//! The retired one is refused at once, without a time in which both count: who asks for that fears that somebody else
//! has it, and to a client whose file still names it that somebody is the gateway.

use lacis_proto::{Code, DialAddress, GatewayReport, GroupId, PeerId, Problem, PublicKey};

use crate::{
    Decision, Reply,
    decision::Effects,
    member,
    row::{GatewayRow, GroupRow, PeerRow},
    state::Group,
    wg_quick::{best_endpoint, by_host},
};

/// What an owner says of a peer as a gateway; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct GatewayEdit {
    /// Whether it is to be one, whatever its agent offers.
    pub chosen: Option<bool>,
    /// Where clients dial it; `Some(None)` takes the word back.
    pub endpoint: Option<Option<DialAddress>>,
    /// Whether it may cease to be one though it is the last, and plain clients come in by it.
    pub force: bool,
}

/// Where the plain clients of a group come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// The key that all gateways have.
    pub key: PublicKey,
    /// Where to dial, as `HOST:PORT`.
    pub endpoint: String,
}

impl GatewayRow {
    /// Whether the peer is to be a gateway.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.chosen.unwrap_or(self.offered)
    }

    /// The group's gateway key, where the peer is a gateway and its agent holds it.
    #[must_use]
    pub fn serves(&self) -> Option<PublicKey> {
        self.key.filter(|_| self.is_wanted())
    }

    /// Where clients dial it, if that was said: an owner's word before the agent's.
    #[must_use]
    pub fn dialled(&self) -> Option<&DialAddress> {
        self.endpoint.as_ref().or(self.told_endpoint.as_ref())
    }
}

/// Where plain clients of a group come in, if they can: where it was said first, else at the gateway of the lowest host
/// number that has an endpoint.
#[must_use]
pub fn front(group: &Group) -> Option<Front> {
    let serving = || by_host(group).filter_map(|peer| Some((peer, peer.gateway.serves()?)));
    let said = serving().find_map(|(peer, key)| Some((key, peer.gateway.dialled()?.to_string())));
    let found = || serving().find_map(|(peer, key)| Some((key, dialled_at(peer)?)));
    said.or_else(found).map(|(key, endpoint)| Front { key, endpoint })
}

/// Where clients can dial a gateway, as `HOST:PORT`: where it was said, else at its best endpoint.
#[must_use]
pub fn dialled_at(peer: &PeerRow) -> Option<String> {
    let said = peer.gateway.dialled().map(ToString::to_string);
    said.or_else(|| best_endpoint(peer).map(|endpoint| endpoint.addr.to_string()))
}

/// An owner chooses a gateway, or says where it is dialled.
pub(crate) fn edit(
    mut fx: Effects<'_>,
    group: &GroupId,
    id: &PeerId,
    edit: &GatewayEdit,
) -> Result<Decision, Problem> {
    let held = member::held(fx.state, group)?;
    let Some(peer) = held.peers.get(id) else {
        return Err(Problem::new(Code::NotFound, format!("group {group} has no peer {id}")));
    };
    if peer.node.is_none() {
        let message = format!("peer {id} has no agent, and an agent is what makes a gateway");
        return Err(Problem::new(Code::BadRequest, message).in_field("gateway"));
    }
    let mut gateway = peer.gateway.clone();
    gateway.chosen = edit.chosen.or(gateway.chosen);
    if let Some(endpoint) = &edit.endpoint {
        gateway.endpoint.clone_from(endpoint);
    }
    if !edit.force && !gateway.is_wanted() {
        check_one_stays(held, |other| other.id == *id)?;
    }
    if gateway == peer.gateway {
        return Ok(fx.unchanged(Reply::At(held.row.revision)));
    }
    fx.put_peer(PeerRow { gateway, ..peer.clone() }, false);
    Ok(fx.finish_in(group, "gateway.edit", id.as_str()))
}

/// Refuses to take the last gateway that serves from the plain clients that stay.
pub(crate) fn check_one_stays(held: &Group, goes: impl Fn(&PeerRow) -> bool) -> Result<(), Problem> {
    let (going, staying): (Vec<&PeerRow>, Vec<&PeerRow>) = held.peers.values().partition(|peer| goes(peer));
    let serves = |peer: &&&PeerRow| peer.gateway.serves().is_some();
    let clients = staying.iter().filter(|peer| is_client(peer)).count();
    let Some(last) = going.iter().find(serves) else { return Ok(()) };
    if clients == 0 || staying.iter().any(|peer| serves(&peer)) {
        return Ok(());
    }
    let message = format!(
        "{} is the last gateway of the group, and {clients} plain WireGuard clients come in by it alone; \
         make another peer a gateway first, or force it",
        last.label
    );
    Err(Problem::new(Code::LastGateway, message).in_field("gateway"))
}

/// How many plain clients a group has.
#[must_use]
pub fn clients(group: &Group) -> usize {
    group.peers.values().filter(|peer| is_client(peer)).count()
}

/// Whether a peer is a plain client: it has a key and no agent.
const fn is_client(peer: &PeerRow) -> bool {
    peer.node.is_none() && peer.key.is_some()
}

/// Retires the gateway key of a group. Where it has another one, or none, this one is retired already.
pub(crate) fn rotate(mut fx: Effects<'_>, group: &GroupId, key: &PublicKey) -> Result<Decision, Problem> {
    let held = member::held(fx.state, group)?;
    if held.row.gateway_key != Some(*key) {
        return Ok(fx.unchanged(Reply::At(held.row.revision)));
    }
    let gateway_rotations = held.row.gateway_rotations.saturating_add(1);
    fx.change_group(GroupRow { gateway_key: None, gateway_rotations, ..held.row.clone() });
    for peer in held.peers.values().filter(|peer| peer.gateway.key.is_some()) {
        let gateway = GatewayRow { key: None, ..peer.gateway.clone() };
        fx.put_peer(PeerRow { gateway, ..peer.clone() }, false);
    }
    Ok(fx.finish_in(group, "gateway.rotate-key", group.as_str()))
}

/// What a report makes of a peer as a gateway, and of the group where it brings the group's key.
pub(crate) fn told(
    held: &Group,
    peer: &PeerRow,
    said: Option<&GatewayReport>,
) -> (GatewayRow, Option<GroupRow>) {
    let said = said.cloned().unwrap_or_default();
    let mut gateway =
        GatewayRow { offered: said.offered, told_endpoint: said.endpoint, key: None, ..peer.gateway.clone() };
    let is_free = |key: &PublicKey| gateway.is_wanted() && held.peer_with_key(key).is_none();
    let is_new = held.row.gateway_key.is_none() && said.rotations >= held.row.gateway_rotations;
    let first = said.key.filter(|key| is_new && is_free(key));
    let of_group = first.or(held.row.gateway_key);
    gateway.key = said.key.filter(|key| of_group == Some(*key));
    (gateway, first.map(|key| GroupRow { gateway_key: Some(key), ..held.row.clone() }))
}
