//! From a group and a relay address to a slot: open addressing in tables that double.
//!
//! One thread writes, anybody reads. An entry is two words, of which the second is zero where there is none. A reader
//! may see an entry of which one word is new and the other old: the caller's check of the slot catches that.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

use lacis_proto::relay::RelayAddress;

/// Entries of the smallest table, as a power of two.
const FIRST: u32 = 10;

/// Tables up to twice the largest number of leases.
const LEVELS: usize = (crate::limits::PLACE_BITS + 2 - FIRST) as usize;

/// How often a reader looks again when entries were moved while it looked.
const TRIES: usize = 100;

#[derive(Debug, Default)]
struct Entry {
    address: AtomicU64,
    /// The group in the upper half, one more than the place in the lower; 0 for none.
    place: AtomicU64,
}

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    seed: u64,
    levels: [OnceLock<Box<[Entry]>>; LEVELS],
    level: AtomicUsize,
    /// Odd while entries are moved.
    moves: AtomicU32,
    used: AtomicUsize,
}

impl Index {
    pub(super) fn new(seed: u64) -> Self {
        let levels = std::array::from_fn(|_| OnceLock::new());
        let index = Self {
            seed,
            levels,
            level: AtomicUsize::new(0),
            moves: AtomicU32::new(0),
            used: AtomicUsize::new(0),
        };
        index.table(0);
        index
    }

    /// The first of the places under a key that `is_it` takes.
    #[inline]
    pub(super) fn find<T>(
        &self,
        group: u32,
        address: RelayAddress,
        is_it: impl Fn(u32) -> Option<T>,
    ) -> Option<T> {
        for _ in 0..TRIES {
            let before = self.moves.load(Ordering::Acquire);
            let table = self.current();
            for at in self.walk(table.len(), group, address) {
                let place = table[at].place.load(Ordering::Acquire);
                if place == 0 {
                    break;
                }
                if table[at].address.load(Ordering::Relaxed) == address.0
                    && place >> 32 == u64::from(group)
                    && let Some(found) = is_it(low(place) - 1)
                {
                    return Some(found);
                }
            }
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.moves.load(Ordering::Relaxed) == before {
                return None;
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Adds an entry. Its slot is written before.
    pub(super) fn insert(&self, group: u32, address: RelayAddress, place: u32) {
        let used = self.used.load(Ordering::Relaxed) + 1;
        if used * 2 > self.current().len() {
            self.grow();
        }
        self.used.store(used, Ordering::Relaxed);
        self.put(self.current(), group, address, u64::from(group) << 32 | u64::from(place + 1));
    }

    /// Takes an entry out and closes the gap, so that no walk ends early.
    pub(super) fn remove(&self, group: u32, address: RelayAddress, place: u32) {
        let table = self.current();
        let wanted = u64::from(group) << 32 | u64::from(place + 1);
        let found = self
            .walk(table.len(), group, address)
            .take_while(|at| table[*at].place.load(Ordering::Relaxed) != 0);
        let is_it = |at: &usize| {
            table[*at].place.load(Ordering::Relaxed) == wanted
                && table[*at].address.load(Ordering::Relaxed) == address.0
        };
        let Some(mut gap) = found.into_iter().find(is_it) else { return };
        self.used.fetch_sub(1, Ordering::Relaxed);
        self.moving(|| {
            let mask = table.len() - 1;
            let mut at = gap;
            loop {
                at = (at + 1) & mask;
                let entry = &table[at];
                let place = entry.place.load(Ordering::Relaxed);
                if place == 0 {
                    break;
                }
                let address = RelayAddress(entry.address.load(Ordering::Relaxed));
                let home = self.home(table.len(), high(place), address);
                // An entry may fill the gap unless its home lies behind the gap.
                if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                    table[gap].address.store(address.0, Ordering::Relaxed);
                    table[gap].place.store(place, Ordering::Release);
                    gap = at;
                }
            }
            table[gap].place.store(0, Ordering::Release);
        });
    }

    fn grow(&self) {
        let level = self.level.load(Ordering::Relaxed);
        if level + 1 >= LEVELS {
            return;
        }
        let (old, new) = (self.table(level), self.table(level + 1));
        for entry in old {
            let place = entry.place.load(Ordering::Relaxed);
            if place != 0 {
                self.put(new, high(place), RelayAddress(entry.address.load(Ordering::Relaxed)), place);
            }
        }
        self.moving(|| self.level.store(level + 1, Ordering::Release));
    }

    fn put(&self, table: &[Entry], group: u32, address: RelayAddress, place: u64) {
        let free =
            self.walk(table.len(), group, address).find(|at| table[*at].place.load(Ordering::Relaxed) == 0);
        let Some(free) = free else { return };
        table[free].address.store(address.0, Ordering::Relaxed);
        table[free].place.store(place, Ordering::Release);
    }

    fn moving(&self, change: impl FnOnce()) {
        let before = self.moves.load(Ordering::Relaxed);
        self.moves.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.moves.store(before.wrapping_add(2), Ordering::Release);
    }

    fn current(&self) -> &[Entry] {
        self.table(self.level.load(Ordering::Acquire))
    }

    fn table(&self, level: usize) -> &[Entry] {
        self.levels[level.min(LEVELS - 1)]
            .get_or_init(|| (0..1_usize << (FIRST as usize + level)).map(|_| Entry::default()).collect())
    }

    fn home(&self, length: usize, group: u32, address: RelayAddress) -> usize {
        let mixed =
            (address.0 ^ self.seed ^ u64::from(group).rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        usize::try_from(mixed >> 32).unwrap_or_default() & (length - 1)
    }

    fn walk(&self, length: usize, group: u32, address: RelayAddress) -> impl Iterator<Item = usize> + use<> {
        let home = self.home(length, group, address);
        (0..length).map(move |step| (home + step) & (length - 1))
    }
}

fn low(place: u64) -> u32 {
    u32::try_from(place & u64::from(u32::MAX)).unwrap_or(1).max(1)
}

fn high(place: u64) -> u32 {
    u32::try_from(place >> 32).unwrap_or_default()
}
