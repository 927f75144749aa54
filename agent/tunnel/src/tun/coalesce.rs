//! Segments become runs: packets of one flow that the host takes in one write.
//!
//! The rule is the kernel's own for receive offload: same flow, same headers but for what counts up, next sequence
//! number, equal size but for the last, right checksums. A run holds where its packets lie in the arena and nothing is
//! moved. Runs leave in the order in which they were opened, and a packet that does not fit closes its flow's run, so
//! packets of one flow never overtake each other.
//!
//! A run of one is written as it came. A packet with a wrong checksum is never merged, so that the host's own check
//! still sees it.

use crate::checksum;
use crate::limits;
use crate::packet;
use crate::tun::vnet::{Gso, Vnet};

mod segment;

use segment::Segment;

/// Where a packet lies in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u32,
    pub(crate) length: u32,
    /// The next piece of the same run; its own index when it is the last.
    next: u32,
}

/// Packets that leave in one write.
#[derive(Debug)]
struct Run {
    network: u32,
    first: u32,
    last: u32,
    count: u32,
    /// Length of the merged packet so far.
    total: usize,
    /// The first packet as parsed; `None` when nothing may be appended, ever.
    head: Option<Segment>,
    /// The sequence number that continues the run.
    next_seq: u32,
    /// Push flag of the last packet.
    push: bool,
    checked: bool,
    open: bool,
}

/// Runs under construction over one arena.
#[derive(Debug)]
pub(crate) struct Coalescer {
    enabled: bool,
    udp: bool,
    runs: Vec<Run>,
    pieces: Vec<Piece>,
    /// Open runs, the latest first.
    flows: Vec<u32>,
}

impl Coalescer {
    pub(crate) fn new() -> Self {
        Self {
            enabled: true,
            udp: true,
            runs: Vec::with_capacity(limits::RUNS),
            pieces: Vec::with_capacity(limits::RUNS * 2),
            flows: Vec::with_capacity(limits::OPEN_FLOWS),
        }
    }

    /// Turns merging on or off; UDP separately, since kernels before 6.2 cannot take it.
    pub(crate) fn set(&mut self, enabled: bool, udp: bool) {
        (self.enabled, self.udp) = (enabled, udp);
    }

    /// Whether everything must be flushed before the next packet.
    pub(crate) fn is_full(&self) -> bool {
        self.runs.len() >= limits::RUNS || self.pieces.len() >= limits::RUNS * 2
    }

    /// Takes in the packet at `offset..offset + length` of the arena.
    pub(crate) fn push(&mut self, network: u32, arena: &[u8], offset: usize, length: usize) {
        let (Ok(start), Ok(size)) = (u32::try_from(offset), u32::try_from(length)) else { return };
        let index = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
        let piece = Piece { offset: start, length: size, next: index };
        let packet = &arena[offset..offset + length];
        let segment = if self.enabled { Segment::parse(packet) } else { None };
        let segment = segment.filter(|segment| segment.tcp || self.udp);
        if let Some(segment) = &segment
            && self.append(network, segment, arena, piece)
        {
            return;
        }
        let next_seq = segment.as_ref().map_or(0, Segment::next_seq);
        let push = segment.as_ref().is_some_and(|segment| segment.push);
        let open = segment.as_ref().is_some_and(Segment::can_grow);
        if self.enabled && segment.is_none() {
            self.close_flows_of(network, packet, arena);
        }
        let run = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        self.pieces.push(piece);
        self.runs.push(Run {
            network,
            first: index,
            last: index,
            count: 1,
            total: length,
            head: segment,
            next_seq,
            push,
            checked: false,
            open,
        });
        if open {
            self.open_flow(run);
        }
    }

    /// Gives every run to `write`, patched into one packet, in the order of opening, and starts over.
    pub(crate) fn flush(&mut self, arena: &mut [u8], mut write: impl FnMut(u32, Vnet, Pieces<'_>)) {
        for run in &self.runs {
            let vnet = match (&run.head, run.count) {
                (Some(head), 2..) => merge_headers(head, run, &self.pieces, arena),
                _ => Vnet::default(),
            };
            let skip = run.head.as_ref().map_or(0, |head| head.header_len);
            write(
                run.network,
                vnet,
                Pieces {
                    arena,
                    pieces: &self.pieces,
                    at: Some(run.first),
                    skip,
                    first: true,
                    count: run.count,
                },
            );
        }
        self.runs.clear();
        self.pieces.clear();
        self.flows.clear();
    }

    /// Tries to append to the flow's run; closes that run when the packet does not continue it.
    fn append(&mut self, network: u32, segment: &Segment, arena: &[u8], piece: Piece) -> bool {
        let same = |at: &u32| {
            let run = &self.runs[*at as usize];
            run.network == network && run.head.as_ref().is_some_and(|head| head.same_flow(segment))
        };
        let Some(position) = self.flows.iter().position(same) else { return false };
        let run = &mut self.runs[self.flows[position] as usize];
        let fits = run.open && continues(run, segment) && verified(run, segment, arena, &self.pieces, &piece);
        if !fits {
            run.open = false;
            self.flows.remove(position);
            return false;
        }
        self.pieces[run.last as usize].next = piece.next;
        run.last = piece.next;
        run.count += 1;
        run.total += segment.payload;
        run.next_seq = segment.next_seq();
        run.push = segment.push;
        let full = run.head.as_ref().is_some_and(|head| segment.payload < head.payload);
        if full || segment.push || run.count as usize >= limits::RUN_SEGMENTS {
            run.open = false;
            self.flows.remove(position);
        }
        self.pieces.push(piece);
        true
    }

    fn open_flow(&mut self, run: u32) {
        if self.flows.len() >= limits::OPEN_FLOWS {
            self.flows.pop();
        }
        self.flows.insert(0, run);
    }

    /// Closes the runs that a packet of unknown flow might belong to: those between the same addresses.
    fn close_flows_of(&mut self, network: u32, packet: &[u8], arena: &[u8]) {
        if self.flows.is_empty() {
            return;
        }
        let addresses = packet::addresses(packet);
        let (runs, pieces) = (&self.runs, &self.pieces);
        self.flows.retain(|at| {
            let run = &runs[*at as usize];
            let piece = pieces[run.first as usize];
            let other = arena.get(piece.offset as usize..).and_then(packet::addresses);
            run.network != network || other != addresses
        });
    }
}

/// The packets of one run, as the parts of one write.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    arena: &'a [u8],
    pieces: &'a [Piece],
    at: Option<u32>,
    skip: usize,
    first: bool,
    pub(crate) count: u32,
}

