//! From a device to the wire: route, split, seal, append to a train.

use std::time::Instant;

use super::trains::Car;
use super::{Engine, Output};
use crate::ecn::Ecn;
use crate::icmp::{self, Problem};
use crate::limits;
use crate::mss;
use crate::packet;
use crate::tun::coalesce::Pieces;
use crate::tun::fragment::Fragments;
use crate::tun::split::Splitter;
use crate::tun::vnet::{self, Gso, Vnet};

/// Packets are padded to a multiple of this, as the protocol asks (WireGuard paper §5.4.6).
const PADDING: usize = 16;

/// Bytes that a frame's buffer must have beyond the frame, for padding.
pub(crate) const SLACK: usize = PADDING;

impl Engine {
    /// Takes the frame in `frame[..length]` from the device of `network`. The buffer has [`SLACK`] more bytes.
    ///
    /// Returns the engine that has the frame's peer when this one has not; the frame is as it was.
    #[must_use]
    pub(crate) fn on_tun(
        &mut self,
        now: Instant,
        network: u32,
        frame: &mut [u8],
        length: usize,
        out: &mut dyn Output,
    ) -> Option<u8> {
        self.now = now;
        self.counters.device_frames_in += 1;
        self.take_frame(now, network, frame, length, out)
    }

    /// Sends a frame's packets to its peer, unless another engine has that.
    pub(super) fn take_frame(
        &mut self,
        now: Instant,
        network: u32,
        frame: &mut [u8],
        length: usize,
        out: &mut dyn Output,
    ) -> Option<u8> {
        let parsed = Vnet::parse(&frame[..length])
            .and_then(|vnet| packet::addresses(&frame[vnet::LEN..length]).map(|addresses| (vnet, addresses)));
        let Some((vnet, addresses)) = parsed else {
            self.counters.drop_malformed_frame += 1;
            return None;
        };
        let generation = self.generation;
        let net = self.networks.get_mut(network)?;
        if !net.is_ours(addresses.source) {
            self.counters.drop_foreign_source += 1;
            return None;
        }
        let Some(peer) = net.route(addresses.destination, generation) else {
            self.counters.drop_no_route += 1;
            if net.pools.iter().any(|pool| pool.contains(addresses.destination)) {
                self.answer(now, network, Problem::HostUnreachable, &frame[vnet::LEN..length], out);
            }
            return None;
        };
        let mtu = net.mtu;
        let state = self.peers.get(peer)?;
        if state.owner != self.part.number() {
            return Some(state.owner);
        }
        let limit = state.path.packet_limit(mtu, addresses.source.is_ipv4());
        match Fit::of(&vnet, &frame[vnet::LEN..length], limit) {
            Fit::Whole => {}
            Fit::Smaller(segment) => {
                self.counters.packets_cut += 1;
                self.answer(
                    now,
                    network,
                    Problem::TooBig(packet::len16(limit)),
                    &frame[vnet::LEN..length],
                    out,
                );
                frame[..vnet::LEN].copy_from_slice(&Vnet { segment, ..vnet }.encode());
            }
            Fit::TooBig => {
                if vnet.gso != Gso::None || !self.send_fragments(now, peer, &mut frame[..length], limit, out)
                {
                    self.counters.drop_too_big += 1;
                    let about = &frame[vnet::LEN..length];
                    self.answer(now, network, Problem::TooBig(packet::len16(limit)), about, out);
                }
                return None;
            }
        }
        self.send_frame(now, peer, frame, length, out);
        None
    }

