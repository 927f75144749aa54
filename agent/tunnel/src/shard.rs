//! A thread that carries packets: all of them, or those of some peers.
//!
//! One turn: sleep until something is ready or due; do what is due; take a bounded number of commands, messages and
//! frames from whatever is ready; send and write all that came of it. Nothing is kept back for a later turn, so
//! batching adds no delay. While the socket is full, devices are not read: their queues hold the packets instead.
//!
//! Several shards share sockets' port and devices, each with its own of their queues (`udp/steer.rs`, `tun/device.rs`).
//! What comes in for another's peer is handed over (`post.rs`). No shard waits for another.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver as Commands;
use std::time::{Duration, Instant};

use crate::auxiliary::{Auxiliary, AuxiliarySockets};
use crate::clock;
use crate::engine::{Engine, NetworkSettings};
use crate::limits;
use crate::mailbox::{Command, Event, NetworkConfig, NetworkId};
use crate::offloads::Offloads;
use crate::post::Parcel;
use crate::random;
use crate::sockets::Sockets;
use crate::tunnel::Core;
use crate::udp::poll::{Poll, Ready, Waker};
use crate::udp::raw::Manner;
use crate::udp::receive::{Message, Receiver};
use crate::udp::socket::{self, UdpSocket};

mod io_output;
mod priority;
mod standing;

pub(crate) use io_output::IoOutput;
use priority::Priority;
use standing::{Place, Standing, Work};

const MAILBOX: u64 = 0;
const SOCKET_V4: u64 = 1;
const SOCKET_V6: u64 = 2;
const FIRST_DEVICE: u64 = 16;
/// Behind the numbers of devices, which have 32 bits.
const FIRST_AUXILIARY: u64 = 1 << 33;

/// Everything the thread owns.
#[derive(Debug)]
pub(crate) struct Shard {
    engine: Engine,
    io: IoOutput,
    poll: Poll,
    commands: Commands<Command>,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    receiver: Receiver,
    frame: Box<[u8]>,
    /// How long the machine had slept when that was last looked at.
    asleep: Duration,
    /// Whether devices are left unread because the socket is full.
    held: bool,
}

impl Shard {
    /// Watches the sockets and allocates all buffers.
    pub(crate) fn new(
        io: IoOutput,
        offloads: Offloads,
        core: Core,
        commands: Commands<Command>,
        waker: Arc<Waker>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(&*waker, MAILBOX)?;
        for (v6, token) in [(false, SOCKET_V4), (true, SOCKET_V6)] {
            if let Some(socket) = io.socket(v6) {
                poll.add(socket, token)?;
            }
        }
        let segments = if offloads.segmented_sends { socket::segment_limit() } else { 1 };
        let (part, now) = (io.post.part(), clock::now());
        let mut engine =
            Engine::new(now, random::seed(), segments).with_core(core).with_part(part, random::seed());
        engine.set_coalescing(offloads.coalesced_writes, offloads.coalesced_writes);
        Ok(Self {
            engine,
            io,
            asleep: clock::asleep(),
            poll,
            commands,
            waker,
            stop,
            receiver: Receiver::default(),
            frame: vec![0; limits::FRAME].into_boxed_slice(),
            held: false,
        })
    }

    /// Carries packets until told to stop, `ahead` of other programs if the host allows it.
    pub(crate) fn run(mut self, ahead: bool) {
        let shards = self.io.post.part().of();
        let priority = Priority::of_thread(ahead, shards);
        priority.take(Place::Ahead);
        let mut standing = Standing::new(clock::now());
        let mut ready: Vec<Ready> = Vec::with_capacity(64);
        while !self.stop.load(Ordering::Relaxed) {
            ready.clear();
            let before = clock::now();
            let timeout = self.engine.deadline(before).map(|at| at.saturating_duration_since(before));
            match self.poll.wait(timeout) {
                Ok(events) => ready.extend(events),
                Err(error) => {
                    tracing::error!(%error, "the data plane cannot wait for packets");
                    self.io.tell(Event::Fatal { reason: error.to_string() });
                    return;
                }
            }
            self.io.counters.wakeups += 1;
            let now = clock::now();
            // First the clocks: a tunnel is ticked before it is touched, also after a long sleep.
            self.io.now = now;
            if self.engine.deadline(now).is_some_and(|at| at <= now) {
                self.notice_suspension(now);
                self.engine.on_tick(now, &mut self.io);
            }
            // What another shard read goes before what this one reads: it is of the same flows, and older.
            self.take_parcels(now);
            for event in &ready {
                self.serve(now, *event);
            }
            self.engine.flush(&mut self.io);
            self.settle();
            self.io.post.wake_called();
            if standing.is_due(now)
                && let Some(place) = standing.look(now, Work::of(&self.engine.counters()))
            {
                priority.take(place);
            }
        }
    }

