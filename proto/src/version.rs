//! Protocol numbers, one dated line each.
//!
//! One integer, raised for every change of behaviour on the wire. Both sides speak a range; the
//! highest number that both know is used.

/// 2026-11: the first protocol: join, peers, report, watch with revisioned scopes.
pub const FIRST: u16 = 1;

/// The newest protocol this build speaks.
pub const CURRENT: u16 = FIRST;

/// The range this build speaks, as agents send it in a watch request.
pub const RANGE: [u16; 2] = [FIRST, CURRENT];

/// The highest protocol number in both ranges, or `None` when they do not meet.
#[must_use]
pub fn common(ours: [u16; 2], theirs: [u16; 2]) -> Option<u16> {
    let highest = ours[1].min(theirs[1]);
    let lowest = ours[0].max(theirs[0]);
    (highest >= lowest).then_some(highest)
}

#[cfg(test)]
mod tests {
    use super::common;

    #[test]
    fn ranges_meet_at_the_highest_number_both_know() {
        assert_eq!(common([1, 3], [2, 9]), Some(3));
        assert_eq!(common([2, 9], [1, 3]), Some(3));
        assert_eq!(common([1, 1], [1, 1]), Some(1));
        assert_eq!(common([1, 2], [3, 4]), None);
        assert_eq!(common([3, 4], [1, 2]), None);
    }
}