    /// Sends a packet that may be cut in fragments of at most `limit` bytes; returns whether it may.
    pub(super) fn send_fragments(
        &mut self,
        now: Instant,
        peer: u32,
        frame: &mut [u8],
        limit: usize,
        out: &mut dyn Output,
    ) -> bool {
        let packet = &mut frame[vnet::LEN..];
        if Fragments::new(packet, limit).is_none() {
            return false;
        }
        let Some(vnet) = Vnet::parse(frame) else { return false };
        let packet = &mut frame[vnet::LEN..];
        // Its checksum covers all fragments, so it is finished before the cut.
        if Splitter::new(&vnet, packet).is_none() {
            return false;
        }
        let Some(mut fragments) = Fragments::new(packet, limit) else { return false };
        let mut piece = vec![0; vnet::LEN + limit + SLACK];
        while let Some(length) = fragments.next(&mut piece[vnet::LEN..vnet::LEN + limit]) {
            piece[..vnet::LEN].fill(0);
            self.send_frame(now, peer, &mut piece, vnet::LEN + length, out);
        }
        self.counters.packets_cut += 1;
        true
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
        if !self.open_tunnel(now, peer, out) {
            return;
        }
        let Some(state) = self.peers.get_mut(peer) else { return };
        let mtu = self.networks.get(state.network).map_or(0, |net| net.mtu);
        let v4 = frame[vnet::LEN] >> 4 == 4;
        let (limit, alone) = (state.path.packet_limit(mtu, v4), state.path.is_alone());
        let Some(live) = &mut state.live else { return };
        live.last_data = now;
        let Some(to) = state.path.proven.filter(|_| live.protocol.is_up()) else {
            self.counters.drop_pending += live.pending.push(&frame[..length], &mut self.pending_bytes);
            self.start_round(now, peer, out);
            return;
        };
        let splitter = Vnet::parse(frame)
            .and_then(|vnet| Some((vnet.gso, Splitter::new(&vnet, &mut frame[vnet::LEN..length])?)));
        let Some((gso, mut splitter)) = splitter else {
            self.counters.drop_malformed_frame += 1;
            return;
        };
        if gso == Gso::None && mss::clamp(&mut frame[vnet::LEN..length], limit) {
            self.counters.segment_sizes_lowered += 1;
        }
        let ecn = Ecn::of_packet(&frame[vnet::LEN..length]);
        let mut packets = 0;
        while let Some(range) = splitter.next(&mut frame[vnet::LEN..length]) {
            let (start, end) = (vnet::LEN + range.start, vnet::LEN + range.end);
            let padded = padded_length(range.len(), limit);
            // The bytes behind a segment are the next one's payload: they step aside while zeros take their place.
            let behind = end..start + padded;
            let mut kept = [0; PADDING];
            let kept = &mut kept[..behind.len()];
            kept.copy_from_slice(&frame[behind.clone()]);
            frame[behind.clone()].fill(0);
            let plain = &frame[start..start + padded];
            let size = padded + limits::SEAL_OVERHEAD;
            let car = Car { peer, to: &to, ecn, size: size + to.header_len(), alone, copy: false };
            let protocol = &mut live.protocol;
            let seal = |buffer: &mut [u8]| protocol.seal(now, plain, buffer);
            let sealed = self.trains.append(car, out, &mut self.counters, seal);
            frame[behind].copy_from_slice(kept);
            if sealed {
                if let Some(also) = state.path.copy_to() {
                    let car = Car { to: &also, size: size + also.header_len(), copy: true, ..car };
                    self.trains.repeat(car, out, &mut self.counters);
                    self.counters.copies_out += 1;
                }
                packets += 1;
                self.counters.device_packets_in += 1;
                self.counters.bytes_out += range.len() as u64;
                state.tx_bytes += range.len() as u64;
            }
        }
        self.note_sent(now, peer, packets, out);
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
            out.deliver(network, self.part.number(), &Vnet::default(), Pieces::single(&reply[..length]));
        }
    }
}

/// How a frame fits into packets of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// As it is.
    Whole,
    /// A TCP super-packet fits with smaller segments, of this size.
    Smaller(u16),
    /// Not at all.
    TooBig,
}

impl Fit {
    fn of(vnet: &Vnet, packet: &[u8], limit: usize) -> Self {
        let transport = usize::from(vnet.checksum_start);
        let headers = match vnet.gso {
            Gso::None => return if packet.len() <= limit { Self::Whole } else { Self::TooBig },
            Gso::Udp => transport + 8,
            Gso::Tcp4 | Gso::Tcp6 => {
                transport + packet.get(transport + 12).map_or(0, |byte| usize::from(byte >> 4) * 4)
            }
        };
        if headers + usize::from(vnet.segment) <= limit || packet.len() <= limit {
            return Self::Whole;
        }
        match limit.checked_sub(headers) {
            Some(segment @ 1..) if vnet.gso != Gso::Udp => Self::Smaller(packet::len16(segment)),
            _ => Self::TooBig,
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
