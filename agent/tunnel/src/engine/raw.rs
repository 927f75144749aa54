//! Datagrams that are not WireGuard's: framed by a relay, or for the control side.
//!
//! ```text
//!  1 … 4, 0 0 0, ≥ 32 B          WireGuard            (`wire.rs`, asked first)
//!  0x0D                          path frame           ─▶ control side
//!  0x0E, data                    relayed: a WireGuard message or a path frame inside
//!  0x0E, anything else           relay's control frame ─▶ control side
//!  0 … 3, magic cookie at 4      answer of a STUN server ─▶ control side (RFC 8489 §5)
//! ```
//!
//! Invariants: what a relay carried is taken only under a lease of ours, from that lease's relay, for that lease's
//! network; a flood of one kind never starves another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::inbound::Arrival;
use super::{Engine, Output};
use crate::limits;
use crate::mailbox::{Event, NetworkId};
use crate::path::Endpoint;
use crate::relay;
use crate::timers::Bucket;
use crate::udp::raw::Manner;
use crate::way::{Lease, Way};
use crate::wire::Raw;

/// The leases we hold, and the network each leads to.
#[derive(Debug, Default)]
pub(super) struct Leases(BTreeMap<(SocketAddr, u32), NetworkId>);

/// How many datagrams of each kind the control side is told of.
#[derive(Debug)]
pub(super) struct RawLimits {
    path: Bucket,
    /// Control frames of relays with which we have a lease.
    relay: Bucket,
    /// Answers of others.
    other: Bucket,
}

impl RawLimits {
    pub(super) fn new(now: Instant) -> Self {
        let bucket = || Bucket::new(now, limits::RAW_PER_SECOND, limits::RAW_BURST);
        Self { path: bucket(), relay: bucket(), other: bucket() }
    }
}

impl Engine {
    /// Replaces the leases.
    pub(crate) fn set_leases(&mut self, leases: &[Lease]) {
        let leases = leases.iter().take(limits::LEASES).map(|lease| {
            let place = SocketAddr::new(lease.relay.ip().to_canonical(), lease.relay.port());
            ((place, lease.lease), lease.network)
        });
        self.leases = Leases(leases.collect());
    }

    /// Sends a datagram of the control side.
    pub(crate) fn send_to(&mut self, way: Way, payload: &[u8], manner: Manner, out: &mut dyn Output) {
        if payload.len() > limits::RAW_DATAGRAM {
            self.counters.drop_raw += 1;
            return;
        }
        self.counters.raw_out += 1;
        let to = Endpoint::from(way);
        match way.relay {
            None => out.transmit_raw(&to, payload, manner),
            Some(hop) => out.transmit_raw(&to, &[&relay::header(hop), payload].concat(), manner),
        }
    }

    /// Takes the relay's frame away that a datagram came in, if it did; `None` when we hold no such lease.
    #[inline]
    pub(super) fn unframed<'a>(&self, datagram: &'a [u8], arrival: &mut Arrival) -> Option<&'a [u8]> {
        let Some((hop, inside)) = relay::parse(datagram) else {
            if arrival.from.relay.is_some() {
                arrival.came_by(None, None);
            }
            return Some(datagram);
        };
        if arrival.from.relay != Some(hop) {
            let network = self.slot(*self.leases.0.get(&(arrival.from.remote, hop.lease))?)?;
            arrival.came_by(Some(hop), Some(network));
        }
        Some(inside)
    }

    /// Tells the control side of a datagram that is not WireGuard's, if it is anything it knows.
    pub(super) fn on_raw(&mut self, now: Instant, datagram: &[u8], from: &Endpoint, out: &mut dyn Output) {
        let bucket = match (Raw::of(datagram), from.relay) {
            (Some(Raw::Path), _) => &mut self.raw.path,
            (Some(Raw::Relay), None) if self.leases.has_relay(from.remote) => &mut self.raw.relay,
            (Some(Raw::Relay | Raw::Stun), None) => &mut self.raw.other,
            (Some(Raw::Relay | Raw::Stun), Some(_)) | (None, _) => {
                self.counters.drop_malformed_datagram += 1;
                return;
            }
        };
        if datagram.len() > limits::RAW_DATAGRAM || !bucket.take(now) {
            self.counters.drop_raw += 1;
            return;
        }
        self.counters.raw_in += 1;
        out.event(Event::Datagram { way: from.way(), local: from.local, payload: datagram.to_vec() });
    }
}

impl Leases {
    fn has_relay(&self, place: SocketAddr) -> bool {
        self.0.range((place, 0)..=(place, u32::MAX)).next().is_some()
    }
}
