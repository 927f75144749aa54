//! Receiver indices: which tunnel a message is for.
//!
//! ```text
//!  31 … 12  the tunnel's slot under a keyed permutation
//!  11 …  8  the shard that has the tunnel
//!   7 …  0  count of handshakes
//! ```
//!
//! So an index reveals neither how many tunnels there are nor which came first, and the kernel can hand a datagram to
//! the right shard (`udp/steer.rs`). Slots are reused oldest first, which keeps late messages for a dead tunnel from
//! reaching its successor.

use std::collections::VecDeque;

use crate::part::{OWNER_BITS, Part};

const BITS: u32 = 20;
const HALF: u32 = 10;
const HALF_MASK: u32 = (1 << HALF) - 1;
const ROUNDS: u64 = 4;

/// The table from index to owner.
#[derive(Debug)]
pub(crate) struct Indices {
    key: u64,
    part: Part,
    owners: Vec<Option<u32>>,
    free: VecDeque<u32>,
}

impl Indices {
    pub(crate) fn new(key: u64, part: Part) -> Self {
        Self { key, part, owners: Vec::new(), free: VecDeque::new() }
    }

    /// Gives `owner` a 24-bit index; `None` when all are taken.
    pub(crate) fn take(&mut self, owner: u32) -> Option<u32> {
        // Fresh slots are preferred until there are enough that a freed one rests for a while.
        let slot = if self.free.len() > 64 || self.owners.len() >= 1 << BITS {
            self.free.pop_front()?
        } else {
            self.owners.push(None);
            u32::try_from(self.owners.len() - 1).ok()?
        };
        self.owners[slot as usize] = Some(owner);
        Some(self.permute(slot) << OWNER_BITS | u32::from(self.part.number()))
    }

    /// Takes an index back.
    pub(crate) fn release(&mut self, index: u32) {
        let slot = self.restore(index >> OWNER_BITS);
        if let Some(owner) = self.owners.get_mut(slot as usize)
            && owner.take().is_some()
        {
            self.free.push_back(slot);
        }
    }

    /// Returns whose tunnel of this shard a 32-bit receiver index names.
    #[inline]
    pub(crate) fn owner(&self, receiver: u32) -> Option<u32> {
        if Part::named_by(receiver) != self.part.number() {
            return None;
        }
        let slot = self.restore(receiver >> (8 + OWNER_BITS));
        self.owners.get(slot as usize).copied().flatten()
    }

    /// A four-round Feistel network over 20 bits.
    fn permute(&self, slot: u32) -> u32 {
        let (mut left, mut right) = (slot >> HALF & HALF_MASK, slot & HALF_MASK);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.mix(round, right));
        }
        left << HALF | right
    }

    fn restore(&self, index: u32) -> u32 {
        let (mut left, mut right) = (index >> HALF & HALF_MASK, index & HALF_MASK);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.mix(round, left), left);
        }
        left << HALF | right
    }

    fn mix(&self, round: u64, half: u32) -> u32 {
        let mut z = self.key ^ (round << 60) ^ u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z >> 40) as u32 & HALF_MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn part() -> Part {
        Part::new(2, 3)
    }

    #[test]
    fn indices_are_unique_and_find_their_owner() {
        let mut indices = Indices::new(0x1234_5678_9abc_def0, part());
        let taken: Vec<u32> = (0..20_000).map(|owner| indices.take(owner).unwrap()).collect();
        assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), taken.len());
        for (owner, index) in taken.iter().enumerate() {
            assert!(*index < 1 << 24);
            for attempt in [0, 7, 255] {
                let receiver = index << 8 | attempt;
                assert_eq!(Part::named_by(receiver), 2);
                assert_eq!(indices.owner(receiver), Some(u32::try_from(owner).unwrap()));
                assert_eq!(indices.owner(receiver ^ 0x100), None, "that one is of another shard");
            }
        }
    }

    #[test]
    fn a_released_index_has_no_owner_and_is_not_reused_at_once() {
        let mut indices = Indices::new(1, part());
        let first = indices.take(1).unwrap();
        indices.release(first);
        indices.release(first);
        assert_eq!(indices.owner(first << 8), None);
        assert_ne!(indices.take(2), Some(first));
    }

    proptest::proptest! {
        #[test]
        fn the_permutation_can_be_undone(key: u64, slot in 0_u32..1 << BITS) {
            let indices = Indices::new(key, Part::WHOLE);
            let index = indices.permute(slot);
            proptest::prop_assert!(index < 1 << BITS);
            proptest::prop_assert_eq!(indices.restore(index), slot);
        }

        #[test]
        fn any_index_can_be_asked_for(key: u64, receiver: u32) {
            proptest::prop_assert_eq!(Indices::new(key, Part::WHOLE).owner(receiver), None);
        }
    }
}
