//! What is promised of paths in figures, with 20 ms one way between any two: printed beside the bar, and asserted with
//! room for a busy machine, which whoever runs this for the figures does not need (`LACIS_NAT_RUNS`).

use std::{net::IpAddr, time::Duration};

use support::{eventually_within, pause, setting};

use crate::{
    kind::Kind,
    matrix::Arena,
    mesh::Node,
    pair::{Class, Watch},
    site::Site,
    stream::{Flow, Stream},
};

/// There and back through the relay: four ways of 20 ms.
pub(crate) const RELAY_ROUND: Duration = Duration::from_millis(80);

/// There and back directly.
const DIRECT_ROUND: Duration = Duration::from_millis(40);

/// What a busy machine may add to a bar of milliseconds.
pub(crate) const BUSY: Duration = Duration::from_millis(1_500);

/// Longest wait for what comes in a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn runs() -> u64 {
    setting("LACIS_NAT_RUNS").unwrap_or(3)
}

/// Prints figures beside their bar, and gives the middle one and the worst.
pub(crate) fn told(what: &str, bar: Duration, mut figures: Vec<Duration>) -> (Duration, Duration) {
    figures.sort_unstable();
    let (middle, worst) = (figures[figures.len() / 2], figures[figures.len() - 1]);
    let ms = Duration::as_millis;
    println!(
        "{what}: p50 {} ms, worst {} ms of {}; the bar is {} ms",
        ms(&middle),
        ms(&worst),
        figures.len(),
        ms(&bar)
    );
    (middle, worst)
}

#[test]
fn a_first_packet_through_the_relay_comes_in_one_round_trip_and_a_half() {
    let (mut arena, mut firsts) = (Arena::new(), Vec::new());
    for _ in 0..runs() {
        arena.prepare([Kind::Random, Kind::Random]);
        let mut watch = arena.watch();
        watch.until(Class::Relayed, PATIENCE).expect("the relay carries it");
        firsts.push(watch.end().first.expect("something has come"));
    }
    let bar = RELAY_ROUND * 3 / 2 + Duration::from_millis(20);
    let (middle, _) = told("first payload, cold, relay only", bar, firsts);
    assert!(middle <= bar + BUSY, "{middle:?}");
}

#[test]
fn a_direct_path_between_home_routers_is_in_use_soon_and_nothing_is_lost_on_the_switch() {
    let (mut arena, mut times) = (Arena::new(), Vec::new());
    for _ in 0..runs() {
        arena.prepare([Kind::PortRestricted, Kind::PortRestricted]);
        let mut watch = arena.watch();
        watch.until(Class::Direct, PATIENCE).expect("the path becomes direct");
        times
            .push(watch.first_direct(arena.sites[1].outer(0)).expect("a packet of the stream went directly"));
        let report = watch.end();
        assert!(report.is_whole(), "{report:?}");
    }
    let bar = RELAY_ROUND / 2 + 2 * DIRECT_ROUND + Duration::from_millis(50);
    let (middle, worst) = told("direct path in use", bar, times);
    assert!(middle <= bar + BUSY && worst <= Duration::from_secs(1) + BUSY, "{middle:?}, {worst:?}");
}

/// What a direct path that is cut may cost.
const CUT_BAR: Duration = Duration::from_millis(2_500);

#[test]
fn a_direct_path_that_is_cut_yields_to_the_relay_and_comes_back() {
    let mut arena = Arena::new();
    arena.prepare([Kind::PortRestricted, Kind::PortRestricted]);
    let (sea, [one, other]) = (arena.mesh.internet.sea(), arena.outer());
    let mut watch = arena.watch();
    // Somebody answers, as in a conversation: silence is told from a listener by that.
    let _answers = Stream::start(&arena.nodes[1], &arena.nodes[0], Flow::SPEECH);
    let gap = cut(&arena, &mut watch);
    sea.cut(one, other, false);
    watch.until(Class::Direct, 6 * PATIENCE).expect("the path becomes direct again");
    let (gap, _) = told("direct path cut, flowing again by relay", CUT_BAR, vec![gap]);
    assert!(gap <= CUT_BAR + BUSY, "{gap:?}");
}

