//! Echo requests that wait for their answer.

use std::{collections::BTreeMap, time::Duration};

use lacis_agent_core::Way;
use lacis_tunnel::{Command, NetworkId, Tunnel};
use tokio::sync::oneshot;

use super::{Resolved, status::path_word};
use crate::status::{Pong, ViaStatus};

/// Probes that wait at the same time; the oldest is given up for the next.
const MAX_WAITING: usize = 256;

#[derive(Debug)]
struct Waiting {
    to: Resolved,
    seq: u16,
    answer: oneshot::Sender<Pong>,
}

/// Probes on their way, by the identifier and number in the echo request.
#[derive(Debug, Default)]
pub(super) struct Probes {
    waiting: BTreeMap<u32, Waiting>,
    next: u32,
}

impl Probes {
    /// Sends an echo request through the tunnel.
    pub(super) fn send(
        &mut self,
        tunnel: &Tunnel,
        network: NetworkId,
        to: Resolved,
        seq: u16,
        answer: oneshot::Sender<Pong>,
    ) {
        self.waiting.retain(|_, waiting| !waiting.answer.is_closed());
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_first();
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let [a, b, c, d] = id.to_be_bytes();
        let (ident, number) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let target = to.address;
        self.waiting.insert(id, Waiting { to, seq, answer });
        if tunnel.send(Command::Probe { network, target, ident, seq: number }).is_err() {
            self.waiting.remove(&id);
        }
    }

    /// An echo reply came.
    pub(super) fn answered(&mut self, ident: u16, number: u16, rtt: Duration, via: Option<(Way, ViaStatus)>) {
        let id = u32::from(ident) << 16 | u32::from(number);
        let Some(Waiting { to, seq, answer }) = self.waiting.remove(&id) else { return };
        let path = via.as_ref().map_or("local", |(way, _)| path_word(*way));
        let rtt_ms = Some(rtt.as_secs_f64() * 1000.0);
        let (address, name, path) = (to.address, to.name, Some(path.to_owned()));
        // Whoever asked may have gone away.
        let (endpoint, via) = via.map(|(way, via)| (way.remote, Box::new(via))).unzip();
        let _ = answer.send(Pong { seq, address, name, rtt_ms, path, via, endpoint });
    }
}
