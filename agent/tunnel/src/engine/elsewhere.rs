//! What one engine has for another: with several of them, each has the tunnels of some peers.
//!
//! The route to a peer, the owner of an index and the sender of an initiation all tell which engine is meant. What was
//! passed on once is not passed on again: two engines may differ for a moment about whose a prefix is.

use std::net::IpAddr;
use std::time::Instant;

use ipnetwork::IpNetwork;

use super::inbound::Arrival;
use super::network::Network;
use super::peer::Peer;
use super::respond::Arrived;
use super::slab::Slab;
use super::{Engine, Output};
use crate::mailbox::NetworkId;
use crate::packet;
use crate::part::Part;
use crate::path::Endpoint;
use crate::tun::coalesce::Pieces;
use crate::udp::receive::Message;
use crate::wire;

/// Something small that another engine is to do.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Answer an admitted initiation of a peer of its.
    Initiation(Box<Arrived>),
    /// Nobody knows the data that came from here; maybe a peer of its is there.
    Nudge(Endpoint),
    /// Send a packet on that came from a peer of this one's to a peer of its.
    Forward { network: NetworkId, packet: Box<[u8]> },
    /// A shared prefix is with another peer from now on.
    Prefer { network: NetworkId, prefix: IpNetwork, key: [u8; 32] },
    /// This peer is silent: what it shares is with others.
    PassOn { network: NetworkId, key: [u8; 32] },
    /// Probe the peer of its that has this address.
    Probe { network: NetworkId, target: IpAddr, ident: u16, seq: u16 },
}

/// Returns the queue of the device in which an engine writes a flow.
///
/// The kernel puts what it sends in a flow in the queue where the other direction was written last. So an engine writes
/// in its own, and answers come to it. But what the kernel forwards from peer to peer is written in both directions:
/// two engines must agree, or the flow's packets would come by turns in two queues and overtake each other.
pub(super) fn queue(part: Part, network: Option<&Network>, peers: &Slab<Peer>, pieces: &Pieces<'_>) -> u8 {
    let own = part.number();
    if part.of() == 1 {
        return own;
    }
    let forwarded_to = || {
        let net = network?;
        let to = packet::addresses(pieces.head())?.destination;
        let peer = net.routes.peer_for(to).filter(|_| !net.addresses.contains(&to))?;
        peers.get(peer).map(|state| state.owner)
    };
    forwarded_to().map_or(own, |other| own.min(other))
}

impl Engine {
    /// Does what another engine asks for.
    pub(crate) fn on_errand(&mut self, now: Instant, errand: Errand, out: &mut dyn Output) {
        self.now = now;
        match errand {
            Errand::Initiation(arrived) => self.greet(now, *arrived, out),
            Errand::Nudge(from) => self.nudge_own(now, &from, out),
            Errand::Forward { network, packet } => self.forward_passed(now, network, &packet, out),
            Errand::Prefer { network, prefix, key } => self.prefer_here(network, prefix, &key),
            Errand::PassOn { network, key } => self.pass_on_here(network, &key),
            Errand::Probe { network, target, ident, seq } => {
                self.probe_own(now, network, (target, ident, seq), out);
            }
        }
    }

    /// Takes a frame that another engine read from the device of a network.
    pub(crate) fn on_passed_frame(
        &mut self,
        now: Instant,
        network: NetworkId,
        frame: &mut [u8],
        length: usize,
        out: &mut dyn Output,
    ) {
        self.now = now;
        let taken = self.slot(network).map(|network| self.take_frame(now, network, frame, length, out));
        if !matches!(taken, Some(None)) {
            self.counters.drop_no_route += 1;
        }
    }

    /// Takes those datagrams of a message that are this engine's; the other engine saw to the rest.
    pub(crate) fn on_passed_message(&mut self, now: Instant, message: &Message<'_>, out: &mut dyn Output) {
        self.now = now;
        let mut arrival = Arrival::of(message);
        for datagram in message.datagrams() {
            let Some(datagram) = self.unframed(datagram, &mut arrival) else { continue };
            let receiver = wire::classify(datagram).and_then(wire::Message::receiver);
            if receiver.is_some_and(|receiver| Part::named_by(receiver) == self.part.number()) {
                self.on_datagram(now, datagram, &mut arrival, out);
            }
        }
    }

    /// Returns which other engine has the peer that owns an overlay address.
    pub(super) fn owner_of(&mut self, network: u32, address: IpAddr) -> Option<u8> {
        let generation = self.generation;
        let peer = self.networks.get_mut(network)?.route(address, generation)?;
        self.peers.get(peer).map(|state| state.owner).filter(|owner| *owner != self.part.number())
    }

    /// Looks for a peer of any engine at a place from which data came that nobody can open.
    pub(super) fn nudge(&mut self, now: Instant, from: &Endpoint, out: &mut dyn Output) {
        self.nudge_own(now, from, out);
        // Strangers can make us do this: others are told only so often.
        if self.part.of() > 1 && self.nudges.take(now) {
            for other in self.part.others() {
                out.pass(other, Errand::Nudge(*from));
            }
        }
    }
}
