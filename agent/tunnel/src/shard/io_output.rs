//! Where the engine's effects become system calls.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::is_v6;
use crate::auxiliary::Auxiliary;
use crate::clock;
use crate::ecn::Ecn;
use crate::engine::{Errand, Output};
use crate::limits;
use crate::mailbox::{Event, NetworkId};
use crate::offloads::Offloads;
use crate::path::Endpoint;
use crate::post::{Parcel, Post};
use crate::sockets::Sockets;
use crate::stats::Counters;
use crate::timers::Bucket;
use crate::tun::coalesce::Pieces;
use crate::tun::device::Device;
use crate::tun::split::Splitter;
use crate::tun::vnet::{self, Gso, Vnet};
use crate::udp::path_mtu;
use crate::udp::raw::{self, Manner};
use crate::udp::receive::Message;
use crate::udp::socket::UdpSocket;
use crate::udp::train::{self, Datagrams, Sent};

/// A train that waits for room in the socket.
#[derive(Debug)]
struct Parked {
    to: Endpoint,
    stride: usize,
    ecn: Ecn,
    bytes: Vec<u8>,
}

/// Which packets may be merged towards devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merging {
    pub(super) any: bool,
    pub(super) udp: bool,
}

/// The sockets, the devices and the way to the control side.
pub(crate) struct IoOutput {
    sockets: Sockets,
    /// The way to the other shards, which also says which one this is.
    pub(super) post: Post,
    devices: BTreeMap<u32, Device>,
    auxiliary: BTreeMap<Auxiliary, Arc<UdpSocket>>,
    parked: VecDeque<Parked>,
    events: Arc<dyn Fn(Event) + Send + Sync>,
    /// What may be merged when the kernel takes it.
    allowed: Merging,
    merging: Merging,
    merging_changed: bool,
    /// When merging that was refused is tried again.
    again: Option<Instant>,
    /// The moment of this turn.
    pub(super) now: Instant,
    merged_receives: bool,
    mark: u32,
    /// Limits what the control side is told of places that cannot be reached.
    refusals: Bucket,
    pub(super) counters: Counters,
}

impl IoOutput {
    pub(crate) fn new(
        sockets: Sockets,
        post: Post,
        events: Arc<dyn Fn(Event) + Send + Sync>,
        offloads: Offloads,
    ) -> Self {
        let merging = Merging { any: offloads.coalesced_writes, udp: offloads.coalesced_writes };
        let mut io = Self {
            sockets,
            post,
            devices: BTreeMap::new(),
            auxiliary: BTreeMap::new(),
            parked: VecDeque::new(),
            events,
            allowed: merging,
            merging,
            merging_changed: false,
            again: None,
            now: clock::now(),
            merged_receives: offloads.merged_receives,
            mark: 0,
            refusals: Bucket::new(clock::now(), limits::REFUSALS_PER_SECOND, limits::REFUSAL_BURST),
            counters: Counters::default(),
        };
        io.tune_sockets();
        io
    }

    pub(super) fn socket(&self, v6: bool) -> Option<&UdpSocket> {
        self.sockets.of_shard(self.post.part().number(), v6)
    }

    fn both(&self) -> impl Iterator<Item = &UdpSocket> {
        [false, true].into_iter().filter_map(|v6| self.socket(v6))
    }

    /// The usual sockets and the auxiliary ones.
    fn all(&self) -> impl Iterator<Item = &UdpSocket> {
        self.both().chain(self.auxiliary.values().map(|socket| &**socket))
    }

    pub(super) fn auxiliary(&self, number: Auxiliary) -> Option<&UdpSocket> {
        self.auxiliary.get(&number).map(|socket| &**socket)
    }

    /// Sends from these sockets, too, from now on.
    pub(super) fn add_auxiliary(&mut self, sockets: Vec<Arc<UdpSocket>>) {
        let numbered = sockets.into_iter().filter_map(|socket| Some((socket.auxiliary?, socket)));
        self.auxiliary.extend(numbered);
        self.tune_sockets();
    }

