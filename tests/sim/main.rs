//! The whole mesh on a virtual clock and network, by seed: the rules of agents and of control, between
//! them a network that loses, delays, cuts and stalls, and machines that die at any moment. A model of what
//! must hold is compared after every event; at the end everything is healed and must converge. Control is killed,
//! drained, moved, restored from an older backup, its clock jumps; nodes are revoked and purged, peers removed while
//! they are away. Some seeds also spend a week without control ([`alone`]).
//!
//! ```text
//! cargo test -p lacis-tests --test sim                      256 seeds
//! cargo test -p lacis-tests --test sim -- --seeds 5000      that many
//! cargo test -p lacis-tests --test sim -- --seed 17         this one, and what happens in it
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and this one is its own harness"
)]

mod alone;
mod control;
mod day;
mod model;
mod node;
mod paths;
mod store;
mod world;

use std::{
    panic::catch_unwind,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use world::World;

/// How long things go wrong.
const CHAOS: Duration = Duration::from_secs(240);

/// Longest wait of an agent (300 s), the time to notice a dead stream before it, and one report after it.
const CONVERGED_WITHIN: Duration = Duration::from_secs(360);

/// Attempts of one agent from the healing until it is in sync: the one under way, which may fail, and one
/// more after each enrolment that its restarts and the last goodbye cost.
const ATTEMPTS_TO_HEAL: u64 = 4;

/// Of so many seeds one also spends a week without control: a week takes as long as many runs.
const ALONE_EVERY: u64 = 32;

/// Pairs whose time until they reach each other directly is measured.
const BARS: usize = 200;

/// Pairs of each kind with a NAT that counts on one side.
const COUNTING: u64 = 60;
/// Pairs that try to meet by birthday probing.
const BIRTHDAYS: usize = 150;

/// Of so many seeds one also spends a day of churn.
const DAY_EVERY: u64 = 256;

/// Time in which nothing more happens.
const QUIET: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // Arguments of the usual test harness are passed over, so that both can be run by one command.
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(seed) = number("--seed") {
        println!("{}", run(seed, true));
        return ExitCode::SUCCESS;
    }
    if let Some(seed) = number("--paths") {
        paths::run(seed, true);
        return ExitCode::SUCCESS;
    }
    let seeds = number("--seeds").unwrap_or(256);
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let totals = [const { AtomicU64::new(0) }; 3];
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            if catch_unwind(|| paths::run(seed, false)).is_err() {
                failed.fetch_add(1, Ordering::Relaxed);
                println!(
                    "paths: seed {seed} failed; replay: cargo test -p lacis-tests --test sim -- --paths {seed}"
                );
            }
            match catch_unwind(|| run(seed, false)) {
                Ok(summary) => {
                    for (total, part) in totals.iter().zip([summary.attempts, summary.spent, summary.reused])
                    {
                        total.fetch_add(part, Ordering::Relaxed);
                    }
                }
                Err(_) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    println!(
                        "seed {seed} failed; replay: cargo test -p lacis-tests --test sim -- --seed {seed}"
                    );
                }
            }
        }
    };
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(worker);
        }
    });
    let (half, most) = paths::bars(BARS);
    println!("paths: direct after {half:?} for half of {BARS} pairs, {most:?} for all but one in a hundred");
    let still = paths::one_way_bar();
    println!(
        "paths: a stream that nobody answers stands still for {still:?} at most when its direct path is cut"
    );
    let least = paths::counting_bar(COUNTING);
    println!(
        "paths: behind a NAT that counts, {least} of {COUNTING} pairs meet directly where that happens least"
    );
    let met = paths::birthday_share(BIRTHDAYS);
    println!("paths: {met} of {BIRTHDAYS} pairs have met by birthday probing");
    let [attempts, spent, reused] = totals.map(AtomicU64::into_inner);
    let failed = failed.into_inner();
    println!(
        "sim: {seeds} seeds, {failed} failed; {attempts} attempts to watch, {spent} revisions, {reused} hosts \
         given again"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a run came to.
#[derive(Debug)]
struct Summary {
    attempts: u64,
    spent: u64,
    reused: u64,
}

fn run(seed: u64, is_told: bool) -> Summary {
    if seed.is_multiple_of(ALONE_EVERY) {
        alone::run(seed / ALONE_EVERY, is_told);
    }
    if seed.is_multiple_of(DAY_EVERY) {
        day::run(seed / DAY_EVERY, is_told);
    }
    let mut world = World::new(seed, is_told);
    world.run_until(CHAOS);
    world.heal();
    let (before, _) = world.spent();
    world.run_until(CHAOS + CONVERGED_WITHIN);
    world.check_converged();
    let (attempts, spent) = world.spent();
    let most = ATTEMPTS_TO_HEAL * world.nodes.len() as u64;
    assert!(attempts - before <= most, "{} attempts until everybody was in sync", attempts - before);
    world.run_until(CHAOS + CONVERGED_WITHIN + QUIET);
    world.check_converged();
    assert_eq!((attempts, spent), world.spent(), "attempts and revisions in a quiet time");
    Summary { attempts, spent, reused: world.control.reused }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { attempts, spent, reused } = self;
        write!(f, "passed: {attempts} attempts to watch, {spent} revisions, {reused} hosts given again")
    }
}