impl<'a> Pieces<'a> {
    /// One packet that is not in any arena.
    pub(crate) fn single(packet: &'a [u8]) -> Self {
        Self { arena: packet, pieces: &[], at: None, skip: 0, first: true, count: 1 }
    }

    /// Returns the first packet, which has the headers of all.
    pub(crate) fn head(&self) -> &'a [u8] {
        let Some(piece) = self.at.and_then(|at| self.pieces.get(at as usize)) else { return self.arena };
        let (start, end) = (piece.offset as usize, (piece.offset + piece.length) as usize);
        self.arena.get(start..end).unwrap_or(&[])
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.pieces.is_empty() {
            return std::mem::take(&mut self.first).then_some(self.arena);
        }
        let at = self.at?;
        let piece = self.pieces.get(at as usize)?;
        let skip = if self.first { 0 } else { self.skip };
        self.first = false;
        self.at = (piece.next != at).then_some(piece.next);
        let (start, end) = (piece.offset as usize + skip, (piece.offset + piece.length) as usize);
        self.arena.get(start..end)
    }
}

/// Whether `segment` is the next of its run by the kernel's rules.
fn continues(run: &Run, segment: &Segment) -> bool {
    let Some(head) = &run.head else { return false };
    head.same_headers(segment)
        && segment.payload > 0
        && segment.payload <= head.payload
        && run.total + segment.payload <= usize::from(u16::MAX)
        && (!segment.tcp || segment.seq == run.next_seq)
        && (!segment.counts_ids || u32::from(segment.id) == (u32::from(head.id) + run.count) & 0xffff)
}

/// Whether the checksums of the new packet and, the first time, of the run's head are right.
fn verified(run: &mut Run, segment: &Segment, arena: &[u8], pieces: &[Piece], piece: &Piece) -> bool {
    let bytes = |piece: &Piece| &arena[piece.offset as usize..(piece.offset + piece.length) as usize];
    if !run.checked {
        let right =
            run.head.as_ref().is_some_and(|head| head.checksum_is_right(bytes(&pieces[run.first as usize])));
        if !right {
            return false;
        }
        run.checked = true;
    }
    segment.checksum_is_right(bytes(piece))
}

/// Makes the first packet's headers describe the whole run.
fn merge_headers(head: &Segment, run: &Run, pieces: &[Piece], arena: &mut [u8]) -> Vnet {
    let piece = pieces[run.first as usize];
    let packet = &mut arena[piece.offset as usize..(piece.offset + piece.length) as usize];
    let total = packet::len16(run.total);
    let at = head.transport;
    if head.v4 {
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[10..12].fill(0);
        let sum = checksum::partial(&packet[..at]);
        packet[10..12].copy_from_slice(&checksum::finish(sum));
    } else {
        packet[4..6].copy_from_slice(&(total - 40).to_be_bytes());
    }
    let transport_len = total - packet::len16(at);
    let protocol = if head.tcp { packet::TCP } else { packet::UDP };
    let pseudo =
        checksum::fold(packet::pseudo_sum(packet, protocol) + checksum::word(transport_len)).to_ne_bytes();
    let checksum_offset = if head.tcp {
        if run.push {
            packet[at + 13] |= segment::PSH;
        }
        16
    } else {
        packet[at + 4..at + 6].copy_from_slice(&transport_len.to_be_bytes());
        6
    };
    packet[at + checksum_offset..at + checksum_offset + 2].copy_from_slice(&pseudo);
    let gso = match (head.tcp, head.v4) {
        (true, true) => Gso::Tcp4,
        (true, false) => Gso::Tcp6,
        (false, _) => Gso::Udp,
    };
    Vnet {
        needs_checksum: true,
        gso,
        header_len: packet::len16(head.header_len),
        segment: packet::len16(head.payload),
        checksum_start: packet::len16(at),
        checksum_offset: packet::len16(checksum_offset),
    }
}

#[cfg(test)]
mod tests;
