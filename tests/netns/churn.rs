//! Nodes join and leave, move and talk, again and again: memory, descriptors and threads stay as they were.
//!
//! ```text
//! tests/bench/churn --minutes 60        as long as one likes; 20 s in an ordinary run
//! ```

use std::{fmt, process::Command, time::Duration};

use support::{Process, crowd_comes, crowd_goes, eventually, run, run_ok, setting};

use crate::lab::{Lab, Node};

/// How long unless told otherwise.
const SECONDS: u64 = 20;

/// So many rounds tell something, two in each quarter: a slow machine takes longer.
const LEAST_ROUNDS: usize = 8;

/// What a process may grow by between the second quarter and the last, beside a twentieth: freed memory that the
/// allocator keeps.
const SLACK_KIB: u64 = 1_024;

/// What control keeps of a kind at most of what is gone: tombstones, host numbers that rest, tokens that have ended.
const KEPT: usize = 1_000;

/// Peers that come and go at a time to fill that.
const AT_A_TIME: usize = 100;

/// What a process takes. Its own memory tells of growth; the rest is the program itself, as far as it has run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Taken {
    resident_kib: u64,
    anonymous_kib: u64,
    descriptors: u64,
    threads: u64,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident_kib, anonymous_kib, descriptors, threads } = self;
        write!(
            f,
            "{resident_kib} KiB, {anonymous_kib} KiB of them its own, {descriptors} descriptors, {threads} threads"
        )
    }
}

fn taken(id: u32) -> Taken {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let number = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    Taken {
        resident_kib: number("VmRSS:"),
        anonymous_kib: number("RssAnon:"),
        descriptors: u64::try_from(descriptors).unwrap(),
        threads: number("Threads:"),
    }
}

/// The middle of what was seen, each figure by itself.
fn median(seen: &[Taken]) -> Taken {
    let middle = |figure: fn(&Taken) -> u64| {
        let mut figures: Vec<u64> = seen.iter().map(figure).collect();
        figures.sort_unstable();
        figures[figures.len() / 2]
    };
    Taken {
        resident_kib: middle(|taken| taken.resident_kib),
        anonymous_kib: middle(|taken| taken.anonymous_kib),
        descriptors: middle(|taken| taken.descriptors),
        threads: middle(|taken| taken.threads),
    }
}

/// One round: a node comes and goes, another moves, names are asked, everybody is reached.
fn round(lab: &Lab, web: &Node, db: &Node, comer: &Node, number: u64) {
    run_ok(&mut comer.lacis(&["join", &lab.token()]));
    eventually("web reaches the comer", || web.reaches("comer").then_some(()));
    assert!(!web.dig(&["+short", "comer.main.lacis.internal", "A"]).is_empty());
    let address = format!("192.0.2.{}/24", 100 + number % 100);
    for what in ["add", "del"] {
        db.host.ip(&["addr", what, &address, "dev", "eth0"]);
    }
    run(&mut lab.control(&["token", "create", "--expires", "1s"]));
    run_ok(&mut comer.lacis(&["leave", "main"]));
    eventually("web forgets the comer", || {
        (web.group()["peers"].as_array().unwrap().len() == 1).then_some(())
    });
    assert!(web.reaches("db"));
}

/// Has control keep all that it ever does of what is gone: until it does, it grows with each round, as it should.
fn fill(lab: &Lab) {
    for _ in 0..KEPT / AT_A_TIME {
        crowd_comes(&lab.host, &lab.ready, AT_A_TIME);
        crowd_goes(&lab.host, &lab.ready);
    }
    for _ in 0..KEPT {
        run(&mut lab.control(&["token", "create", "--expires", "1s"]));
    }
}

#[test]
fn nothing_grows_however_often_nodes_come_and_go() {
    let span = Duration::from_secs(setting("LACIS_CHURN_SECONDS").unwrap_or(SECONDS));
    let (lab, web, db) = Lab::with_two_nodes();
    if span.as_secs() > SECONDS {
        fill(&lab);
    }
    let mut comer = lab.node(4, "comer");
    comer.up(Some(&lab.token()));
    run_ok(&mut comer.lacis(&["leave", "main"]));
    let ids = [("control", lab.control_id()), ("web", web.id()), ("db", db.id()), ("comer", comer.id())];
    let mut clock =
        Process::start(Command::new("sleep").arg(span.as_secs().to_string()), &lab.dir.path().join("clock"));
    let mut seen: Vec<[Taken; 4]> = Vec::new();
    while clock.is_running() || seen.len() < LEAST_ROUNDS {
        round(&lab, &web, &db, &comer, u64::try_from(seen.len()).unwrap());
        seen.push(ids.map(|(_, id)| taken(id)));
    }
    println!("{} rounds in {} s and more", seen.len(), span.as_secs());
    let quarters_of = |at: usize| -> Vec<Taken> {
        let of_it: Vec<Taken> = seen.iter().map(|all| all[at]).collect();
        of_it.chunks(of_it.len().div_ceil(4)).map(median).collect()
    };
    // All figures are told before any is judged.
    for (at, (name, _)) in ids.iter().enumerate() {
        for (number, taken) in quarters_of(at).iter().enumerate() {
            println!("{name}, quarter {}: {taken}", number + 1);
        }
    }
    for (at, (name, _)) in ids.iter().enumerate() {
        let quarters = quarters_of(at);
        let (second, last) = (quarters[1], quarters[quarters.len() - 1]);
        assert!(
            last.anonymous_kib <= second.anonymous_kib + second.anonymous_kib / 20 + SLACK_KIB,
            "{name} grows"
        );
        assert!(last.descriptors <= second.descriptors + 2, "{name} keeps descriptors");
        assert!(last.threads <= second.threads + 1, "{name} keeps threads");
    }
}