    /// Lets go of a socket; what waits for room in it is lost with it.
    pub(super) fn close_auxiliary(&mut self, number: Auxiliary) -> Option<Arc<UdpSocket>> {
        self.auxiliary.remove(&number)
    }

    /// Changes the sockets for others, which are set up alike.
    pub(super) fn set_sockets(&mut self, sockets: Sockets) {
        self.sockets = sockets;
        self.tune_sockets();
    }

    fn tune_sockets(&mut self) {
        if !self.merged_receives {
            self.all().for_each(UdpSocket::refuse_merged);
        }
        if self.mark != 0 {
            self.mark(self.mark);
        }
    }

    /// Marks all sent packets for the host's routing rules.
    pub(super) fn mark(&mut self, mark: u32) {
        self.mark = mark;
        for socket in self.all() {
            if let Err(error) = socket.mark(mark) {
                tracing::warn!(mark, %error, "packets cannot be marked");
            }
        }
    }

    pub(super) fn device(&self, slot: u32) -> Option<&Device> {
        self.devices.get(&slot)
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = (u32, &Device)> {
        self.devices.iter().map(|(slot, device)| (*slot, device))
    }

    pub(super) fn add_device(&mut self, slot: u32, device: Device) {
        if !device.udp_segmentation() && self.allowed.udp {
            self.allowed.udp = false;
            self.merging.udp = false;
            self.merging_changed = true;
        }
        self.devices.insert(slot, device);
    }

    pub(super) fn remove_device(&mut self, slot: u32) -> Option<Device> {
        self.devices.remove(&slot)
    }

    /// Returns how many datagrams the kernel dropped for want of room in the sockets.
    pub(super) fn dropped_by_sockets(&self) -> u64 {
        self.both().map(UdpSocket::dropped).sum()
    }

    /// Whether trains wait for room in the socket.
    pub(super) fn is_blocked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Tells the control side.
    pub(super) fn tell(&self, event: Event) {
        (self.events)(event);
    }

    /// Returns what may be merged from now on, once after each change.
    pub(super) fn merging_changed(&mut self) -> Option<Merging> {
        if self.again.is_some_and(|again| again <= self.now) {
            self.again = None;
            self.merging = self.allowed;
            self.merging_changed = true;
            self.counters.offloads_tried_again += 1;
        }
        std::mem::take(&mut self.merging_changed).then_some(self.merging)
    }

    /// Sends waiting trains, oldest first, until the socket is full again.
    pub(super) fn send_parked(&mut self) {
        while let Some(parked) = self.parked.pop_front() {
            let Parked { to, stride, ecn, bytes } = &parked;
            if self.send_now(to, Datagrams { stride: *stride, ecn: *ecn, bytes }) == Sent::Full {
                self.parked.push_front(parked);
                return;
            }
        }
    }

    /// Hands a frame to the shard that has its peer; `frame` becomes another buffer.
    pub(super) fn pass_frame(&mut self, to: u8, network: NetworkId, frame: &mut Box<[u8]>, length: usize) {
        let taken = self.post.hand_frame(to, network, frame, length);
        self.count_passed(taken);
    }

    fn count_passed(&mut self, taken: bool) {
        if taken {
            self.counters.parcels_out += 1;
        } else {
            self.counters.drop_parcels_full += 1;
        }
    }

    /// Returns the socket by which a way begins.
    #[inline]
    fn socket_to(&self, to: &Endpoint) -> Option<&UdpSocket> {
        match to.auxiliary {
            None => self.socket(is_v6(to.remote)),
            Some(number) => self.auxiliary.get(&number).map(|socket| &**socket),
        }
    }

    fn send_now(&self, to: &Endpoint, datagrams: Datagrams<'_>) -> Sent {
        match self.socket_to(to) {
            Some(socket) => train::send(socket, to, datagrams),
            // A socket that was closed meanwhile says nothing of the place.
            None if to.auxiliary.is_some() => Sent::Refused,
            None => Sent::Unreachable,
        }
    }

    /// Tells the control side that a place cannot be reached.
    fn refused(&mut self, to: SocketAddr) {
        if self.refusals.take(self.now) {
            self.tell(Event::Refused { to });
        }
    }

    fn park(&mut self, to: &Endpoint, Datagrams { stride, ecn, bytes }: Datagrams<'_>) {
        if self.parked.len() >= limits::PARKED_TRAINS {
            self.counters.drop_parked_full += 1;
            return;
        }
        self.counters.trains_parked += 1;
        self.parked.push_back(Parked { to: *to, stride, ecn, bytes: bytes.to_vec() });
    }

    /// Writes a merged packet as the packets it was made of, and stops merging its kind.
    fn write_singly(&mut self, network: u32, queue: u8, vnet: &Vnet, parts: &[IoSlice<'_>]) {
        self.counters.coalescing_fallbacks += 1;
        self.merging.udp = false;
        self.merging.any = vnet.gso == Gso::Udp && self.merging.any;
        self.merging_changed = true;
        self.again = Some(self.now + limits::OFFLOAD_REST);
        let mut packet: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let Some(mut splitter) = Splitter::new(vnet, &mut packet) else { return };
        while let Some(range) = splitter.next(&mut packet) {
            let alone = [IoSlice::new(&[0; vnet::LEN]), IoSlice::new(&packet[range])];
            let written = self.devices.get(&network).map(|device| device.write(queue, &alone));
            if !matches!(written, Some(Ok(_))) {
                self.counters.drop_device_refused += 1;
            }
        }
    }
}

impl Output for IoOutput {
    fn transmit(&mut self, to: &Endpoint, datagrams: Datagrams<'_>) -> Sent {
        let sent = if self.is_blocked() { Sent::Full } else { self.send_now(to, datagrams) };
        if sent == Sent::Full {
            self.park(to, datagrams);
        }
        if sent == Sent::Unreachable {
            self.refused(to.remote);
        }
        sent
    }

    fn transmit_raw(&mut self, to: &Endpoint, datagram: &[u8], manner: Manner) {
        let (sent, to) =
            (self.socket_to(to).map(|socket| raw::send(socket, to.remote, datagram, manner)), to.remote);
        if let Some(Ok(())) = sent {
            return;
        }
        self.counters.drop_send_refused += 1;
        let Some(Err(error)) = sent else { return self.refused(to) };
        tracing::debug!(%to, %error, "send refused");
        if train::is_unreachable(&error) {
            self.refused(to);
        }
    }

    fn payload_room(&mut self, to: &Endpoint) -> Option<usize> {
        path_mtu::payload_room(to)
    }

    fn deliver(&mut self, network: u32, queue: u8, vnet: &Vnet, pieces: Pieces<'_>) {
        let Some(device) = self.devices.get(&network) else { return };
        let header = vnet.encode();
        let count = pieces.count;
        let mut parts = [IoSlice::new(&[]); limits::RUN_SEGMENTS + 1];
        parts[0] = IoSlice::new(&header);
        let mut used = 1;
        for piece in pieces.take(limits::RUN_SEGMENTS) {
            parts[used] = IoSlice::new(piece);
            used += 1;
        }
        match device.write(queue, &parts[..used]) {
            Ok(_) => {
                self.counters.device_frames_out += 1;
                self.counters.device_packets_out += u64::from(count);
            }
            // Some kernels refuse what their own receive offload would have built.
            Err(error) if count > 1 && error.kind() == io::ErrorKind::InvalidInput => {
                self.write_singly(network, queue, vnet, &parts[1..used]);
            }
            Err(error) => {
                tracing::trace!(%error, "device refused a packet");
                self.counters.drop_device_refused += 1;
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.tell(event);
    }

    fn pass(&mut self, to: u8, errand: Errand) {
        let taken = self.post.hand(to, Parcel::Errand(errand));
        self.count_passed(taken);
    }

    fn pass_message(&mut self, to: u8, message: &Message<'_>) {
        let taken = self.post.hand_message(to, message);
        self.count_passed(taken);
    }
}

impl std::fmt::Debug for IoOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IoOutput").field("devices", &self.devices).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
