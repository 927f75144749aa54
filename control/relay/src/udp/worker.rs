//! One thread of the data path: receive, decide, rewrite, send; what is not DATA goes to the desk or is answered.

use std::{io, sync::Arc, time::Duration};

use lacis_proto::{
    relay::{Frame, HEADER, Header, Packet},
    stun,
};
use lacis_udp::Message;

use super::{
    send::{Receiver, Sender, Train, send_one},
    socket::{Stop, UdpSocket},
};
use crate::{
    clock::Clock,
    desk::Letters,
    figures::{Figures, Snapshot},
    forward::{self, Sort, Verdict},
    leg::{Leg, Place},
    limiter::{Limiter, nanoseconds},
    limits::{self, Limits},
    table::{Rates, Table},
    tls::Clients,
};

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: Arc<Table>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) letters: Letters,
    pub(crate) rates: Rates,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) clients: Arc<Clients>,
}

/// A worker, which runs on a thread of its own.
#[derive(Debug)]
pub(crate) struct Worker {
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    is_relay: bool,
    sender: Sender,
    hellos: Limiter,
    probes: Limiter,
    refusals: Limiter,
    counted: Snapshot,
    now: Duration,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, socket: Arc<UdpSocket>) -> Self {
        Self {
            hellos: Limiter::new(shared.limits.hellos_per_second),
            probes: Limiter::new(shared.limits.probes_per_second),
            refusals: Limiter::new(limits::REFUSALS_PER_SECOND),
            sender: Sender::new(),
            is_relay: true,
            counted: Snapshot::default(),
            now: Duration::ZERO,
            shared,
            socket,
        }
    }

    /// A worker on a port that answers STUN alone.
    pub(crate) fn for_stun(shared: Arc<Shared>, socket: Arc<UdpSocket>) -> Self {
        Self { is_relay: false, ..Self::new(shared, socket) }
    }

    /// Runs until `stop`.
    pub(crate) fn run(mut self, stop: &Stop) {
        let mut receiver = Receiver::default();
        loop {
            match receiver.receive(&self.socket) {
                Ok(messages) => self.batch(&mut receiver, messages),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match stop.wait(&self.socket) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        tracing::error!(%error, "the relay cannot wait for datagrams; it stops");
                        return;
                    }
                },
                // What a host on the way said of an earlier datagram, or a signal.
                Err(error) => tracing::trace!(%error, "a receive was refused"),
            }
        }
    }

    fn batch(&mut self, receiver: &mut Receiver, messages: usize) {
        self.now = self.shared.clock.since();
        for at in 0..messages {
            match receiver.message(at) {
                Some(message) => self.message(receiver.bytes_mut(), &message),
                None => self.counted.malformed += 1,
            }
        }
        self.counted.refused += self.sender.flush(&self.socket, receiver.bytes());
        self.shared.figures.add(&mut self.counted);
    }

    fn message(&mut self, bytes: &mut [u8], message: &Message) {
        let Message { stride, start, length, .. } = *message;
        let (from, ecn) = (Place::of_message(message), message.class & limits::ECN);
        let (mut at, end) = (start, start + length);
        while at < end {
            let next = end.min(at + stride);
            match forward::sort(&bytes[at..next]) {
                Sort::Data(_) | Sort::Hello | Sort::Refresh if !self.is_relay => self.counted.malformed += 1,
                Sort::Data(header) => {
                    let count = forward::run(&bytes[at..end], stride);
                    let next = end.min(at + count * stride);
                    let train = Train { to: from, ecn, stride, start: at, length: next - at };
                    self.data(bytes, &from, header, train, count as u64);
                    at = next;
                    continue;
                }
                Sort::Hello => self.ask(from, &bytes[at..next], true),
                Sort::Refresh => self.ask(from, &bytes[at..next], false),
                Sort::Probe(header) => self.probe(&from, header, &bytes[at..next]),
                Sort::Stun => self.stun(&from, &bytes[at..next]),
                Sort::Foreign => self.counted.malformed += 1,
            }
            at = next;
        }
    }

    fn data(&mut self, bytes: &mut [u8], source: &Place, data: Header, train: Train, count: u64) {
        let shared = Arc::clone(&self.shared);
        match forward::decide(&shared.table, &Leg::Udp(*source), data) {
            Verdict::Forward { from, to } => {
                if !shared.table.admit(&from, train.length, nanoseconds(self.now), &shared.rates) {
                    self.counted.over_rate += count;
                    return;
                }
                let place = &mut bytes[train.start..train.start + train.length];
                forward::rewrite(place, train.stride, forward::delivered(&to, from.address));
                let to = match to.leg {
                    Leg::Udp(to) => to,
                    Leg::Tls(stream) => return self.stream_to(place, train.stride, stream.client),
                };
                let train = Train { to, ..train };
                if !self.sender.push(train) {
                    self.counted.refused += self.sender.flush(&self.socket, bytes);
                    self.sender.push(train);
                }
                self.counted.packets += count;
                self.counted.bytes += train.length as u64;
            }
            Verdict::NotBound(frame) => {
                self.counted.not_bound += count;
                self.refuse(source, &frame);
            }
            Verdict::Unknown(frame) => {
                self.counted.unknown += count;
                self.refuse(source, &frame);
            }
            Verdict::Blocked => self.counted.blocked += count,
        }
    }

    /// Queues datagrams for a member behind TLS.
    fn stream_to(&mut self, datagrams: &[u8], stride: usize, client: u64) {
        for datagram in datagrams.chunks(stride) {
            if self.shared.clients.push(client, datagram.into()) {
                self.counted.packets += 1;
                self.counted.bytes += datagram.len() as u64;
            } else {
                self.counted.refused += 1;
            }
        }
    }

    fn refuse(&mut self, to: &Place, frame: &[u8; HEADER]) {
        if self.refusals.admit(self.now, to.ip) {
            send_one(&self.socket, to, frame);
        }
    }

    /// Hands a frame to the desk, unless its source asks too often. A busy desk takes HELLOs with a cookie alone.
    fn ask(&mut self, from: Place, frame: &[u8], is_hello: bool) {
        if !self.hellos.admit(self.now, from.ip) {
            self.counted.flooded += 1;
            return;
        }
        match self.shared.letters.post(self.now, Leg::Udp(from), frame, is_hello) {
            Ok(()) => {}
            Err(Some(retry)) => {
                self.counted.retried += 1;
                send_one(&self.socket, &from, &retry);
            }
            Err(None) => self.counted.flooded += 1,
        }
    }

    fn probe(&mut self, from: &Place, header: Header, frame: &[u8]) {
        if Packet::parse(frame).is_err() {
            self.counted.malformed += 1;
        } else if self.probes.admit(self.now, from.ip) {
            self.counted.probes += 1;
            let frame = Frame::ProbeAck(from.remote());
            let answer = Packet { lease: header.lease, address: header.address, frame };
            send_one(&self.socket, from, &answer.to_bytes());
        }
    }

    fn stun(&mut self, from: &Place, message: &[u8]) {
        let Some(request) = stun::Request::parse(message) else {
            self.counted.malformed += 1;
            return;
        };
        if self.probes.admit(self.now, from.ip) {
            self.counted.probes += 1;
            send_one(&self.socket, from, &request.answer(from.remote()));
        }
    }
}
