//! Which relay is home, and which the backup.
//!
//! The nearest that answers is home, the next the backup. A challenger must be clearly nearer for two rounds, because a
//! home that moves costs every peer a record; one that is dead is replaced at once.

use std::{collections::BTreeMap, time::Duration};

use lacis_proto::RelayId;

use super::limits::{HOME_GAIN, HOME_GAIN_PERCENT, HOME_ROUNDS};

/// The relays that this node calls its own.
#[derive(Debug, Default)]
pub(super) struct Choice {
    home: Option<RelayId>,
    backup: Option<RelayId>,
    /// Who was clearly nearer than the home, and for how many rounds.
    challenger: Option<(RelayId, u32)>,
}

impl Choice {
    pub(super) const fn home(&self) -> Option<&RelayId> {
        self.home.as_ref()
    }

    /// Home and backup, in this order.
    pub(super) fn chosen(&self) -> impl Iterator<Item = &RelayId> {
        self.home.iter().chain(&self.backup)
    }

    /// Takes in one round of measurements: who answers, and how fast. Returns whether home or backup are others now.
    pub(super) fn round(&mut self, alive: &BTreeMap<RelayId, Duration>) -> bool {
        let mut nearest: Vec<(&RelayId, Duration)> = alive.iter().map(|(id, rtt)| (id, *rtt)).collect();
        nearest.sort_by_key(|(id, rtt)| (*rtt, *id));
        let before = (self.home.clone(), self.backup.clone());
        if let Some((best, best_rtt)) = nearest.first().copied() {
            let kept = self.home.as_ref().and_then(|home| alive.get(home));
            match kept {
                None => self.home = Some(best.clone()),
                Some(rtt) if is_clearly_nearer(best_rtt, *rtt) => self.challenge(best),
                Some(_) => self.challenger = None,
            }
            let mut others = nearest.iter().map(|(id, _)| *id).filter(|id| Some(*id) != self.home.as_ref());
            let kept =
                self.backup.clone().filter(|id| alive.contains_key(id) && Some(id) != self.home.as_ref());
            self.backup = kept.or_else(|| others.next().cloned());
        }
        before != (self.home.clone(), self.backup.clone())
    }

    /// Forgets relays that are not in the map any more.
    pub(super) fn keep(&mut self, is_known: impl Fn(&RelayId) -> bool) {
        self.home.take_if(|id| !is_known(id));
        self.backup.take_if(|id| !is_known(id));
        self.challenger.take_if(|(id, _)| !is_known(id));
    }

    fn challenge(&mut self, best: &RelayId) {
        let rounds = self.challenger.take().filter(|(id, _)| id == best).map_or(0, |(_, rounds)| rounds) + 1;
        if rounds >= HOME_ROUNDS {
            self.backup = self.home.replace(best.clone());
        } else {
            self.challenger = Some((best.clone(), rounds));
        }
    }
}

fn is_clearly_nearer(this: Duration, than: Duration) -> bool {
    this + HOME_GAIN.max(than * HOME_GAIN_PERCENT / 100) <= than
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(n: u8) -> RelayId {
        RelayId::parse(&format!("relay_00000000-0000-4000-8000-0000000000{n:02}")).unwrap()
    }

    fn rtts(of: &[(u8, u64)]) -> BTreeMap<RelayId, Duration> {
        of.iter().map(|(n, ms)| (relay(*n), Duration::from_millis(*ms))).collect()
    }

    #[track_caller]
    fn check(choice: &mut Choice, of: &[(u8, u64)], home: u8, backup: Option<u8>) {
        choice.round(&rtts(of));
        assert_eq!(choice.home, Some(relay(home)));
        assert_eq!(choice.backup, backup.map(relay));
    }

    #[test]
    fn the_nearest_is_home_and_moves_only_for_one_that_is_clearly_nearer_twice() {
        let mut choice = Choice::default();
        check(&mut choice, &[(1, 50)], 1, None);
        check(&mut choice, &[(1, 50), (2, 45), (3, 48)], 1, Some(2));
        check(&mut choice, &[(1, 50), (2, 30), (3, 48)], 1, Some(2));
        check(&mut choice, &[(1, 50), (2, 45), (3, 48)], 1, Some(2));
        check(&mut choice, &[(1, 50), (2, 30), (3, 48)], 1, Some(2));
        check(&mut choice, &[(1, 50), (2, 30), (3, 48)], 2, Some(1));
    }

    #[test]
    fn a_gain_that_is_large_only_by_share_or_only_in_time_is_not_clear() {
        let mut choice = Choice::default();
        check(&mut choice, &[(1, 8)], 1, None);
        for _ in 0..4 {
            check(&mut choice, &[(1, 8), (2, 1)], 1, Some(2));
        }
        let mut choice = Choice::default();
        check(&mut choice, &[(1, 200)], 1, None);
        for _ in 0..4 {
            check(&mut choice, &[(1, 200), (2, 170)], 1, Some(2));
        }
    }

    #[test]
    fn a_dead_home_is_left_at_once_and_an_empty_round_changes_nothing() {
        let mut choice = Choice::default();
        check(&mut choice, &[(1, 20), (2, 90), (3, 40)], 1, Some(3));
        check(&mut choice, &[(2, 90), (3, 40)], 3, Some(2));
        check(&mut choice, &[], 3, Some(2));
    }
}
