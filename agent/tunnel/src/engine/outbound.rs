//! From a device to the wire: route, split, seal, append to a train.

use std::time::Instant;

use super::{Engine, Output};
use crate::icmp::{self, Problem};
use crate::limits;
use crate::packet;
use crate::tun::coalesce::Pieces;
use crate::tun::split::Splitter;
use crate::tun::vnet::{self, Gso, Vnet};

/// Packets are padded to a multiple of this, as the protocol asks (WireGuard paper §5.4.6).
const PADDING: usize = 16;

/// Bytes that a frame's buffer must have beyond the frame, for padding.
pub(crate) const SLACK: usize = PADDING;

impl Engine {
    /// Takes the frame in `frame[..length]` from the device of `network`. The buffer has [`SLACK`] more bytes.
    pub(crate) fn on_tun(
        &mut self,
        now: Instant,
        network: u32,
        frame: &mut [u8],
        length: usize,
        out: &mut dyn Output,
    ) {
        self.counters.device_frames_in += 1;
        let parsed = Vnet::parse(&frame[..length])
            .and_then(|vnet| packet::addresses(&frame[vnet::LEN..length]).map(|addresses| (vnet, addresses)));
        let Some((vnet, addresses)) = parsed else {
            self.counters.drop_malformed_frame += 1;
            return;
        };
        let generation = self.generation;
        let Some(net) = self.networks.get_mut(network) else { return };
        if !net.is_ours(addresses.source) {
            self.counters.drop_foreign_source += 1;
            return;
        }
        let Some(peer) = net.route(addresses.destination, generation) else {
            self.counters.drop_no_route += 1;
            if net.pools.iter().any(|pool| pool.contains(addresses.destination)) {
                self.answer(now, network, Problem::HostUnreachable, &frame[vnet::LEN..length], out);
            }
            return;
        };
        let mtu = net.mtu;
        if vnet.gso == Gso::None && length - vnet::LEN > mtu {
            self.counters.drop_too_big += 1;
            self.answer(now, network, Problem::TooBig(packet::len16(mtu)), &frame[vnet::LEN..length], out);
            return;
        }
        self.send_frame(now, peer, frame, length, out);
    }

    /// Sends a frame to a peer, or lets it wait for the session.
    pub(super) fn send_frame(
        &mut self,
        now: Instant,
        peer: u32,
        frame: &mut [u8],
        length: usize,
        out: &mut dyn Output,
    ) {
        if !self.open_tunnel(now, peer) {
            return;
        }
        let Some(state) = self.peers.get_mut(peer) else { return };
        let (Some(live), mtu) = (&mut state.live, self.networks.get(state.network).map_or(0, |net| net.mtu))
        else {
            return;
        };
        live.last_data = now;
        let Some(to) = state.path.proven.filter(|_| live.protocol.is_up()) else {
            self.counters.drop_pending += live.pending.push(&frame[..length], &mut self.pending_bytes);
            self.start_round(now, peer, out);
            return;
        };
        let splitter =
            Vnet::parse(frame).and_then(|vnet| Splitter::new(&vnet, &mut frame[vnet::LEN..length]));
        let Some(mut splitter) = splitter else {
            self.counters.drop_malformed_frame += 1;
            return;
        };
        while let Some(range) = splitter.next(&mut frame[vnet::LEN..length]) {
            let (start, end) = (vnet::LEN + range.start, vnet::LEN + range.end);
            let padded = padded_length(range.len(), mtu);
            // The bytes behind a segment are the next one's payload: they step aside while zeros take their place.
            let behind = end..start + padded;
            let mut kept = [0; PADDING];
            let kept = &mut kept[..behind.len()];
            kept.copy_from_slice(&frame[behind.clone()]);
            frame[behind.clone()].fill(0);
            let plain = &frame[start..start + padded];
            let size = padded + limits::SEAL_OVERHEAD;
            let protocol = &mut live.protocol;
            let seal = |buffer: &mut [u8]| protocol.seal(plain, buffer);
            let sealed = self.trains.append(peer, &to, size, out, &mut self.counters, seal);
            frame[behind].copy_from_slice(kept);
            if sealed {
                self.counters.device_packets_in += 1;
                self.counters.bytes_out += range.len() as u64;
                state.tx_bytes += range.len() as u64;
            }
        }
    }

    /// Sends what waited for the session, in order.
    pub(super) fn send_pending(&mut self, now: Instant, peer: u32, out: &mut dyn Output) {
        loop {
            let Some(state) = self.peers.get_mut(peer).filter(|state| state.path.proven.is_some()) else {
                return;
            };
            let Some(live) = state.live.as_mut().filter(|live| live.protocol.is_up()) else { return };
            let Some(mut frame) = live.pending.pop(&mut self.pending_bytes) else { return };
            let length = frame.len();
            frame.resize(length + SLACK, 0);
            self.send_frame(now, peer, &mut frame, length, out);
        }
    }

    /// Tells the host that a packet of its cannot be carried.
    fn answer(&mut self, now: Instant, network: u32, problem: Problem, about: &[u8], out: &mut dyn Output) {
        let Some(net) = self.networks.get_mut(network) else { return };
        let mut reply = [0; icmp::LONGEST];
        let Some(length) = icmp::error(problem, about, &mut reply) else { return };
        if net.errors.take(now) {
            self.counters.icmp_out += 1;
            out.deliver(network, &Vnet::default(), Pieces::single(&reply[..length]));
        }
    }
}

/// Length after padding, which never passes the MTU.
#[inline]
fn padded_length(length: usize, mtu: usize) -> usize {
    length.next_multiple_of(PADDING).min(mtu.max(length))
}

#[cfg(test)]
mod tests {
    use super::padded_length;

    #[test]
    fn padding_stops_at_the_mtu() {
        for (length, mtu, expected) in
            [(52, 1420, 64), (64, 1420, 64), (1419, 1420, 1420), (1420, 1420, 1420), (1500, 1420, 1500)]
        {
            assert_eq!(padded_length(length, mtu), expected);
        }
    }
}
