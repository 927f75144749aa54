//! Ports of a NAT to try, each once, in an order that nobody knows before.

/// The lowest port that NATs give to flows (RFC 4787 §4.2.1 leaves those below to others).
const LOWEST: u16 = 1_024;

/// Ports seen that lie within so much of each other come from a block: carriers give each customer one of 512 to
/// 4,096 ports. Three random ports do so once in five hundred times.
const BLOCK: u16 = 2_048;

/// Ports that are tried beside what was seen of a block, at least; otherwise as many as lie between what was seen.
const MARGIN: u16 = 512;

/// Ports in a random order without a list: steps of one length around a circle meet each port once, where the length
/// has no divisor in common with the circle's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    low: u16,
    size: u32,
    at: u32,
    step: u32,
    left: u32,
}

impl Ports {
    /// All ports of a NAT of which ports from the lowest to the highest of `seen` are known; only those around them
    /// where they are close together.
    pub(super) fn new(seen: Option<(u16, u16)>, random: [u8; 8]) -> Self {
        let block = seen.filter(|(low, high)| high.checked_sub(*low).is_some_and(|width| width <= BLOCK));
        let (low, high) = block.map_or((LOWEST, u16::MAX), |(low, high)| {
            let margin = (high - low).max(MARGIN);
            (low.saturating_sub(margin).max(LOWEST), high.saturating_add(margin).max(LOWEST))
        });
        let size = u32::from(high - low) + 1;
        let [a, b, c, d, e, f, g, h] = random;
        let at = u32::from_le_bytes([a, b, c, d]) % size;
        let mut step = u32::from_le_bytes([e, f, g, h]) % size + 1;
        while common_divisor(step, size) != 1 {
            step += 1;
        }
        Self { low, size, at, step, left: size }
    }

    /// Whether all were tried.
    pub(super) const fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl Iterator for Ports {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        self.left = self.left.checked_sub(1)?;
        self.at = (self.at + self.step) % self.size;
        u16::try_from(u32::from(self.low) + self.at).ok()
    }
}

const fn common_divisor(mut one: u32, mut other: u32) -> u32 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn drawn(seen: Option<(u16, u16)>, random: u64) -> Vec<u16> {
        Ports::new(seen, random.to_le_bytes()).collect()
    }

    #[test]
    fn each_port_comes_once_whatever_the_random_numbers_are() {
        for random in [0, 1, u64::MAX, 0x1234_5678_9abc_def0, 64_511 << 32, 32_256 << 32] {
            let ports = drawn(None, random);
            assert_eq!(ports.len(), 64_512);
            let distinct: BTreeSet<u16> = ports.into_iter().collect();
            assert_eq!((distinct.len(), distinct.first()), (64_512, Some(&LOWEST)), "{random:x}");
        }
    }

    #[test]
    fn ports_that_lie_close_together_are_a_block() {
        let bounds = |seen| {
            let ports: BTreeSet<u16> = drawn(Some(seen), 77).into_iter().collect();
            (*ports.first().unwrap(), *ports.last().unwrap())
        };
        assert_eq!(bounds((20_113, 20_788)), (19_438, 21_463), "as far again on both sides");
        assert_eq!(bounds((20_500, 20_510)), (19_988, 21_022), "not less than the least block");
        assert_eq!(bounds((1_100, 1_200)), (LOWEST, 1_712));
        assert_eq!(bounds((65_000, 65_535)), (64_465, 65_535));
        assert_eq!(bounds((1, 2)), (LOWEST, LOWEST));
        assert_eq!(bounds((20_000, 22_049)), (LOWEST, 65_535), "these are not close");
        assert_eq!(bounds((9, 8)), (LOWEST, 65_535), "a peer may say anything");
    }
}
