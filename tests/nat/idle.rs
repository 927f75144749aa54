//! Nodes that know a thousand peers and have nothing to say: every packet on a node's wire is counted.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use support::{Namespace, crowd_comes, eventually, pause, setting};

use crate::{kind::Kind, matrix::Arena};

/// Peers beside the two nodes: half of them can be dialled.
const PEERS: usize = 1_000;

/// A lease is refreshed no sooner than this (every 25 s, and up to a tenth earlier).
const REFRESH_S: u64 = 22;

/// What control's stream may take in a minute, whatever the number of peers: two beats, a report, and what confirms them.
const CONTROL_A_MINUTE: u64 = 30;

/// How long packets are counted.
fn seconds() -> u64 {
    setting("LACIS_NAT_IDLE_S").unwrap_or(10)
}

/// Packets out of and into a host, by what they are of. What kernels tell their neighbours is not the agent's.
const COUNTERS: &str = "table inet wire {
  counter relay { }
  counter control { }
  counter other { }
  chain c_out { type filter hook output priority filter; policy accept;
    oifname \"eth0\" udp dport 3478 counter name relay accept
    oifname \"eth0\" tcp dport 443 counter name control accept
    oifname \"eth0\" meta l4proto { tcp, udp } counter name other
  }
  chain c_in { type filter hook input priority filter; policy accept;
    iifname \"eth0\" udp sport 3478 counter name relay accept
    iifname \"eth0\" tcp sport 443 counter name control accept
    iifname \"eth0\" meta l4proto { tcp, udp } counter name other
  }
}
";

fn counted(space: &Namespace) -> BTreeMap<String, u64> {
    let said: Value = serde_json::from_str(&space.sh("nft -j list counters")).unwrap();
    let counters = said["nftables"].as_array().unwrap().iter().filter_map(|one| one.get("counter"));
    counters.map(|one| (one["name"].as_str().unwrap().to_owned(), one["packets"].as_u64().unwrap())).collect()
}

#[test]
fn nodes_that_know_a_thousand_peers_and_are_idle_send_nothing_but_keepalives_of_the_relay() {
    let mut arena = Arena::new();
    // All at once, as a node finds them that comes to such a group.
    crowd_comes(&arena.mesh.server.space, &arena.mesh.ready, PEERS);
    arena.prepare([Kind::PortRestricted, Kind::PortRestricted]);
    let [one, other] = arena.outer();
    let (node, sea) = (&arena.nodes[0], arena.mesh.internet.sea());
    eventually("everybody is known", || {
        (node.group()["peers"].as_array().is_some_and(|known| known.len() > PEERS)).then_some(())
    });
    node.host.feed("nft", &["-f", "-"], COUNTERS);
    // What told of the last peers may still be under way.
    eventually("the netmap has come", || {
        let before = counted(&node.host);
        pause(Duration::from_secs(1));
        (counted(&node.host)["control"] == before["control"]).then_some(())
    });
    let between = || sea.passed(one, other) + sea.passed(other, one);
    let (before, passed, window) = (counted(&node.host), between(), seconds());
    pause(Duration::from_secs(window));
    let after = counted(&node.host);
    let seen = |name: &str| after[name] - before[name];
    let (relay, control, rest) = (seen("relay"), seen("control"), seen("other"));
    println!(
        "{PEERS} peers known, all idle, for {window} s: {rest} packets; the bar is 0; beside them {relay} with the \
         relay, {control} with control"
    );
    assert_eq!((rest, between() - passed), (0, 0), "packets of nodes that have nothing to say");
    assert!(relay <= 2 * (window / REFRESH_S + 1), "{relay} packets with the relay");
    assert!(control <= CONTROL_A_MINUTE * window.max(60) / 60, "{control} packets with control");
}
