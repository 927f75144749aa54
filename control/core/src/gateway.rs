//! Gateways: which agents are, by what key plain clients know them, and where they dial them.
//!
//! ```text
//!  offered by the agent ─┐
//!  chosen by an owner ───┴▶ wanted ─▶ its agent makes the group's key, or is given it by another gateway ─▶ serves
//! ```
//! The group's gateway key is the first that a wanted gateway tells; from then on it stays, so that files which name it
//! stay true. Control knows the public half alone. A gateway that tells another key serves once it holds that one.

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
    let found = || serving().find_map(|(peer, key)| Some((key, best_endpoint(peer)?.addr.to_string())));
    said.or_else(found).map(|(key, endpoint)| Front { key, endpoint })
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
    if gateway == peer.gateway {
        return Ok(fx.unchanged(Reply::At(held.row.revision)));
    }
    fx.put_peer(PeerRow { gateway, ..peer.clone() }, false);
    Ok(fx.finish_in(group, "gateway.edit", id.as_str()))
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
    let first = said.key.filter(|key| held.row.gateway_key.is_none() && is_free(key));
    let of_group = first.or(held.row.gateway_key);
    gateway.key = said.key.filter(|key| of_group == Some(*key));
    (gateway, first.map(|key| GroupRow { gateway_key: Some(key), ..held.row.clone() }))
}
