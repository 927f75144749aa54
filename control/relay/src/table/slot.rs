//! One lease in words that are read and written without a lock.

use std::{
    net::Ipv6Addr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use lacis_proto::relay::RelayAddress;

use crate::{
    leg::{Leg, Place, Stream},
    limits,
};

/// Bytes of a slot.
#[cfg(test)]
pub(crate) const SLOT_BYTES: usize = size_of::<Slot>();

/// How often a reader looks again at a slot that is being written, which takes some nanoseconds; a writer that lost
/// its core in between makes it count as empty, and one packet be lost.
const TRIES: usize = 1_000;

const UDP: u64 = 1;
const TLS: u64 = 2;

/// What the data path knows of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Its number.
    pub(crate) id: u32,
    /// The number of its group at the desk.
    pub(crate) group: u32,
    /// Where its peers find it.
    pub(crate) address: RelayAddress,
    /// The rate class of its token.
    pub(crate) class: u8,
    /// Where it is.
    pub(crate) leg: Leg,
}

const WORDS: usize = 6;

/// A place for a lease. `id` 0 is none.
#[derive(Debug, Default)]
pub(super) struct Slot {
    sequence: AtomicU32,
    id: AtomicU32,
    words: [AtomicU64; WORDS],
    bucket: AtomicU64,
    blocked: [AtomicU64; limits::BLOCKS],
}

impl Slot {
    /// The lease that stands here.
    pub(super) fn read(&self) -> Option<Lease> {
        for _ in 0..TRIES {
            let before = self.sequence.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let id = self.id.load(Ordering::Relaxed);
                let words: [u64; WORDS] = std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed));
                // Orders the loads above before the one below.
                fence(Ordering::Acquire);
                if self.sequence.load(Ordering::Relaxed) == before {
                    return decode(id, words);
                }
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Writes a lease. One thread writes.
    pub(super) fn write(&self, lease: &Lease) {
        if self.id.load(Ordering::Relaxed) != lease.id {
            self.bucket.store(0, Ordering::Relaxed);
            self.set_blocked(&[]);
        }
        self.store(lease.id, encode(lease));
    }

    /// Empties the place.
    pub(super) fn clear(&self) {
        self.store(0, [0; WORDS]);
    }

    pub(super) fn bucket(&self) -> &AtomicU64 {
        &self.bucket
    }

    pub(super) fn blocks(&self, from: RelayAddress) -> bool {
        self.blocked.iter().any(|blocked| blocked.load(Ordering::Relaxed) == from.0) && from.0 != 0
    }

    pub(super) fn set_blocked(&self, blocked: &[RelayAddress]) {
        for (at, place) in self.blocked.iter().enumerate() {
            place.store(blocked.get(at).map_or(0, |address| address.0), Ordering::Relaxed);
        }
    }

    fn store(&self, id: u32, words: [u64; WORDS]) {
        let before = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(before.wrapping_add(1), Ordering::Relaxed);
        // Orders the store above before those below.
        fence(Ordering::Release);
        self.id.store(id, Ordering::Relaxed);
        for (place, word) in self.words.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        self.sequence.store(before.wrapping_add(2), Ordering::Release);
    }
}

fn encode(lease: &Lease) -> [u64; WORDS] {
    let group = u64::from(lease.group) << 32 | u64::from(lease.class) << 24;
    match lease.leg {
        Leg::Udp(place) => {
            let ([ip_high, ip_low], [local_high, local_low]) = (halves(place.ip), halves(place.local));
            let port = u64::from(place.port) << 8;
            [lease.address.0, group | port | UDP, ip_high, ip_low, local_high, local_low]
        }
        Leg::Tls(stream) => {
            let [ip_high, ip_low] = halves(stream.ip);
            let port = u64::from(stream.port) << 8;
            [lease.address.0, group | port | TLS, ip_high, ip_low, stream.client, 0]
        }
    }
}

fn decode(id: u32, words: [u64; WORDS]) -> Option<Lease> {
    let [address, kind, ip_high, ip_low, local_high, local_low] = words;
    let [g0, g1, g2, g3, class, p0, p1, leg] = kind.to_be_bytes();
    let (ip, port) = (whole(ip_high, ip_low), u16::from_be_bytes([p0, p1]));
    let leg = match u64::from(leg) {
        UDP => Leg::Udp(Place { ip, port, local: whole(local_high, local_low) }),
        // The words of a stream have its number where the others have our address.
        TLS => Leg::Tls(Stream { client: local_high, ip, port }),
        _ => return None,
    };
    let group = u32::from_be_bytes([g0, g1, g2, g3]);
    (id != 0).then_some(Lease { id, group, address: RelayAddress(address), class, leg })
}

fn halves(ip: Ipv6Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = ip.octets();
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p])]
}

fn whole(high: u64, low: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))
}