    /// Renews sessions after the machine slept.
    fn notice_suspension(&mut self, now: Instant) {
        let asleep = clock::asleep();
        let suspended = asleep.saturating_sub(self.asleep);
        self.asleep = asleep;
        if suspended > limits::SUSPENSION {
            tracing::info!(seconds = suspended.as_secs(), "the machine slept, sessions are renewed");
            self.engine.on_resume(now, suspended, &mut self.io);
        }
    }

    fn serve(&mut self, now: Instant, event: Ready) {
        match event.token {
            MAILBOX => {
                self.waker.clear();
                self.take_commands(now);
                self.take_parcels(now);
            }
            SOCKET_V4 | SOCKET_V6 => {
                let v6 = event.token == SOCKET_V6;
                if event.writable {
                    self.io.send_parked();
                }
                if event.readable {
                    self.receive(now, |io| io.socket(v6));
                }
            }
            token if token >= FIRST_AUXILIARY => {
                let number = u32::try_from(token - FIRST_AUXILIARY).ok().and_then(NonZeroU32::new);
                if let Some(number) = number.filter(|_| event.readable) {
                    self.receive(now, |io| io.auxiliary(Auxiliary(number)));
                }
            }
            token => {
                if event.readable
                    && let Ok(slot) = u32::try_from(token - FIRST_DEVICE)
                {
                    self.read_device(now, slot);
                }
            }
        }
    }

    fn receive(&mut self, now: Instant, socket: impl Fn(&IoOutput) -> Option<&UdpSocket>) {
        for _ in 0..limits::SOCKET_BUDGET {
            let Some(socket) = socket(&self.io) else { return };
            let auxiliary = socket.auxiliary;
            // Errors here are those of earlier sends, reported late; the next call goes on.
            let Ok(count) = self.receiver.receive(socket) else {
                self.io.counters.receives_empty += 1;
                return;
            };
            self.io.counters.receives += 1;
            for at in 0..count {
                if let Some(message) = Message::of(&self.receiver, auxiliary, at) {
                    self.engine.on_wire(now, &message, &mut self.io);
                }
            }
            self.engine.flush_runs(&mut self.io);
            if count < limits::RECEIVE_SLOTS {
                return;
            }
        }
    }

