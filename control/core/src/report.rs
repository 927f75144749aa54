//! Reports: a node tells where its peers can be reached.
//!
//! Only a set of endpoints that differs from the last is an effect. Peers that the node does not host are
//! passed over: the report may have crossed their removal.

use lacis_proto::{NodeId, PeerReport, Problem};

use crate::{
    Decision, Reply,
    decision::Effects,
    peer::{check_node, endpoint_set},
    row::PeerRow,
};

pub(crate) fn report(mut fx: Effects<'_>, node: &NodeId, peers: &[PeerReport]) -> Result<Decision, Problem> {
    check_node(&fx, node)?;
    let mut changed = Vec::new();
    for said in peers {
        let held =
            fx.state.group_of(&said.peer).and_then(|group| fx.state.group(group)?.peers.get(&said.peer));
        let Some(peer) = held.filter(|peer| peer.node.as_ref() == Some(node)) else { continue };
        let endpoints = endpoint_set(&said.endpoints);
        if endpoints != peer.endpoints {
            changed.push(PeerRow { endpoints, ..peer.clone() });
        }
    }
    if changed.is_empty() {
        return Ok(fx.unchanged(Reply::Done));
    }
    for peer in changed {
        fx.put_peer(peer, false);
    }
    Ok(fx.finish(Reply::Done, "peer.report", node.as_str()))
}
