//! Which shard carries which peer.
//!
//! A peer belongs to one shard, by its public key alone, so that every shard knows without asking. The indices that a
//! shard gives to its tunnels name it in four fixed bits, so that the kernel knows as well.

/// Bits of a receiver index that name a shard: the lowest of its second byte.
pub(crate) const OWNER_BITS: u32 = 4;

/// Shards that fit these bits.
pub(crate) const MOST: u8 = 1 << OWNER_BITS;

/// One shard's place among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Below `of`.
    number: u8,
    /// 1 to [`MOST`].
    of: u8,
}

impl Part {
    /// The only shard.
    pub(crate) const WHOLE: Self = Self { number: 0, of: 1 };

    /// Shard `number` of `of`.
    pub(crate) fn new(number: u8, of: u8) -> Self {
        let of = of.clamp(1, MOST);
        Self { number: number.min(of - 1), of }
    }

    pub(crate) fn number(self) -> u8 {
        self.number
    }

    /// How many shards there are.
    pub(crate) fn of(self) -> u8 {
        self.of
    }

    /// Whether this is the shard that does what must be done once.
    pub(crate) fn is_first(self) -> bool {
        self.number == 0
    }

    /// The shards beside this one.
    pub(crate) fn others(self) -> impl Iterator<Item = u8> {
        (0..self.of).filter(move |number| *number != self.number)
    }

    /// Returns which shard has the peer of this public key. Such keys are as good as random.
    pub(crate) fn owner(self, key: &[u8; 32]) -> u8 {
        key[0] % self.of
    }

    /// Whether the peer of this public key is this shard's.
    pub(crate) fn has(self, key: &[u8; 32]) -> bool {
        self.owner(key) == self.number
    }

    /// Returns the shard that a receiver index names, whether or not there is such a shard.
    #[inline]
    pub(crate) fn named_by(receiver: u32) -> u8 {
        receiver.to_le_bytes()[1] & (MOST - 1)
    }

    /// Returns the other shard that a receiver index names.
    pub(crate) fn other_named_by(self, receiver: u32) -> Option<u8> {
        Some(Self::named_by(receiver)).filter(|named| *named != self.number && *named < self.of)
    }

    /// Returns this shard's share of a limit of the whole node.
    pub(crate) fn share(self, limit: u32) -> u32 {
        (limit / u32::from(self.of)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_one_shard_and_each_shard_its_share() {
        for of in 1..=MOST {
            let mut peers = vec![0_u32; of.into()];
            for first in 0..=u8::MAX {
                let key = [first; 32];
                let owners: Vec<u8> = (0..of).filter(|number| Part::new(*number, of).has(&key)).collect();
                assert_eq!(owners, [Part::new(0, of).owner(&key)]);
                peers[usize::from(owners[0])] += 1;
            }
            assert!(peers.iter().all(|count| *count >= 256 / u32::from(of)), "{peers:?}");
        }
    }

    #[test]
    fn an_index_leads_to_another_shard_only_if_there_is_one() {
        let part = Part::new(1, 3);
        let named = |owner: u32| part.other_named_by(0xabcd_e055 | owner << 8);
        assert_eq!([0, 1, 2, 3, 15].map(named), [Some(0), None, Some(2), None, None]);
        assert!((0..MOST.into()).all(|owner: u32| Part::WHOLE.other_named_by(owner << 8).is_none()));
        assert_eq!(part.others().collect::<Vec<_>>(), [0, 2]);
    }
}
