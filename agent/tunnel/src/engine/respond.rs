//! Handshake messages from the wire: initiations of others, answers to ours.
//!
//! Each is checked in the order of cost: the first authenticator against every key of this node, then load and cookie,
//! then who sent it, and only then the protocol itself.

use std::time::Instant;

use super::handshake::{MESSAGE, send_message};
use super::inbound::Arrival;
use super::peer::Reply;
use super::{Engine, Errand, Output};
use crate::limits;
use crate::mailbox::NetworkId;
use crate::path::Endpoint;
use crate::tunnel::{Admission, Opened};
use crate::wire;

/// An initiation that was admitted.
#[derive(Debug)]
pub(crate) struct Arrived {
    network: NetworkId,
    /// Whether it is for the gateway's key.
    client: bool,
    message: [u8; wire::INITIATION],
    from: Endpoint,
    /// Who sent it, as far as that was read.
    initiator: Option<[u8; 32]>,
}

impl Arrived {
    pub(super) fn new(
        (network, client): (NetworkId, bool),
        message: [u8; wire::INITIATION],
        from: Endpoint,
    ) -> Self {
        Self { network, client, message, from, initiator: None }
    }
}

impl Engine {
    /// An initiation: whose is it, and is the sender who it says?
    pub(super) fn on_initiation(
        &mut self,
        now: Instant,
        message: &[u8],
        arrival: &Arrival,
        out: &mut dyn Output,
    ) {
        let (mut answer, from) = ([0; MESSAGE], &arrival.from);
        let admitted =
            self.by_id.iter().filter(|(_, slot)| arrival.may_be_for(**slot)).find_map(|(id, slot)| {
                let net = self.networks.get_mut(*slot)?;
                let gates = [(false, Some(&mut net.gate)), (true, net.front.as_mut())];
                gates.into_iter().find_map(|(client, gate)| {
                    let admission = gate?.admit(now, from.remote, message, &mut answer);
                    (admission != Admission::Refused).then_some(((*id, client), admission))
                })
            });
        match admitted {
            Some((network, Admission::Welcome)) => {
                let Some(message) = message.first_chunk() else { return };
                self.greet(now, Arrived::new(network, *message, *from), out);
            }
            Some((_, Admission::Cookie(length))) => {
                self.counters.cookies_out += 1;
                send_message(from, &answer[..length], out);
            }
            Some((_, Admission::Refused)) | None => self.counters.drop_handshake += 1,
        }
    }

    /// Answers an admitted initiation, or keeps it for a later turn. Its sender repeats it anyway if there are too many.
    pub(super) fn greet(&mut self, now: Instant, arrived: Arrived, out: &mut dyn Output) {
        if self.answers_left > 0 {
            self.answers_left -= 1;
            self.meet(now, arrived, out);
        } else if self.arrivals.len() < limits::HANDSHAKES_WAITING {
            self.counters.handshakes_deferred += 1;
            self.arrivals.push_back(arrived);
        } else {
            self.counters.drop_handshakes_full += 1;
        }
    }

    /// Answers initiations that waited, as many as this turn allows.
    pub(super) fn answer_arrivals(&mut self, now: Instant, out: &mut dyn Output) {
        while self.answers_left > 0
            && let Some(arrived) = self.arrivals.pop_front()
        {
            self.answers_left -= 1;
            self.meet(now, arrived, out);
        }
    }

    /// Answers an admitted initiation when it is from a peer of the network, or has the engine do so that has the peer.
    fn meet(&mut self, now: Instant, arrived: Arrived, out: &mut dyn Output) {
        let known = self.slot(arrived.network).and_then(|slot| self.networks.get(slot)).and_then(|net| {
            let key = arrived.initiator.or_else(|| net.gate(arrived.client)?.initiator(&arrived.message))?;
            let peer = *net.by_key.get(&key)?;
            let fits = self.peers.get(peer).is_some_and(|state| state.client == arrived.client);
            fits.then_some((key, peer))
        });
        let Some((key, peer)) = known else {
            self.counters.drop_handshake += 1;
            return;
        };
        if !self.part.has(&key) {
            let arrived = Arrived { initiator: Some(key), ..arrived };
            return out.pass(self.part.owner(&key), Errand::Initiation(Box::new(arrived)));
        }
        if self.open_tunnel(now, peer, out) {
            self.respond(now, peer, &arrived.message, &arrived.from, out);
        } else {
            self.counters.drop_handshake += 1;
        }
    }

