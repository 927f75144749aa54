//! Direct paths that worked, kept over restarts so that they are tried first.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::{
    PeerName,
    event::LastGood,
    limits::{KEEP_EVERY, LAST_GOOD_FOR, MAX_LAST_GOOD},
};

#[derive(Clone, Copy, Debug)]
struct Worked {
    remote: SocketAddr,
    /// How old it was when it was noted, and when that was.
    age: Duration,
    noted: Duration,
}

impl Worked {
    fn age(&self, now: Duration) -> Duration {
        self.age + now.saturating_sub(self.noted)
    }
}

/// Direct paths by peer.
#[derive(Debug, Default)]
pub(super) struct Memory {
    paths: BTreeMap<PeerName, Worked>,
    /// Whether the time of what came from the disk was set.
    has_started: bool,
    kept_at: Option<Duration>,
    is_changed: bool,
}

impl Memory {
    pub(super) fn new(paths: Vec<LastGood>) -> Self {
        let young = paths.into_iter().filter(|path| path.age < LAST_GOOD_FOR).take(MAX_LAST_GOOD);
        let noted = |path: LastGood| {
            let worked = Worked { remote: path.remote, age: path.age, noted: Duration::ZERO };
            ((path.group, path.key), worked)
        };
        Self { paths: young.map(noted).collect(), ..Self::default() }
    }

    /// The ages from the disk count from the first event on.
    pub(super) fn starts_at(&mut self, now: Duration) {
        if !std::mem::replace(&mut self.has_started, true) {
            self.paths.values_mut().for_each(|worked| worked.noted = now);
        }
    }

    /// Where the peer was when a direct path to it last worked.
    pub(super) fn of(&self, name: &PeerName, now: Duration) -> Option<SocketAddr> {
        self.paths.get(name).filter(|worked| worked.age(now) < LAST_GOOD_FOR).map(|worked| worked.remote)
    }

    /// Data goes to this address now.
    pub(super) fn works(&mut self, name: &PeerName, remote: SocketAddr, now: Duration) {
        let worked = Worked { remote, age: Duration::ZERO, noted: now };
        if let Some(before) = self.paths.get_mut(name) {
            self.is_changed |= before.remote != remote;
            *before = worked;
        } else if self.paths.len() < MAX_LAST_GOOD {
            self.paths.insert(name.clone(), worked);
            self.is_changed = true;
        }
    }

    /// The peer is gone.
    pub(super) fn forget(&mut self, name: &PeerName) {
        self.is_changed |= self.paths.remove(name).is_some();
    }

    /// When it is to be written next.
    pub(super) fn keep_at(&self) -> Option<Duration> {
        self.is_changed.then(|| self.kept_at.map_or(Duration::ZERO, |kept| kept + KEEP_EVERY))
    }

    /// Whether it is to be written now.
    pub(super) fn take_due(&mut self, now: Duration) -> bool {
        let is_due = self.keep_at().is_some_and(|at| at <= now);
        if is_due {
            self.is_changed = false;
            self.kept_at = Some(now);
        }
        is_due
    }

    /// All of them, for the disk.
    pub(super) fn list(&self, now: Duration) -> Vec<LastGood> {
        let young = self.paths.iter().filter(|(_, worked)| worked.age(now) < LAST_GOOD_FOR);
        let listed = young.map(|((group, key), worked)| LastGood {
            group: group.clone(),
            key: *key,
            remote: worked.remote,
            age: worked.age(now),
        });
        listed.collect()
    }
}

#[cfg(test)]
mod tests {
    use lacis_proto::PublicKey;

    use super::*;
    use crate::fixtures::group;

    fn name(n: usize) -> PeerName {
        let mut key = [1; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        (group(1), PublicKey::try_new(key).unwrap())
    }

    #[test]
    fn as_many_paths_are_remembered_as_there_is_room_for() {
        let remote: SocketAddr = "192.0.2.1:47820".parse().unwrap();
        let mut memory = Memory::default();
        for n in 0..=MAX_LAST_GOOD {
            memory.works(&name(n), remote, Duration::ZERO);
        }
        let listed = memory.list(Duration::ZERO);
        assert_eq!(listed.len(), MAX_LAST_GOOD);
        assert_eq!(memory.of(&name(MAX_LAST_GOOD), Duration::ZERO), None);
        memory.forget(&name(0));
        memory.works(&name(MAX_LAST_GOOD), remote, Duration::ZERO);
        assert_eq!(memory.of(&name(MAX_LAST_GOOD), Duration::ZERO), Some(remote), "who is gone makes room");
        let more = listed.iter().cycle().take(3 * MAX_LAST_GOOD).cloned().collect();
        assert!(Memory::new(more).list(Duration::ZERO).len() <= MAX_LAST_GOOD, "a file may hold more");
    }
}
