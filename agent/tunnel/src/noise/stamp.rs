//! TAI64N time stamps: seconds and nanoseconds, big-endian, so that later ones are greater byte by byte.

use std::time::Duration;

/// Seconds between the origin of TAI64 labels and the Unix epoch, leap seconds aside: peers compare stamps of one
/// sender only.
const EPOCH: u64 = (1 << 62) + 10;

/// When a handshake was begun, by its initiator's clock (WireGuard paper §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(pub(crate) [u8; 12]);

impl Stamp {
    /// Makes the stamp of a moment given as time since the Unix epoch.
    pub(crate) fn at(wall: Duration) -> Self {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&EPOCH.saturating_add(wall.as_secs()).to_be_bytes());
        bytes[8..].copy_from_slice(&wall.subsec_nanos().to_be_bytes());
        Self(bytes)
    }

    /// Returns the least stamp after this one.
    pub(crate) fn next(self) -> Self {
        let mut bytes = [0; 16];
        bytes[4..].copy_from_slice(&self.0);
        let after = u128::from_be_bytes(bytes).saturating_add(1).to_be_bytes();
        let mut next = [0; 12];
        next.copy_from_slice(&after[4..]);
        Self(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_is_greater() {
        let at = |secs, nanos| Stamp::at(Duration::new(secs, nanos));
        assert!(at(1, 0) > at(0, 999_999_999));
        assert!(at(1, 2) > at(1, 1));
        assert!(at(1, 1).next() > at(1, 1));
        assert_eq!(at(1, 1).next(), at(1, 2));
        assert_eq!(at(0, 0).0, [0x40, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0]);
    }
}