    fn respond(&mut self, now: Instant, peer: u32, message: &[u8], from: &Endpoint, out: &mut dyn Output) {
        let Some(live) = self.peers.get_mut(peer).and_then(|state| state.live.as_mut()) else { return };
        let copy = live.reply.as_ref().filter(|reply| {
            reply.initiation == *message && now.saturating_duration_since(reply.made) < limits::REPLY_CACHE
        });
        if let Some(reply) = copy {
            send_message(from, &reply.response, out);
            self.counters.responses_out += 1;
            return;
        }
        let mut answer = [0; MESSAGE];
        let Opened::Reply(length) = live.protocol.open(now, from.remote, message, &mut answer) else {
            self.counters.drop_handshake += 1;
            return;
        };
        let (Some(initiation), Some(response)) = (message.first_chunk(), answer[..length].first_chunk())
        else {
            return;
        };
        live.confirming = Some(u32::from_le_bytes([response[4], response[5], response[6], response[7]]));
        live.reply = Some(Box::new(Reply { initiation: *initiation, response: *response, made: now }));
        live.last_data = now;
        if live.protocol.is_up() {
            // The peer renews the session; a renewal of ours beside it would only be a second one.
            live.end_round();
        }
        send_message(from, response, out);
        self.counters.responses_out += 1;
    }

    /// A response to an initiation of ours.
    pub(super) fn on_response(
        &mut self,
        now: Instant,
        receiver: u32,
        message: &[u8],
        arrival: &Arrival,
        out: &mut dyn Output,
    ) {
        let (mut answer, from) = ([0; MESSAGE], &arrival.from);
        let known = self.indices.owner(receiver).and_then(|peer| Some((peer, self.peers.get_mut(peer)?)));
        let Some((peer, state)) = known.filter(|(_, state)| arrival.may_be_for(state.network)) else {
            self.counters.drop_unknown_index += 1;
            return;
        };
        let (Some(live), Some(net)) = (state.live.as_mut(), self.networks.get_mut(state.network)) else {
            return;
        };
        let Some(gate) = (if state.client { net.front.as_mut() } else { Some(&mut net.gate) }) else {
            return;
        };
        match gate.admit(now, from.remote, message, &mut answer) {
            Admission::Welcome => {}
            Admission::Cookie(length) => {
                self.counters.cookies_out += 1;
                send_message(from, &answer[..length], out);
                return;
            }
            Admission::Refused => {
                self.counters.drop_handshake += 1;
                return;
            }
        }
        let Opened::Reply(length) = live.protocol.open(now, from.remote, message, &mut answer) else {
            self.counters.drop_handshake += 1;
            return;
        };
        live.confirming = None;
        self.prove(peer, from, out);
        // The keepalive confirms the keys to the peer and must come before any data.
        send_message(from, &answer[..length], out);
        self.handshake_done(now, peer, from, out);
    }

    /// A cookie: the next initiation will carry its proof.
    pub(super) fn on_cookie(&mut self, now: Instant, receiver: u32, message: &[u8], from: &Endpoint) {
        let owner = self.indices.owner(receiver);
        let live = owner.and_then(|peer| self.peers.get_mut(peer)).and_then(|state| state.live.as_mut());
        let Some(live) = live else {
            self.counters.drop_unknown_index += 1;
            return;
        };
        let mut unused = [0; MESSAGE];
        if live.protocol.open(now, from.remote, message, &mut unused) != Opened::Empty {
            self.counters.drop_handshake += 1;
        }
    }
}
