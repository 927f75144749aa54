//! Reports: a node tells where its peers can be reached, and states their keys.
//!
//! Only a set of endpoints or of relays that differs from the last is an effect, or news of a gateway, and only that
//! spends a revision. A statement is kept for whoever asks and is in no scope. Peers that the node does not host, and statements that do not fit,
//! are passed over: the report may have crossed a change.

use lacis_proto::{NodeId, PeerReport, Problem, SignedStatement};

use crate::{
    Decision, Reply,
    decision::Effects,
    gateway,
    peer::{check_node, endpoint_set, home_set},
    row::{PeerRow, Row},
};

pub(crate) fn report(mut fx: Effects<'_>, node: &NodeId, peers: &[PeerReport]) -> Result<Decision, Problem> {
    check_node(&fx, node)?;
    let (mut changed, mut stated, mut keyed) = (Vec::new(), Vec::new(), Vec::new());
    for said in peers {
        let held =
            fx.state.group_of(&said.peer).and_then(|group| fx.state.group(group)?.peers.get(&said.peer));
        let Some(peer) = held.filter(|peer| peer.node.as_ref() == Some(node)) else { continue };
        if let Some(said) = said.statement.as_ref().filter(|said| is_news(&fx, node, peer, said)) {
            stated.push(said.clone());
        }
        let endpoints = endpoint_set(&said.endpoints);
        let (gateway, group) = gateway::told(&fx.state.groups[&peer.group], peer, said.gateway.as_ref());
        let relays = said.relays.as_deref().map_or_else(|| peer.relays.clone(), home_set);
        let said = PeerRow { endpoints, relays, gateway, ..peer.clone() };
        if said != *peer {
            changed.push(said);
        }
        keyed.extend(group);
    }
    if changed.is_empty() && stated.is_empty() {
        return Ok(fx.unchanged(Reply::Done));
    }
    for said in stated {
        fx.row(Row::Statement(said));
    }
    for group in keyed {
        fx.change_group(group);
    }
    for peer in changed {
        fx.put_peer(peer, false);
    }
    Ok(fx.finish(Reply::Done, "peer.report", node.as_str()))
}

/// Whether a statement is about the peer as it is, newer than the one that is kept, and signed by the node.
pub(crate) fn is_news(fx: &Effects<'_>, node: &NodeId, peer: &PeerRow, said: &SignedStatement) -> bool {
    let stated = &said.statement;
    let kept = fx.state.groups[&peer.group].statements.get(&peer.id);
    stated.group == peer.group
        && stated.peer == peer.id
        && stated.host == peer.host
        && Some(stated.key) == peer.key
        && kept.is_none_or(|kept| stated.serial > kept.statement.serial)
        && fx.state.node(node).is_some_and(|row| said.check(&row.identity).is_ok())
}