#[test]
fn a_direct_path_that_is_cut_under_a_stream_which_nobody_answers_yields_to_the_relay() {
    let (mut arena, mut gaps) = (Arena::new(), Vec::new());
    for run in 0..runs() {
        arena.prepare([Kind::PortRestricted, Kind::PortRestricted]);
        let mut watch = arena.watch();
        watch.until(Class::Direct, PATIENCE).expect("the path becomes direct");
        // At another moment between two probes each time.
        pause(Duration::from_millis(1_500 + 370 * run));
        gaps.push(cut(&arena, &mut watch));
        let [one, other] = arena.outer();
        arena.mesh.internet.sea().cut(one, other, false);
    }
    let (_, worst) = told("the same under a one-way stream", CUT_BAR, gaps);
    assert!(worst <= CUT_BAR + BUSY, "{worst:?}");
}

/// Cuts the direct path of a stream; gives the time in which nothing came.
fn cut(arena: &Arena, watch: &mut Watch) -> Duration {
    let (sea, [one, other]) = (arena.mesh.internet.sea(), arena.outer());
    watch.until(Class::Direct, PATIENCE).expect("the path becomes direct");
    sea.cut(one, other, true);
    watch.until(Class::Relayed, PATIENCE).expect("the relay takes over");
    watch.stream().gap()
}

#[test]
fn a_node_that_roams_is_heard_again_at_once() {
    let mut arena = Arena::new();
    arena.prepare([Kind::PortRestricted, Kind::PortRestricted]);
    let mut elsewhere = Site::new(&mut arena.mesh.internet, 3, Kind::PortRestricted);
    elsewhere.clients.clear();
    let mut watch = arena.watch();
    watch.until(Class::Direct, PATIENCE).expect("the path becomes direct");
    elsewhere.adopt(&mut arena.sites[0]);
    let arrived = watch.stream().elapsed();
    watch.seen_at(elsewhere.outer(0));
    let (first, _) = eventually_within(PATIENCE, "it is heard again", || watch.stream().first_after(arrived));
    let took = first - arrived;
    let bar = RELAY_ROUND + Duration::from_millis(300);
    let (took, _) = told("roamed to another network", bar, vec![took]);
    watch.until(Class::Direct, PATIENCE).expect("the path becomes direct again");
    assert!(took <= bar + BUSY, "{took:?}");
}

#[test]
fn a_node_without_udp_is_heard_soon_after_its_start() {
    let (mut arena, mut firsts) = (Arena::new(), Vec::new());
    for _ in 0..runs() {
        arena.prepare([Kind::UdpBlocked, Kind::Random]);
        let [one, other] = &mut arena.nodes;
        one.kill();
        one.refresh();
        // Packets leave from before the agent's start: its own time counts, and there is no lease that it could have had.
        let stream = Stream::start(one, other, Flow::SPEECH);
        one.start_again();
        let (first, _) =
            eventually_within(PATIENCE, "something comes", || stream.first_after(Duration::ZERO));
        firsts.push(first);
        drop(stream);
        arena.nodes.iter().for_each(Node::has_a_relay);
        let mut watch = arena.watch();
        watch.until(Class::Relayed, PATIENCE).expect("the relay carries it");
    }
    let bar = Duration::from_secs(1) + 3 * RELAY_ROUND;
    let (middle, _) = told("UDP blocked: first payload, from the start of the agent", bar, firsts);
    assert!(middle <= bar + BUSY, "{middle:?}");
}

impl Arena {
    /// Where both are seen outside.
    pub(crate) fn outer(&self) -> [IpAddr; 2] {
        self.sites.each_ref().map(|site| site.outer(0))
    }

    /// Watches a stream from the first node to the second.
    pub(crate) fn watch(&self) -> Watch {
        Watch::start(&self.mesh, &self.nodes[0], &[self.sites[0].outer(0)], &self.nodes[1])
    }
}
