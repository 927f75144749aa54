//! Everything dies, again and again, at moments that a seed decides: what is answered meanwhile is right, and
//! afterwards everything is as it was.
//!
//! ```text
//! LACIS_KILL_SEED=7 LACIS_KILL_SECONDS=120 ./tests/run netns     the same kills again; as long as .ci/run does it
//! ```

use std::{process::Command, time::Duration};

use serde_json::Value;
use support::{Process, Random, eventually_within, pause, setting};

use crate::lab::{Lab, Node, text};

/// How long things die unless told otherwise.
const SECONDS: u64 = 30;

/// Everybody is back by then: the longest wait after a stream that was in sync, twice, and the time to start.
const BACK_WITHIN: Duration = Duration::from_secs(60);

fn chatter(node: &Node, names: &[String]) -> Process {
    let mut command: Command = node.host.command("python3");
    command.args(["-c", include_str!("chatter.py"), &node.name]);
    command.arg(text(&node.group(), "resolver4")).args(names);
    Process::start(&mut command, &node.state.with_extension("chatter"))
}

#[test]
fn whatever_dies_at_whatever_moment_nothing_wrong_is_answered_and_all_comes_back() {
    let seed = setting("LACIS_KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let span = Duration::from_secs(setting("LACIS_KILL_SECONDS").unwrap_or(SECONDS));
    println!("replay: LACIS_KILL_SEED={seed} LACIS_KILL_SECONDS={} ./tests/run netns", span.as_secs());
    let mut lab = Lab::new();
    let mut nodes: Vec<Node> =
        [(2, "web"), (3, "db"), (4, "cache")].map(|(n, name)| lab.node(n, name)).into();
    for node in &mut nodes {
        node.up(Some(&lab.token()));
    }
    for (node, other) in pairs(&nodes) {
        node.wait(&other.name);
    }
    let version = nodes[0].group()["version"].clone();
    let name = |node: &Node| format!("{}={}", node.name, text(&node.group(), "address4"));
    let names: Vec<String> = nodes.iter().map(name).collect();
    let mut chatters: Vec<Process> = nodes.iter().map(|node| chatter(node, &names)).collect();

    let kills = kill_for(span, &mut Random::new(seed), &mut lab, &mut nodes);
    let what = "everybody reaches everybody";
    let all_reach = || pairs(&nodes).all(|(node, other)| node.reaches(&other.name)).then_some(());
    let ((), reached) = eventually_within(BACK_WITHIN, what, all_reach);
    let is_in_sync = |node: &Node| node.status()["control"]["connected"] == true;
    let in_sync = || nodes.iter().all(is_in_sync).then_some(());
    let ((), synced) = eventually_within(BACK_WITHIN, "everybody is in sync", in_sync);
    for node in &nodes {
        assert_eq!(node.group()["peers"].as_array().unwrap().len(), nodes.len() - 1, "nobody twice");
        assert_eq!(node.group()["version"], version, "no kill spends a revision");
    }
    println!("{kills} kills; everybody reached {reached:?} after the last, in sync {synced:?} later");
    pause(Duration::from_secs(1));
    for chatter in &mut chatters {
        assert_eq!(chatter.terminate(), Some(0), "{}", chatter.log());
        let counted: Value = serde_json::from_str(&chatter.rest()).unwrap();
        println!("{counted}");
        assert_eq!(counted["wrong"], serde_json::json!([]));
        for (part, whole) in [("answered", "sent"), ("resolved", "asked")] {
            let [part, whole] = [part, whole].map(|key| counted[key].as_u64().unwrap());
            assert!(part * 10 > whole, "hardly anything was answered: {counted}");
        }
    }
}

fn pairs(nodes: &[Node]) -> impl Iterator<Item = (&Node, &Node)> {
    let all = nodes.iter().flat_map(move |node| nodes.iter().map(move |other| (node, other)));
    all.filter(|(node, other)| node.name != other.name)
}

/// Kills a process every few hundred milliseconds, and starts it again a moment later. Returns how many were killed.
fn kill_for(span: Duration, random: &mut Random, lab: &mut Lab, nodes: &mut [Node]) -> u32 {
    let (mut passed, mut kills) = (Duration::ZERO, 0);
    let who = nodes.len() + 1;
    while passed < span {
        let (alive_for, dead_for) = (random.ms(100, 400), random.ms(0, 300));
        let victim = random.below(who);
        passed += alive_for + dead_for;
        kills += 1;
        pause(alive_for);
        if let Some(node) = nodes.get_mut(victim) {
            node.kill();
            pause(dead_for);
            node.start_again();
        } else {
            lab.kill_control();
            pause(dead_for);
            lab.start_control_again();
        }
    }
    kills
}