    fn read_device(&mut self, now: Instant, slot: u32) {
        for _ in 0..limits::DEVICE_BUDGET {
            let Some(device) = self.io.device(slot) else { return };
            let room = self.frame.len() - 16;
            match device.read(&mut self.frame[..room]) {
                Ok(0) => return self.lose_device(slot, &io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    let owner = self.engine.on_tun(now, slot, &mut self.frame, length, &mut self.io);
                    if let Some((owner, network)) = owner.zip(self.engine.network_id(slot)) {
                        self.io.pass_frame(owner, network, &mut self.frame, length);
                    }
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
                {
                    self.io.counters.device_reads_empty += 1;
                    return;
                }
                Err(error) => return self.lose_device(slot, &error),
            }
            if self.io.is_blocked() {
                return;
            }
        }
    }

    fn lose_device(&mut self, slot: u32, error: &io::Error) {
        if let Some(device) = self.io.remove_device(slot) {
            tracing::warn!(device = device.name(), %error, "device lost");
            let _ = self.poll.remove(&device);
        }
        // Its other queues are lost as well; one shard says so.
        if let Some(network) = self.engine.network_id(slot).filter(|_| self.io.post.part().is_first()) {
            self.io.tell(Event::DeviceGone { network });
        }
    }

    /// Brings what is watched in line with what the last turn found.
    fn settle(&mut self) {
        if let Some(merging) = self.io.merging_changed() {
            self.engine.set_coalescing(merging.any, merging.udp);
        }
        let blocked = self.io.is_blocked();
        if blocked == self.held {
            return;
        }
        self.held = blocked;
        // Parcels were left where they are.
        self.io.post.come_back();
        for (slot, device) in self.io.devices().filter(|(_, device)| device.is_read()) {
            let _ = self.poll.watch(device, FIRST_DEVICE + u64::from(slot), !blocked, false);
        }
        for v6 in [false, true] {
            if let Some(socket) = self.io.socket(v6) {
                let token = if v6 { SOCKET_V6 } else { SOCKET_V4 };
                let _ = self.poll.watch(socket, token, true, blocked);
            }
        }
    }

    /// Takes what other shards have for this one. While the socket is full it stays with them.
    fn take_parcels(&mut self, now: Instant) {
        for _ in 0..limits::PARCEL_BUDGET {
            if self.io.is_blocked() {
                return;
            }
            let Some(parcel) = self.io.post.take() else { return };
            // Whoever sent it may have obeyed a command that still waits here.
            self.take_commands(now);
            match parcel {
                Parcel::Frame { network, mut buffer } => {
                    let (frame, length) = (&mut buffer.bytes, buffer.length);
                    self.engine.on_passed_frame(now, network, frame, length, &mut self.io);
                    self.io.post.give_back(buffer);
                }
                Parcel::Message { heading, buffer } => {
                    self.engine.on_passed_message(now, &heading.message(&buffer), &mut self.io);
                    self.io.post.give_back(buffer);
                }
                Parcel::Errand(errand) => self.engine.on_errand(now, errand, &mut self.io),
            }
        }
        self.io.post.come_back();
    }

    fn take_commands(&mut self, now: Instant) {
        for _ in 0..limits::MAILBOX_BUDGET {
            let Ok(command) = self.commands.try_recv() else { return };
            self.obey(now, command);
        }
        // More may wait; packets get their turn first.
        self.waker.wake();
    }

    fn obey(&mut self, now: Instant, command: Command) {
        match command {
            Command::AddNetwork(config) => self.add_network(now, *config),
            Command::RemoveNetwork(id) => self.remove_network(id),
            Command::SetAddresses { network, addresses, accepted } => {
                self.engine.set_addresses(network, addresses, accepted);
            }
            Command::SetPeer(config) => self.engine.set_peer(now, *config, &mut self.io),
            Command::SetGateway { network, key } => self.engine.set_gateway(network, key.as_ref()),
            Command::SetShared { network, key, shared, client } => {
                self.engine.set_shared(network, &key, shared, client);
            }
            Command::Prefer { network, key, shared } => self.engine.prefer(network, &key, &shared),
            Command::RemovePeer { network, key } => self.engine.remove_peer(network, &key),
            Command::Probe { network, target, ident, seq } => {
                self.engine.probe(now, network, (target, ident, seq), &mut self.io);
            }
            Command::SetMtu { network, mtu } => {
                self.engine.set_mtu(network, mtu);
                let device = self.engine.slot(network).and_then(|slot| self.io.device(slot));
                if let Some(device) = device.filter(|_| self.io.post.part().is_first()) {
                    device.limit_segments(mtu);
                }
            }
            Command::SetPrivateKey { network, key } => {
                self.engine.set_private_key(now, network, &key, &mut self.io);
            }
            Command::SetEndpoint { network, key, endpoint } => {
                self.engine.set_endpoint(now, network, &key, endpoint, &mut self.io);
            }
            Command::SetWays { network, key, ways } => {
                self.engine.set_ways(now, network, &key, ways, &mut self.io);
            }
            Command::SendTo { way, payload, ttl, whole } => {
                self.engine.send_to(way, &payload, Manner { ttl, whole }, &mut self.io);
            }
            Command::SetLeases(leases) => self.engine.set_leases(&leases),
            Command::AddAuxiliary { key, sockets } => self.add_auxiliary(&key, sockets),
            Command::CloseAuxiliary(numbers) => self.close_auxiliary(&numbers),
            Command::SetSockets(sockets) => self.set_sockets(sockets),
            Command::SetMark(mark) => self.io.mark(mark),
            Command::Stats(reply) => {
                let mut stats = self.engine.stats(now);
                stats.counters.add(&self.io.counters);
                stats.counters.drop_socket_full = self.io.dropped_by_sockets();
                // Whoever asked may have stopped waiting.
                let _ = reply.try_send(stats);
            }
        }
    }

    /// Any shard may send from these sockets; the one that has the peer watches them.
    fn add_auxiliary(&mut self, key: &[u8; 32], AuxiliarySockets(sockets): AuxiliarySockets) {
        for socket in sockets.iter().filter(|_| self.io.post.part().has(key)) {
            let Some(Auxiliary(number)) = socket.auxiliary else { continue };
            if let Err(error) = self.poll.add(&**socket, FIRST_AUXILIARY + u64::from(number.get())) {
                tracing::warn!(%error, "an auxiliary socket cannot be watched");
            }
        }
        self.io.add_auxiliary(sockets);
    }

    fn close_auxiliary(&mut self, numbers: &[Auxiliary]) {
        // Another shard may hold the socket longer: nobody is to be woken by it until then.
        for socket in numbers.iter().filter_map(|number| self.io.close_auxiliary(*number)) {
            let _ = self.poll.remove(&*socket);
        }
    }

    fn set_sockets(&mut self, sockets: Sockets) {
        // The former ones are closed with the last shard that lets them go; until then nobody is to be woken by them.
        for socket in [false, true].into_iter().filter_map(|v6| self.io.socket(v6)) {
            let _ = self.poll.remove(socket);
        }
        self.io.set_sockets(sockets);
        for (v6, token) in [(false, SOCKET_V4), (true, SOCKET_V6)] {
            if let Some(socket) = self.io.socket(v6)
                && let Err(error) = self.poll.add(socket, token)
            {
                tracing::error!(%error, "the new sockets cannot be watched");
            }
        }
        self.io.send_parked();
        // What is watched is brought in line after this turn.
        self.held = false;
    }

    fn add_network(&mut self, now: Instant, config: NetworkConfig) {
        self.remove_network(config.id);
        let NetworkConfig { id, device, private_key, addresses, accepted, pools, mtu } = config;
        let settings = NetworkSettings { id, private_key, addresses, accepted, pools, mtu };
        let slot = self.engine.add_network(now, settings);
        let device = device.of_shard(self.io.post.part().number());
        if device.is_read()
            && let Err(error) = self.poll.add(&device, FIRST_DEVICE + u64::from(slot))
        {
            tracing::warn!(device = device.name(), %error, "device cannot be watched");
            self.io.tell(Event::DeviceGone { network: id });
            return;
        }
        if self.held && device.is_read() {
            let _ = self.poll.watch(&device, FIRST_DEVICE + u64::from(slot), false, false);
        }
        self.io.add_device(slot, device);
    }

    fn remove_network(&mut self, id: NetworkId) {
        // Runs under construction name the network's slot, which may soon belong to another.
        self.engine.flush(&mut self.io);
        if let Some(slot) = self.engine.remove_network(id)
            && let Some(device) = self.io.remove_device(slot)
        {
            let _ = self.poll.remove(&device);
        }
    }
}

/// Whether an address can be reached with the sockets there are.
pub(crate) fn is_v6(to: SocketAddr) -> bool {
    match to {
        SocketAddr::V4(_) => false,
        SocketAddr::V6(address) => address.ip().to_ipv4_mapped().is_none(),
    }
}

#[cfg(test)]
mod tests;
