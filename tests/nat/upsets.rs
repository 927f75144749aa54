//! What happens to networks and to agents while two nodes talk: each time packets flow again, both ways, and soon.
//!
//! In every run: a NAT that restarts, that takes other ports, that gets another address, and both ends moving at once.
//! Those that take their time are ignored there, and `tests/nat-matrix` runs them.

use std::time::Duration;

use support::{eventually_within, pause};

use crate::{
    bars::{BUSY, PATIENCE, RELAY_ROUND, told},
    kind::Kind,
    matrix::{Arena, DIRECT_WITHIN},
    pair::{Class, Watch},
    site::Site,
    stream::{Flow, Stream},
};

/// From a path that is cut to the relay.
const CUT: Duration = Duration::from_millis(2_500);

/// From a home relay that dies to the backup.
const RELAY_GONE: Duration = Duration::from_secs(3);

/// Asleep for so long, an agent believes nothing that it knew of paths (20 s), and some more.
const ASLEEP: Duration = Duration::from_secs(25);

/// After how many seconds NATs forget a flow: more than a lease lets pass (25), so that the relay's stay.
const FORGETS_S: u64 = 28;

/// Longest time that such NATs have something to remember of nodes that fell silent: paths are kept alive for ten more.
const FORGOTTEN: Duration = Duration::from_secs(90);

/// Two nodes that talk.
struct Talk {
    arena: Arena,
    watch: Watch,
    answers: Stream,
}

impl Talk {
    /// Nodes that have just begun, as soon as they speak in this way.
    fn begin(mut arena: Arena, kinds: [Kind; 2], class: Class) -> Self {
        arena.prepare(kinds);
        let watch = arena.watch();
        let answers = Stream::start(&arena.nodes[1], &arena.nodes[0], Flow::SPEECH);
        let mut talk = Self { arena, watch, answers };
        talk.is(class, PATIENCE);
        talk
    }

    #[track_caller]
    fn is(&mut self, class: Class, patience: Duration) {
        assert!(self.watch.until(class, patience).is_some(), "the path does not become {class}");
    }

    /// Lets something happen. Packets flow again both ways within the bar, and go in this way in the end.
    #[track_caller]
    fn stands(&mut self, what: &str, bar: Duration, class: Class, happen: impl FnOnce(&mut Self)) {
        let moments = [&self.answers, self.watch.stream()].map(Stream::elapsed);
        happen(self);
        self.is(class, 4 * PATIENCE);
        let gaps = [&self.answers, self.watch.stream()];
        let gaps = gaps.into_iter().zip(moments).map(|(stream, moment)| stream.gap_since(moment)).collect();
        let (_, worst) = told(&format!("{what}, then {class}"), bar, gaps);
        assert!(worst <= bar + BUSY, "{what}: {worst:?}");
    }
}

#[test]
fn what_happens_to_nats_and_addresses_is_over_soon() {
    let mut talk = Talk::begin(Arena::new(), [Kind::PortRestricted, Kind::PortRestricted], Class::Direct);
    talk.stands("a NAT restarts and keeps its port", CUT, Class::Direct, |talk| {
        talk.arena.sites[0].forget();
    });
    talk.stands("a NAT takes another port", CUT, Class::Direct, |talk| {
        talk.arena.sites[0].set(Kind::PortRestrictedElsewhere);
    });
    talk.stands("a site is renumbered", CUT, Class::Direct, |talk| {
        let site = &mut talk.arena.sites[0];
        site.renumber([198, 51, 100, 99].into());
        talk.watch.seen_at(site.outer(0));
    });
    let mut elsewhere = [3, 4].map(|number| {
        let mut site = Site::new(&mut talk.arena.mesh.internet, number, Kind::PortRestricted);
        site.clients.clear();
        site
    });
    talk.stands("both ends roam at once", Duration::from_secs(1) + RELAY_ROUND, Class::Direct, |talk| {
        for (to, from) in elsewhere.iter_mut().zip(&mut talk.arena.sites) {
            to.adopt(from);
        }
        talk.watch.seen_at(elsewhere[0].outer(0));
    });
}

