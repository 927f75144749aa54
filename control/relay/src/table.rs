//! What workers know of leases: written by the desk alone, read by everybody without a lock.
//!
//! ```text
//! slab:   chunks of slots, each made when its first lease is
//! index:  (group, relay address) ─▶ slot, open addressing
//! ```
//! A slot is a sequence number and some words. It is odd while the desk writes; a reader that sees it change reads
//! again. An index entry that is being moved may be missed or lead to another slot; therefore a reader compares what
//! the slot says with what it looks for, and looks again where the index has changed meanwhile.

mod index;
mod slot;

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use lacis_proto::relay::RelayAddress;

use crate::{
    leg::Leg,
    limits::{self, CLASSES, Limits},
};
use index::Index;
pub(crate) use slot::Lease;
#[cfg(test)]
pub(crate) use slot::SLOT_BYTES;
use slot::Slot;

/// Slots in a chunk: 96 KiB, which small relays make once.
const CHUNK: usize = 1_024;

/// Chunks of the largest slab.
const CHUNKS: usize = (1 << limits::PLACE_BITS) / CHUNK;

/// The leases, as the data path sees them.
#[derive(Debug)]
pub(crate) struct Table {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    index: Index,
    groups: Groups,
}

impl Table {
    /// Without leases. The seed makes places in the index unforeseeable.
    pub(crate) fn new(seed: u64) -> Self {
        let chunks = (0..CHUNKS).map(|_| OnceLock::new()).collect();
        Self { chunks, index: Index::new(seed), groups: Groups::default() }
    }

    /// The lease with this number, where there is one.
    pub(crate) fn lease(&self, id: u32) -> Option<Lease> {
        self.slot(id & PLACE)?.read().filter(|lease| lease.id == id)
    }

    /// The lease of a group at a relay address.
    pub(crate) fn find(&self, group: u32, address: RelayAddress) -> Option<Lease> {
        let is_it = |place| {
            let lease = self.slot(place)?.read()?;
            (lease.group == group && lease.address == address).then_some(lease)
        };
        self.index.find(group, address, is_it)
    }

    /// Whether the lease wants nothing from this end.
    pub(crate) fn blocks(&self, id: u32, from: RelayAddress) -> bool {
        self.slot(id & PLACE).is_some_and(|slot| slot.blocks(from))
    }

    /// Takes `bytes` from what a lease may send, and from what its group may; whether it may.
    pub(crate) fn admit(&self, lease: &Lease, bytes: usize, now_ns: u64, rates: &Rates) -> bool {
        let (own, group) = rates.of(lease.class);
        let slot = || self.slot(lease.id & PLACE);
        let own = own.is_unlimited() || slot().is_some_and(|slot| own.take(slot.bucket(), bytes, now_ns));
        let bucket = || self.groups.bucket(lease.group);
        own && (group.is_unlimited() || bucket().is_none_or(|bucket| group.take(bucket, bytes, now_ns)))
    }

    /// Puts a lease into its place, new or changed. The desk alone writes.
    pub(crate) fn put(&self, lease: Lease) {
        let place = lease.id & PLACE;
        let Some(chunk) = self.chunks.get(place as usize / CHUNK) else { return };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Slot::default()).collect());
        let known = chunk[place as usize % CHUNK].read();
        chunk[place as usize % CHUNK].write(&lease);
        if known.is_none_or(|known| known.address != lease.address || known.group != lease.group) {
            if let Some(known) = known {
                self.index.remove(known.group, known.address, place);
            }
            self.index.insert(lease.group, lease.address, place);
        }
    }

    /// Takes a lease out.
    pub(crate) fn remove(&self, lease: &Lease) {
        let place = lease.id & PLACE;
        self.index.remove(lease.group, lease.address, place);
        if let Some(slot) = self.slot(place) {
            slot.clear();
        }
    }

    /// Sets whom a lease blocks.
    pub(crate) fn set_blocked(&self, id: u32, blocked: &[RelayAddress]) {
        if let Some(slot) = self.slot(id & PLACE) {
            slot.set_blocked(blocked);
        }
    }

    fn slot(&self, place: u32) -> Option<&Slot> {
        self.chunks.get(place as usize / CHUNK)?.get()?.get(place as usize % CHUNK)
    }
}

/// The part of a lease's number that says its place.
pub(crate) const PLACE: u32 = (1 << limits::PLACE_BITS) - 1;

/// What leases and their groups may send, by the class of the lease's token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates([(Rate, Rate); 1 + CLASSES]);

impl Rates {
    /// As an operator has set them. A class that nothing is said of is as class 0.
    pub(crate) fn new(limits: &Limits) -> Self {
        let rate = |lease, group| (Rate::new(lease), Rate::new(group));
        let mut rates = [rate(limits.bytes_per_second, limits.group_bytes_per_second); 1 + CLASSES];
        for (at, class) in rates.iter_mut().skip(1).zip(limits.classes) {
            if let Some(class) = class {
                *at = rate(class.bytes_per_second, class.group_bytes_per_second);
            }
        }
        Self(rates)
    }

    fn of(&self, class: u8) -> (Rate, Rate) {
        self.0.get(usize::from(class)).copied().unwrap_or(self.0[0])
    }
}

/// A rate as a token bucket, kept as the moment at which it would be full again: one word, without a lock.
#[derive(Clone, Copy, Debug)]
struct Rate {
    bytes_per_second: u64,
    burst_ns: u64,
}

impl Rate {
    /// So many bytes per second; 0 is without limit.
    fn new(bytes_per_second: u64) -> Self {
        let burst_ns = crate::limiter::nanoseconds(limits::BURST);
        Self { bytes_per_second, burst_ns }
    }

    fn is_unlimited(self) -> bool {
        self.bytes_per_second == 0
    }

    fn take(self, bucket: &AtomicU64, bytes: usize, now_ns: u64) -> bool {
        let cost = (bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second.max(1);
        let take = |full: u64| {
            let next = full.max(now_ns).saturating_add(cost);
            (next - now_ns <= self.burst_ns).then_some(next)
        };
        bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// Buckets of groups, by the group's number at the desk. Those beyond share theirs with others.
#[derive(Debug)]
struct Groups(Box<[AtomicU64]>);

impl Default for Groups {
    fn default() -> Self {
        Self((0..4_096).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Groups {
    fn bucket(&self, group: u32) -> Option<&AtomicU64> {
        self.0.get(group as usize % self.0.len())
    }
}

/// Where nothing is known of a sender: its leg is compared by who reads.
impl Lease {
    /// Whether frames from this leg are the lease's.
    pub(crate) fn is_at(&self, leg: &Leg) -> bool {
        self.leg == *leg
    }
}

#[cfg(test)]
mod tests;
