//! Birthday probing: one end behind a NAT with a random port for each flow, the other behind one that lets in only whom
//! it has sent to.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use lacis_agent_core::{BirthdayState, path_limits::DISCOVERY_RATE};

use super::{
    FAIR, MS, S, chat, check_flow,
    nat::Kind,
    world::{Weather, World},
};

/// Kinds that a random NAT meets by chance alone.
const MET: [Kind; 3] = [Kind::Pr, Kind::F, Kind::Lk];

/// 30 s until it begins, an attempt of 12 s, 40 s between them, and the second one.
const OVER: Duration = Duration::from_secs(100);

/// Of an attempt with 256 sockets and 1,024 probes so many in a hundred succeed: 1 − (1 − 256/64512)^1024.
const THEORY_PERCENT: usize = 98;

/// What may go straight to a peer in a second beside probes that discover: answers, beats, doubts.
const OTHERS: usize = 60;

/// Two that have it switched on, and begin to talk.
fn on(seed: u64, kinds: [Kind; 2], weather: Weather, is_told: bool) -> World {
    let mut world = World::new(seed, &[(kinds[0], 1), (kinds[1], 2)], weather, is_told);
    for index in 0..2 {
        world.nodes[index].birthday = true;
        world.restart(index);
    }
    chat(&mut world, 2 * OVER);
    world
}

/// A pair for it, in either order.
fn pair(seed: u64) -> [Kind; 2] {
    let index = usize::try_from(seed).unwrap();
    let met = MET[index % 3];
    if index / 3 % 2 == 0 { [Kind::Sr, met] } else { [met, Kind::Sr] }
}

/// Nobody sent faster, from more sockets, or to more addresses than is allowed in so many attempts.
fn check_budget(world: &World, attempts: usize) {
    for node in &world.nodes {
        let times: Vec<Duration> = node.straight.iter().map(|(at, _)| *at).collect();
        let most = times
            .iter()
            .enumerate()
            .map(|(first, at)| times[first..].iter().take_while(|later| **later < *at + S).count());
        let (most, limit) = (most.max().unwrap_or(0), usize::try_from(DISCOVERY_RATE).unwrap() + OTHERS);
        assert!(most <= limit, "{most} frames of node {} in one second", node.index);
        let reached: BTreeSet<SocketAddr> = node.straight.iter().map(|(_, to)| *to).collect();
        let others = 24 * attempts;
        assert!(reached.len() <= attempts * 1_024 + others, "{} addresses were probed", reached.len());
        assert!(node.most_sockets <= 256, "{} sockets", node.most_sockets);
    }
}

/// So many pairs try it. Returns how many have met; panics where theory promises more, or anything was lost or left.
pub(crate) fn share(count: usize) -> usize {
    let mut met = 0;
    for run in 0..count {
        let seed = 10_000 + u64::try_from(run).unwrap();
        let kinds = pair(seed);
        let mut world = on(seed, kinds, FAIR, false);
        let begins = world.now;
        world.run_for(29 * S);
        assert!(!world.is_direct(0, 1), "{kinds:?} met before it may begin, seed {seed}");
        assert!(world.nodes.iter().all(|node| node.most_sockets == 0), "a socket before it may begin");
        world.run_for(OVER);
        check_flow(&world, begins, Duration::ZERO);
        check_budget(&world, 2);
        let is_direct = world.is_direct(0, 1);
        if !is_direct {
            println!("paths: {kinds:?} did not meet by birthday probing, seed {seed}");
        }
        met += usize::from(is_direct);
        let left: usize = world.nodes.iter().map(|node| node.sockets.len()).sum();
        // One, or none where the socket that everybody knows was met by chance.
        assert!(left <= usize::from(is_direct), "{left} sockets are open after seed {seed}");
    }
    // Three standard deviations of so many trials are chance, more is a fault.
    let expected = count * THEORY_PERCENT / 100;
    let chance = 3 * (count * THEORY_PERCENT * (100 - THEORY_PERCENT)).isqrt() / 100 + 1;
    assert!(met + chance >= expected, "{met} of {count} pairs have met");
    met
}

/// Runs one seed: all goes well, or both ends restart in the middle.
pub(super) fn run(seed: u64, is_told: bool) {
    if seed.is_multiple_of(2) { meets(seed, is_told) } else { restarts(seed, is_told) }
}

/// It works, by seed; two hard NATs, and ends of which one has it switched off, never begin.
fn meets(seed: u64, is_told: bool) {
    let kinds = pair(seed);
    let mut world = on(seed, kinds, FAIR, is_told);
    let begins = world.now;
    world.run_for(OVER + 30 * S);
    check_flow(&world, begins, Duration::ZERO);
    check_budget(&world, 2);
    for (hard, off) in [([Kind::Sr, Kind::Sr], None), (kinds, Some(0)), (kinds, Some(1))] {
        let mut world = on(seed, hard, FAIR, is_told);
        if let Some(off) = off {
            world.nodes[off].birthday = false;
            world.restart(off);
        }
        world.run_for(OVER);
        assert!(!world.is_direct(0, 1), "{hard:?} with {off:?} off are direct");
        assert!(world.nodes.iter().all(|node| node.most_sockets == 0), "{hard:?} opened sockets");
        if let Some(off) = off {
            assert_eq!(world.nodes[off].birthday_with(1 - off), Some(BirthdayState::Off));
            assert_eq!(world.nodes[1 - off].birthday_with(off), Some(BirthdayState::OffThere));
        }
    }
}

/// Both ends restart in the middle of an attempt: it is begun anew, and no socket is left behind.
fn restarts(seed: u64, is_told: bool) {
    let kinds = pair(seed);
    let mut world = on(seed, kinds, FAIR, is_told);
    let at_work =
        |world: &World| matches!(world.nodes[0].birthday_with(1), Some(BirthdayState::AtWork { .. }));
    for _ in 0..600 {
        world.run_for(100 * MS);
        if at_work(&world) {
            break;
        }
    }
    if !at_work(&world) {
        // The first probes met: there was no middle.
        assert!(world.is_direct(0, 1), "it never began");
        return;
    }
    world.restart(0);
    world.run_for(Duration::from_millis(200 + seed % 3_000));
    world.restart(1);
    let restarted = world.now;
    chat(&mut world, 2 * OVER);
    world.run_for(OVER + 60 * S);
    check_flow(&world, restarted + 10 * S, Duration::ZERO);
    // The one that the restart ended, and two more.
    check_budget(&world, 3);
    let left: usize = world.nodes.iter().map(|node| node.sockets.len()).sum();
    assert!(left <= 1, "{left} sockets are left");
    let state = world.nodes[0].birthday_with(1);
    let has_tried = matches!(state, Some(BirthdayState::Resting { .. } | BirthdayState::Failed { .. }));
    assert!(world.is_direct(0, 1) || has_tried, "{kinds:?} did not begin anew: {state:?}");
}
