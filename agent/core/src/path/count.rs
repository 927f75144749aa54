//! NATs that count: they give flows ports one step apart, in the order in which the flows were opened.
//!
//! ```text
//! flow to the peer, opened ─▶ port P, unknown      flows of another socket to observers, right behind ─▶ ports S, S + step …
//! ```
//! So P is a few steps before S, and stays while the flow lives: nothing that others open later changes it. Ports that are
//! predicted from what was seen earlier, on the other hand, miss as soon as somebody else opens flows in between.

use std::net::SocketAddr;

use super::limits::{EXPECTED_PORTS, STEPS_APART};

/// Flows that were opened one after the other, as observers saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// The first of them.
    first: SocketAddr,
    step: i16,
}

impl Count {
    /// What successive flows tell; none where they tell nothing of a NAT that counts.
    pub(super) fn of(seen: &[SocketAddr]) -> Option<Self> {
        let [one, two, three, ..] = seen else { return None };
        let step = stride([one.port(), two.port(), three.port()])?;
        let ports = seen.iter().map(SocketAddr::port);
        let first = if step > 0 { ports.min() } else { ports.max() }?;
        Some(Self { first: SocketAddr::new(one.ip(), first), step })
    }

    /// Where a flow is seen that was opened shortly before, the likeliest first. `earlier` passes over those nearest.
    pub(super) fn before(&self, earlier: i32) -> Vec<SocketAddr> {
        (earlier + 1..=earlier + EXPECTED_PORTS)
            .filter_map(|behind| {
                u16::try_from(i32::from(self.first.port()) - i32::from(self.step) * behind).ok()
            })
            .filter(|port| *port != 0)
            .map(|port| SocketAddr::new(self.first.ip(), port))
            .collect()
    }
}

/// What a NAT adds from one flow to the next, as three flows in the order in which they were seen tell it; none where it
/// does not seem to count.
///
/// Answers overtake each other, so the ports are put in order first; they fall only where they came falling. Others may
/// have opened flows in between: what the ports lie apart is then a multiple of the step.
pub(crate) fn stride(came: [u16; 3]) -> Option<i16> {
    let mut ports = came;
    ports.sort_unstable();
    let (one, two) = (ports[1] - ports[0], ports[2] - ports[1]);
    if one == 0 || two == 0 || (one != two && one.max(two) > STEPS_APART) {
        return None;
    }
    let falls = came[0] > came[1] && came[1] > came[2];
    i16::try_from(greatest_divisor(one, two)).ok().map(|step| if falls { -step } else { step })
}

fn greatest_divisor(one: u16, other: u16) -> u16 {
    if other == 0 { one } else { greatest_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(came: [u16; 3], expected: Option<i16>) {
        assert_eq!(stride(came), expected, "{came:?}");
    }

    #[test]
    fn the_step_shows_although_answers_overtake_and_others_open_flows() {
        check([700, 702, 704], Some(2));
        check([700, 704, 702], Some(2));
        check([704, 702, 700], Some(-2));
        check([700, 701, 704], Some(1));
        check([700, 704, 710], Some(2));
        check([700, 5_700, 10_700], Some(5_000));
        check([700, 700, 701], None);
        check([700, 41, 9_000], None);
    }

    #[test]
    fn a_flow_opened_just_before_is_expected_at_the_ports_before() {
        let seen = |ports: [u16; 3]| ports.map(|port| SocketAddr::from(([203, 0, 113, 1], port)));
        let ports =
            |count: &Count, earlier| count.before(earlier).iter().map(SocketAddr::port).collect::<Vec<_>>();
        let count = Count::of(&seen([20_012, 20_010, 20_011])).unwrap();
        assert_eq!(ports(&count, 0), (20_002..=20_009).rev().collect::<Vec<_>>());
        assert_eq!(ports(&count, 8), (19_994..=20_001).rev().collect::<Vec<_>>());
        let falling = Count::of(&seen([20_012, 20_011, 20_010])).unwrap();
        assert_eq!(ports(&falling, 0), (20_013..=20_020).collect::<Vec<_>>());
        assert_eq!(Count::of(&seen([20_012, 20_011, 20_010])[..2]), None);
        let lowest = Count::of(&seen([3, 4, 5])).unwrap();
        assert_eq!(ports(&lowest, 0), [2, 1]);
    }
}
