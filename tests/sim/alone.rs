//! A site without control for a week: agents restart, machines move, the whole site loses power, and all of it goes
//! on from what is on disk. Control comes back to no change.

use std::time::Duration;

use crate::{node::Process, world::World};

/// Enough for everybody to join and to know each other.
const SETTLED: Duration = Duration::from_secs(120);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Longest wait of an agent, twice, and the time of a report.
const BACK_WITHIN: Duration = Duration::from_secs(660);

/// The week by one seed; with odd seeds one machine moves again and again.
pub(crate) fn run(seed: u64, is_told: bool) {
    let mut world = World::new(seed, is_told);
    world.calm();
    world.run_until(SETTLED);
    world.check_converged();
    let (_, spent) = world.spent();
    let mover = (seed % 2 == 1).then(|| world.random.below(world.nodes.len()));
    world.lose_control();
    for day in 1..=7 {
        let whole_site = day == 4;
        for node in 0..world.nodes.len() {
            if whole_site || world.random.chance(40) {
                world.reboot(node, 600_000);
            }
        }
        if let Some(mover) = mover {
            world.move_machine(mover);
        }
        world.run_until(SETTLED + DAY * day);
        check_site(&world);
    }
    world.find_control();
    world.run_until(SETTLED + DAY * 7 + BACK_WITHIN);
    world.check_converged();
    let (_, after) = world.spent();
    match mover {
        None => assert_eq!(after, spent, "control came back to a change"),
        Some(_) => assert!(after - spent <= 2, "{} revisions for the new address of one node", after - spent),
    }
}

/// Every agent has its interfaces and names, and finds everybody else.
fn check_site(world: &World) {
    let nodes = 0..world.nodes.len();
    for (node, other) in nodes.clone().flat_map(|node| nodes.clone().map(move |other| (node, other))) {
        let Process::Running(running) = &world.nodes[node].process else {
            panic!("node {node} does not run")
        };
        for group in world.nodes[node].disk.hosted.keys() {
            assert!(running.core.desired().interfaces.contains_key(group), "node {node} lacks {group}");
            let is_shared = world.nodes[other].disk.hosted.contains_key(group);
            let finds = node == other || !is_shared || world.reaches(node, other, group);
            assert!(finds, "node {node} does not find node {other} in {group}");
        }
    }
}
