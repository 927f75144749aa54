//! A day of churn: everything goes wrong all day, at the pace of a bad day, and nothing piles up.

use std::time::Duration;

use crate::{CONVERGED_WITHIN, node::Process, world::World};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Trouble comes every minute or so, over all: some 1,400 times in the day.
const PACE: u64 = 30;

/// Entries that an agent may hold for each peer that it knows: demoted, spoken with, owed a call, remembered,
/// wanted, alarmed, refused, called in vain; and some beside.
const PER_PEER: usize = 8;
const BESIDE: usize = 32;

/// The day by one seed.
pub(crate) fn run(seed: u64, is_told: bool) {
    let mut world = World::new(seed, is_told);
    world.pace = PACE;
    for hour in 1..=24 {
        world.run_until(DAY * hour / 24);
        check_size(&world);
    }
    world.heal();
    world.run_until(DAY + CONVERGED_WITHIN);
    world.check_converged();
}

fn check_size(world: &World) {
    for (name, node) in world.nodes.iter().enumerate() {
        let Process::Running(running) = &node.process else { continue };
        let peers: usize = running.core.netmaps().values().map(|netmap| netmap.peers.len()).sum();
        let (entries, most) = (running.core.entries(), PER_PEER * peers + BESIDE);
        assert!(entries <= most, "agent {name} holds {entries} entries for {peers} peers");
    }
    // Tombstones of the peers that came and went are the one thing that grows, up to a limit of their own.
    let scopes = world.control.scopes.len();
    assert!(scopes <= 2 + world.control.state.nodes().count(), "{scopes} scopes");
}