#[test]
#[ignore = "sleeps for half a minute: tests/nat-matrix runs it"]
fn a_node_that_was_asleep_goes_on() {
    let mut talk = Talk::begin(Arena::new(), [Kind::PortRestricted, Kind::PortRestricted], Class::Direct);
    // What counts begins when it wakes.
    let node = &talk.arena.nodes[0];
    node.freeze(true);
    pause(ASLEEP);
    talk.stands("an agent was asleep", CUT, Class::Direct, |talk| talk.arena.nodes[0].freeze(false));
}

#[test]
#[ignore = "waits until NATs forget: tests/nat-matrix runs it"]
fn mappings_that_were_forgotten_are_made_anew() {
    let talk = Talk::begin(Arena::new(), [Kind::PortRestricted, Kind::PortRestricted], Class::Direct);
    let Talk { arena, watch, answers } = talk;
    let udp = "net.netfilter.nf_conntrack_udp_timeout";
    for site in &arena.sites {
        site.router.sh(&format!("sysctl -qw {udp}={FORGETS_S} {udp}_stream={FORGETS_S}"));
    }
    drop((watch, answers));
    for (site, peer) in arena.sites.iter().zip(arena.outer().into_iter().rev()) {
        let flows = format!("conntrack -L -p udp -d {peer} 2>/dev/null");
        eventually_within(FORGOTTEN, "the NAT has forgotten", || {
            site.router.sh(&flows).trim().is_empty().then_some(())
        });
    }
    let mut watch = arena.watch();
    watch.until(Class::Direct, DIRECT_WITHIN).expect("the path becomes direct again");
    let first = watch.end().first.expect("something has come");
    let (first, _) = told("mappings timed out, then D", CUT, vec![first]);
    assert!(first <= CUT + BUSY, "{first:?}");
}

/// Two nodes behind home routers that know a relay apart from control, too.
fn with_two_relays() -> Arena {
    let mut arena = Arena::new();
    arena.mesh.add_relay(12);
    for node in &mut arena.nodes {
        node.up(None);
        node.has_relays(2);
        node.stop();
        node.keep_fresh();
    }
    arena
}

#[test]
#[ignore = "takes half a minute: tests/nat-matrix runs it"]
fn nodes_meet_and_their_networks_change_without_control() {
    let mut arena = with_two_relays();
    arena.mesh.kill_control();
    let mut talk = Talk::begin(arena, [Kind::PortRestricted, Kind::PortRestricted], Class::Direct);
    talk.stands("control away, a NAT takes another port", CUT, Class::Direct, |talk| {
        talk.arena.sites[0].set(Kind::PortRestrictedElsewhere);
    });
}

#[test]
#[ignore = "takes half a minute: tests/nat-matrix runs it"]
fn a_home_relay_that_nothing_reaches_any_more_is_replaced() {
    let mut arena = with_two_relays();
    arena.prepare([Kind::Random, Kind::Random]);
    arena.nodes.iter().for_each(|node| node.has_relays(2));
    let watch = arena.watch();
    let answers = Stream::start(&arena.nodes[1], &arena.nodes[0], Flow::SPEECH);
    let mut talk = Talk { arena, watch, answers };
    talk.is(Class::Relayed, PATIENCE);
    let used = || talk.arena.nodes[0].group()["peers"][0]["via"]["relay"].as_str().map(str::to_owned);
    let (used, _) = eventually_within(PATIENCE, "a relay is named", used);
    let lost = if used == "relay-12" {
        vec![[198, 51, 100, 12]]
    } else {
        vec![[198, 51, 100, 10], [198, 51, 100, 11]]
    };
    talk.stands("the relay in use is cut off", RELAY_GONE, Class::Relayed, |talk| {
        let (sea, outer) = (talk.arena.mesh.internet.sea(), talk.arena.outer());
        for (relay, outer) in lost.iter().flat_map(|relay| outer.map(|outer| (*relay, outer))) {
            sea.cut(relay.into(), outer, true);
        }
    });
}
